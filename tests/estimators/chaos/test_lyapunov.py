"""Spectra against exact values, their errors against replicates, and what failure returns."""

import dataclasses
import functools
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import binom

from fracjax import Status
from fracjax._types import Invariants
from fracjax.estimators.chaos.lyapunov import lyapunov_spectrum
from fracjax.systems import flows, maps

from references import REFERENCES, value

KEY = jax.random.key(0)


def spectrum(step, state, **settings):
    return jax.jit(lambda s: lyapunov_spectrum(step, s, **settings))(state)


# --- values ---------------------------------------------------------------------------------


def test_logistic(x64):
    estimate = spectrum(maps.logistic(4.0), jnp.array(0.3), num_steps=100_000, num_transient=100)
    assert abs(estimate.value[0] - math.log(2)) < 2e-3
    assert estimate.status[0] == Status.OK
    assert estimate.low[0] < estimate.value[0] < estimate.high[0]


@pytest.mark.parametrize(("step", "name"), [(maps.cat(), "cat"), (maps.baker(0.5), "baker 1/2")])
def test_constant_jacobians_give_exact_exponents(step, name, x64):
    estimate = spectrum(step, jnp.array([0.3, 0.2]), num_steps=1000, num_transient=50)
    np.testing.assert_allclose(estimate.value, value(name, "exponents"), atol=1e-12)
    assert np.all(estimate.status == Status.OK)


def test_constant_matrix_gives_its_eigenvalues(x64):
    basis = np.random.default_rng(0).normal(size=(4, 4))
    rates = np.array([1.3, 0.4, -0.2, -1.0])
    matrix = basis @ np.diag(np.exp(rates)) @ np.linalg.inv(basis)
    estimate = spectrum(
        maps.linear(jnp.asarray(matrix)), jnp.zeros(4), num_steps=1000, num_transient=100
    )
    np.testing.assert_allclose(estimate.value, rates, atol=1e-10)
    assert estimate.details["ordered"]


def test_skew_baker_within_its_error(x64):
    state = jnp.array([0.3, 0.2])
    estimate = spectrum(maps.baker(1 / 3), state, num_steps=50_000, num_transient=50)
    deviation = np.abs(estimate.value - np.array(value("baker 1/3", "exponents")))
    assert np.all(deviation < 4 * estimate.stderr)
    assert np.all(estimate.stderr < 3e-3)


def test_gaussian_products(x64):
    """Eight independent-looking z-scores; chi-square of 8 between its .1 % tails, roughly."""
    state = (jax.random.key(7), jnp.zeros(8))
    estimate = spectrum(maps.gaussian_products(), state, num_steps=20_000, num_transient=50)
    scores = (estimate.value - np.array(value("ginibre 8", "exponents"))) / estimate.stderr
    assert np.all(np.abs(scores) < 4)
    assert 0.2 < np.mean(scores**2) < 2.7
    assert np.all(estimate.stderr < 0.01)


def test_henon(x64):
    estimate = spectrum(maps.henon(), jnp.zeros(2), num_steps=1_000_000, num_transient=1000)
    expected, _, _ = REFERENCES["henon", "exponents"]
    assert np.all(np.abs(estimate.value - np.array(expected)) < 2e-3)
    assert np.all(np.abs(estimate.value - np.array(expected)) < 4 * estimate.stderr)
    assert abs(estimate.value.sum() - value("henon", "sum")) < 1e-12


def test_ikeda(x64):
    estimate = spectrum(maps.ikeda(), jnp.zeros(2), num_steps=400_000, num_transient=1000)
    expected, _, _ = REFERENCES["ikeda 0.9", "exponents"]
    assert np.all(np.abs(estimate.value - np.array(expected)) < 4 * estimate.stderr + 1e-4)
    assert np.all(estimate.stderr < 2e-3)
    assert abs(estimate.value.sum() - value("ikeda 0.9", "sum")) < 1e-10


