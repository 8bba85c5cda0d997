"""Hölder exponents at several points, each on its own."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fracjax._types import Estimate, Key, Objective, PyTree
from fracjax.estimators.roughness.lines import LineSampler, choose_scales
from fracjax.estimators.roughness.orders import exponents_of_outputs
from fracjax.evaluation import cache_chunk_size

__all__ = ["local_holder_exponents"]

_QUANTILES = (0.1, 0.5, 0.9)


def local_holder_exponents(
    objective: Objective,
    centres: PyTree,
    key: Key,
    *,
    radius: float = 0.0,
    largest_scale: float | None = None,
    smallest_scale: float | None = None,
    num_directions: int = 32,
    points_per_line: int = 40,
    measure_noise: bool = True,
    max_order: int = 3,
    chunk_size: int | None = None,
) -> Estimate:
    """Estimate the Hölder exponent of `objective(params, key)` at each of several points.

    `holder_exponent` reports one exponent of a whole neighbourhood, which is that of its
    roughest part that is not rare. A function can be smooth almost everywhere and rough at
    single points, or of an exponent that varies; then look at points one by one. With
    `radius=0` lines pass through the point itself and only the change from level to level
    counts, because lags along such a line do not follow the exponent. The error there comes
    from the scatter of the levels around their power law (and of directions, if the
    parameters have more than one dimension): the interval is wider than for a
    neighbourhood, and for random functions it does not cover the exponent of the law, as
    the fluctuations of a single point do not average out. Nor need it cover where local
    slopes oscillate with the scale: the kink of a clipped linear map, .1520 by theory with
    slopes of .14 to .16, reads .153 over seven decades and .155 ± .001 over five.

    Args:
        objective: Pure function of parameters and key, returning a scalar or an array.
        centres: Parameters of all points, stacked along a leading axis of every leaf.
        key: Seeds directions; they and the objective's key are the same for all points.
        radius: Spread of the lines' centres around each point; 0 for the point itself.
        largest_scale: As for `holder_exponent`, from the typical size of all parameters.
        smallest_scale: As for `holder_exponent`.
        num_directions: Lines at each point, at least 8.
        points_per_line: Points on each line and level.
        measure_noise: Whether to measure the rounding noise at each point.
        max_order: 3, or 2 to do without third differences.
        chunk_size: Points evaluated together on one device.

    Returns:
        Exponents of shape (points, *outputs), with `details` as for `holder_exponent` and,
        over the points that gave a number, `minimum` and `quantiles` (10, 50 and 90 %), each
        of the outputs' shape (quantiles on a leading axis). The minimum of several noisy
        numbers is too small on average; compare it with its interval.

    Raises:
        ValueError: If the leaves of `centres` have no common leading axis, or as for
            `holder_exponent`.
    """
    centres = jax.tree.map(jnp.asarray, centres)
    leaves = jax.tree.leaves(centres)
    counts = {leaf.shape[:1] for leaf in leaves}
    if len(counts) != 1 or counts == {()} or counts == {(0,)}:
        msg = "Argument `centres` must hold arrays with one common leading axis, not empty."
        raise ValueError(msg)
    if not all(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in leaves):
        msg = "Argument `centres` must hold floating arrays only."
        raise ValueError(msg)
    largest, smallest = choose_scales(centres, largest_scale, smallest_scale)
    values, noises, spacings = [], [], np.zeros(0)
    for index in range(len(leaves[0])):
        params = jax.tree.map(lambda leaf, index=index: leaf[index], centres)
        sampler = LineSampler(
            objective,
            params,
            key,
            num_directions=num_directions,
            radius=float(radius),
            chunk_size=chunk_size or cache_chunk_size(params),
        )
        lines = sampler.ladder(largest, smallest, points_per_line=points_per_line)
        values.append(lines.values)
        spacings = lines.spacings
        noises.append(
            sampler.noise_variance(spacings) if measure_noise else np.zeros(lines.values.shape[3:])
        )
    result = exponents_of_outputs(
        np.stack(values, axis=3),
        spacings,
        noise_variance=np.stack(noises),
        pointwise=radius == 0,
        max_order=max_order,
    )
    numbers = np.asarray(result.value, float)
    found = np.isfinite(numbers).any(axis=0)
    filled = np.where(found, numbers, 0.0)
    quantiles = np.nanquantile(filled, _QUANTILES, axis=0, method="inverted_cdf")
    summary: dict[str, Any] = {
        "minimum": np.where(found, np.nanmin(filled, axis=0), np.nan),
        "quantiles": np.where(found, quantiles, np.nan),
    }
    return dataclasses.replace(result, details={**result.details, **summary})
