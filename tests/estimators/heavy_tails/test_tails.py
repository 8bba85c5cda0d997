"""Tail indices: exact laws with coverage, and the trap of coordinates of unequal size."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax import Status
from fracjax.estimators.heavy_tails.characteristic import characteristic_stability
from fracjax.estimators.heavy_tails.largest_values import hill_tail_index
from fracjax.estimators.heavy_tails.log_moments import block_sum_stability, flattened_stability
from fracjax.systems import signals

KEY = jax.random.key(2)


def many(function, seeds=200):
    run = jax.jit(lambda keys: jax.lax.map(function, keys, batch_size=50))
    return run(jax.random.split(KEY, seeds))


def covered(estimate, truth):
    return np.mean((estimate.low < truth) & (truth < estimate.high))


def unequal(key, scale=2.0):
    """Gaussian coordinates whose sizes are log-normal."""
    first, second = jax.random.split(key)
    sizes = jnp.exp(scale * jax.random.normal(second, (50,)))
    return jax.random.normal(first, (200, 50)) * sizes


@pytest.mark.parametrize(
    "stability",
    [pytest.param(0.8, marks=pytest.mark.slow), 1.5, pytest.param(2.0, marks=pytest.mark.slow)],
)
def test_stable_laws(x64, stability):
    """Null: 95 % of 200 intervals hold α (4 standard errors: .89); no bias beyond errors."""

    def both(key):
        draws = jnp.diff(signals.stable_flight(key, stability, 2501))
        return block_sum_stability(draws), characteristic_stability(draws)

    for found in many(both):
        assert np.all(found.status == Status.OK)
        assert covered(found, stability) > 0.88
        spread = found.value.std()
        assert abs(found.value.mean() - stability) < 5 * spread / 200**0.5 + 0.3 * spread**2
        assert spread / 1.5 < found.stderr.mean() < 1.5 * spread


@pytest.mark.slow
def test_unequal_coordinates_fake_heavy_tails():
    """Gaussian, so α = 2: flattened it reads near 1 and says so, by coordinate it reads 2."""

    def three(key):
        draws = unequal(key)
        return flattened_stability(draws), block_sum_stability(draws), unequal(key, 0.0)

    flat, proper, equal = many(three)
    assert np.median(flat.value) < 1.2
    assert np.mean(flat.status == Status.NO_SCALING_REGION) > 0.95
    assert covered(proper, 2.0) > 0.885
    fair = jax.jit(jax.vmap(flattened_stability))(equal)
    assert np.mean(fair.status == Status.OK) > 0.97
    assert covered(fair, 2.0) > 0.85


@pytest.mark.slow
def test_largest_values():
    """Pareto: exact tails, with coverage. A Gaussian has no tail index, which `moment` says."""

    def draws(key):
        return jax.random.pareto(key, 1.5, (5000,)), jax.random.normal(key, (5000,))

    def each(key):
        heavy, light = draws(key)
        return (
            hill_tail_index(heavy),
            hill_tail_index(heavy, num_largest=400),
            hill_tail_index(heavy, method="moment"),
            hill_tail_index(light, method="moment"),
        )

    plateau, given, moment, gaussian = many(each)
    for found in (plateau, given, moment):
        assert covered(found, 1.5) > 0.885
        assert np.median(np.asarray(found.value)) == pytest.approx(1.5, abs=0.1)
    assert np.all(gaussian.status == Status.NO_SCALING_REGION)
    # Hill's 1/α from k exact Pareto values has variance 1/(k α²).
    assert given.details["inverse"].std() == pytest.approx(1 / 1.5 / 20, rel=0.2)


@pytest.mark.slow
def test_contracts(x64):
    """jit = eager, vmap = loop, scale-free, float32 = float64; codes where there is no number."""
    draws = jax.vmap(lambda key: jnp.diff(signals.stable_flight(key, 1.5, 1001)))(
        jax.random.split(KEY, 2)
    )
    for estimate in (block_sum_stability, characteristic_stability, hill_tail_index):
        batch = jax.jit(jax.vmap(estimate))(draws)
        alone = estimate(draws[1])
        compiled = jax.jit(estimate)
        np.testing.assert_allclose(batch.value[1], alone.value, rtol=1e-9)
        np.testing.assert_allclose(compiled(1e6 * draws[1]).value, alone.value, rtol=1e-7)
        single = compiled(draws[1].astype(jnp.float32))
        assert single.value.dtype == jnp.float32
        np.testing.assert_allclose(single.value, alone.value, atol=1e-3)
        broken = compiled(draws[0].at[3].set(jnp.inf))
        assert broken.status == Status.DIVERGED
        assert np.isnan(broken.value)
        assert compiled(jnp.ones(1000)).status == Status.AT_NOISE_FLOOR
        with pytest.raises(ValueError, match="at least"):
            estimate(draws[0, :20])
    pair = jnp.stack([draws[0], 100 * draws[1]], axis=1)
    np.testing.assert_allclose(
        block_sum_stability(pair).details["inverse"],
        np.mean([block_sum_stability(one).details["inverse"] for one in draws]),
        rtol=1e-9,
    )
    skewed = jax.random.exponential(KEY, (2500,))
    assert block_sum_stability(skewed, centre="mean").value > 1.7
    for setting in ({"block_size": 1}, {"block_size": 400}):
        with pytest.raises(ValueError, match=next(iter(setting))):
            block_sum_stability(draws[0], **setting)
    with pytest.raises(ValueError, match="num_largest"):
        hill_tail_index(draws[0], num_largest=1000)
