"""The ladder's exact parts agree; a part of a run notices what it should."""

import dataclasses
import math

import jax
import numpy as np
import pytest

from fracjax.reproduce import ladder_exact, ladder_runs
from fracjax.rl.recorded_training import RecordedRun

KEY = jax.random.key(0)
FAST = ("laws, changes", "trimming, identities")


@pytest.mark.parametrize("name", FAST)
def test_exact_parts_agree(name):
    rows = ladder_exact.PARTS[name](KEY, "quick")
    assert len(rows) > 4
    assert [row for row in rows if not row.agrees] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(ladder_exact.PARTS) - set(FAST)))
def test_other_exact_parts_agree(name):
    rows = ladder_exact.PARTS[name](KEY, "quick")
    assert [row for row in rows if not row.agrees] == []


def made_up(shift, returns):
    path = np.zeros((2, 41, 3), np.float32)
    path[:, shift:] = 1
    return RecordedRun({"w": jax.numpy.asarray(path)}, np.asarray(returns, float), np.arange(3))


def test_what_is_the_same_before_a_trimming():
    """Trimmed from snapshot 10 on: a difference before fails, and so does none at all."""
    task = next(iter(ladder_runs._TASKS.values()))
    sizes = ladder_runs._SIZES["quick"]
    assert sizes.trim_every // sizes.sample_every == 10
    returns = np.zeros((2, 3, 4))
    same, later, early = (made_up(shift, returns) for shift in (41, 10, 9))
    check = ladder_runs._same_until_trimmed
    assert check(task, same, later, sizes).agrees
    assert not check(task, same, early, sizes).agrees
    idle = check(task, same, same, sizes)
    assert math.isnan(idle.value)
    assert not idle.agrees


def test_score_is_the_best_evaluation_and_auc_their_mean():
    returns = np.zeros((2, 3, 4))
    returns[0] = [[9] * 4, [1, 2, 3, 2], [4] * 4]  # before training does not count
    found = ladder_runs._scores(made_up(10, returns))
    np.testing.assert_allclose(found["Score"], [4, 0])
    np.testing.assert_allclose(found["AUC"], [3, 0])


@pytest.mark.slow
def test_a_small_run_has_paths_and_returns(monkeypatch):
    sizes = dataclasses.replace(ladder_runs._SIZES["quick"], num_seeds=3, num_evaluations=2)
    monkeypatch.setitem(ladder_runs._SIZES, "quick", sizes)
    found = ladder_runs.PARTS["double DQN, Breakout"](KEY, "quick")
    assert all(row.agrees for row in found.rows)
    by_name = {row.quantity: row.value for row in found.rows}
    assert 0 <= by_name["AUC, without"] <= by_name["Score, without"]
    assert by_name["D(.8), network"] >= 1
    assert len(found.figures) == 2
    for draw in found.figures.values():
        draw().savefig("/dev/null", format="png")
