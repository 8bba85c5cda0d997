"""Escape times of gradient ascent against closed forms: G1 to G5."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax import Status
from fracjax.learning.gravity_wells.escape_laws import (
    corner_escape_time,
    escape_constant,
    escape_exponent,
    escape_lower_bound,
    natural_escape_time,
    predicted_escape_time,
    unequal_rewards_exponent,
)
from fracjax.learning.gravity_wells.escapes import escape_time, start_params
from fracjax.learning.gravity_wells.first_passage import first_passage

# Measured for this package's notes by another program, K = 6, η = 1: Δ, x, T from a corner, T
# with the rest spread evenly.
TABLE = np.array(
    [
        [0.5, 1e-2, 96, 160],
        [0.5, 1e-4, 10_008, 16_677],
        [0.2, 1e-3, 2_502, 4_167],
        [0.1, 1e-4, 50_025, 83_372],
        [0.05, 1e-5, 1_000_092, 1_666_817],
    ]
)
ESCORT = {
    2.0: (31, 60, 90, 119, 149),
    3.0: (42, 130, 323, 738, 1631),
    4.0: (40, 170, 592, 1937, 6204),
    8.0: (22, 148, 912, 5414, 31_471),
}
SLOPES = {3.0: -0.365, 4.0: -0.520, 8.0: -0.776}


def equal_rewards(gap, arms=6):
    return jnp.full(arms, 0.4).at[0].add(gap)


@functools.partial(jax.jit, static_argnames="max_steps")
def escapes(starts, rewards, max_steps):
    run = functools.partial(escape_time, max_steps=max_steps)
    return jax.vmap(run)(starts, rewards)


def from_both(table, max_steps=100_000):
    """Times from a corner and from an even rest; three rows at a time are one program."""
    starts = [
        jax.vmap(lambda x, c=corner: start_params(x, num_arms=6, corner=c))(table[:, 1])
        for corner in (True, False)
    ]
    rewards = jax.vmap(equal_rewards)(table[:, 0])
    return escapes(jnp.concatenate(starts), jnp.concatenate([rewards] * 2), max_steps)


def check_table(table, found):
    gap, x, corner, even = table.T
    half = len(table)
    np.testing.assert_array_equal(found.gap_time, found.probability_time)  # equal rewards
    np.testing.assert_array_equal(found.gap_time, np.concatenate([corner, even]))
    ratio = found.gap_time[:half] / corner_escape_time(x, gap)
    assert np.all(abs(ratio - 1) <= np.where(x > 5e-3, 0.015, 0.003))  # G1
    scaled = found.gap_time * np.tile(gap * x, 2)
    small = x <= 1e-3
    np.testing.assert_allclose(scaled[:half][small], 0.5, atol=0.005)  # G4
    np.testing.assert_allclose(scaled[half:][small], 5 / 6, atol=0.005)
    assert np.all(found.gap_time >= escape_lower_bound(np.tile(x, 2), np.tile(gap, 2)))  # G2
    assert np.all(found.status == Status.OK)
    np.testing.assert_allclose(found.start, np.tile(x, 2), rtol=1e-5)
    np.testing.assert_allclose(found.lowest, found.start, rtol=1e-5)
    assert np.all(found.end > 0.1)


def test_times_from_corners_and_even_starts(x64):
    rows = TABLE[[0, 1, 2]]
    check_table(rows, from_both(rows))


def test_float32_counts_the_same_updates():
    """Updates are 1e-8 of the logits: a plain sum would stop, or go at another speed."""
    rows = TABLE[[0, 2, 3]]
    found = from_both(rows.astype(np.float32))
    assert found.start.dtype == jnp.float32
    np.testing.assert_allclose(found.gap_time, rows[:, 2:].T.ravel(), atol=2)


@pytest.mark.slow
def test_times_of_a_million_updates(x64):
    check_table(TABLE, from_both(TABLE, max_steps=2_000_000))
    found = from_both(TABLE[-1:].astype(np.float32), max_steps=2_000_000)
    np.testing.assert_allclose(found.gap_time, TABLE[-1, 2:], atol=3)


def slope(x, times):
    return np.polyfit(np.log(x), np.log(times), 1)[0]


def test_the_exponent_of_softmax_is_minus_one(x64):
    """G3, in π1 and in Δ."""
    for rows, column in (
        ([[0.5, 1e-4], [0.5, 3e-4], [0.5, 1e-3]], 1),
        ([[0.05, 1e-3], [0.15, 1e-3], [0.5, 1e-3]], 0),
    ):
        table = np.array(rows)
        times = from_both(table).gap_time
        for part in (times[:3], times[3:]):
            assert abs(slope(table[:, column], part) - escape_exponent("softmax")) < 0.05


def test_escort_powers_and_the_natural_gradient_escape_sooner(x64):
    """G3: powers of 1/π1 for p > 2, a logarithm for p = 2 and for the natural gradient."""
    x = 10.0 ** -np.arange(2, 7)
    rewards = equal_rewards(0.2)

    @jax.jit
    def times(power):
        settings = {"rule": "escort", "power": power}
        starts = jax.vmap(lambda one: start_params(one, num_arms=6, corner=True, **settings))(x)
        run = functools.partial(escape_time, step_size=0.1, scale_free=True, **settings)
        return jax.vmap(lambda start: run(start, rewards).gap_time)(starts)

    for power, expected in ESCORT.items():
        found = times(power)
        np.testing.assert_array_equal(found, expected)
        if power > 2:
            assert abs(slope(x[1:], found[1:]) - SLOPES[power]) < 0.03
            assert slope(x[1:], found[1:]) < escape_exponent("escort", power)
        else:
            assert escape_exponent("escort", power) == 0
            assert np.ptp(np.diff(found)) <= 1
    run = jax.jit(jax.vmap(lambda start: escape_time(start, rewards, rule="natural").gap_time))
    starts = jax.vmap(lambda one: start_params(one, num_arms=6, corner=False))(x)
    np.testing.assert_array_equal(run(starts), np.ceil(natural_escape_time(x, 0.2)))


def test_the_bound_holds_from_random_starts(x64):
    """G2: no violation; and the prediction from all probabilities is near. See the slow test."""
    starts = jnp.asarray(2 * np.random.default_rng(1).normal(size=(300, 6)))
    rewards = jnp.broadcast_to(equal_rewards(0.5), starts.shape)
    found = escapes(starts, rewards, 1000)
    bound = escape_lower_bound(found.start, 0.5)
    inside = np.asarray(found.start < 0.1)
    assert 100 < inside.sum() < 250
    assert np.all(np.asarray(found.gap_time >= bound)[inside & found.gap_observed])
    assert np.all(np.asarray(bound <= 1000)[found.gap_observed])
    assert np.all(found.gap_time[~inside] == 0)
    assert np.all(bound[~inside] == 0)
    deep = (found.start < 0.02) & found.gap_observed
    ratio = found.gap_time / predicted_escape_time(jax.nn.softmax(starts), 0.5)
    assert np.all((ratio[deep] > 0.99) & (ratio[deep] < 1.2))
    late = np.asarray(found.status == Status.NOT_CONVERGED)
    assert late.any()
    np.testing.assert_array_equal(found.gap_time[late], 1000)


@pytest.mark.slow
@pytest.mark.parametrize("arms", [2, 3, 6, 10])
def test_the_bound_holds_from_thousands_of_starts(x64, arms):
    """G2: K in {2, 3, 6, 10}, σ in {1, 2, 3}, (Δ, η) in {(.2, 1), (.5, .5)}."""
    drawn = jax.random.normal(jax.random.key(arms), (300, arms))
    starts = jnp.concatenate([spread * drawn for spread in (1.0, 2.0, 3.0)])

    @jax.jit
    def run(gap, step_size):
        rewards = equal_rewards(gap, arms)
        return jax.vmap(
            lambda start: escape_time(start, rewards, step_size=step_size, max_steps=5000)
        )(starts)

    for gap, step_size in ((0.2, 1.0), (0.5, 0.5)):
        found = run(gap, step_size)
        bound = escape_lower_bound(found.start, gap, step_size)
        trapped = np.asarray((found.start < 0.1) & found.gap_observed)
        assert trapped.sum() > 150
        assert np.min(found.gap_time[trapped] / bound[trapped]) >= 1


def test_unequal_rewards_dig_deeper(x64):
    """G5: r = (1, .7, .3), η = .5: the local slope goes to -2; the best arm loses first."""
    x = np.array([0.1, 0.05, 0.025, 0.0125])
    rewards = jnp.asarray([1.0, 0.7, 0.3])
    starts = jax.vmap(lambda one: start_params(one, num_arms=3, corner=False))(x)
    found = jax.jit(jax.vmap(lambda start: escape_time(start, rewards, step_size=0.5)))(starts)
    np.testing.assert_array_equal(found.gap_time, [38, 128, 528, 2205])
    slopes = np.diff(np.log(found.gap_time)) / np.diff(np.log(x))
    assert abs(slopes[-1] - unequal_rewards_exponent(3)) < 0.1
    assert np.all(np.asarray(found.lowest < 0.6 * found.start)[2:])
    np.testing.assert_allclose(found.lowest[3] / found.lowest[2], 1 / 4, rtol=0.05)  # x^(K-1)


def test_constants_of_the_rest():
    shares = jnp.asarray([[0.1, 0.9, 0, 0], [0.1, 0.3, 0.3, 0.3]])
    np.testing.assert_allclose(escape_constant(shares), [0.5, 0.75], rtol=1e-6)
    np.testing.assert_allclose(escape_constant(shares[:, ::-1], 3), [0.5, 0.75], rtol=1e-6)
    with pytest.raises(ValueError, match="num_arms"):
        unequal_rewards_exponent(2)


def test_lanes_stop_where_they_end():
    """A lane that is done, or has failed, keeps its state while others go on."""

    def step(state, index):
        return state >= 3, jnp.isfinite(state), state + 1

    starts = jnp.asarray([0.0, -100.0, jnp.nan, 5.0])
    found = jax.jit(jax.vmap(lambda state: first_passage(step, state, max_steps=50)))(starts)
    np.testing.assert_array_equal(found.times, [3, 50, 50, 0])
    np.testing.assert_array_equal(found.observed, [True, False, False, True])
    np.testing.assert_array_equal(found.state, [3, -50, np.nan, 5])
    np.testing.assert_array_equal(found.alive, [True, True, False, True])
    assert first_passage(step, starts[0], max_steps=3).observed


def test_what_is_not_finite_gets_a_status_and_bad_settings_are_named():
    bad = escape_time(jnp.asarray([0.0, jnp.nan, 1.0]), equal_rewards(0.1, 3), max_steps=5)
    assert bad.status == Status.DIVERGED
    two = jnp.zeros(2)
    for call, name in (
        (lambda: escape_time(two[:1], two[:1]), "params"),
        (lambda: escape_time(two, two, max_steps=0), "max_steps"),
        (lambda: escape_time(two, two, scale_free=True), "scale_free"),
        (lambda: start_params(0.1, num_arms=1, corner=True), "num_arms"),
    ):
        with pytest.raises(ValueError, match=name):
            call()