def test_standard_map_is_symplectic(x64):
    state = jnp.array([0.3, 0.2])
    estimate = spectrum(maps.standard(10.0), state, num_steps=400_000, num_transient=100)
    assert abs(estimate.value[0] - value("standard K=10", "exponents")[0]) < 4e-3
    assert abs(estimate.value.sum()) < 1e-9


def test_lorenz_ensemble(x64):
    """64 orbits of 500 units of time: values, and coverage of the intervals.

    The plain scatter of 16 blocks overstates the error: growth fluctuates with the position on
    the attractor, and what it gains in one block it loses in the next.
    """
    states = jnp.array([1.0, 1.0, 20.0]) + jax.random.normal(KEY, (64, 3))
    step = flows.rk4(flows.lorenz63(), 0.01)
    run = functools.partial(lyapunov_spectrum, step, num_steps=50_000, num_transient=2000, dt=0.01)
    estimate = jax.jit(jax.vmap(run))(states)
    mean, replicate = estimate.value.mean(axis=0), estimate.value.std(axis=0, ddof=1)
    expected = np.array(value("lorenz63", "exponents"))
    assert np.all(np.abs(mean[:2] - expected[:2]) < np.array([4e-3, 2e-3]))
    assert np.all(np.abs(mean - expected) < 4 * replicate / 8 + 5e-4)
    assert 0.75 < estimate.stderr[:, 0].mean() / replicate[0] < 1.3
    assert estimate.details["batch_stderr"][:, 0].mean() > 1.4 * replicate[0]


def test_lorenz_sum_rule_holds_to_the_order_of_the_integrator(x64):
    """Hypothesis: the sum is off by c dt⁴, 1.0e-4 at dt = .01 (measured), and by nothing else."""

    def excess(dt):
        settings = {"num_steps": round(200 / dt), "num_transient": round(20 / dt), "dt": dt}
        step = flows.rk4(flows.lorenz63(), dt)
        estimate = spectrum(step, jnp.array([1.0, 1.0, 20.0]), **settings)
        return float(estimate.value.sum()) - value("lorenz63", "sum")

    coarse, fine = excess(0.01), excess(0.005)
    assert abs(coarse) < 1.2e-4
    assert 12 < coarse / fine < 20


def test_a_stable_system_does_not_underflow(x64):
    """The state itself is 0 after some 80 000 steps of .01."""
    step = flows.rk4(flows.damped_linear(0.9), 0.01)
    estimate = spectrum(step, jnp.ones(2), num_steps=1_000_000, dt=0.01)
    np.testing.assert_allclose(estimate.value, -0.9, atol=1e-9)


def test_units_are_per_time_and_per_step(x64):
    estimate = spectrum(lambda s: jnp.exp(-0.018) * s, jnp.ones(1), num_steps=1000, dt=0.02)
    np.testing.assert_allclose(estimate.value, -0.9, atol=1e-12)
    np.testing.assert_allclose(estimate.details["per_step"], -0.018, atol=1e-12)


def test_fewer_exponents_are_the_leading_ones(x64):
    step, state = flows.rk4(flows.lorenz96(), 0.02), 8.0 + jnp.arange(10.0) / 10
    full = spectrum(step, state, num_steps=400, dt=0.02)
    part = spectrum(step, state, num_steps=400, dt=0.02, num_exponents=3)
    np.testing.assert_allclose(part.value, full.value[:3], atol=1e-6)
    assert abs(full.value.sum() + 10) < 1e-3


def test_rare_orthonormalisation_gives_the_same(x64):
    results = [
        spectrum(maps.henon(), jnp.zeros(2), num_steps=30_000, qr_every=every).value
        for every in (1, 3, 10)
    ]
    np.testing.assert_allclose(results[1], results[0], atol=1e-10)
    np.testing.assert_allclose(results[2], results[0], atol=1e-7)


