"""What the gravity experiment finds, and what its rows would not let pass."""

import dataclasses

import jax
import numpy as np
import pytest

from fracjax._types import Estimate
from fracjax.learning.gravity_wells.initial_spread import SpreadStudy
from fracjax.reproduce import gravity_samplers, gravity_starts
from fracjax.reproduce.gravity import PARTS
from fracjax.reproduce.rows import compared

KEY = jax.random.key(0)


def test_presets_agree_and_are_tested():
    rows = compared(PARTS["sampler presets"](KEY, "quick"))
    assert len(rows) == 8
    assert all(row.agrees for row in rows)
    assert {57.0, 114.0} <= {row.value for row in rows}


def test_a_trend_that_falls_is_seen():
    def study(trapped, late):
        one = Estimate(0.1, 0.0, 0.1, 0.1, 0)
        fields = dict.fromkeys((field.name for field in dataclasses.fields(SpreadStudy)), one)
        share, over = (dataclasses.replace(one, value=part) for part in (trapped, [late]))
        return SpreadStudy(**{**fields, "trapped": share, "survival": over})

    low, high = study(0.2, 0.0), study(0.6, 0.3)
    assert all(row.agrees for row in gravity_starts._trends({1.0: low, 2.0: high}))
    rows = gravity_starts._trends({1.0: study(0.6, 0.0), 2.0: low})
    assert [row.agrees for row in rows] == [False, True, True]


def test_claims_about_samplers_can_fail():
    """Five seeds from each preset: a high start that does not dip, and a low one that does."""
    quality = np.full((3, 5, 11), 0.4)
    quality[2, :, 5:] = 0.1
    found = gravity_samplers.SamplerRun(quality, np.ones_like(quality), np.ones((3, 5, 29)))
    rows = compared(gravity_samplers._preset_rows(found, 5))
    assert [row.agrees for row in rows] == [True, True]
    quality[:, :, 5:] = 0.35
    quality[0, 0, 5:] = 0.1
    rows = compared(gravity_samplers._preset_rows(found, 5))
    assert [row.agrees for row in rows] == [False, False]


@pytest.mark.slow
@pytest.mark.parametrize("part", [name for name in PARTS if name != "sampler presets"])
def test_parts_agree(part):
    rows = compared(PARTS[part](KEY, "quick"))
    assert rows
    assert all(row.agrees for row in rows), [row for row in rows if not row.agrees]
