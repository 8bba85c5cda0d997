"""Watching real objectives: chaotic loops of known exponent, rough and smooth ones."""

import dataclasses
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from watched_runs import Clock

from fracjax import rl
from fracjax.diagnosis import Problem, problem_of_policy
from fracjax.diagnosis.watching import Size, Watch, problem_of_objective, watch_policies
from fracjax.diagnosis.watching.line_returns import Surroundings
from fracjax.diagnosis.watching.policies import of_brax, of_policy
from fracjax.rl import gallery
from fracjax.rl.networks import Normalizer
from fracjax.systems import signals

SIZES = (Size("tiny", 8, 4),)
DISCOUNT = 0.8
HORIZON = 150


def advance(x, params):
    """A tent of many teeth: every orbit grows by the slope, or shrinks."""
    return jnp.abs(jnp.mod(2.0 ** params["log2_slope"] * x + 1, 2) - 1)


def tent_problem():
    def objective(params, key):
        def body(carry, _):
            x, weight, total = carry
            x = advance(x, params)
            return (x, weight * DISCOUNT, total + weight * x), None

        start = jnp.mean(params["start"]) * 3 % 1.0
        carry = (start, jnp.ones(()), jnp.zeros(()))
        return jax.lax.scan(body, carry, length=HORIZON)[0][2]

    return Problem(
        step=lambda x: x,
        states=jnp.linspace(0.11, 0.87, 4),
        objective=objective,
        params=params_at(1.0),
        discounts=(DISCOUNT,),
        dt=0.5,
        horizon=HORIZON,
        observable=lambda x: x,
        step_at=lambda params: lambda x: advance(x, params),
    )


def params_at(log2_slope):
    return {"start": jnp.full(3, 0.1), "log2_slope": jnp.asarray(log2_slope, float)}


@pytest.fixture(scope="module")
def tent():
    """Slopes of a run that becomes chaotic and calms down again."""
    slopes = [-0.5, -0.45, 0.9, 1.4, 1.1, -0.4, -0.5]
    with jax.enable_x64(True):
        clock = Clock()
        watch = Watch(
            tent_problem(),
            jax.random.key(0),
            sizes=SIZES,
            largest_scale=1e-3,
            clock=clock,
            first_compiling=0.0,
        )
        for step, slope in enumerate(slopes):
            clock.pass_(1.0)
            assert watch(10 * step, params_at(slope)) is not None
        yield watch, slopes


def test_exponents_along_a_run_are_those_of_the_slopes(tent):
    watch, slopes = tent
    for record, slope in zip(watch.records, slopes, strict=True):
        assert record.rate.value == pytest.approx(slope * math.log(2), rel=1e-9)
        assert record.exponent.value == pytest.approx(slope * math.log(2) / 0.5, rel=1e-9)
        found = record.by_discount[0]
        law = -math.log(DISCOUNT) / (slope * math.log(2)) if slope > 0 else 2.0
        assert found.predicted["mean"].value == pytest.approx(min(law, 2.0), rel=1e-6)
        assert found.holder.ok
        if slope > 0:  # 8 lines: within 4 standard errors of the law
            assert abs(found.holder.value - law) < 4 * found.holder.stderr
        assert found.verdict == ("fractal" if slope > 0 else "smooth")


def test_the_fractal_stretch_is_announced_and_its_end(tent):
    watch, _ = tent
    told = [(m.step, m.kind, m.entered) for m in watch.messages if m.kind != "collapse"]
    assert told == [(30, "fractal", True), (60, "fractal", False)]
    stretch = next(part for part in watch.stretches if part.kind == "fractal")
    assert (stretch.start, stretch.end) == (20, 50)
    assert watch.advice() == []


def test_returns_are_means_over_initial_states_with_their_interval(tent):
    watch, slopes = tent
    params = params_at(slopes[0])
    x, total, discounted = jnp.linspace(0.11, 0.87, 4), 0.0, 0.0
    for time in range(HORIZON):
        x = advance(x, params)
        total, discounted = total + x, discounted + DISCOUNT**time * x
    record = watch.records[0]
    for number, each in ((record.value, total), (record.by_discount[0].value, discounted)):
        assert number.value == pytest.approx(float(each.mean()), rel=1e-6)
        stderr = float(jnp.std(each, ddof=1)) / 2
        assert number.high - number.value == pytest.approx(3.182446 * stderr, rel=1e-5)


def test_records_draw_their_own_lines_and_equal_ones_are_equal(tent):
    watch, _ = tent
    key, size = jax.random.key(0), SIZES[0]
    with jax.enable_x64(True):
        first, again, other = (
            watch._measurement.measure(params_at(0.9), k, size, step=0)
            for k in (key, key, jax.random.key(1))
        )
    assert first.to_json() == again.to_json()
    assert first.by_discount[0].holder != other.by_discount[0].holder
    assert first.rate.value == pytest.approx(other.rate.value)


