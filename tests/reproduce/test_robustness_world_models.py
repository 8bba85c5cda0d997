"""The world-model parts of the robustness experiment."""

import math

import jax
import pytest

from fracjax.reproduce.robustness_world_models import PARTS

KEY = jax.random.key(0)


def test_walkers_are_left_out_below_the_full_size():
    assert len(PARTS) == 4
    for name in ("world model, dmc_walker_stand", "world model, dmc_walker_walk"):
        for size in ("quick", "default"):
            (row,) = PARTS[name](KEY, size)
            assert math.isnan(row.value)
            assert "full size" in row.quantity


@pytest.mark.slow
@pytest.mark.parametrize("name", ["world model, pendulum", "world model, cartpole_swingup"])
def test_the_quick_size_goes_from_end_to_end(name):
    """Nothing is learnt in four updates; every number has a row, and every figure is drawn."""
    found = PARTS[name](KEY, "quick")
    assert all(row.agrees for row in found.rows)
    quantities = [(row.system, row.quantity) for row in found.rows]
    assert len(set(quantities)) == len(quantities)
    arms = {row.system for row in found.rows}
    assert {f"{name}, {arm}" for arm in ("no penalty", "spread", "exponent")} < arms
    for draw in found.figures.values():
        assert draw().axes
