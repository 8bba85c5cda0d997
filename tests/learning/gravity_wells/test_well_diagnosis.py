"""The diagnosis on runs whose answer is known; forecasts against what happened."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax import Status
from fracjax.learning.gravity_wells.bandits import bandit_value
from fracjax.learning.gravity_wells.escapes import start_params
from fracjax.learning.gravity_wells.inverse_rates import inverse_rate_forecast
from fracjax.learning.gravity_wells.run_series import (
    gaussian_best_probability,
    run_series,
    softmax_best_probability,
)
from fracjax.learning.gravity_wells.traces import ascent_trace
from fracjax.learning.gravity_wells.well_diagnosis import Well, diagnose_well
from fracjax.learning.paths.reading import path_in_memory

KEY = jax.random.key(0)
RECORDS, EVERY, GAP, ESCAPE = 200, 40, 0.2, 2502


def rewards():
    return jnp.full(6, 0.4).at[0].add(GAP)


@jax.jit
def trace(start, step_size):
    return ascent_trace(start, rewards(), num_records=RECORDS, every=EVERY, step_size=step_size)


def diagnose(steps, norms, gaps, own, *, noise=0.0, step_size=1.0, reference_gap=GAP):
    """All of one shape and with the same arguments: one program."""
    return diagnose_well(
        steps,
        norms,
        gaps,
        best_probabilities=own,
        step_size=step_size,
        reference_gap=reference_gap,
        gradient_noise=noise,
        smoothing=5,
    )


def one(record, **settings):
    own = record.probabilities[:, 0]
    return diagnose(record.steps, record.gradient_norms, record.gaps, own, **settings)


@pytest.fixture(scope="module")
def runs():
    """float32, as most runs are recorded."""
    deep, even = start_params(jnp.float32(1e-3), num_arms=6, corner=True), jnp.zeros(6)
    return {
        "left": trace(deep, 1.0),
        "inside": trace(deep, 0.25),  # as after 1990 updates
        "middle": trace(even, 0.005),
        "middle, to the end": trace(even, 1.0),
        "optimum": trace(even.at[0].set(5.0), 1.0),
    }


def test_a_well_that_was_left(runs):
    found = one(runs["left"])
    assert found.verdict == Well.ESCAPED
    assert found.status == Status.OK
    assert found.entered == 0
    assert abs(found.left - ESCAPE) <= EVERY
    assert found.duration.low <= ESCAPE <= found.duration.high
    assert found.flatness < 0.05
    # Forecast at half time, from gradient norms alone: within 1 %.
    assert found.forecast.status == Status.OK
    assert abs(found.forecast.value / ESCAPE - 1) < 0.01
    assert found.law.low < ESCAPE < found.law.high  # a corner: c = ½, the lower end
    assert found.law.high < 1.6 * ESCAPE


def test_a_well_that_the_run_ended_in(runs):
    record = runs["inside"]
    found = one(record, step_size=0.25)
    assert found.verdict == Well.INSIDE
    assert found.duration.status == Status.NOT_CONVERGED
    assert np.isnan(found.duration.value)
    assert found.duration.low == EVERY * (RECORDS - 1)
    assert found.duration.high == np.inf
    assert abs(found.forecast.value / (4 * ESCAPE) - 1) < 0.01
    assert found.law.low < 4 * ESCAPE < found.law.high
    # Without a reference for the gap it may have converged.
    found = one(record, step_size=0.25, reference_gap=None)
    assert found.verdict == Well.UNDECIDED
    assert found.status == Status.NO_SCALING_REGION
    assert np.isnan(found.forecast.value)


@pytest.mark.slow
def test_without_a_step_size_a_gradient_that_hardly_changed_has_no_scale(runs):
    found = one(runs["inside"], step_size=None)
    assert found.verdict == Well.UNDECIDED
    assert found.status == Status.NO_SCALING_REGION
    assert one(runs["left"], step_size=None).verdict == Well.ESCAPED


def test_what_is_no_well(runs):
    assert one(runs["middle"], step_size=0.005).verdict == Well.NEVER
    for name in ("middle, to the end", "optimum"):
        found = one(runs[name])  # gap and gradient small: converged, not trapped
        assert found.verdict == Well.CONVERGED
        assert np.isnan(found.duration.value)
    drawn = jax.random.normal(KEY, (2, RECORDS))
    steps = jnp.arange(RECORDS) * EVERY
    norms, gaps = 0.3 + 0.05 * drawn[0], GAP + 0.002 * drawn[1]
    assert diagnose(steps, norms, gaps, jnp.zeros(RECORDS)).verdict == Well.STALLED


@pytest.mark.slow
def test_noisy_gradients_keep_the_verdict_or_withhold_it(runs):
    """100 seeds; the gradient in the well is 2.8e-4 to .025 long, 6e-4 at half time."""
    record = runs["left"]
    keys = jax.random.split(KEY, 100)

    @jax.jit
    def over_seeds(noise):
        def run(key):
            drawn = jax.random.normal(key, (RECORDS, 7))
            along = record.gradient_norms[:, None] * jnp.eye(6)[0]
            norms = jnp.linalg.norm(along + noise / 6**0.5 * drawn[:, :6], axis=1)
            gaps = record.gaps + 0.005 * drawn[:, 6]
            own = record.probabilities[:, 0]
            return diagnose(record.steps, norms, gaps, own, noise=noise)

        return jax.vmap(run)(keys)

    low, high = over_seeds(3e-5), over_seeds(1e-2)
    assert np.all(low.verdict == Well.ESCAPED)
    told = np.asarray(low.forecast.status == Status.OK)
    assert told.all()
    assert abs(np.mean(low.forecast.value) / ESCAPE - 1) < 0.03
    covered = np.mean((low.forecast.low < ESCAPE) & (ESCAPE < low.forecast.high))
    assert covered > 0.75  # of 100; the line is off by 8 updates, and 1/g is biased by noise
    # Noise of the length of the gradient after the well: nothing can be told.
    assert np.mean(high.verdict == Well.UNDECIDED) > 0.9
    assert np.all(np.isin(high.status, [Status.OK, Status.AT_NOISE_FLOOR]))
    silent = over_seeds(1e-3)
    assert np.all(silent.verdict == Well.ESCAPED)
    assert np.all(silent.forecast.status != Status.OK)  # a well, but no forecast


def test_the_longest_plateau_counts():
    """In steps, not in records: of 10 to 2000 after one of 100 records from 0 to 9."""
    steps = jnp.concatenate([jnp.linspace(0, 9, 100), jnp.linspace(10, 2000, 100)])
    index = jnp.arange(RECORDS)
    gaps = jnp.where((index > 95) & (index < 100), 0.1, 1.0).at[190:].set(0.05)
    norms = jnp.where(index < 190, 1e-3, 1.0)
    own = jnp.zeros(RECORDS)
    found = diagnose(steps, norms, gaps, own, reference_gap=1.0)
    assert (found.entered, found.left) == (10, steps[190])
    assert found.verdict == Well.ESCAPED
    assert found.forecast.status == Status.NO_SCALING_REGION  # the norms do not grow
    assert found.forecast.high == np.inf
    steep = diagnose(steps, norms.at[:190].set(0.9), gaps, own, reference_gap=1.0)
    assert steep.verdict == Well.CONVERGED


def test_bad_records(runs):
    record = runs["left"]
    rest = (record.gaps, record.probabilities[:, 0])
    norms = record.gradient_norms.at[3].set(jnp.nan)
    for found, status in (
        (diagnose(record.steps, norms, *rest), Status.DIVERGED),
        (diagnose(record.steps[::-1], record.gradient_norms, *rest), Status.NO_SCALING_REGION),
        (
            diagnose(*(part[:5] for part in (record.steps, record.gradient_norms, *rest))),
            Status.TOO_FEW_POINTS,
        ),
    ):
        assert found.verdict == Well.UNDECIDED
        assert np.isnan(found.left)
        assert found.status == status
    short = jnp.ones(10)
    for settings, name in (({"smoothing": 2}, "smoothing"), ({"flat_share": 1.5}, "flat_share")):
        with pytest.raises(ValueError, match=name):
            diagnose_well(jnp.arange(10.0), short, short, **settings)
    with pytest.raises(ValueError, match="steps"):
        diagnose_well(short[:0], short[:0], short[:0])


def test_a_line_of_inverse_rates():
    """Exact without noise; null with it: 95 % of 1000 seeds, 4 standard errors of bounds."""
    times = jnp.linspace(0, 50, 40)
    rates = 1 / (1 - times / 100)
    forecast = jax.jit(inverse_rate_forecast)
    exact = forecast(times, rates, times >= 0)
    np.testing.assert_allclose(exact.value, 100, rtol=1e-4)
    some = forecast(times, jnp.where(times > 40, jnp.nan, rates), times < 30)
    np.testing.assert_allclose(some.value, 100, rtol=1e-4)

    @jax.jit
    @jax.vmap
    def noisy(key):
        return inverse_rate_forecast(times, rates * (1 + 0.1 * jax.random.normal(key, (40,))))

    found = noisy(jax.random.split(KEY, 1000))
    covered = np.mean((found.low < 100) & (found.high > 100))
    assert 0.91 < covered < 0.975
    assert abs(found.value.mean() - 100) < 1.5
    np.testing.assert_allclose(found.stderr.mean(), found.value.std(), rtol=0.12)
    flat = forecast(times, jnp.ones(40), times >= 0)
    assert flat.status == Status.NO_SCALING_REGION
    assert (flat.low, flat.high) == (50, np.inf)
    assert forecast(times, -rates, times >= 0).status == Status.DIVERGED
    assert forecast(times, rates, times < 3).status == Status.TOO_FEW_POINTS


def test_series_along_a_path_of_a_policy(runs):
    """The path of logits gives the numbers that the run has recorded; the verdict follows."""
    record = runs["left"]
    logits = np.log(np.maximum(record.probabilities, 1e-38))
    path = path_in_memory(np.asarray(record.steps), {"logits": logits})
    found = run_series(
        path,
        lambda params: bandit_value(params["logits"], rewards()),
        best=0.6,
        probability=lambda params: softmax_best_probability(params["logits"], 0),
    )
    np.testing.assert_allclose(found.gaps, record.gaps, atol=1e-6)
    np.testing.assert_allclose(found.gradient_norms, record.gradient_norms, rtol=0.05)
    np.testing.assert_allclose(found.best_probabilities, record.probabilities[:, 0], rtol=1e-4)
    told = diagnose(*found)
    assert told.verdict == Well.ESCAPED


def test_a_gaussian_policy_of_one_action_has_a_well_too():
    """Reward for an action within .5 of 3, mean at 0, deviation .7: far from it, and flat."""
    best, radius, deviation = jnp.asarray([3.0]), 0.5, jnp.asarray([0.7])

    def value(params):
        return gaussian_best_probability(params["mean"], deviation, best, radius)

    near = value({"mean": best})
    np.testing.assert_allclose(near, 2 * 0.76247 - 1, rtol=1e-4)
    far = gaussian_best_probability(jnp.asarray([-3.0]), deviation, best, radius)
    np.testing.assert_allclose(far, 1.96496e-15, rtol=0.01)  # in float32, by the lower tail

    @jax.jit
    def run(params):
        def step(params, _):
            def move(_, here):
                return jax.tree.map(lambda a, g: a + g, here, jax.grad(value)(here))

            return jax.lax.fori_loop(0, 5, move, params), params

        return jax.lax.scan(step, params, length=RECORDS)[1]

    path = path_in_memory(np.arange(RECORDS) * 5, run({"mean": jnp.zeros(1)}))
    found = run_series(path, value, best=float(near), probability=value)
    told = diagnose(*found, reference_gap=float(near))
    assert told.verdict == Well.ESCAPED
    assert told.duration.value > 100
