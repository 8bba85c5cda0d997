"""Hölder exponent from the variance under Gaussian perturbations: the published estimator."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from fracjax import directions
from fracjax._types import Estimate, Key, Objective, PyTree, Status
from fracjax.evaluation import map_combinations

__all__ = ["perturbation_exponent"]

_MIN_SCALES = 3


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
        msg = f"Argument `scales` must be at least {_MIN_SCALES} positive numbers, but is {scales}."
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