def test_states_are_pytrees_and_coordinates_choose_what_is_measured(x64):
    """A redundant copy changes nothing when the coordinates leave it out."""
    henon = maps.henon()

    def step(state):
        moved = henon(state["s"])
        return {"s": moved, "copy": 1e3 * moved, "count": state["count"] + 1}

    state = {"s": jnp.zeros(2), "copy": jnp.zeros(2), "count": jnp.array(0)}
    redundant = spectrum(step, state, num_steps=5000, coordinates=lambda s: s["s"])
    plain = spectrum(henon, jnp.zeros(2), num_steps=5000)
    assert redundant.value.shape == (2,)
    np.testing.assert_allclose(redundant.value, plain.value, atol=3e-3)
    assert abs(redundant.value.sum() - math.log(0.3)) < 2e-3


# --- errors ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "make_state", "name"),
    [
        (maps.gaussian_products(), lambda k: (k, jnp.zeros(2)), "ginibre 2"),
        (maps.henon(), lambda k: 0.1 * jax.random.uniform(k, (2,)), "henon"),
    ],
)
def test_intervals_cover_the_truth(step, make_state, name, x64):
    """Null: 95 % coverage. 200 seeds; rejected outside the binomial's .1 % tails, 2 systems."""
    states = jax.vmap(make_state)(jax.random.split(jax.random.key(5), 200))
    run = functools.partial(lyapunov_spectrum, step, num_steps=2000, num_transient=100)
    estimate = jax.jit(jax.vmap(run))(states)
    truth = value(name, "exponents")[0]
    covered = int(np.sum((estimate.low[:, 0] < truth) & (truth < estimate.high[:, 0])))
    low, high = binom.ppf([1e-3, 1 - 1e-3], 200, 0.95)
    assert low <= covered <= high
    ratio = estimate.stderr[:, 0].mean() / estimate.value[:, 0].std(ddof=1)
    assert 0.8 < ratio < 1.2
    assert np.mean(estimate.status != Status.OK) <= 0.02


def test_trace_converges_to_the_value(x64):
    estimate = spectrum(maps.henon(), jnp.zeros(2), num_steps=10_000)
    details = estimate.details
    assert details["num_steps"] == 10_000
    assert details["blocks"].shape == (125, 2)
    assert details["trace"].shape == (125, 2)
    assert details["method"] == "gram-schmidt"
    assert details["trace_steps"][-1] == 10_000
    np.testing.assert_allclose(details["trace"][-1], estimate.value, atol=1e-12)
    np.testing.assert_allclose(details["blocks"].mean(axis=0), estimate.value, atol=1e-12)


@pytest.mark.slow
def test_lorenz_intervals_cover(x64):
    """200 orbits of 500 units of time cover the leading exponent in 90 to 99 %."""
    states = jnp.array([1.0, 1.0, 20.0]) + jax.random.normal(jax.random.key(9), (200, 3))
    step = flows.rk4(flows.lorenz63(), 0.01)
    run = functools.partial(
        lyapunov_spectrum, step, num_steps=50_000, num_transient=2000, dt=0.01, num_exponents=1
    )
    estimate = jax.jit(lambda batch: jax.lax.map(run, batch, batch_size=100))(states)
    truth = value("lorenz63", "exponents")[0]
    covered = np.mean((estimate.low[:, 0] < truth) & (truth < estimate.high[:, 0]))
    assert 0.90 <= covered <= 0.99
    assert np.mean(estimate.status != Status.OK) <= 0.02


@pytest.mark.parametrize("num_steps", [19, 12_345])
def test_awkward_numbers_of_steps_lose_little(num_steps, x64):
    estimate = spectrum(maps.cat(), jnp.array([0.3, 0.2]), num_steps=num_steps, num_transient=40)
    assert 0.99 * num_steps <= estimate.details["num_steps"] <= num_steps
    np.testing.assert_allclose(estimate.value, value("cat", "exponents"), atol=1e-10)


# --- stopping -------------------------------------------------------------------------------


