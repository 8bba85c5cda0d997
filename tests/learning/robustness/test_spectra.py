"""Exponents of closed loops: exact for linear ones, tangents against perturbations for others."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closed_loops import Feedback, from_map, henon, linear

from fracjax import Status, evaluation
from fracjax.learning import Regime, closed_loop_exponents, size_scan
from fracjax.rl import classic, policies, rollouts

from references import value

KEY = jax.random.key(0)
# x' = A x + B K x with eigenvalues .9, .6 and -.45; the open loop A is unstable.
GAINS = jnp.array([[-0.4, 0.1, 0.2]])
COLUMN = np.array([[1.0], [0.5], [0.0]])
BASIS = np.array([[1.0, 0.3, 0.1], [0.2, 1.0, 0.4], [0.0, 0.5, 1.0]])
CLOSED = np.linalg.inv(BASIS) @ np.diag([0.9, 0.6, -0.45]) @ BASIS
OPEN = CLOSED - COLUMN @ np.asarray(GAINS)
LOGS = np.log([0.9, 0.6, 0.45])


def measure(environment, policy, params, *, count=8, key=KEY, **settings):
    states = rollouts.initial_states(environment, key, count)
    return jax.jit(closed_loop_exponents(environment, policy, **settings))(params, states, key)


@pytest.mark.parametrize(("method", "unit"), [("tangents", "second"), ("perturbations", "step")])
def test_a_stable_linear_loop_has_its_spectral_radius(x64, method, unit):
    """Exact: λ_1 is ln of the spectral radius, the sum ln|det|, the reward's exponent λ_1."""
    environment = linear(jnp.asarray(OPEN), jnp.asarray(COLUMN))
    assert np.abs(np.linalg.eigvals(OPEN)).max() > 1
    settings = {"num_steps": 100, "num_transient": 200}
    found = measure(environment, Feedback(), GAINS, method=method, unit=unit, **settings)
    dt = {"step": 1.0, "second": environment.dt}[unit]
    volume = np.log(abs(np.linalg.det(CLOSED)))
    np.testing.assert_allclose(found.spectrum.value * dt, LOGS, atol=1e-8)
    np.testing.assert_allclose(found.largest.value * dt, math.log(0.9), atol=1e-8)
    np.testing.assert_allclose(found.total.value * dt, volume, atol=1e-8)
    np.testing.assert_allclose(found.reward.value * dt, math.log(0.9), atol=1e-6)
    assert found.largest.status == found.reward.status == Status.OK
    assert found.regime == Regime.STABLE
    assert found.steps == 100
    if method == "perturbations":
        assert found.control == 0
        # .7 per step behind the first: a finite distance could not see it in a curved loop.
        assert found.spectrum.status.tolist() == [Status.OK, Status.OK, Status.AT_NOISE_FLOOR]
        assert found.total.status == Status.AT_NOISE_FLOOR


def test_the_methods_agree_on_a_chaotic_loop(x64):
    """Hénon closed by feedback: published exponents, with periods of one step for the copies."""
    environment, gains = henon()
    settings = {"num_steps": 4000, "num_transient": 100, "count": 6}
    exact = measure(environment, Feedback(), gains, **settings)
    copies = measure(
        environment, Feedback(), gains, method="perturbations", renormalize_every=1, **settings
    )
    expected = np.asarray(value("henon", "exponents"))
    for found in (exact, copies):
        assert np.all(abs(found.spectrum.value - expected) < 4 * found.spectrum.stderr)
        assert np.all(found.spectrum.stderr < 0.01)
        np.testing.assert_allclose(found.total.value, math.log(0.3), atol=1e-5)
        assert found.regime == Regime.CHAOTIC


def test_the_papers_periods_call_the_henon_loop_undecided(x64):
    """By bare signs it would be unstable: its sum reads +.09 instead of -1.20, a mere bound."""
    environment, gains = henon()
    found = measure(environment, Feedback(), gains, method="perturbations", num_transient=100)
    assert found.largest.low > 0.3
    assert found.total.low > 0.02
    assert found.total.status == Status.AT_NOISE_FLOOR
    assert found.regime == Regime.UNDECIDED


@pytest.mark.slow
def test_a_scan_over_sizes_shows_rounding_and_curvature():
    """float32, five steps per period: rounding at 1e-6, and curvature in λ_2 at 1e-2.

    The largest exponent is right in between; that is not known without the scan.
    """
    environment, gains = henon()
    states = rollouts.initial_states(environment, KEY, 8)
    scan = size_scan(
        environment,
        Feedback(),
        sizes=(0.0, 1e-7, 1e-4, 1e-2),
        num_steps=1000,
        num_transient=50,
        renormalize_every=5,
    )
    found = jax.jit(scan)(gains, states, KEY)
    assert found.difference.value.shape == (4, 2)
    np.testing.assert_array_equal(found.perturbations.control, 0)
    nothing, rounded, right, curved = np.asarray(found.difference.value)
    assert not np.isfinite(nothing).any()
    assert found.perturbations.largest.status[0] == Status.NONFINITE_TANGENT
    # A distance of one rounding unit: it is lost or many times too long at once.
    assert not abs(rounded[0]) < 0.03
    assert abs(right[0]) < max(4 * found.difference.stderr[2, 0], 0.01)
    assert curved[1] > right[1] + 0.2


