"""The robustness experiment: its exact loops, its rows, and what it says where something lacks."""

import jax
import numpy as np
import pytest

from fracjax import Estimate, Status
from fracjax.learning import ClosedLoopExponents, Regime, interquartile_mean
from fracjax.reproduce import (
    comparisons,
    robustness,
    robustness_agents,
    robustness_rows,
    robustness_spectra,
    robustness_trained,
)
from fracjax.reproduce.robustness_curves import rank_correlation

KEY = jax.random.key(0)


def estimate(value, low, high):
    return Estimate(value, (high - low) / 4, low, high, int(Status.OK))


def values(rows):
    return {row.quantity: row.value for row in rows}


@pytest.mark.parametrize(
    ("numbers", "agrees"),
    [
        ((-0.2, -0.3, -0.1), True),
        ((-0.2, -0.5, 0.1), False),  # the interval holds zero
        ((0.2, 0.1, 0.3), False),
        ((float("nan"), float("nan"), float("nan")), False),
    ],
)
def test_a_sign_needs_its_whole_interval(numbers, agrees):
    row = comparisons.signed("task", "largest exponent", estimate(*numbers), -1, "text")
    assert row.agrees is agrees
    assert row.reference == -1
    if agrees:
        assert (row.value, row.low, row.high) == (-1, -1, -1)
        assert row.z == pytest.approx(-4)


def test_runs_are_what_is_drawn_anew(x64):
    """Hypothesis: `interquartile_mean` of the runs that are left; gaps are filled by the run."""
    scores = np.random.default_rng(0).normal(size=(6, 5))
    found = robustness_rows.over_runs(scores, KEY)
    expected = interquartile_mean(jax.numpy.asarray(scores), KEY, resampling="rows")
    assert found.value == pytest.approx(float(expected.value))
    assert (found.low, found.high) == pytest.approx((float(expected.low), float(expected.high)))
    gap, filled = scores.copy(), scores.copy()
    gap[2, 1] = np.nan
    filled[2, 1] = np.nanmean(gap[2])
    more = np.concatenate([gap[:4], np.full((1, 5), np.nan), np.full((1, 5), -np.inf), gap[4:]])
    np.testing.assert_allclose(
        robustness_rows.over_runs(more, KEY).value, robustness_rows.over_runs(filled, KEY).value
    )
    assert np.isnan(robustness_rows.over_runs(np.full((2, 3), np.nan), KEY).value)


def test_every_regime_that_occurs_is_counted():
    codes = [Regime.STABLE, Regime.CHAOTIC, Regime.STABLE]
    rows = robustness_rows.regimes("task", np.array(codes), "tangents")
    assert values(rows) == {
        "agents of 3 that are stable, by tangents": 2.0,
        "agents of 3 that are chaotic, by tangents": 1.0,
    }


def test_a_stable_loop_is_stable_exactly():
    """Exact: ln .9 and ln .54 per step by both methods, and the regime."""
    rows = robustness.parts()["exact: linear loop"](KEY, "quick")
    assert all(row.agrees for row in rows)
    found = values(rows)
    for label in robustness_rows.METHODS.values():
        assert abs(found[f"largest exponent {label}"] - np.log(0.9)) < 1e-9
        assert abs(found[f"sum {label}"] - np.log(0.54)) < 1e-9
        assert found[f"regime {label} (1: stable)"] == Regime.STABLE


@pytest.mark.slow
def test_the_recipe_misses_the_sum_of_the_henon_loop_and_says_so():
    rows = robustness.parts()["exact: Hénon loop"](KEY, "quick")
    assert [row.quantity for row in rows if not row.agrees] == []
    found = values(rows)
    assert found["sum by the paper's recipe, minus the truth"] > 1
    assert found["hidden exponents that the recipe's status admits, of 1"] == 1


def test_dm_control_is_measured_or_its_extra_is_named(monkeypatch):
    def names(module, here):
        monkeypatch.setattr(module, "dm_control_is_here", lambda: here)
        return set(module._parts())

    without, with_it = (names(robustness_spectra, here) for here in (False, True))
    assert {name for name in without if "DM Control" in name} == {"no action: DM Control left out"}
    assert {name for name in with_it if "dmc_" in name} == {
        f"no action: {name}" for name in robustness_spectra._ANCHORS
    }
    assert without - with_it  # another name: a run goes on once it is there
    (row,) = robustness_spectra.without_dm_control(KEY, "quick")
    assert "pip install 'fracjax[playground]'" in row.quantity
    assert row.agrees
    assert np.isnan(row.value)
    assert any("dmc_" in name for name in names(robustness_trained, True))
    assert not any("dmc_" in name for name in names(robustness_trained, False))