def test_it_stops_at_the_requested_error_and_still_covers(x64):
    """200 seeds as above, although the moment of stopping depends on the error itself."""
    states = (jax.random.split(jax.random.key(11), 200), jnp.zeros((200, 2)))
    run = functools.partial(
        lyapunov_spectrum, maps.gaussian_products(), num_steps=400_000, num_transient=20
    )
    estimate = jax.jit(jax.vmap(lambda s: run(s, target_stderr=0.02)))(states)
    assert np.all(estimate.stderr <= 0.02)
    used = np.asarray(estimate.details["num_steps"])
    assert len(np.unique(used)) > 1
    assert used.max() < 40_000
    truth = value("ginibre 2", "exponents")[0]
    covered = int(np.sum((estimate.low[:, 0] < truth) & (truth < estimate.high[:, 0])))
    low, high = binom.ppf([1e-3, 1 - 1e-3], 200, 0.95)
    assert low <= covered <= high


def test_its_trace_ends_at_the_estimate(x64):
    run = functools.partial(lyapunov_spectrum, maps.henon(), jnp.zeros(2), num_transient=300)
    estimate = run(num_steps=1_000_000, target_stderr=jnp.array([2e-3, jnp.inf]))
    details = estimate.details
    checks = int(np.sum(np.asarray(details["trace_steps"]) > 0))
    assert details["num_steps"] == details["trace_steps"][checks - 1]
    assert details["num_steps"] < 1_000_000
    np.testing.assert_allclose(details["trace"][checks - 1], estimate.value, atol=1e-12)
    np.testing.assert_allclose(details["trace_stderr"][checks - 1], estimate.stderr, atol=1e-12)
    np.testing.assert_allclose(np.nanmean(details["blocks"], axis=0), estimate.value, atol=1e-12)
    assert abs(estimate.value.sum() - value("henon", "sum")) < 1e-12
    assert estimate.stderr[0] <= 2e-3
    assert np.all(details["trace_stderr"][: checks - 1, 0] > 2e-3)


def test_a_target_out_of_reach_is_not_converged(x64):
    run = functools.partial(lyapunov_spectrum, maps.henon(), jnp.zeros(2))
    estimate = run(num_steps=5000, target_stderr=1e-6)
    assert np.all(estimate.status == Status.NOT_CONVERGED)
    assert 3000 < estimate.details["num_steps"] <= 5000
    assert np.all(np.isfinite(estimate.value))


def test_a_diverging_orbit_stops_at_once():
    start = jnp.array([5.0, 5.0])
    estimate = lyapunov_spectrum(maps.henon(), start, num_steps=10**7, target_stderr=1e-6)
    assert np.all(estimate.status == Status.DIVERGED)
    assert estimate.details["num_steps"] < 10**6


# --- checks and methods -----------------------------------------------------------------------


def test_checks_are_residuals_of_what_is_known(x64):
    dissipation = Invariants(volume_growth=lambda s: jnp.log(0.3 + 0 * s[0]))
    run = functools.partial(lyapunov_spectrum, num_steps=2000, num_transient=100)
    henon = run(maps.henon(), jnp.zeros(2), invariants=dissipation)
    assert abs(henon.details["checks"]["sum_residual"]) < 1e-12
    wrong = run(maps.henon(), jnp.zeros(2), invariants=Invariants(volume_growth=-1.0))
    np.testing.assert_allclose(
        wrong.details["checks"]["sum_residual"], math.log(0.3) + 1, atol=1e-12
    )
    standard = run(maps.standard(), jnp.array([0.3, 0.2]), invariants=Invariants(symplectic=True))
    assert standard.details["checks"]["pairing_residual"] < 1e-10
    part = run(maps.henon(), jnp.zeros(2), num_exponents=1, invariants=dissipation)
    assert all(np.isnan(entry) for entry in part.details["checks"].values())


def test_the_neutral_exponent_is_checked(x64):
    settings = {"num_steps": 20_000, "num_transient": 2000, "dt": 0.01}
    known = Invariants(volume_growth=-41 / 3, num_neutral=1)
    step, state = flows.rk4(flows.lorenz63(), 0.01), jnp.array([1.0, 1.0, 20.0])
    checks = spectrum(step, state, invariants=known, **settings).details["checks"]
    assert checks["neutral_residual"] < 0.02
    assert checks["neutral_score"] < 4
    assert abs(checks["sum_residual"]) < 2e-4


