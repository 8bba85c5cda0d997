"""Closed loops and returns of policies, posed for a diagnosis."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax import rl
from fracjax.diagnosis import problem_of_policy
from fracjax.estimators import finite_time_growth
from fracjax.rl import gallery


def pose(dtype, **options):
    environment = rl.make("acrobot", dtype=dtype)
    policy = gallery.shipped("acrobot").astype(dtype)
    arguments = {"discounts": (0.99, 0.9), "horizon": 40, "num_states": 3, **options}
    return problem_of_policy(environment, policy, jax.random.key(0), **arguments)


def test_step_objective_and_discounts_tell_one_story():
    problem = pose("float32", num_return_states=2)
    values = problem.objective(problem.params, jax.random.key(5))
    states = jax.tree.map(lambda leaf: leaf[:2], problem.states)

    def rewards(tracked):
        def advance(tracked, _):
            tracked = problem.step(tracked)
            return tracked, problem.observable(tracked)

        return jax.lax.scan(advance, tracked, length=40)[1]

    each = jax.vmap(rewards)(states)
    for value, discount in zip(values, problem.discounts, strict=True):
        expected = (each * discount ** jnp.arange(40)).sum(axis=1).mean()
        assert value == pytest.approx(float(expected), rel=1e-4)


def test_double_precision_reference_starts_from_the_same_states():
    with jax.enable_x64(True):
        precise = rl.make("acrobot", dtype="float64"), gallery.shipped("acrobot").astype("float64")
    problem = pose("float32", reference=precise)
    single = problem.objective(problem.params, jax.random.key(0))
    with jax.enable_x64(True):
        objective, params = problem.reference
        double = objective(params, jax.random.key(0))
    assert double.dtype == np.float64
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, double, rtol=1e-4)


def test_stochastic_returns_share_their_noise_between_points():
    problem = pose("float32", stochastic=True)
    run = jax.jit(problem.objective)
    first, again = (run(problem.params, jax.random.key(3)) for _ in range(2))
    other = run(problem.params, jax.random.key(4))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.brax
def test_brax_tangents_start_as_physical_ones():
    """With the lift, two tangents span coordinates, and no constant leaf carries one."""
    environment = rl.make("inverted_pendulum", backend="spring")
    policy = rl.initialize(jax.random.key(0), 4, 1)
    problem = problem_of_policy(
        environment, policy, jax.random.key(0), discounts=(0.9,), horizon=10, num_states=1
    )
    state = jax.tree.map(lambda leaf: leaf[0], problem.states)
    record = finite_time_growth(
        problem.step,
        state,
        num_steps=3,
        num_exponents=2,
        coordinates=problem.coordinates,
        lift=problem.lift,
        alive=problem.alive,
        observable=problem.observable,
    )
    assert problem.coordinates(state).shape == (4,)
    assert jnp.isfinite(record.growth).all()
    assert (jnp.abs(record.growth) < 1.0).all()
    assert jnp.isneginf(record.log_projection).all()  # it pays 1 whatever the state


def with_action(shape):
    """A policy of somebody's own, three numbers, whose action has a given shape."""

    class Own(rl.Policy):
        def act(self, params, observation, key=None):
            return jnp.broadcast_to(jnp.tanh(params.mean()), shape)

    return Own(rl.initialize(jax.random.key(0), 6, 1).network, jnp.ones(3))


@pytest.mark.parametrize(
    ("policy", "changes", "words"),
    [
        (with_action((2,)), {}, r"give actions of shape \(1,\) .* but gives shape \(2,\)"),
        (with_action(()), {}, r"give actions of shape \(1,\) .* but gives a scalar"),
        (with_action((1,)), {"state_size": 7}, r"`state_size` = 7, but `coordinates` gives .*4"),
        (rl.initialize(jax.random.key(0), 3, 1), {"observation_size": 3}, r"= 3, but `observe`"),
        (with_action((1,)), {"step": "rewards"}, r"one reward per step, but .* shape \(1,\)"),
        (with_action((1,)), {"step": "shorter"}, r"takes float32\[4\] and returns float32\[3\]"),
        (rl.initialize(jax.random.key(0), 5, 1), {}, "`observation_size` is 6, but its own is 5"),
        (rl.initialize(jax.random.key(0), 6, 2), {}, "`action_size` is 1, but its own is 2"),
    ],
)
def test_a_policy_that_does_not_fit_is_refused_before_anything_is_computed(policy, changes, words):
    def forbidden(key):
        assert isinstance(key, jax.core.Tracer), "computed"
        return environment.reset(key)

    environment = rl.make("acrobot", dtype="float32")
    steps = {
        "rewards": lambda state, action: environment.step(state, action)._replace(reward=action),
        "shorter": lambda state, action: environment.step(state, action)._replace(state=state[1:]),
    }
    stated = {"reset": forbidden, **{n: steps.get(v, v) for n, v in changes.items()}}
    with pytest.raises(ValueError, match=r"^Argument `(policy|environment)`.*" + words):
        problem_of_policy(
            dataclasses.replace(environment, **stated), policy, jax.random.key(0), horizon=10
        )


def test_an_own_policy_of_the_right_shapes_is_posed():
    environment = rl.make("acrobot", dtype="float32")
    problem = problem_of_policy(environment, with_action((1,)), jax.random.key(0), horizon=5)
    assert jnp.isfinite(problem.objective(problem.params, jax.random.key(0))).all()


@pytest.mark.parametrize("make", [rl.closed_loop, rl.discounted_returns])
def test_a_loop_refuses_an_action_of_another_size(make):
    environment, policy = rl.make("acrobot", dtype="float32"), with_action((2,))
    states = rl.initial_states(environment, jax.random.key(0), 1)
    if make is rl.closed_loop:
        run = functools.partial(make(environment, policy, policy.params), states[0])
    else:
        returns = make(environment, policy, horizon=3, discounts=(0.9,))
        run = functools.partial(returns, policy.params, states, jax.random.key(0))
    with pytest.raises(ValueError, match=r"actions of shape \(1,\) for `acrobot`, but gives shape"):
        run()
