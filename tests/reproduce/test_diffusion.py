"""The experiment on diffusion: its tables, and that its quick parts run and can fail."""

import math

import jax
import numpy as np
import pytest

from fracjax import Estimate
from fracjax.reproduce import diffusion, diffusion_laws, diffusion_model, diffusion_published

KEY = jax.random.key(0)


def test_published_tables():
    """The ranges that the reference page states for the 24 networks of Figure 3."""
    rows = diffusion_published.BATCH_SIZES
    assert len(rows) == 24
    found = diffusion_published.ranges()
    assert found["short"] == (1.012, 1.417)
    assert found["long"] == (0.6, 0.884)
    assert found["crossover"] == (45, 400)
    # Both figures hold the network of 14 layers at a rate of .1 and batches of 1024.
    common = next(row for row in rows if row[:3] == (14, 1024, False))
    assert diffusion_published.LEARNING_RATES[0.1] == (common.short, common.long)


def test_parts_are_named_apart():
    names = list(diffusion.PARTS)
    assert len(names) == 10
    assert {name.split(",")[0] for name in names} == {"laws", "model", "digits"}


def test_a_wrong_law_fails():
    """Rows are compared: an exponent of .5 given as 1 does not agree."""
    draws = 0.5 + 0.05 * np.random.default_rng(0).standard_normal(50)
    errors = np.full(50, 0.05)
    estimate = Estimate(draws, errors, draws - 0.1, draws + 0.1, np.zeros(50, int))
    right = diffusion_laws.law_rows("process", "exponent", estimate, 0.5, 0.05)
    wrong = diffusion_laws.law_rows("process", "exponent", estimate, 1.0, 0.05)
    assert right[0].agrees
    assert not wrong[0].agrees
    assert not wrong[1].agrees
    assert wrong[1].value == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["laws, Gaussian", "laws, relaxation", "laws, flights"])
def test_laws_agree(name):
    found = diffusion.PARTS[name](KEY, "quick")
    rows = getattr(found, "rows", found)
    assert all(row.agrees for row in rows)
    assert sum(math.isfinite(row.reference) for row in rows) >= 4


@pytest.mark.slow
def test_the_model_draws_and_its_free_walk_agrees():
    found = diffusion_model.PARTS["model"](KEY, "quick")
    free = [row for row in found.rows if row.system == "control: no slope"]
    assert [row.agrees for row in free if math.isfinite(row.reference)] == [True] * 4
    for draw in found.figures.values():
        assert draw().axes
