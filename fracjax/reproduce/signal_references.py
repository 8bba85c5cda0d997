"""Recompute exponents and dimensions of signals and objectives whose answers are known."""

import functools

import jax
import jax.numpy as jnp

from fracjax._types import Estimate, Key
from fracjax.estimators.multifractals.fluctuation import detrended_fluctuation
from fracjax.estimators.multifractals.log_cumulants import log_cumulants
from fracjax.estimators.multifractals.multifractal_fluctuation import (
    multifractal_detrended_fluctuation,
)
from fracjax.estimators.roughness.holder import holder_exponent
from fracjax.estimators.roughness.series import series_holder_exponent
from fracjax.reproduce.reference_numbers import Measure, Numbers, averaged, over_lines
from fracjax.systems import maps, mdps, random_fields, signals

__all__ = ["SIGNALS"]


def _brownian(hurst: float) -> Measure:
    """Mean over independent series of the exponent of each."""

    def measure(key: Key, quick: bool) -> dict[str, Numbers]:
        keys = jax.random.split(key, 16 if quick else 64)

        def one(key: Key) -> Estimate:
            path = signals.fractional_brownian_motion(key, hurst, 4096)
            return series_holder_exponent(path)

        return {"hölder": averaged(jax.jit(jax.vmap(one))(keys).value)}

    return measure


def _noise(hurst: float) -> Measure:
    """Fluctuation exponent of fractional Gaussian noise, and h(q) for three moments."""

    def measure(key: Key, quick: bool) -> dict[str, Numbers]:
        keys = jax.random.split(key, 16 if quick else 64)
        noises = jax.vmap(lambda k: signals.fractional_gaussian_noise(k, hurst, 4096))(keys)
        several = functools.partial(multifractal_detrended_fluctuation, q=(-2.0, 0.0, 2.0))
        return {
            "fluctuation": averaged(jax.vmap(detrended_fluctuation)(noises).value),
            "generalised hurst": averaged(jax.vmap(several)(noises).value),
        }

    return measure


def _cumulants(key: Key, quick: bool) -> dict[str, Numbers]:
    """Log-cumulants of a multifractal random walk of λ = .3, every eighth point taken."""
    keys = jax.random.split(key, 8 if quick else 32)

    def walk(key: Key) -> jax.Array:
        return signals.multifractal_random_walk(key, 0.5, 0.3, 2**18)[::8]

    found = jax.lax.map(lambda k: log_cumulants(walk(k)), keys)
    return {"log-cumulants": averaged(found.value[:, :2])}


def _surface(hurst: float) -> Measure:
    """Exponent along one row of every fractional Brownian surface."""

    def measure(key: Key, quick: bool) -> dict[str, Numbers]:
        keys = jax.random.split(key, 16 if quick else 64)

        def row(key: Key) -> Estimate:
            surface = random_fields.fractional_brownian_field(key, hurst, (256, 256))
            return series_holder_exponent(surface[100])

        return {"hölder": averaged(jax.lax.map(row, keys).value)}

    return measure


def _weierstrass(hurst: float, base: float) -> Measure:
    """Exponent of a rough landscape of three parameters."""

    def measure(key: Key, quick: bool) -> dict[str, Numbers]:
        landscape, lines = jax.random.split(key)
        objective = signals.weierstrass_field(landscape, hurst, base=base)
        params = jnp.full(3, 0.3)
        count = 16 if quick else 64
        found = holder_exponent(objective, params, lines, num_directions=count)
        return {"hölder": over_lines(found, count)}

    return measure


def _tent_return(discount: float) -> Measure:
    def measure(key: Key, quick: bool) -> dict[str, Numbers]:
        objective = mdps.chaotic_return(maps.tent(1.9), discount)
        count = 16 if quick else 64
        estimate = holder_exponent(
            objective,
            jnp.array(0.5),
            key,
            largest_scale=1e-4,
            smallest_scale=1e-9,
            radius=0.2,
            num_directions=count,
        )
        return {"hölder": over_lines(estimate, count)}

    return measure


def _clipped(key: Key, quick: bool) -> dict[str, Numbers]:
    count = 16 if quick else 32
    estimate = holder_exponent(
        lambda start, _: mdps.clipped_value(jnp.abs(start), 2.0, 0.9),
        jnp.array(1e-6),
        key,
        radius=0.0,
        largest_scale=1e-2,
        smallest_scale=1e-9,
        num_directions=count,
    )
    return {"hölder": over_lines(estimate, count)}


SIGNALS: dict[str, Measure] = {
    **{f"fractional Brownian motion H={h}": _brownian(h) for h in (0.1, 0.3, 0.5, 0.7, 0.9)},
    **{f"fractional Gaussian noise H={h}": _noise(h) for h in (0.3, 0.8)},
    **{f"fractional Brownian surface H={h}": _surface(h) for h in (0.3, 0.7)},
    "multifractal random walk 0.3": _cumulants,
    **{
        f"weierstrass b={b:g}, H={h}": _weierstrass(h, b)
        for b in (2.0, 2.7)
        for h in (0.3, 0.5, 0.8)
    },
    **{f"tent 1.9, discount {g}": _tent_return(g) for g in (0.5, 0.7, 0.8, 0.9)},
    "clipped 2, discount 0.9": _clipped,
}