def test_every_method_gives_the_same_exponents(x64):
    """150 steps, so that an orbit's rounding is not amplified: the exponents agree to 1e-10."""
    step, state = flows.rk4(flows.lorenz96(), 0.01), 8.0 + jnp.arange(40.0) / 10
    settings = {"num_steps": 150, "dt": 0.01, "num_exponents": 8}
    plain = spectrum(step, state, method="householder", num_blocks=50, **settings)
    for method in ("gram-schmidt", "cholesky"):
        estimate = spectrum(step, state, method=method, num_blocks=75, **settings)
        np.testing.assert_allclose(estimate.value, plain.value, atol=1e-10)
        assert estimate.details["method"] == method
    assert plain.details["method"] == "householder"


@pytest.mark.parametrize("count", [1, pytest.param(16, marks=pytest.mark.slow)])
def test_gradients_match_finite_differences(count, x64):
    """A stable tanh network of gain .7, so that differences of step 1e-5 are exact to 1e-9."""
    size = 80
    coupling = 0.7 * jax.random.normal(KEY, (size, size)) / math.sqrt(size)
    start, direction = jax.random.normal(jax.random.key(1), (size,)), jnp.sin(coupling * 1e3)

    @jax.jit
    def loss(scale):
        matrix = coupling + scale * direction
        estimate = lyapunov_spectrum(
            lambda x: matrix @ jnp.tanh(x), start, num_steps=55, num_exponents=count
        )
        return jnp.mean(estimate.value**2)

    scale = 1e-5
    rough = (loss(scale) - loss(-scale)) / (2 * scale)
    np.testing.assert_allclose(jax.grad(loss)(0.0), rough, rtol=1e-6)
    np.testing.assert_allclose(jax.jvp(loss, (0.0,), (1.0,))[1], rough, rtol=1e-6)


# --- failure --------------------------------------------------------------------------------


def test_a_diverging_member_does_not_spoil_its_batch():
    step = maps.henon()
    states = jnp.array([[0.1, 0.1], [jnp.nan, 0.0], [5.0, 5.0]])
    estimate = jax.jit(jax.vmap(lambda s: lyapunov_spectrum(step, s, num_steps=500)))(states)
    assert estimate.status[:, 0].tolist() == [Status.OK, Status.DIVERGED, Status.DIVERGED]
    assert np.all(np.isfinite(estimate.value[0]))
    assert np.all(np.isnan(estimate.value[1:]))
    assert np.all(np.isnan(estimate.low[1:]))


@pytest.mark.usefixtures("single_precision")
def test_an_overflowing_state_diverges_though_its_tangent_does_not():
    estimate = spectrum(lambda x: 2 * x, jnp.ones(1), num_steps=1000)
    assert estimate.status[0] == Status.DIVERGED
    assert np.isnan(estimate.value[0])


def test_a_nonfinite_tangent_at_a_finite_state():
    def step(state):  # the square root has slope inf at 0, and 0 · inf is NaN
        return 0.5 * state + jnp.sqrt(state - state)

    estimate = spectrum(step, jnp.ones(1), num_steps=100)
    assert estimate.status[0] == Status.NONFINITE_TANGENT
    assert np.isnan(estimate.value[0])


def test_a_vanished_tangent_grows_minus_infinity_and_spoils_no_other():
    def step(state):  # the second coordinate saturates, and its tangent is exactly zero
        return jnp.stack([-0.5 * state[0], jnp.clip(3 * state[1], -1, 1)])

    estimate = spectrum(step, jnp.array([0.5, 0.5]), num_steps=1000, num_transient=10)
    assert abs(estimate.value[0] - math.log(0.5)) < 1e-5
    assert estimate.value[1] == -np.inf
    assert estimate.status.tolist() == [Status.OK, Status.NONFINITE_TANGENT]


def test_a_drift_is_not_converged(x64):
    def step(state):
        time, x = state
        return time + 1, jnp.exp(0.1 + time / 10_000) * x

    estimate = spectrum(step, (jnp.array(0), jnp.array(0.0)), num_steps=10_000)
    assert estimate.status[0] == Status.NOT_CONVERGED


