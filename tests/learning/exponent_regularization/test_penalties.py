"""The penalty is exact where exponents are, and its gradient is that of finite differences."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax import Status
from fracjax.learning.exponent_regularization.penalties import exponent_penalty, spread_penalty
from fracjax.rl import classic, rollouts
from fracjax.systems import maps

KEY = jax.random.key(0)
BASIS = np.array([[1.0, 0.3, 0.1], [0.2, 1.0, 0.4], [0.0, 0.5, 1.0]])


class Torque:
    def act(self, params, observation, key=None):
        return jnp.tanh(params @ observation)[None]


def difference(function, at, size=1e-5):
    return (function(at + size) - function(at - size)) / (2 * size)


def test_a_linear_step_is_exact(x64):
    """λ_i = ln|μ_i(θ)| with eigenvalues 1.2 θ, .9 and .5/θ: value and derivative known."""
    target = jnp.log(jnp.array([1.0, 0.8, 0.7]))

    def penalty(theta, **settings):
        matrix = BASIS @ jnp.diag(jnp.stack([1.2 * theta, 0.9 + 0 * theta, 0.5 / theta]))
        matrix = matrix @ np.linalg.inv(BASIS)
        found = exponent_penalty(
            lambda x: matrix @ x,
            jnp.ones(3),
            num_steps=60,
            num_transient=120,
            num_exponents=3,
            key=KEY,
            **settings,
        )
        return found.value, found

    (value, found), slope = jax.jit(jax.value_and_grad(penalty, has_aux=True))(1.1)
    exponents = np.log([1.32, 0.9, 0.5 / 1.1])
    np.testing.assert_allclose(found.exponents, exponents, atol=1e-10)
    np.testing.assert_allclose(value, exponents[0] ** 2, rtol=1e-9)  # the rest is below 0
    np.testing.assert_allclose(slope, 2 * exponents[0] / 1.1, rtol=1e-8)
    assert found.steps == 60
    assert found.status.tolist() == [Status.OK] * 3

    def both(theta):
        return penalty(theta, target=target, one_sided=False, reduce="mean")[0]

    gaps = exponents - np.asarray(target)
    value, slope = jax.jit(lambda t: jax.jvp(both, (t,), (1.0,)))(1.1)
    np.testing.assert_allclose(value, np.mean(gaps**2), rtol=1e-9)
    np.testing.assert_allclose(slope, 2 * (gaps[0] - gaps[2]) / 3.3, rtol=1e-7)


def test_a_tent_map_has_the_derivative_of_its_logarithm(x64):
    """λ = ln θ whatever the orbit does, so that the chaotic orbit adds nothing: dλ/dθ = 1/θ."""

    def penalty(theta):
        def step(x):
            return jnp.where(x < 0.5, theta * x, theta * (1 - x))

        settings = {"num_steps": 30, "target": 0.1, "key": KEY}
        return exponent_penalty(step, jnp.asarray(0.2345), **settings).value

    gap = math.log(1.7) - 0.1
    value, slope = jax.jit(jax.value_and_grad(penalty))(1.7)
    np.testing.assert_allclose(value, gap**2, rtol=1e-12)
    np.testing.assert_allclose(slope, 2 * gap / 1.7, rtol=1e-12)


@pytest.mark.slow
def test_henon_agrees_with_differences_and_with_its_volume(x64):
    """λ_1 + λ_2 = ln b exactly, of slope 1/b; λ_1 of a short orbit against differences."""

    def exponents(b, **settings):
        def step(point):
            return jnp.stack([1 - 1.4 * point[0] ** 2 + point[1], b * point[0]])

        settings = {"num_steps": 20, "num_transient": 4, "num_exponents": 2, **settings}
        start = jnp.array([0.1, 0.1])
        return exponent_penalty(step, start, key=KEY, **settings).exponents

    def reverse(**settings):
        return jax.jit(jax.jacrev(lambda b: exponents(b, **settings)))(0.3)

    whole = reverse()
    np.testing.assert_allclose(whole.sum(), 1 / 0.3, rtol=1e-9)
    value, forward = jax.jit(lambda b: jax.jvp(exponents, (b,), (1.0,)))(0.3)
    np.testing.assert_allclose(whole, forward, rtol=1e-9)
    rough = difference(jax.jit(exponents), 0.3, 1e-7)
    np.testing.assert_allclose(whole, rough, rtol=1e-5)
    # The same with two steps per window, recomputed from every fourth of them.
    windows = {"renormalize_every": 2, "checkpoint_every": 4}
    np.testing.assert_allclose(jax.jit(lambda b: exponents(b, **windows))(0.3), value, rtol=1e-9)
    np.testing.assert_allclose(reverse(**windows), whole, rtol=1e-8)
    # Along a given orbit λ_1 + λ_2 still has the slope 1/b: the determinant knows no orbit.
    given = reverse(through_state=False)
    np.testing.assert_allclose(given.sum(), 1 / 0.3, rtol=1e-9)
    assert abs(given[0] - whole[0]) > 0.1


@pytest.mark.slow
def test_a_recurrent_cell_with_inputs_agrees_with_differences(x64):
    """A Flax GRU: gradient along a random direction of its parameters, rtol 1e-6."""
    from flax import linen
    from jax.flatten_util import ravel_pytree

    cell = linen.GRUCell(6, param_dtype=jnp.float64)
    draw = np.random.default_rng(0)
    inputs = jnp.asarray(draw.normal(size=(24, 2)))
    shapes = jax.eval_shape(lambda: cell.init(KEY, jnp.zeros(6), inputs[0]))
    params = jax.tree.map(lambda leaf: jnp.asarray(0.8 * draw.normal(size=leaf.shape)), shapes)
    flat, rebuild = ravel_pytree(params)

    def loss(vector, **settings):
        def step(carry, given):
            return cell.apply(rebuild(vector), carry, given)[0]

        settings = {"num_exponents": 3, "one_sided": False, "num_transient": 4, **settings}
        found = exponent_penalty(
            step, jnp.zeros(6), num_steps=20, key=KEY, inputs=inputs, **settings
        )
        return found.value

    gradient = jax.jit(jax.grad(lambda v: loss(v, checkpoint_every=6)))(flat)
    direction = draw.normal(size=flat.shape)
    direction /= np.linalg.norm(direction)
    expected = difference(jax.jit(lambda h: loss(flat + h * direction)), 0.0)
    np.testing.assert_allclose(gradient @ direction, expected, rtol=1e-6)


@pytest.mark.slow
def test_a_closed_loop_counts_the_steps_of_its_episode(x64):
    """A cart that leaves its track: the growth up to there alone, and gradients of it."""
    environment = classic.cartpole_swingup(track_limit=0.3)
    state = jnp.array([0.05, math.pi - 0.1, 0.0, 0.05])
    gains = jnp.array([0.5, -0.3, 0.8, 0.4, 0.3])

    def penalty(gains, steps=60):
        loop = rollouts.tracked_loop(environment, Torque(), gains)
        return exponent_penalty(
            loop,
            rollouts.track(state),
            num_steps=steps,
            target=-1.0,
            key=KEY,
            coordinates=lambda tracked: tracked.state,
            lift=lambda place, tracked: tracked._replace(state=place),
            alive=lambda tracked: tracked.alive,
        )

    def scored(gains):
        found = penalty(gains)
        return found.value, found

    (_, found), gradient = jax.jit(jax.value_and_grad(scored, has_aux=True))(gains)
    ended = int(found.steps)
    assert 3 < ended < 60
    short = jax.jit(lambda g: penalty(g, ended))(gains)
    np.testing.assert_allclose(found.exponents, short.exponents, rtol=1e-12)
    direction = np.array([0.3, -0.5, 0.2, 0.6, -0.1])
    expected = difference(jax.jit(lambda h: scored(gains + h * direction)[0]), 0.0)
    np.testing.assert_allclose(gradient @ direction, expected, rtol=1e-6)


@pytest.mark.usefixtures("single_precision")
def test_it_batches_compiles_and_keeps_single_precision():
    coupling = np.random.default_rng(0).normal(size=(5, 5)).astype(np.float32) / 5**0.5

    def penalty(gain, state):
        def step(x):
            return gain * coupling @ jnp.tanh(x)

        return exponent_penalty(step, state, num_steps=20, num_exponents=2, key=KEY)

    gains = jnp.array([0.5, 1.5, 3.0])
    states = jnp.asarray(np.random.default_rng(1).normal(size=(3, 5)), jnp.float32)
    batched = jax.jit(jax.vmap(penalty))(gains, states)
    one = jax.jit(penalty)
    for index in range(3):
        alone = one(gains[index], states[index])
        np.testing.assert_allclose(batched.exponents[index], alone.exponents, atol=1e-4)
    assert batched.value.dtype == jnp.float32
    assert batched.value[0] == 0  # stable: nothing to penalise


def test_failures_have_a_status_and_no_gradient(x64):
    """A tangent that vanishes is below every target; a state that overflows is reported."""

    def penalty(step, alive=None):
        @jax.jit
        @jax.value_and_grad
        def value(gain):
            return measure(gain).value

        @jax.jit
        def measure(gain):
            return exponent_penalty(
                lambda x: step(gain, x), jnp.full(2, 0.5), num_steps=5, key=KEY, alive=alive
            )

        return lambda gain: (measure(gain), value(gain)[1])

    gone, slope = penalty(lambda gain, x: gain * jnp.maximum(x - 9, 0))(1.0)
    assert gone.status[0] == Status.NONFINITE_TANGENT
    assert gone.value == slope == 0
    burst, _ = penalty(lambda gain, x: gain * x**3)(1e200)
    assert burst.status[0] == Status.DIVERGED
    dead, slope = penalty(lambda gain, x: gain * x, lambda x: x[0] > 9)(1.2)
    assert dead.status[0] == Status.TOO_FEW_POINTS
    assert dead.value == slope == 0


def test_spread_is_the_variance_over_copies(x64):
    """Gaussian copies of standard deviation s: 6 steps of 2 and 3 components, 5 · 6 · s²."""
    shapes = {"decoded": (4000, 6, 2), "recurrent": (4000, 6, 3)}
    draw = np.random.default_rng(0)
    copies = {name: jnp.asarray(0.3 * draw.normal(size=s)) for name, s in shapes.items()}
    error = 0.09 * math.sqrt(2 * 30 / 4000)
    assert abs(spread_penalty(copies) - 30 * 0.09) < 4 * error
    few = {name: leaf[:3] for name, leaf in copies.items()}
    exact = sum(np.var(np.asarray(leaf), axis=0, ddof=1).sum() for leaf in few.values())
    np.testing.assert_allclose(spread_penalty(few), exact, rtol=1e-12)
    code = spread_penalty(few, statistic="deviation", over_components="mean")
    parts = [np.std(np.asarray(leaf), axis=0, ddof=1).mean(axis=-1) for leaf in few.values()]
    np.testing.assert_allclose(code, sum(part.sum() for part in parts), rtol=1e-12)
    same = jnp.ones((3, 6, 2))
    for statistic in ("variance", "deviation"):
        slope = jax.grad(lambda x, s=statistic: spread_penalty(x, statistic=s))(same)
        np.testing.assert_array_equal(slope, 0)


def test_mistakes_are_named():
    step, state = maps.henon(), jnp.ones(2)
    for settings, name in (
        ({"num_steps": 5, "renormalize_every": 2}, "num_steps"),
        ({"num_steps": 4, "renormalize_every": 0}, "renormalize_every"),
        ({"num_steps": 4, "num_transient": 1, "renormalize_every": 2}, "num_transient"),
        ({"num_steps": 4, "checkpoint_every": 3}, "checkpoint_every"),
        ({"num_steps": 4, "num_exponents": 3}, "num_exponents"),
        ({"num_steps": 4, "inputs": jnp.ones(3)}, "inputs"),
    ):
        with pytest.raises(ValueError, match=f"`{name}` must"):
            exponent_penalty(step, state, key=KEY, **settings)
    with pytest.raises(ValueError, match="`trajectories` must"):
        spread_penalty(jnp.ones((1, 4)))
