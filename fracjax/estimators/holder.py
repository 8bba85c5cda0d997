"""Hölder exponents of objectives over parameters."""

import functools
from collections.abc import Callable
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from scipy import stats

from fracjax import directions
from fracjax._types import Estimate, Key, Objective, PyTree, Status
from fracjax.estimators.lines import LineSampler, default_scales
from fracjax.estimators.roughness import LAGS, exponent_from_lines
from fracjax.evaluation import cache_chunk_size, map_combinations

__all__ = ["exponents_of_outputs", "holder_exponent", "perturbation_exponent"]

Method = Literal["gls", "paper"]
_MIN_SCALES = 3


def holder_exponent(
    objective: Objective,
    params: PyTree,
    key: Key,
    *,
    method: Method = "gls",
    largest_scale: float | None = None,
    smallest_scale: float | None = None,
    radius: float | None = None,
    num_directions: int = 32,
    points_per_line: int = 40,
    num_samples: int = 64,
    num_scales: int = 12,
    measure_noise: bool = True,
    chunk_size: int | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> Estimate:
    """Estimate the Hölder exponent of `objective(params, key)` around `params`.

    An exponent below 1 means that differences shrink more slowly than the step, so that
    no gradient exists there to be estimated; 2 is the most that the default can see and
    means "smooth: at least 2".

    `method="gls"` samples second differences along `num_directions` random lines around
    random centres within `radius`, at a ladder of spacings, and fits by generalised least
    squares (`exponent_from_lines`). The estimand is the exponent of the neighbourhood,
    and the interval is calibrated for it; with `radius=0` it is the exponent at the
    point itself. Where second differences drown in the rounding noise (an objective that
    is linear to rounding) first differences are used, and the cap is 1.

    `method="paper"` is the estimator of Wang, Herbert and Gao (`perturbation_exponent`):
    one centre, Gaussian perturbations; kept for comparison. Its scatter from centre to
    centre (standard deviation .05 to .14) does not shrink with the number of samples
    and is not in its interval.

    Scales are root-mean-square changes per parameter.

    Args:
        objective: Pure function of parameters and key, returning a scalar, or an array
            for several objectives at once. It is compiled once per function object.
        params: Pytree of floating arrays. Differences at small scales need float64.
        key: Seeds directions and centres; the objective sees one key everywhere.
        method: `"gls"` or `"paper"`.
        largest_scale: Largest second-difference lag. Default: a tenth of the root mean
            square of the parameters.
        smallest_scale: Smallest spacing. Default: a millionth of that, but at least
            64 units in the last place.
        radius: Spread of the lines' centres. Default: `largest_scale`.
        num_directions: Lines ("gls"), at least 8.
        points_per_line: Points on each line and level ("gls"), more than 32.
        num_samples: Perturbations per scale ("paper").
        num_scales: Scales of the ladder ("paper").
        measure_noise: Whether to measure the rounding noise and leave out scales below
            it ("gls"); it compiles the objective a second time.
        chunk_size: Points evaluated together on one device; chosen from the size of
            `params` if not given.
        on_progress: Called with the number of points evaluated so far.

    Returns:
        Exponent (dimensionless) with a 95 % interval. `details` as documented by
        `exponent_from_lines` or `perturbation_exponent`.

    Raises:
        ValueError: If an argument is out of range.

    References:
        Wang, Herbert and Gao (2023), Fractal Landscapes in Policy Optimization,
        arXiv 2310.15418.
    """
    if method not in get_args(Method):
        msg = f"Argument `method` must be one of {get_args(Method)}, but is {method!r}."
        raise ValueError(msg)
    params = jax.tree.map(jnp.asarray, params)
    leaves = jax.tree.leaves(params)
    if not leaves or not all(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in leaves):
        msg = "Argument `params` must hold floating arrays only."
        raise ValueError(msg)
    largest, smallest = default_scales(params)
    largest = largest if largest_scale is None else float(largest_scale)
    smallest = min(smallest, largest / 256) if smallest_scale is None else float(smallest_scale)
    if not 0 < smallest < largest / max(LAGS):
        msg = (
            f"Argument `smallest_scale` must be positive and below a {max(LAGS)}th of"
            f" `largest_scale`, but they are {smallest:.3g} and {largest:.3g}."
        )
        raise ValueError(msg)
    chunk_size = chunk_size or cache_chunk_size(params)
    if method == "paper":
        return perturbation_exponent(
            objective,
            params,
            key,
            scales=np.geomspace(largest, smallest, num_scales),
            num_samples=num_samples,
            chunk_size=chunk_size,
            on_progress=on_progress,
        )
    sampler = LineSampler(
        objective,
        params,
        key,
        num_directions=num_directions,
        radius=largest if radius is None else float(radius),
        chunk_size=chunk_size,
    )
    lines = sampler.ladder(
        largest, smallest, points_per_line=points_per_line, on_progress=on_progress
    )
    noise = sampler.noise_variance(lines.spacings) if measure_noise else 0.0
    return exponents_of_outputs(
        lines.values, lines.spacings, noise_variance=noise, pointwise=sampler.radius == 0
    )


@functools.partial(jax.jit, static_argnames=("order", "pointwise"))
def _exponents(
    values: Array, spacings: Array, noise: Array, order: int, pointwise: bool
) -> Estimate:
    estimate = functools.partial(exponent_from_lines, order=order, pointwise=pointwise)
    return jax.vmap(lambda v, n: estimate(v, spacings, noise_variance=n))(values, noise)


def exponents_of_outputs(
    values: np.ndarray,
    spacings: np.ndarray,
    *,
    noise_variance: float | np.ndarray = 0.0,
    pointwise: bool = False,
) -> Estimate:
    """Exponent of every output of a sampled objective, by second or first differences.

    Args:
        values: Array (directions, levels, points, *outputs).
        spacings: Spacing per level.
        noise_variance: Variance of one value, a number or one per output.
        pointwise: Whether all lines share one centre.

    Returns:
        Estimates of shape `outputs`; `details["order"]` says which differences were used.
    """
    outputs = values.shape[3:]
    stacked = jnp.moveaxis(jnp.asarray(values.reshape((*values.shape[:3], -1))), -1, 0)
    noise = jnp.broadcast_to(jnp.asarray(noise_variance, stacked.dtype).reshape(-1), len(stacked))
    steps = jnp.asarray(spacings, stacked.dtype)
    second = _exponents(stacked, steps, noise, 2, pointwise)
    result, order = second, jnp.full(len(stacked), 2)
    silent = second.status == Status.AT_NOISE_FLOOR
    if bool(silent.any()):
        first = _exponents(stacked, steps, noise, 1, pointwise)
        swap = silent & (first.status == Status.OK) & first.details["at_cap"]

        def choose(a: Array, b: Array) -> Array:
            return jnp.where(swap.reshape((-1,) + (1,) * (a.ndim - 1)), b, a)

        result = jax.tree.map(choose, second, first)
        order = jnp.where(swap, 1, order)
    shaped = jax.tree.map(lambda leaf: leaf.reshape(outputs + leaf.shape[1:]), result)
    details: dict[str, Any] = {**shaped.details, "order": order.reshape(outputs)}
    return Estimate(shaped.value, shaped.stderr, shaped.low, shaped.high, shaped.status, details)


def perturbation_exponent(
    objective: Objective,
    params: PyTree,
    key: Key,
    *,
    scales: np.ndarray,
    num_samples: int = 64,
    batch_size: int = 64,
    chunk_size: int,
    on_progress: Callable[[int], None] | None = None,
) -> Estimate:
    """Hölder exponent by the variance under Gaussian perturbations of growing size.

    With X ~ N(params, σ² I), Var J(X) ~ σ^{2α}: the least-squares slope of ln Var on
    ln σ is 2α; a slope clearly below 2 is the published sign of a fractal landscape. The
    interval is Student's, from the scatter of the points around the line, and holds for
    this centre and these scales only.

    Args:
        objective: As for `holder_exponent`.
        params: The one centre.
        key: Seeds the perturbations; the objective sees one key everywhere.
        scales: Standard deviations σ, per parameter.
        num_samples: Perturbations per scale.
        batch_size: Perturbations held in memory at a time.
        chunk_size: Points evaluated together on one device.
        on_progress: Called with the number of points evaluated so far.

    Returns:
        Exponent α (half the slope). `details`: `scales`, `variance`, `slope`,
        `local_slopes` (halved), `samples_used` per scale. Scales with zero variance or
        fewer than 8 finite samples are left out; with fewer than 3 scales left the
        status is AT_NOISE_FLOOR, TOO_FEW_POINTS or DIVERGED.

    References:
        Wang, Herbert and Gao (2023), arXiv 2310.15418 (the form of the estimator; their
        ladder and sample sizes are not published).
    """
    scales = np.asarray(scales, float)
    if scales.ndim != 1 or len(scales) < _MIN_SCALES or (scales <= 0).any():
        msg = f"Argument `scales` must be at least {_MIN_SCALES} positive numbers."
        raise ValueError(msg)
    draw_key, objective_key = jax.random.fold_in(key, 0), jax.random.fold_in(key, 1)
    batches = []
    for number, start in enumerate(range(0, len(scales) * num_samples, batch_size)):
        index = np.arange(start, min(start + batch_size, len(scales) * num_samples))
        table = directions.draw(
            "gaussian", jax.random.fold_in(draw_key, number), params, batch_size
        )
        nothing = np.zeros(len(index))
        rows = (index - start, scales[index // num_samples], nothing.astype(int), nothing)
        batches.append(
            map_combinations(objective, params, table, rows, objective_key, chunk_size=chunk_size)
        )
        if on_progress is not None:
            on_progress(int(index[-1]) + 1)
    values = np.concatenate(batches)
    outputs = values.shape[1:]
    flat = values.reshape(len(scales), num_samples, -1).astype(float)
    fits = [_variance_slope(flat[:, :, output], scales) for output in range(flat.shape[2])]
    return jax.tree.map(
        lambda *leaves: jnp.asarray(np.stack(leaves)).reshape(outputs + np.shape(leaves[0])), *fits
    )


def _variance_slope(values: np.ndarray, scales: np.ndarray) -> Estimate:
    """Fit one output; values are (scales, samples)."""
    finite = np.isfinite(values)
    count = finite.sum(axis=1)
    clean = np.where(finite, values, 0.0)
    mean = clean.sum(axis=1) / np.maximum(count, 1)
    squares = np.where(finite, (values - mean[:, None]) ** 2, 0.0).sum(axis=1)
    variance = squares / np.maximum(count - 1, 1)
    kept = (count >= 8) & (variance > 0)
    log_variance = np.log(np.where(kept, variance, np.nan))
    local = np.diff(log_variance) / np.diff(np.log(scales)) / 2
    value = stderr = np.nan
    status = Status.OK
    if kept.sum() < _MIN_SCALES:
        status = Status.DIVERGED if count.sum() == 0 else Status.TOO_FEW_POINTS
        if (count >= 8).sum() >= _MIN_SCALES:
            status = Status.AT_NOISE_FLOOR
        quantile = np.nan
    else:
        fit = stats.linregress(np.log(scales[kept]), log_variance[kept])
        value, stderr = fit.slope / 2, fit.stderr / 2
        quantile = stats.t.ppf(0.975, kept.sum() - 2)
    return Estimate(
        value=jnp.asarray(value),
        stderr=jnp.asarray(stderr),
        low=jnp.asarray(value - quantile * stderr),
        high=jnp.asarray(value + quantile * stderr),
        status=jnp.asarray(int(status)),
        details={
            "scales": scales,
            "variance": variance,
            "slope": np.asarray(2 * value),
            "local_slopes": local,
            "samples_used": count,
        },
    )