def test_too_few_points():
    estimate = spectrum(maps.henon(), jnp.zeros(2), num_steps=12)
    assert np.all(estimate.status == Status.TOO_FEW_POINTS)
    single = spectrum(maps.henon(), jnp.zeros(2), num_steps=1)
    assert np.all(single.status == Status.TOO_FEW_POINTS)
    assert np.all(np.isnan(single.stderr))


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"num_steps": 0}, "num_steps"),
        ({"num_steps": 5, "qr_every": 10}, "num_steps"),
        ({"num_steps": 100, "num_exponents": 3}, "num_exponents"),
        ({"num_steps": 100, "num_exponents": 0}, "num_exponents"),
        ({"num_steps": 100, "num_transient": -1}, "num_transient"),
        ({"num_steps": 100, "qr_every": 0}, "qr_every"),
        ({"num_steps": 100, "num_blocks": 1}, "num_blocks"),
        ({"num_steps": 100, "dt": 0.0}, "dt"),
        ({"num_steps": 100, "target_stderr": 0.1}, "num_steps"),
        ({"num_steps": 1000, "target_stderr": 0.0}, "target_stderr"),
        ({"num_steps": 1000, "target_stderr": 0.1, "num_blocks": 20}, "num_blocks"),
    ],
)
def test_settings_out_of_range_are_named(settings, name):
    with pytest.raises(ValueError, match=f"Argument `{name}` must"):
        lyapunov_spectrum(maps.henon(), jnp.zeros(2), **settings)


def test_a_state_without_numbers_to_differentiate():
    with pytest.raises(ValueError, match="Argument `state` must"):
        lyapunov_spectrum(lambda s: s + 1, jnp.array(0), num_steps=10)


# --- transformations ------------------------------------------------------------------------


def test_jit_vmap_and_loop_agree(x64):
    """40 steps, so that rounding is not amplified beyond the tolerance."""
    step = flows.rk4(flows.lorenz63(), 0.01)
    run = functools.partial(lyapunov_spectrum, step, num_steps=40, dt=0.01)
    states = jnp.array([[1.0, 1.0, 20.0], [2.0, 3.0, 15.0]])
    batched = jax.jit(jax.vmap(run))(states)
    for index, state in enumerate(states):
        member = jax.tree.map(lambda leaf, index=index: leaf[index], batched)
        chex.assert_trees_all_close(member, jax.jit(run)(state), atol=1e-9)
    chex.assert_trees_all_close(member, run(state), atol=1e-9)


def test_a_batch_of_states_is_traced_once():
    @chex.assert_max_traces(n=1)
    def largest(state):
        return lyapunov_spectrum(maps.henon(), state, num_steps=200).value[0]

    batched = jax.jit(jax.vmap(largest))
    first = batched(jnp.full((8, 2), 0.1))
    second = batched(jnp.full((8, 2), 0.2))
    assert not np.allclose(first, second)


def test_the_same_step_is_compiled_once_also_outside_jit():
    @chex.assert_max_traces(n=1)
    def step(state):
        return maps.henon()(state)

    first = lyapunov_spectrum(step, jnp.zeros(2), num_steps=100)
    second = lyapunov_spectrum(step, jnp.full(2, 0.1), num_steps=100)
    assert not np.allclose(first.value, second.value)


def test_a_step_may_be_an_object_that_cannot_be_hashed():
    @dataclasses.dataclass(frozen=True)
    class Scaling:
        factor: jax.Array

        def __call__(self, state):
            return self.factor * state

    estimate = lyapunov_spectrum(Scaling(jnp.array(0.5)), jnp.ones(1), num_steps=100)
    np.testing.assert_allclose(estimate.value, math.log(0.5), atol=1e-6)


def test_the_frame_follows_the_key():
    @jax.jit
    def run(key):
        return lyapunov_spectrum(maps.henon(), jnp.zeros(2), num_steps=20, key=key).value

    assert np.array_equal(run(KEY), run(KEY))
    assert not np.array_equal(run(KEY), run(jax.random.key(1)))
