"""Every estimator with data for it and the answer; a new one is tested by being listed.

What is asked of them is in `test_contracts.py`.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fracjax import Estimate, estimators
from fracjax.systems import fractals, maps, random_fields, signals

from references import value


@dataclasses.dataclass(frozen=True)
class Contract:
    """An estimator, data for it, and the answer.

    Attributes:
        run: `(data, key) -> Estimate`; must be pure.
        make: Draws data of one sample from a key: a pytree of arrays.
        truth: The exact answer, of the documented shape.
        bias: What the docstring says the estimator may be off, beside its error.
        uses_key: Whether another key gives another number.
        on_host: Whether it is documented to run on the host, outside of jit and vmap.
        single: Agreement of float32 with float64, absolute.
        rounding: Agreement of jit with eager and of vmap with a loop, absolute. A chaotic
            orbit amplifies rounding, and agrees within its error only.
    """

    run: Callable[[Any, Any], Estimate]
    make: Callable[[Any], Any]
    truth: Any
    bias: float = 0.0
    uses_key: bool = False
    on_host: bool = False
    single: float = 1e-3
    rounding: float = 1e-9


def brownian(num_points, hurst=0.5):
    return lambda key: signals.fractional_brownian_motion(key, hurst, num_points)


def gaussian_noise(num_points, hurst=0.3):
    return lambda key: signals.fractional_gaussian_noise(key, hurst, num_points)


def brownian_lines(key):
    """Twelve independent lines, four levels of 40 points, by exact self-similarity."""
    keys = jax.random.split(key, 48).reshape(12, 4)
    draw = jax.vmap(jax.vmap(lambda k: signals.fractional_brownian_motion(k, 0.5, 40)))
    return draw(keys) * (4.0 ** -jnp.arange(4) * 0.1)[:, None] ** 0.5


def gaussian_growth(key):
    """Growth that is independent from step to step, of mean .1 and variance .04."""
    return 0.1 + 0.2 * jax.random.normal(key, (20, 400))


def cauchy(key):
    """Stable of index 1."""
    return jax.random.cauchy(key, (4096,))


def pareto(key):
    """P(X > x) = x^-2 for x > 1, exactly."""
    return jax.random.uniform(key, (4096,), minval=1e-6) ** -0.5


def near_the_origin(key):
    return 0.1 * jax.random.uniform(key, (2,))


def spectrum(state, key, **settings):
    settings = {"num_steps": 4000, "num_transient": 200, **settings}
    return estimators.lyapunov_spectrum(maps.henon(), state, key=key, **settings)


def log_reward(growth):
    return jnp.zeros_like(growth)


def from_lines(lines, key):
    spacings = 0.1 * 4.0 ** -jnp.arange(4, dtype=lines.dtype)
    return estimators.exponent_from_lines(lines, spacings)


def skew_tent(x):
    """Uniform on [0, 1], so that the exponent is the entropy of the cut."""
    return jnp.where(x < 1 / 3, 3 * x, 1.5 * (1 - x))


def coupled_tents(pair):
    moved = skew_tent(pair)
    return 0.9 * moved + 0.1 * moved[::-1]


def transversal(start, key):
    together = estimators.synchronised([(0, 1)])
    settings = {"num_steps": 4000, "num_transient": 50, "key": key}
    state = jnp.stack([start, start])
    return estimators.transversal_exponents(coupled_tents, state, together, **settings)


def covariant(state, key):
    settings = {"num_steps": 3000, "num_transient": 100, "num_backward_transient": 100}
    return estimators.covariant_vectors(maps.henon(), state, key=key, **settings).exponents


def alignment(state, key):
    return estimators.alignment_index(maps.henon(), state, num_steps=3000, key=key).decay_rate


def local(states, key):
    settings = {"num_steps": 50, "num_transient": 50, "method": "tangent", "key": key}
    return estimators.local_exponents(maps.henon(), states, **settings).mean


def orbit(step, num_points, burn_in=100):
    """Record a scalar map from a random state, or the first entry of a vector."""

    def record(start):
        def move(state, _):
            return step(state), jnp.ravel(state)[0]

        return jax.lax.scan(move, start, length=burn_in + num_points)[1][burn_in:]

    return record


def recorded(series, key):
    return estimators.recorded_exponent(series, delay=1, dimension=2)


def cantor_points(key):
    return fractals.cantor().sample(key, 1000)


LN2_LN3 = np.log(2) / np.log(3)
FIELD = signals.weierstrass_field(jax.random.key(3), 0.5, num_terms=16)
SCALES = {"largest_scale": 0.1, "smallest_scale": 1e-3}


def parameters(key):
    return jax.random.uniform(key, (3,), minval=0.2, maxval=0.8)


def points_of_parameters(params, key):
    centres = jnp.stack([params, params + 0.1])
    return estimators.local_holder_exponents(FIELD, centres, key, radius=0.05, **SCALES)


HENON = value("henon", "exponents")

CONTRACTS = {
    "lyapunov_spectrum": Contract(spectrum, near_the_origin, HENON, single=0.05, rounding=0.05),
    "lyapunov_spectrum, adaptive": Contract(
        functools.partial(spectrum, num_steps=100_000, target_stderr=0.01),
        near_the_origin,
        HENON,
        single=0.08,
        rounding=0.08,
    ),
    "spectrum_of_jacobians": Contract(
        lambda chain, key: estimators.spectrum_of_jacobians(chain, num_transient=50),
        lambda key: jax.random.normal(key, (4000, 2, 2)),
        value("ginibre 2", "exponents"),
    ),
    "kaplan_yorke_dimension": Contract(
        lambda state, key: estimators.kaplan_yorke_dimension(spectrum(state, key)),
        near_the_origin,
        value("henon", "kaplan-yorke dimension"),
        single=0.05,
        rounding=0.05,
    ),
    "entropy_bound": Contract(
        lambda state, key: estimators.entropy_bound(spectrum(state, key)),
        near_the_origin,
        HENON[0],
        single=0.05,
        rounding=0.05,
    ),
    "transversal_exponents": Contract(
        transversal,
        lambda key: jax.random.uniform(key),
        [value("baker 1/3", "exponents")[0] + np.log(0.8)],
        rounding=0.05,
        single=0.05,
    ),
    "covariant_vectors": Contract(covariant, near_the_origin, HENON, single=0.05, rounding=0.05),
    "alignment_index": Contract(
        alignment, near_the_origin, HENON[0] - HENON[1], single=0.1, rounding=0.1
    ),
    "local_exponents": Contract(
        local,
        lambda key: 0.1 * jax.random.uniform(key, (60, 2)),
        [HENON[0]],
        bias=0.005,
        single=0.05,
        rounding=0.05,
    ),
    "zero_one_test": Contract(
        lambda series, key: estimators.zero_one_test(series, key=key),
        lambda key: orbit(maps.logistic(), 1000)(jax.random.uniform(key)),
        1.0,
        bias=0.01,
        uses_key=True,
    ),
    "recorded_exponent": Contract(
        recorded,
        lambda key: orbit(maps.henon(), 1000)(0.1 * jax.random.uniform(key, (2,))),
        HENON[0],
        bias=0.03,
        on_host=True,
    ),
    "ensemble_exponent": Contract(
        lambda growth, key: estimators.ensemble_exponent(growth), gaussian_growth, 0.1
    ),
    "second_moment_exponent": Contract(  # E exp(2S) = exp(2 (.1 + .04) n) for n steps
        lambda growth, key: estimators.second_moment_exponent(growth, 5), gaussian_growth, 0.14
    ),
    "worst_finite_time_exponent": Contract(  # 99 % quantile of a normal mean of 4 steps
        lambda growth, key: estimators.worst_finite_time_exponent(growth, 4),
        gaussian_growth,
        0.1 + 2.3263 * 0.1,
    ),
    "reward_exponent": Contract(
        lambda growth, key: estimators.reward_exponent(growth, log_reward(growth)),
        gaussian_growth,
        0.1,
    ),
    "holder_exponent": Contract(
        lambda params, key: estimators.holder_exponent(FIELD, params, key, **SCALES),
        parameters,
        0.5,
        uses_key=True,
        on_host=True,
        single=0.1,
    ),
    "local_holder_exponents": Contract(
        points_of_parameters, parameters, (0.5, 0.5), uses_key=True, on_host=True, single=0.1
    ),
    "perturbation_exponent": Contract(
        lambda params, key: estimators.holder_exponent(
            FIELD, params, key, method="paper", **SCALES
        ),
        parameters,
        0.5,
        bias=0.14,
        uses_key=True,
        on_host=True,
        single=0.2,
    ),
    "exponent_from_lines": Contract(from_lines, brownian_lines, 0.5),
    "series_holder_exponent": Contract(
        lambda series, key: estimators.series_holder_exponent(series), brownian(1024), 0.5
    ),
    "detrended_fluctuation": Contract(
        lambda series, key: estimators.detrended_fluctuation(series, model="motion"),
        brownian(1024),
        1.5,
        bias=0.001,
    ),
    "multifractal_detrended_fluctuation": Contract(
        lambda series, key: estimators.multifractal_detrended_fluctuation(series),
        gaussian_noise(1024),
        np.full(7, 0.3),
        bias=0.01,
    ),
    "graph_dimension": Contract(
        lambda series, key: estimators.graph_dimension(series), brownian(1024), 1.5
    ),
    "graph_dimension, surface": Contract(
        lambda surface, key: estimators.graph_dimension(surface),
        lambda key: random_fields.fractional_brownian_field(key, 0.5, (48, 48)),
        2.5,
        bias=0.011,
    ),
    "correlation_dimension": Contract(
        lambda points, key: estimators.correlation_dimension(points),
        cantor_points,
        LN2_LN3,
        bias=0.003,
    ),
    "generalized_dimension": Contract(
        lambda points, key: estimators.generalized_dimension(points, 2.0), cantor_points, LN2_LN3
    ),
    "box_counting_dimension": Contract(
        lambda points, key: estimators.box_counting_dimension(points),
        cantor_points,
        LN2_LN3,
        bias=0.002,
    ),
    "information_dimension": Contract(
        lambda points, key: estimators.information_dimension(points),
        cantor_points,
        LN2_LN3,
        bias=0.001,
    ),
    "takens_dimension": Contract(
        lambda points, key: estimators.takens_dimension(points, 0.01),
        cantor_points,
        LN2_LN3,
        bias=0.1,
        single=0.01,
    ),
    "log_cumulants": Contract(
        lambda series, key: estimators.log_cumulants(series),
        brownian(2048),
        (0.5, 0.0, 0.0),
        bias=0.002,
    ),
    "diffusion_exponent": Contract(
        lambda path, key: estimators.diffusion_exponent(path),
        brownian(1000, 0.3),
        0.6,
        bias=0.003,
    ),
    "typical_displacement_exponent": Contract(
        lambda path, key: estimators.typical_displacement_exponent(path),
        brownian(1000, 0.3),
        0.6,
        bias=0.005,
    ),
    "characteristic_stability": Contract(
        lambda draws, key: estimators.characteristic_stability(draws), cauchy, 1.0, bias=0.003
    ),
    "block_sum_stability": Contract(
        lambda draws, key: estimators.block_sum_stability(draws), cauchy, 1.0, bias=0.017
    ),
    "hill_tail_index": Contract(
        lambda draws, key: estimators.hill_tail_index(draws), pareto, 2.0, bias=0.05
    ),
}
