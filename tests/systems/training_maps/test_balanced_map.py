"""The balanced cubic map: thresholds, cycles, conjugacies, phases."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax import Status
from fracjax.systems.training_maps import balanced_map, bifurcations, product_map
from fracjax.systems.training_maps.bifurcations import (
    cycle_with_multiplier,
    period_doublings,
    superstable_step_size,
)
from fracjax.systems.training_maps.phases import Phase, balanced_phase, orbit_phase

# Computed for this project in float64: where the cycles of 4, 8, … steps lose their stability.
DOUBLINGS = (1.0, math.sqrt(5) - 1, 1.2880317545, 1.2992279397, 1.3016289140, 1.3021432716)


@jax.jit
def conjugacies(size, factor):
    """Left and right sides of what conjugates the maps, by name."""
    z = balanced_map.residual(factor, size)
    moved = balanced_map.balanced_map(size)(factor)
    after = balanced_map.residual_map(size)(z)
    both = jax.vmap(lambda x, m: product_map.product_map(m)(jnp.stack([x, x])))(factor, size)
    s = factor / 8
    slope = jax.vmap(jax.grad(lambda z, m: balanced_map.residual_map(m)(z)))
    return {
        "residuals": (balanced_map.residual(moved, size), after),
        "the product map": (both, jnp.stack([moved, moved], axis=-1)),
        "and back": (balanced_map.factor_of_residual(z, size), jnp.abs(factor)),
        "fixed points": (after - z, z * (z - 2) * (z + size)),
        "the critical point": (slope(balanced_map.critical_residual(size), size), 0 * size),
        "minus Chebyshev": (
            balanced_map.balanced_map(2.0)(2**0.5 * s),
            2**0.5 * (3 * s - 4 * s**3),
        ),
    }


def test_conjugacies(x64):
    """T3: to 1e-12, at random step sizes and factors."""
    draws = np.random.default_rng(0)
    size = draws.uniform(0.05, 2, 200)
    factor = draws.uniform(-1, 1, 200) * np.sqrt(1 + 2 / size)
    for name, (left, right) in conjugacies(size, factor).items():
        scale = np.maximum(1, np.max(np.abs(np.asarray(right))))
        np.testing.assert_allclose(left, right, atol=1e-12 * scale, err_msg=name)


def test_the_border_is_an_unstable_two_cycle_and_the_map_keeps_the_interval_up_to_two(x64):
    size = jnp.array([0.5, 1.2, 2.0, 2.1])
    border = jnp.sqrt(1 + 2 / size)
    np.testing.assert_allclose(balanced_map.balanced_map(size)(border), -border, rtol=1e-13)
    critical = jnp.sqrt((1 + size) / (3 * size))
    largest = balanced_map.balanced_map(size)(critical)
    np.testing.assert_array_equal(largest <= border * (1 + 1e-14), [True, True, True, False])


def test_two_cycles_and_their_multipliers(x64):
    """T3: 9 - 2 (1 + mu)^2 and 3 - 2 mu from derivatives along the cycle, to 1e-12."""

    @jax.jit
    def around(size):
        high, low = balanced_map.two_cycle(size)
        step = balanced_map.balanced_map(size)
        slope = jax.grad(step)(high) * jax.grad(step)(low)
        jacobian = jax.jacfwd(product_map.product_map(size))
        twice = jacobian(jnp.stack([low, low])) @ jacobian(jnp.stack([high, high]))
        return step(high) - low, step(low) - high, slope, twice[0, 0] - twice[0, 1]

    size = np.linspace(1.01, 1.99, 50)
    there, back, slope, across = jax.vmap(around)(size)
    np.testing.assert_allclose([there, back], 0, atol=1e-12)
    within, transverse = balanced_map.two_cycle_multipliers(size)
    np.testing.assert_allclose(slope, within, atol=1e-12)
    np.testing.assert_allclose(across, transverse, atol=1e-12)
    assert abs(balanced_map.two_cycle_multipliers(math.sqrt(5) - 1)[0] + 1) < 1e-14
    assert abs(balanced_map.two_cycle_multipliers(1.0)[0] - 1) < 1e-14


def test_an_imbalance_grows_by_the_slope_across_the_slice(x64):
    size, factor = 1.3, jnp.linspace(-1.6, 1.6, 8)

    def growth(x):
        state, across = jnp.stack([x, x]), jnp.array([1.0, -1.0])
        _, moved = jax.jvp(product_map.product_map(size), (state,), (across,))
        np.testing.assert_allclose(moved[0], -moved[1], rtol=1e-12)
        return jnp.log(jnp.abs(moved[0]))

    expected = [growth(x) for x in factor]
    np.testing.assert_allclose(balanced_map.transverse_growth(factor, size), expected, rtol=1e-12)


def test_the_monotone_limit_is_where_the_residual_may_turn_and_grow():
    """The minimum of f(z)/z over (-mu, 2) is -1 there; bands merge where f(critical) is x = 0."""
    size = balanced_map.MONOTONE_LIMIT
    z = np.linspace(-size, 2, 20001)[1:-1]
    z = z[np.abs(z) > 1e-9]
    assert abs(np.min(balanced_map.residual_map(size)(z) / z) + 1) < 1e-8
    size = balanced_map.BAND_MERGING
    critical = np.sqrt((1 + size) / (3 * size))
    twice = balanced_map.balanced_map(size)(balanced_map.balanced_map(size)(critical))
    assert abs(twice) < 1e-14
    assert abs(size - 1.598076) < 1e-6


def test_the_cascade():
    """T3: thresholds to 1e-8 of what was computed before, the accumulation and the ratio."""
    found = period_doublings(8)
    np.testing.assert_allclose(found.doublings[:6], DOUBLINGS, atol=1e-9)
    assert abs(found.doublings[1] - (math.sqrt(5) - 1)) < 1e-13
    assert abs(found.accumulation - 1.3022835) < 1e-7
    assert abs(found.ratios[-1] - 4.669202) < 1e-3
    inside = np.stack([found.superstable, found.doublings])
    assert np.all(np.diff(inside.T.ravel()) > 0)
    deepest = period_doublings(10)
    assert abs(deepest.ratios[-1] - 4.669202) < 1e-4
    assert abs(deepest.accumulation - found.accumulation) < 1e-9


def test_cycles_have_the_multiplier_that_was_asked_for():
    window = cycle_with_multiplier(3, 1.0, 1.46)
    assert abs(window.step_size - 1.450441) < 1e-6
    for cycle in (window, cycle_with_multiplier(4, -0.5, 1.26), cycle_with_multiplier(1, 0.3, 0.4)):
        z, slope = cycle.residual, 1.0
        for _ in range(cycle.period):
            slope *= 3 * z**2 + 2 * (cycle.step_size - 2) * z + 1 - 2 * cycle.step_size
            z = float(balanced_map.residual_map(cycle.step_size)(z))
        assert abs(z - cycle.residual) < 1e-9
        assert abs(slope - cycle.multiplier) < 1e-9
    assert superstable_step_size(1, 0.4) == 0.5


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: superstable_step_size(3, 0.2), "near"),
        (lambda: superstable_step_size(0, 0.2), "period"),
        (lambda: cycle_with_multiplier(3, 1.5, 1.46), "multiplier"),
        (lambda: cycle_with_multiplier(2, 1.0, 1.12), "multiplier"),
        (lambda: period_doublings(2), "count"),
        (lambda: orbit_phase(1.0, jnp.ones(2), num_steps=100), "num_steps"),
    ],
)
def test_bad_settings_are_named(call, name):
    with pytest.raises(ValueError, match=f"`{name}`"):
        call()
    assert bifurcations.__all__


COUNT = 2000
BASINS = np.repeat([0.2, 0.6, 0.95, 1.1, 1.5], COUNT // 5)
STARTS = np.random.default_rng(5).uniform(-4, 4, (COUNT, 2))


@jax.jit
@jax.vmap
def follow(step_size, state):
    return orbit_phase(step_size, state)


def followed(sizes, states):
    """The phases of a few orbits, by the program of `COUNT` of them."""
    padded = np.resize(sizes, COUNT), np.resize(states, (COUNT, 2))
    return jax.tree.map(lambda leaf: np.asarray(leaf)[: len(sizes)], follow(*padded))


def test_bounded_is_inside_the_ellipse(x64):
    """T2: on random starts for five step sizes; sharpness < 2/mu; balance for mu > 1."""
    found = followed(BASINS, STARTS)
    p, s = STARTS.prod(axis=1), np.sum(STARTS**2, axis=1)
    value = s - BASINS * p - (4 - BASINS**2) / BASINS
    clear = np.abs(value) > 1e-3
    bounded = found.phase != Phase.DIVERGENT
    np.testing.assert_array_equal(bounded[clear], (value < 0)[clear])
    assert np.all(found.status[~bounded] == Status.DIVERGED)
    settled, wild = bounded & (BASINS < 1), bounded & (BASINS > 1)
    assert np.all(found.loss[settled] < 1e-20)
    assert np.all((found.sharpness * BASINS)[settled] < 2)
    assert np.min(found.loss[wild]) > 1e-6
    assert np.max(found.imbalance[wild]) < 1e-12
    assert settled.sum() > 300
    assert wild.sum() > 60


def test_phases_of_balanced_orbits(x64):
    """T3: as theory says, with the exponents that were computed for this project."""
    known = {
        1.35: 0.278, 1.4: 0.344, 1.5: 0.491, 1.598: 0.677, 1.65: 0.693, 1.8: 0.808, 1.9: 0.877,
        1.99: 1.040, 2.0: math.log(3),
    }  # fmt: skip
    rest = [0.3, 0.8, 0.97, 1.1, 1.28, 1.296, 1.7, 2.05]
    sizes = np.array([*known, *rest])
    found = followed(sizes, np.full((len(sizes), 2), 0.3))
    expected = np.asarray(balanced_phase(sizes)).tolist()
    expected[-2] = int(Phase.PERIODIC)  # a window
    assert found.phase.tolist() == expected
    assert found.period[-8:].tolist() == [1, 1, 1, 2, 4, 8, 6, 0]
    exponent = found.exponent.value[: len(known)]
    # Standard errors of 2048 steps are .003 to .01; the anchors are good to .01.
    np.testing.assert_allclose(exponent, list(known.values()), atol=0.04)
    within, across = balanced_map.two_cycle_multipliers(1.1)
    slowest = math.log(max(abs(within), abs(across))) / 2
    assert abs(found.exponent.value[-5] - slowest) < 1e-9
    assert np.isnan(found.exponent.value[-1])
    assert found.status[-1] == Status.DIVERGED


def test_loss_falls_at_every_step_below_the_limit_and_may_rise_above(x64):
    sizes = np.repeat([0.1, 0.5, 0.8, 0.85, 0.95], COUNT // 5)
    x = np.tile(np.linspace(0.01, 0.99, COUNT // 5), 5) * np.sqrt(1 + 2 / sizes)
    phases = followed(sizes, np.stack([x, x], axis=1)).phase.reshape(5, -1)
    assert np.all(phases[:3] == Phase.MONOTONE)
    assert np.all((phases[3:] == Phase.MONOTONE) | (phases[3:] == Phase.CATAPULT))
    assert np.all(np.any(phases[3:] == Phase.CATAPULT, axis=1))


def test_single_precision_tells_the_phases_apart_and_nan_is_divergent():
    sizes = np.array([0.3, 1.1, 1.5, 1.9, 2.2, 1.0], np.float32)
    states = np.full((6, 2), 0.3, np.float32)
    states[-1, 0] = np.nan
    found = followed(sizes, states)
    assert found.exponent.value.dtype == np.float32
    assert found.phase.tolist() == [
        Phase.MONOTONE,
        Phase.PERIODIC,
        Phase.CHAOTIC,
        Phase.CHAOTIC,
        Phase.DIVERGENT,
        Phase.DIVERGENT,
    ]
    assert found.status.tolist() == [0, 0, 0, 0, Status.DIVERGED, Status.DIVERGED]
    assert np.isnan(found.exponent.value[-1])
