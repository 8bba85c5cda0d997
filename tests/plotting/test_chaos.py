"""Figures of exponents show the numbers they were given."""

import jax
import numpy as np
import pytest

from fracjax.diagnosis import Chaos
from fracjax.estimators.chaos.ensembles import ensemble_exponent
from fracjax.plotting import convergence_trace

DT = 0.5


def chaos_of(growth):
    alive = np.ones(growth.shape, bool)
    exponent = ensemble_exponent(growth, dt=DT, alive=alive)
    return Chaos(
        spectrum=jax.tree.map(lambda leaf: np.asarray(leaf)[None], exponent),
        growth=growth,
        alive=alive,
        reward=None,
        steps=float(growth.shape[1]),
        failed_states=int((~np.isfinite(growth)).any(axis=1).sum()),
    )


def mean_of(axes):
    (line,) = [one for one in axes.lines if one.get_label() == "mean over initial states"]
    return line.get_ydata()


def test_the_mean_ends_at_the_exponent(axes):
    growth = np.random.default_rng(0).normal(0.3, 1, (16, 400)).astype("float32")
    chaos = chaos_of(growth)
    convergence_trace(axes, chaos, dt=DT)
    assert mean_of(axes)[-1] == pytest.approx(float(chaos.spectrum.value[0]), rel=1e-4)


def test_a_state_that_fails_is_left_out_of_the_mean_as_of_the_exponent(axes):
    growth = np.random.default_rng(0).normal(0.3, 1, (16, 400)).astype("float32")
    growth[3, 200:] = np.nan
    chaos = chaos_of(growth)
    convergence_trace(axes, chaos, dt=DT)
    assert np.isfinite(mean_of(axes)).all()
    assert mean_of(axes)[-1] == pytest.approx(float(chaos.spectrum.value[0]), rel=1e-4)


def test_every_discount_has_its_threshold(axes):
    growth = np.random.default_rng(0).normal(0.3, 1, (8, 100)).astype("float32")
    discounts = (0.99, 0.98, 0.97, 0.95, 0.9, 0.8)  # one more than there are colours
    convergence_trace(axes, chaos_of(growth), dt=DT, discounts=discounts)
    heights = [line.get_ydata()[0] for line in axes.lines if "γ" in str(line.get_label())]
    np.testing.assert_allclose(heights, -np.log(discounts) / DT)


def test_thresholds_pass_behind_the_words_of_the_legend(axes):
    growth = np.random.default_rng(0).normal(0.3, 1, (8, 100)).astype("float32")
    convergence_trace(axes, chaos_of(growth), dt=DT, discounts=(0.99, 0.9))
    legend = axes.get_legend()
    assert legend.get_frame_on()
    assert legend.get_frame().get_alpha() == 1
    assert legend.get_zorder() > max(line.get_zorder() for line in axes.lines)
