"""Single updates, the returns after them, and the law of their spread."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fracjax import Status
from fracjax.learning.gradient_estimates.samplers import pathwise_gradient, smoothed_gradient
from fracjax.learning.return_distributions.sampling import post_update_returns
from fracjax.learning.return_distributions.spread_laws import spread_exponent
from fracjax.learning.return_distributions.updates import gaussian_update, gradient_update
from fracjax.systems import signals

KEY = jax.random.key(0)
FACTORS = 2.0 ** -np.arange(0.0, 9.0)[::-1]


def slanted(params, key):
    return jnp.sum(params["a"]) - 2 * jnp.sum(params["b"])


def test_an_update_ascends_the_mean_of_its_samples(x64):
    """Exact: SGD adds the rate times the gradient; Adam's first step is the rate, with its sign."""
    params = {"a": jnp.zeros(2), "b": jnp.zeros(3)}
    sampler = pathwise_gradient(slanted)
    plain = gradient_update(sampler, optax.sgd(0.1), num_samples=3)
    moved = jax.jit(plain)(params, KEY)
    np.testing.assert_allclose(moved["a"], 0.1)
    np.testing.assert_allclose(moved["b"], -0.2)
    adam = gradient_update(sampler, optax.adam(0.1), num_samples=2, batch_size=1)
    np.testing.assert_allclose(adam(params, KEY)["b"], -0.1, rtol=1e-6)
    # With the state of a training that went the other way it still goes there.
    optimizer = optax.sgd(0.1, momentum=0.9)
    before = optimizer.init(params)
    _, state = optimizer.update({"a": jnp.full(2, 50.0), "b": jnp.zeros(3)}, before, params)
    going = gradient_update(sampler, optimizer, num_samples=1, state=state)
    np.testing.assert_allclose(going(params, KEY)["a"], -0.1 * (0.9 * 50 - 1))
    with pytest.raises(ValueError, match="`num_samples` must"):
        gradient_update(sampler, optimizer, num_samples=0)


def test_returns_after_updates_of_a_linear_objective(x64):
    """Exact law: J + c N(0, s² |g|²); the same draws at all factors; spread s, no drift."""
    params = {"a": jnp.ones(2), "b": jnp.zeros(3)}
    update = gaussian_update(0.1)
    found = post_update_returns(
        update, slanted, params, KEY, num_updates=4096, factors=(0.5, 1.0, 2.0), chunk_size=256
    )
    assert found.returns.shape == (4096, 3)
    assert found.value == 2
    moves = found.returns - found.value
    np.testing.assert_allclose(moves[:, 2], 4 * moves[:, 0], rtol=1e-9)
    expected = 0.1 * (2 + 4 * 3) ** 0.5
    assert abs(moves[:, 1].std() - expected) < 4 * expected / (2 * 4096) ** 0.5
    assert abs(found.spread - 0.1) < 4 * 0.1 / (2 * 5 * 4096) ** 0.5
    assert found.drift < 4 * 0.1 / 4096**0.5
    np.testing.assert_allclose(found.sizes, found.spread * np.array([0.5, 1, 2]))
    first = update(params, jax.random.fold_in(jax.random.fold_in(KEY, 0), 0))
    np.testing.assert_allclose(found.returns[0, 1], slanted(first, KEY), rtol=1e-12)


def test_drift_is_told_from_spread(x64):
    """Every update moves by 3 and a noise of .1: both are exact in the mean."""

    def update(params, key):
        return params + 3.0 + 0.1 * jax.random.normal(key, params.shape)

    found = post_update_returns(
        update, lambda p, k: p.sum(), jnp.zeros(4), KEY, num_updates=512, chunk_size=64
    )
    assert found.drift == pytest.approx(3.0, abs=4 * 0.1 / 512**0.5)
    assert found.spread == pytest.approx(0.1, abs=4 * 0.1 / (2 * 4 * 512) ** 0.5)


def exponents(update, objective, *, centres, updates=128):
    found = []
    for index in range(centres):
        own = jax.random.fold_in(KEY, index)
        place = jax.random.uniform(own, (8,), minval=0.1, maxval=0.9)
        after = post_update_returns(
            update, objective, place, own, num_updates=updates, factors=FACTORS, chunk_size=64
        )
        slope = spread_exponent(after.sizes, after.returns, own, num_resamples=20)
        assert slope.ok
        found.append(float(slope.value))
    return np.array(found)


def test_the_spread_has_the_exponent_of_the_landscape(x64):
    """Law: SD ∝ size^H, in the mean over centres; 4 standard errors and the docstring's .03."""
    hurst = 0.4
    field = signals.weierstrass_field(jax.random.key(1), hurst, num_terms=18)
    found = exponents(gaussian_update(0.02), field, centres=10)
    error = found.std(ddof=1) / len(found) ** 0.5
    assert error < 0.015
    assert abs(found.mean() - hurst) < 0.03 + 4 * error


@pytest.mark.slow
@pytest.mark.parametrize("hurst", [0.3, 0.5, 0.7])
@pytest.mark.parametrize("kind", ["Gaussian", "evolution strategy"])
def test_the_law_does_not_ask_what_made_the_updates(x64, hurst, kind):
    """The same for steps of an evolution strategy, over more centres."""
    field = signals.weierstrass_field(jax.random.key(1), hurst, num_terms=18)
    update = gaussian_update(0.02)
    if kind != "Gaussian":
        update = gradient_update(smoothed_gradient(field, 0.05), optax.sgd(0.004), num_samples=8)
    found = exponents(update, field, centres=32, updates=512)
    error = found.std(ddof=1) / len(found) ** 0.5
    assert abs(found.mean() - hurst) < 0.03 + 4 * error


def test_a_smooth_landscape_has_exponent_one_or_two(x64):
    """Exact: 1 on a slope; 2 at a maximum."""
    for place, expected in ((0.0, 1.0), (1.0, 2.0)):
        found = post_update_returns(
            gaussian_update(0.01),
            lambda p, k: -jnp.sum((p - 1) ** 2),
            jnp.full(8, place),
            KEY,
            num_updates=256,
            factors=FACTORS,
            chunk_size=64,
        )
        run = jax.jit(lambda sizes, returns: spread_exponent(sizes, returns, num_resamples=50))
        slope = run(found.sizes, found.returns)
        assert float(slope.value) == pytest.approx(expected, abs=0.02)
        np.testing.assert_allclose(slope.details["local_slopes"], expected, atol=0.03)


def test_spreads_that_say_nothing(x64):
    sizes = jnp.array([0.1, 0.2, 0.4])
    good = jax.random.normal(KEY, (64, 3)) * sizes
    assert spread_exponent(sizes, good, num_resamples=20).ok
    silent = spread_exponent(sizes, good.at[:, 0].set(2.0), num_resamples=20)
    assert silent.status == Status.AT_NOISE_FLOOR
    assert np.isnan(silent.value)
    broken = spread_exponent(sizes, good.at[3, 1].set(jnp.nan), num_resamples=20)
    assert broken.status == Status.DIVERGED
    with pytest.raises(ValueError, match="`sizes` must"):
        spread_exponent(sizes[:2], good[:, :2])
    with pytest.raises(ValueError, match="`factors` must"):
        post_update_returns(
            gaussian_update(1.0), lambda p, k: p, jnp.ones(()), KEY, factors=(0.0, 1.0)
        )
