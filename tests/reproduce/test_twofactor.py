"""What the two-factor experiment finds, where it is quick."""

import math

import jax
import numpy as np
import pytest

from fracjax.reproduce import twofactor_pictures
from fracjax.reproduce.rows import Findings, compared
from fracjax.reproduce.twofactor import PARTS
from fracjax.systems.training_maps.phases import Phase

KEY = jax.random.key(0)
FIGURES = {
    "exact: one-prompt transformer",
    "exact: ellipse",
    "pictures: basins",
    "pictures: phases",
    "pictures: bifurcations",
    "mini-batches: escape",
    "edge of stability",
}


def test_thresholds_agree_with_their_closed_forms():
    rows = compared(PARTS["exact: thresholds"](KEY, "quick"))
    assert len(rows) == 19
    assert all(row.agrees for row in rows)


def test_a_basin_that_is_not_the_ellipse_is_seen():
    """The same numbers with one orbit that diverges inside."""
    x = np.linspace(-4, 4, 65) + math.pi / 1000
    p, s = x[:, None] * x, x[:, None] ** 2 + x**2
    inside = s - 0.6 * p - (4 - 0.36) / 0.6 < 0
    phase = np.where(inside, int(Phase.MONOTONE), int(Phase.DIVERGENT)).astype(float)
    values = {"phase": phase, "sharpness": np.full(p.shape, 2.1), "imbalance": np.zeros(p.shape)}
    rows = compared(twofactor_pictures._basin_rows(0.6, x, x, values))
    assert all(row.agrees for row in rows)
    phase[32, 32] = int(Phase.DIVERGENT)
    rows = compared(twofactor_pictures._basin_rows(0.6, x, x, values))
    assert not rows[0].agrees


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(PARTS) - {"exact: thresholds"}))
def test_every_part_agrees_and_draws(name):
    found = PARTS[name](KEY, "quick")
    rows = compared(found)
    assert len(rows) >= 1
    assert all(row.agrees for row in rows), [row for row in rows if not row.agrees]
    figures = found.figures if isinstance(found, Findings) else {}
    assert bool(figures) == (name in FIGURES)
    for draw in figures.values():
        assert draw().axes
