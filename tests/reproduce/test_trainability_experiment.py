"""What the trainability experiment finds, where it is quick, and what it would not let pass."""

import jax
import numpy as np
import pytest

from fracjax.reproduce import trainability_networks
from fracjax.reproduce.rows import compared
from fracjax.reproduce.trainability import PARTS

KEY = jax.random.key(0)


def test_one_rate_divides_where_the_loss_is_convex():
    rows = compared(PARTS["one learning rate, threshold"](KEY, "quick"))
    assert rows
    assert all(row.agrees for row in rows)


def test_there_are_six_networks_with_plain_names():
    assert sum(name.startswith("network") for name in PARTS) == 6


def test_claims_on_frames_can_fail():
    """Frames around 1.2 are rougher than a curve; around 1.02, or two of them, that is not said."""

    def agrees(dimensions):
        extent = trainability_networks.Extent(8, 100, 129, len(dimensions))
        refined = [
            trainability_networks.estimated(value, 0.01, value - 0.02, value + 0.02)
            for value in dimensions
        ]
        stripes = np.zeros((64, 64), bool)
        stripes[::16] = True
        rows = trainability_networks._rows(
            "made", extent, refined, [stripes] * len(dimensions), [0.5], tested=True
        )
        return rows[-1].agrees

    assert agrees([1.15, 1.2, 1.25, 1.2])
    assert not agrees([0.97, 1.02, 1.07, 1.02])
    assert not agrees([1.1, 1.4])


@pytest.mark.slow
def test_a_network_is_zoomed_into():
    found = PARTS["network, identity"](KEY, "quick")
    assert list(found.figures) == ["trainability-identity"]
    share = found.rows[0]
    assert 0 < share.value < 1
    assert found.figures["trainability-identity"]().axes