def test_what_is_left_out_says_why(monkeypatch):
    reason = robustness_trained._reason
    monkeypatch.setattr(robustness_trained, "available_library", lambda: "rejax")
    assert reason("pendulum", "sac", "quick") is None
    assert reason("dmc_point_mass", "sac", "default") is None
    assert "quick" in reason("dmc_point_mass", "sac", "quick")
    assert "full" in reason("dmc_point_mass", "ppo", "default")
    assert "full" in reason("dmc_cheetah_run", "sac", "default")
    assert reason("dmc_cheetah_run", "td3", "full") is None
    monkeypatch.setattr(robustness_trained, "available_library", lambda: "brax")
    assert reason("pendulum", "ppo", "quick") is None
    (row,) = robustness_trained._trained("pendulum", "sac", KEY, "quick")
    assert "pip install 'fracjax[training]'" in row.quantity


def test_every_part_can_be_trained():
    for task in (*robustness_trained._CLASSIC, *robustness_trained._SIMPLE):
        recipe = robustness_agents.RECIPES[task]
        assert set(recipe.steps) == set(recipe.full) == {"ppo", "sac", "td3"}
    for task in robustness_trained._COMPLEX:
        assert set(robustness_agents.RECIPES[task].full) == {"ppo", "sac", "td3"}


def test_published_signs_are_compared_on_the_papers_tasks_alone():
    """Hypothesis: negative on the simple tasks; on walkers and cheetah positive, sum negative."""
    growing, shrinking = estimate_of([0.1, 0.2, 0.15]), estimate_of([-3.0, -2.0, -2.5])
    nothing = np.zeros(3)
    found = ClosedLoopExponents(
        growing, growing, shrinking, growing, nothing, nothing, nothing, nothing
    )

    def agree(task, algorithm):
        rows = robustness_trained._signs(task, algorithm, found, KEY)
        return [row.agrees for row in rows]

    assert agree("pendulum", "sac") == agree("dmc_point_mass", "ppo") == []
    assert agree("dmc_point_mass", "sac") == [False, False]
    assert agree("dmc_walker_walk", "td3") == [True, True, True]


def estimate_of(scores):
    scores = np.asarray(scores)
    return Estimate(scores, scores, scores, scores, scores, {"per_state": scores[:, None]})


def test_rank_correlation():
    """Exact: 1 for what grows together. Null: independent numbers, 5 seeds of 4 moments."""
    generator = np.random.default_rng(0)
    first = generator.normal(size=(5, 4))
    found = rank_correlation(first, np.exp(first))
    assert (found.value, found.low, found.high) == pytest.approx((1, 1, 1))
    assert np.isnan(rank_correlation(first, np.ones((5, 4))).value)
    holes = np.where(generator.uniform(size=(5, 4)) < 0.2, np.nan, first)
    assert rank_correlation(holes, -holes).value == pytest.approx(-1)
    draws = generator.normal(size=(200, 2, 5, 4))
    held = [
        (found.low <= 0 <= found.high)
        for found in (rank_correlation(*pair, num_resamples=200) for pair in draws)
    ]
    share = float(np.mean(held))
    assert 0.8 < share < 0.97  # measured .89 of 400, SE .02: few seeds


def test_the_overview_draws_tasks_and_agents_from_rows(tmp_path):
    rows = [
        comparisons.described(f"{task}, {agent}", quantity, estimate(*numbers))
        for task, agent, quantity, numbers in (
            ("pendulum", "no action", "largest exponent by tangents", (0.0, -0.01, 0.01)),
            ("pendulum", "ppo", "largest exponent by tangents", (-0.1, -0.2, 0.0)),
            ("dmc_point_mass", "sac", "reward exponent by tangents", (-0.3, -0.4, -0.2)),
            ("pendulum", "ppo", "return of an episode", (9.0, 8.0, 10.0)),
        )
    ]
    figures = robustness.overview(rows)
    assert set(figures) == {"overview-largest", "overview-reward"}
    (axes,) = figures["overview-largest"]().axes
    assert [bar.get_height() for bar in axes.patches[:2]] == pytest.approx([0.0, -0.1])
    assert robustness.overview([comparisons.left_out("DM Control", "missing")]) == {}


@pytest.mark.slow
def test_trained_agents_are_measured_and_drawn(tmp_path):
    """Hypothesis: all parts of the table are there, and every figure can be drawn."""
    found = robustness.parts()["ppo on cartpole_swingup"](KEY, "quick")
    quantities = " ".join(row.quantity for row in found.rows)
    for text in ("largest exponent by tangents", "sum of exponents by the paper's recipe",
                 "reward exponent by tangents", "rank correlation", "return lost"):  # fmt: skip
        assert text in quantities
    rows = {row.quantity: row for row in found.rows}
    assert rows["largest exponent by the recipe, minus by tangents"].agrees
    assert len(found.figures) == 2
    for name, draw in found.figures.items():
        draw().savefig(tmp_path / f"{name}.png")