def descend(objective, params, *, steps, **options):
    """Plain gradient descent by Optax, watched at every step, whatever it costs."""
    with jax.enable_x64(True):
        clock = Clock()
        watch = Watch(
            problem_of_objective(objective, params),
            jax.random.key(0),
            sizes=SIZES,
            clock=clock,
            first_compiling=0.0,
            maximize=False,
            **options,
        )
        optimizer = optax.sgd(0.05)
        state = optimizer.init(params)
        gradient = jax.jit(jax.grad(objective))
        for step in range(steps):
            clock.pass_(1.0)
            watch(step, params)
            updates, state = optimizer.update(gradient(params, jax.random.key(0)), state)
            params = optax.apply_updates(params, updates)
    return watch


def test_a_smooth_loss_raises_no_alarm(x64):
    """The null: a smooth objective along a path of 12 points, no message and α = 2."""

    def loss(params, key):
        return jnp.sum(jnp.sin(3 * params["a"])) + jnp.sum(params["b"] ** 2)

    params = {"a": jnp.linspace(0.1, 1.0, 5), "b": jnp.ones((2, 2))}
    watch = descend(loss, params, steps=12)
    assert len(watch.records) == 12
    assert watch.messages == []
    assert watch.advice() == []
    for record in watch.records:
        found = record.by_discount[0]
        assert found.verdict == "smooth"
        assert found.holder.value > 1.9
        assert math.isnan(record.rate.value)
        assert found.predicted == {}
    moved = [record.moved for record in watch.records]
    assert math.isnan(moved[0])
    assert all(change > 0 for change in moved[1:])


def test_a_rough_loss_is_announced_at_the_second_record(x64):
    """Weierstrass, H = .4, measured within 4 standard errors and .05 of bias."""
    rough = signals.weierstrass_field(jax.random.key(1), 0.4)
    watch = descend(rough, {"a": jnp.full(4, 0.3)}, steps=4, largest_scale=1e-2)
    assert [(m.step, m.kind) for m in watch.messages if m.kind == "fractal"] == [(1, "fractal")]
    for record in watch.records:
        holder = record.by_discount[0].holder
        assert abs(holder.value - 0.4) < 4 * holder.stderr + 0.05
    assert [advice.name for advice in watch.advice()] == ["smooth the parameters"]


# --- policies -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pendulum():
    """The trained pendulum's policy under a watch, and a plain diagnosis problem of it."""
    with jax.enable_x64(True):
        environment = rl.make("pendulum", dtype="float64")
        policy = gallery.shipped("pendulum").astype("float64")
        options = {"discounts": (0.9,), "horizon": 30, "num_return_states": 2}
        watch = watch_policies(
            environment,
            policy.network,
            jax.random.key(0),
            sizes=SIZES,
            normalize=True,
            clock=Clock(),
            **options,
        )
        key = jax.random.fold_in(jax.random.key(0), 0)
        problem = problem_of_policy(environment, policy, key, num_states=4, **options)
        yield watch, policy, problem


def test_a_policy_that_moves_has_the_returns_of_one_that_does_not(pendulum):
    """Weights and normaliser come in as arguments, and the landscape is that of the weights."""
    watch, policy, problem = pendulum
    measurement = watch._measurement
    key = jax.random.key(3)
    with jax.enable_x64(True):
        part, rest = measurement._split(of_policy(policy))
        table = jax.tree.map(lambda leaf: jnp.zeros((16, *leaf.shape)), part)
        here = Surroundings(part, rest, table, key)
        rows = np.zeros(3, np.int32), np.zeros(3)
        returns = measurement._returns(here, *rows)
        expected = problem.objective(policy.params, key)
        np.testing.assert_allclose(returns, np.broadcast_to(expected, (3, 1)), rtol=1e-12)
        other = Normalizer(rest.mean + 1, rest.std)
        moved = measurement._returns(dataclasses.replace(here, rest=other), *rows)
    assert not np.allclose(moved, returns)
    assert measurement.largest_scale > 0


def test_parameters_of_brax_are_those_of_the_policy(pendulum):
    """PPO hands out (statistics, policy, value), SAC the first two."""
    _, policy, _ = pendulum
    narrow = policy.astype("float32")
    with jax.enable_x64(True):
        wanted = of_policy(narrow)
        for extra in ((), ({"params": {}},)):
            handed = (narrow.normalizer, narrow.params, *extra)
            chex.assert_trees_all_equal(of_brax(handed, normalize=True), wanted)
        weights, normalizer = of_brax(handed, normalize=False)
    assert normalizer is None
    assert {leaf.dtype for leaf in jax.tree.leaves(weights)} == {np.dtype("float64")}


def test_the_callback_for_brax_counts_from_the_offset(pendulum):
    watch, policy, _ = pendulum
    narrow = policy.astype("float32")
    seen = []
    watch.__class__, before = _Noting, watch.__class__
    try:
        watch.seen = seen
        watch.policy_params_fn(normalize=True, offset=100)(
            20, None, (narrow.normalizer, narrow.params, {})
        )
    finally:
        watch.__class__ = before
    assert seen == [120]


class _Noting(Watch):
    """Notes the steps that it is called with."""

    def __call__(self, step, params):
        self.seen.append(step)
