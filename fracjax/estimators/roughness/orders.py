"""Exponents of sampled outputs by first, second or third differences, whichever fits."""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from fracjax._types import Estimate, Status
from fracjax.estimators.roughness.from_lines import Interval, exponent_from_lines

__all__ = ["exponents_of_outputs"]

_SMOOTH = 1.5


# Small arrays and many operations: compiling takes seconds and running milliseconds, so
# that the program is compiled without optimisation, in half the time.
@functools.partial(
    jax.jit,
    static_argnames=("order", "pointwise", "noise_is_known", "interval"),
    compiler_options={"xla_backend_optimization_level": 0},
)
def _exponents(
    values: Array,
    spacings: Array,
    noise: Array,
    *,
    order: int,
    pointwise: bool,
    noise_is_known: bool,
    interval: Interval,
) -> Estimate:
    def estimate(values: Array, noise: Array) -> Estimate:
        return exponent_from_lines(
            values,
            spacings,
            noise_variance=noise,
            noise_is_known=noise_is_known,
            order=order,
            pointwise=pointwise,
            interval=interval,
        )

    return jax.vmap(estimate)(values, noise)


def exponents_of_outputs(
    values: np.ndarray,
    spacings: np.ndarray,
    *,
    noise_variance: float | np.ndarray = 0.0,
    noise_is_known: bool = False,
    pointwise: bool = False,
    interval: Interval = "jackknife",
    max_order: int = 2,
    replicated: bool = False,
) -> Estimate:
    """Exponent of every output of a sampled objective, by differences of fitting order.

    Second differences first; first differences for outputs whose second differences drown in
    noise; third differences, with `max_order=3`, for outputs that read more than 1.5.

    Args:
        values: Array (directions, levels, points, *outputs), with an axis of replicates after
            the points if `replicated`.
        spacings: Spacing per level.
        noise_variance: Variance of one value, a number or one per output.
        noise_is_known: Whether that is exact rather than a bound.
        pointwise: Whether all lines share one centre.
        interval: `"jackknife"` or `"bootstrap"`.
        max_order: 2 or 3.
        replicated: Whether there is an axis of replicates.

    Returns:
        Estimates of shape `outputs`; `details["order"]` says which differences were used.

    Raises:
        ValueError: If `max_order` is neither 2 nor 3.
    """
    if max_order not in (2, 3):
        msg = f"Argument `max_order` must be 2 or 3, but is {max_order}."
        raise ValueError(msg)
    kept = 4 if replicated else 3
    outputs = values.shape[kept:]
    flat = values.reshape((*values.shape[:kept], math.prod(outputs)))
    stacked = jnp.moveaxis(jnp.asarray(flat), -1, 0)
    noise = jnp.broadcast_to(jnp.asarray(noise_variance, stacked.dtype).reshape(-1), len(stacked))
    steps = jnp.asarray(spacings, stacked.dtype)

    def by(order: int) -> Estimate:
        return _exponents(
            stacked,
            steps,
            noise,
            order=order,
            pointwise=pointwise,
            noise_is_known=noise_is_known,
            interval=interval,
        )

    result, orders = by(2), jnp.full(len(stacked), 2)
    silent = result.status == Status.AT_NOISE_FLOOR
    if bool(silent.any()):
        first = by(1)
        swap = silent & (first.status == Status.OK) & first.details["at_cap"]
        result, orders = _swapped(swap, result, first), jnp.where(swap, 1, orders)
    smooth = (result.status == Status.OK) & (orders == 2) & (result.value > _SMOOTH)
    if max_order == 3 and bool(smooth.any()):
        third = by(3)
        swap = smooth & (third.status == Status.OK) & (third.value > _SMOOTH)
        result, orders = _swapped(swap, result, third), jnp.where(swap, 3, orders)
    shaped = jax.tree.map(lambda leaf: leaf.reshape(outputs + leaf.shape[1:]), result)
    details: dict[str, Any] = {**shaped.details, "order": orders.reshape(outputs)}
    return dataclasses.replace(shaped, details=details)


def _swapped(swap: Array, result: Estimate, other: Estimate) -> Estimate:
    """Take the other estimate where told."""

    def choose(a: Array, b: Array) -> Array:
        return jnp.where(swap.reshape((-1,) + (1,) * (a.ndim - 1)), b, a)

    return jax.tree.map(choose, result, other)
