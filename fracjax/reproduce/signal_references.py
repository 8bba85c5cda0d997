"""Recompute exponents and dimensions of signals and objectives whose answers are known."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from fracjax._types import Estimate, Key
from fracjax.estimators.holder import holder_exponent
from fracjax.estimators.series import series_holder_exponent
from fracjax.systems import maps, mdps, signals

__all__ = ["SIGNALS"]

Measure = Callable[[Key, bool], dict[str, tuple[np.ndarray, np.ndarray]]]


def _brownian(hurst: float) -> Measure:
    """Mean over independent series of the exponent of each."""

    def measure(key: Key, quick: bool) -> dict:
        keys = jax.random.split(key, 16 if quick else 64)

        def one(key: Key) -> Estimate:
            path = signals.fractional_brownian_motion(key, hurst, 4096)
            return series_holder_exponent(path)

        found = np.asarray(jax.jit(jax.vmap(one))(keys).value)
        error = found.std(ddof=1) / len(found) ** 0.5
        return {"hölder": (np.asarray(found.mean()), np.asarray(error))}

    return measure


def _weierstrass(hurst: float, base: float) -> Measure:
    """Exponent of a rough landscape of three parameters."""

    def measure(key: Key, quick: bool) -> dict:
        landscape, lines = jax.random.split(key)
        objective = signals.weierstrass_field(landscape, hurst, base=base)
        params = jnp.full(3, 0.3)
        count = 16 if quick else 64
        return _found(holder_exponent(objective, params, lines, num_directions=count))

    return measure


def _tent_return(discount: float) -> Measure:
    def measure(key: Key, quick: bool) -> dict:
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
        return _found(estimate)

    return measure


def _clipped(key: Key, quick: bool) -> dict:
    estimate = holder_exponent(
        lambda start, _: mdps.clipped_value(jnp.abs(start), 2.0, 0.9),
        jnp.array(1e-6),
        key,
        radius=0.0,
        largest_scale=1e-2,
        smallest_scale=1e-9,
        num_directions=16 if quick else 32,
    )
    return _found(estimate)


def _found(estimate: Estimate) -> dict:
    return {"hölder": (np.asarray(estimate.value), np.asarray(estimate.stderr))}


SIGNALS: dict[str, Measure] = {
    **{f"fractional Brownian motion H={h}": _brownian(h) for h in (0.1, 0.3, 0.5, 0.7, 0.9)},
    **{
        f"weierstrass b={b:g}, H={h}": _weierstrass(h, b)
        for b in (2.0, 2.7)
        for h in (0.3, 0.5, 0.8)
    },
    **{f"tent 1.9, discount {g}": _tent_return(g) for g in (0.5, 0.7, 0.8, 0.9)},
    "clipped 2, discount 0.9": _clipped,
}
