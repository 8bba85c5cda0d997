"""Parameter smoothing leaves what the law says, on a sum of cosines where all is known."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax.learning.exponent_regularization.parameter_smoothing import (
    remaining_roughness,
    rough_again_below,
    smoothed_objective,
)

KEY = jax.random.key(0)
EXPONENT = 0.3
NUMBERS = 2 * math.pi * 1.3 ** np.arange(80)
AMPLITUDES = NUMBERS**-EXPONENT
PHASES = np.random.default_rng(0).uniform(0, 2 * math.pi, 80)


def rough(params, key):
    """A dense Weierstrass sum of the first parameter."""
    return jnp.sum(AMPLITUDES * jnp.cos(NUMBERS * params[0] + PHASES))


def squares(steps, filter_squared):
    """Exact mean squared second differences of the sum with filtered amplitudes."""
    bumps = 8 * AMPLITUDES**2 * np.sin(NUMBERS * steps[:, None] / 2) ** 4
    return (bumps * filter_squared).sum(axis=1)


def test_differences_follow_the_exact_identity(x64):
    """S_R = (1 - 1/R) S_σ + S/R on average over samples: 40 draws, within 4 standard errors."""
    sigma, count, draws = 1e-3, 8, 40
    steps = sigma * np.array([0.01, 0.3, 3.0, 30.0])
    smoothed = smoothed_objective(rough, sigma, count)
    places = np.random.default_rng(1).uniform(0, 50, 64)

    @jax.jit
    def measured(key):
        def at(place, step):
            values = [smoothed(place[None] + o * step, key) for o in (-1, 0, 1)]
            return (values[0] - 2 * values[1] + values[2]) ** 2

        every = jax.vmap(jax.vmap(at, (None, 0)), (0, None))
        return every(jnp.asarray(places), jnp.asarray(steps)).mean(axis=0)

    found = np.asarray(jax.lax.map(measured, jax.random.split(KEY, draws)))
    whole = squares(steps, 1.0)
    law = (1 - 1 / count) * squares(steps, np.exp(-((NUMBERS * sigma) ** 2))) + whole / count
    error = found.std(axis=0, ddof=1) / draws**0.5
    # The 64 places are common to all draws and leave an error of their own, up to 15 %.
    assert np.all(np.abs(found.mean(axis=0) / law - 1) < 4 * error / law + 0.15)
    # The self-similar law agrees with the dense sum.
    np.testing.assert_allclose(
        law / whole, remaining_roughness(steps / sigma, EXPONENT, count), rtol=0.12
    )


def test_the_law_has_its_limits():
    ratios = np.array([1e-4, 1e4])
    for exponent in (0.1, 0.5, 1.0, 1.5):
        low, high = remaining_roughness(ratios, exponent, 100)
        assert low == pytest.approx(0.01, rel=0.01)
        assert 0.97 < high <= 1 or exponent < 0.2
        # At the crossover the smooth part equals 1/R, up to the next order.
        place = rough_again_below(exponent, 2.0, 10**6)
        smooth = remaining_roughness(place / 2.0, exponent)
        assert smooth == pytest.approx(1e-6, rel=0.15)
    widths = [rough_again_below(0.3, 1.0, count) for count in (10, 1000)]
    assert widths[0] / widths[1] == pytest.approx(100 ** (1 / 3.4))


def test_no_width_changes_nothing_and_keys_are_common(x64):
    params = {"a": jnp.array([0.3, 0.2]), "b": jnp.array(0.5)}

    def objective(params, key):
        return jnp.stack([params["a"].sum(), params["b"] ** 2])

    same = smoothed_objective(objective, 0.0, 3)(params, KEY)
    np.testing.assert_allclose(same, [0.5, 0.25], rtol=1e-12)
    smoothed = jax.jit(smoothed_objective(objective, 0.1, 4000))
    found = smoothed(params, KEY)
    np.testing.assert_array_equal(found, smoothed(params, KEY))
    errors = np.array([0.1 * 2**0.5, 0.1]) / 4000**0.5
    assert np.all(np.abs(found - np.array([0.5, 0.26])) < 4 * errors)


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="`sigma` must"):
        smoothed_objective(rough, -1.0, 3)
    with pytest.raises(ValueError, match="`num_samples` must"):
        smoothed_objective(rough, 1.0, 0)
    with pytest.raises(ValueError, match="`exponent` must"):
        remaining_roughness(1.0, 2.5)
