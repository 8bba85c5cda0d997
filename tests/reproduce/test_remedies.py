"""Remedies do what the theory says, where everything is known; chaotic loops take minutes."""

import jax
import numpy as np
import pytest

from fracjax.reproduce import double_pendulum_loops, remedies, robustness_regularization
from fracjax.reproduce.rows import compared
from fracjax.rl import classic

KEY = jax.random.key(0)


def test_a_shorter_horizon_is_smooth_below_its_cut():
    """The null of every row is exact; a wrong horizon would move the cut by λ per step."""
    found = remedies.PARTS["horizon"](KEY, "quick")
    rows = compared(found)
    assert len(rows) >= 7
    assert all(row.agrees for row in rows), [row for row in rows if not row.agrees]
    # The rows can fail: the scale moves by 1.1 per step, and its error is below 0.02.
    shift = next(row for row in rows if row.quantity.startswith("shift"))
    assert shift.high - shift.low < 0.1
    figure = found.figures["remedy_horizon"]()
    assert len(figure.axes[0].lines) >= 3


@pytest.mark.slow
def test_parameter_smoothing_leaves_what_the_law_says():
    rows = compared(remedies.PARTS["parameter smoothing"](KEY, "quick"))
    assert len(rows) == 11
    assert all(row.agrees for row in rows), [row for row in rows if not row.agrees]


def test_the_signal_of_a_gradient_is_one_for_a_slope_and_zero_for_noise(x64):
    """Linear: 1 up to sampling; a sine of far higher frequency than the scale: 0."""
    effort = double_pendulum_loops.Effort(1, 1, 8, 32, 16, 1)
    params = {"a": np.zeros(20), "b": np.zeros(4)}
    weights = np.random.default_rng(0).normal(size=24)

    def objective(point, key):
        place = jax.numpy.concatenate([point["a"], point["b"]]) @ weights
        return jax.numpy.stack([place, jax.numpy.sin(1e9 * place + 0.3)])

    shares = np.array(
        [
            double_pendulum_loops.gradient_signal(
                objective, params, jax.random.fold_in(KEY, draw), effort, 1e-3
            )
            for draw in range(8)
        ]
    )
    mean, error = shares.mean(axis=0), shares.std(axis=0, ddof=1) / 8**0.5
    assert np.all(np.abs(mean - [1, 0]) < 4 * error + 1e-3)
    assert np.all(error < 0.1)


def test_parts_have_names_and_tasks_fit_their_environments():
    assert {"horizon", "discount", "action smoothing", "regularisation"} <= set(remedies.PARTS)
    assert len(robustness_regularization.PARTS) == 4
    for task in robustness_regularization._tasks().values():
        assert len(task.spread) == task.environment.state_size
        assert len(task.scale) == task.environment.observation_size
    assert classic.pendulum().state_size == 2