@pytest.mark.slow
def test_intervals_cover_the_exponent_of_the_ensemble(x64):
    """Null: 95 % of 200 ensembles of 8 states hold the mean over all 1600, by both methods."""
    environment, gains = henon()

    def run(seed):
        key = jax.random.fold_in(KEY, seed)
        states = rollouts.initial_states(environment, key, 8)
        both = [
            closed_loop_exponents(
                environment, Feedback(), method=method, num_steps=200, num_transient=20
            )(gains, states, key)
            for method in ("tangents", "perturbations")
        ]
        return [(found.largest, found.reward) for found in both]

    found = jax.jit(lambda seeds: jax.lax.map(run, seeds, batch_size=100))(jnp.arange(200))
    for pair in found:
        for estimate in pair:
            truth = estimate.value.mean()
            covered = np.mean((estimate.low < truth) & (truth < estimate.high))
            assert 0.885 < covered < 0.995  # 4 standard errors below .95
    state, ratio = found[0][0].value, found[1][1].value
    # The reward x sees the leading direction: ln of its ratio has the state's exponent.
    gap = np.asarray(ratio - state)
    assert abs(gap.mean()) < 4 * gap.std() / 200**0.5 + 2e-3


def test_many_policies_go_through_the_evaluator(x64):
    """A chunked map over gains equals one policy at a time."""
    environment = linear(jnp.asarray(OPEN), jnp.asarray(COLUMN))
    states = rollouts.initial_states(environment, KEY, 3)
    find = closed_loop_exponents(
        environment, Feedback(), num_steps=50, num_transient=100, num_exponents=2
    )
    gains = GAINS + jnp.linspace(0, 0.2, 5)[:, None, None]
    table = evaluation.map_points(find, gains, states, KEY, chunk_size=2)
    radii = [
        np.log(np.abs(np.linalg.eigvals(OPEN + COLUMN @ np.asarray(row))).max()) for row in gains
    ]
    assert table.spectrum.value.shape == (5, 2)
    np.testing.assert_allclose(table.largest.value[0], radii[0], atol=1e-8)
    np.testing.assert_allclose(table.largest.value, radii, atol=0.03)


@pytest.mark.slow
def test_an_angle_that_has_turned_often_is_rounded_away():
    """Rounding units of coordinates of 3700 exceed 1e-4 in float32: nothing may be concluded.

    The control does not see it: equal copies are rounded equally.
    """
    environment = from_map(
        lambda x, a: jnp.stack([x[0] + 37.0, 0.8 * x[1]]) + 0 * a, lambda x, a: x[1], 2
    )
    settings = {"method": "perturbations", "num_steps": 200, "count": 4}
    found = measure(environment, Feedback(), jnp.zeros((1, 2)), **settings)
    assert found.rounding > 5
    assert found.control == 0
    assert found.largest.status != Status.OK
    assert found.total.status != Status.OK
    assert found.regime == Regime.UNDECIDED
    with jax.enable_x64(True):
        found = measure(environment, Feedback(), jnp.zeros((1, 2)), **settings)
        assert found.rounding < 1e-7
        assert found.largest.status == Status.OK
        assert found.regime == Regime.STABLE
        np.testing.assert_allclose(found.total.value, math.log(0.8), atol=1e-6)


@pytest.mark.slow
def test_classic_environments_fall_where_they_should(x64):
    """A frictionless double pendulum preserves volume and is chaotic; with friction it rests."""

    class Still:
        def act(self, params, observation, key=None):
            return jnp.zeros(2, observation.dtype) + 0 * params

    free = classic.double_pendulum(substeps=1)
    start = jnp.array([2.0, 1.0, 0.0, 0.0]) + 0.3 * jax.random.normal(KEY, (12, 4))
    params = jnp.zeros(())
    for method in ("tangents", "perturbations"):
        find = closed_loop_exponents(free, Still(), method=method, unit="second")
        found = jax.jit(find)(params, start, KEY)
        assert 0.4 < found.largest.value < 3
        assert found.regime == Regime.CONSERVATIVE
    damped = classic.double_pendulum(substeps=1, damping=0.5)
    found = jax.jit(closed_loop_exponents(damped, Still(), unit="second"))(params, start, KEY)
    assert found.regime == Regime.STABLE
    assert found.largest.high < 0


@pytest.mark.slow
def test_a_cart_pole_that_leaves_the_track_counts_its_steps_alive():
    environment = classic.cartpole_swingup(track_limit=0.5)
    policy = policies.initialize(KEY, environment.observation_size, 1, hidden=(8,))
    found = {
        method: measure(environment, policy, policy.params, method=method, num_steps=200)
        for method in ("tangents", "perturbations")
    }
    steps = [float(one.steps) for one in found.values()]
    assert 5 < steps[1] <= steps[0] < 200
    gap = found["tangents"].largest.value - found["perturbations"].largest.value
    assert np.isfinite(gap)


def test_mistakes_are_named():
    environment = classic.pendulum()
    blind = environment.__class__(**{**vars(environment), "from_coordinates": None})
    with pytest.raises(ValueError, match="`method` must be 'tangents'"):
        closed_loop_exponents(blind, Feedback(), method="perturbations")
    with pytest.raises(ValueError, match="`num_steps` must"):
        closed_loop_exponents(environment, Feedback(), num_steps=1)
    with pytest.raises(ValueError, match="`num_exponents` must"):
        closed_loop_exponents(environment, Feedback(), num_exponents=0)
    for sizes in ((), (-1.0,)):
        with pytest.raises(ValueError, match="`sizes` must"):
            size_scan(environment, Feedback(), sizes=sizes)
