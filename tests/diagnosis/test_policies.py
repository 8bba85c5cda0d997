"""Closed loops and returns of policies, posed for a diagnosis."""

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
