"""Hölder exponents of objectives over parameters."""

import functools
from collections.abc import Callable
from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np

from fracjax._types import Estimate, Key, Objective, PyTree
from fracjax.estimators.roughness.from_lines import MIN_DIRECTIONS, Interval
from fracjax.estimators.roughness.given_directions import stack_directions, with_directions
from fracjax.estimators.roughness.lines import LineSampler, choose_scales
from fracjax.estimators.roughness.orders import exponents_of_outputs
from fracjax.estimators.roughness.perturbation import perturbation_exponent
from fracjax.evaluation import cache_chunk_size

__all__ = ["holder_exponent"]

Method = Literal["gls", "paper"]


def holder_exponent(
    objective: Objective,
    params: PyTree,
    key: Key,
    *,
    method: Method = "gls",
    largest_scale: float | None = None,
    smallest_scale: float | None = None,
    radius: float | None = None,
    directions: Literal["random", "axes"] | PyTree = "random",
    num_directions: int = 32,
    points_per_line: int = 40,
    num_replicates: int = 1,
    common_random_numbers: bool = True,
    num_samples: int = 64,
    num_scales: int = 12,
    measure_noise: bool = True,
    noise_variance: float | None = None,
    interval: Interval = "jackknife",
    max_order: int = 3,
    chunk_size: int | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> Estimate:
    """Estimate the Hölder exponent of `objective(params, key)` around `params`.

    An exponent below 1 means that differences shrink more slowly than the step, so that
    no gradient exists there to be estimated.

    `method="gls"` samples second differences along `num_directions` random lines around
    random centres within `radius`, at a ladder of spacings, and fits by generalised least
    squares (`exponent_from_lines`, which says how scales are chosen, what the interval
    covers and what was measured). The estimand is the exponent of the neighbourhood; with
    `radius=0` it is the exponent at the point itself (see also
    `local_holder_exponents`). Where second differences read more than 1.5, third
    differences take over, if they stand clear of the noise: they see up to 3. Where second
    differences drown in rounding (an objective that is linear to rounding) first differences
    are used, and the cap is 1. `details["at_cap"]` says that the value is a bound: "smooth:
    at least `details["order"]`".

    `method="paper"` is the estimator of Wang, Herbert and Gao (`perturbation_exponent`):
    one centre, Gaussian perturbations; kept for comparison. Its scatter from centre to
    centre (standard deviation .05 to .14) does not shrink with the number of samples
    and is not in its interval.

    A random direction in a landscape that is rough along some axes reads the roughest of
    them. To tell axes apart pass `directions`.

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
        directions: `"random"`, `"axes"` (one direction per parameter, for few parameters)
            or directions stacked along a leading axis of a pytree like `params`. Given
            directions share the lines evenly, at least 8 each, and `details` then
            compares them.
        num_directions: Lines ("gls"), at least 8.
        points_per_line: Points on each line and level ("gls"), more than 32.
        num_replicates: Evaluations of every point with independent keys ("gls"). With two or
            more the exponent is that of the mean objective: products of increments from
            different replicates are free of the noise. Cost grows in proportion.
        common_random_numbers: Whether a replicate sees one key at all points. It makes the
            noise of neighbouring points cancel where the objective is continuous in the
            parameters at a fixed key, and is harmless otherwise.
        num_samples: Perturbations per scale ("paper").
        num_scales: Scales of the ladder ("paper").
        measure_noise: Whether to measure the rounding noise and leave out scales below
            it ("gls"); it compiles the objective a second time.
        noise_variance: Variance of white noise in one value, where it is known exactly: it
            is then subtracted and nothing is measured.
        interval: `"jackknife"` or `"bootstrap"`, see `exponent_from_lines`.
        max_order: 3, or 2 to do without third differences.
        chunk_size: Points evaluated together on one device; chosen from the size of
            `params` if not given.
        on_progress: Called with the number of points evaluated so far.

    Returns:
        Exponent (dimensionless) with a 95 % interval. `details` as documented by
        `exponent_from_lines` or `perturbation_exponent`, `order` of the differences, and with
        given directions `direction_exponents`, `direction_stderrs` and `direction_statuses`
        (trailing axis of directions); `homogeneity_p_value`, `direction_spread`,
        `minimum_exponent`, `minimum_stderr` and `minimum_direction` then compare these.

    Raises:
        ValueError: If an argument is out of range.

    References:
        Wang, Herbert and Gao (2023), Fractal Landscapes in Policy Optimization,
        arXiv 2310.15418.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from fracjax import estimators
        >>> def cusp(params, key):
        ...     return jnp.sqrt(jnp.abs(params["w"])).sum()
        >>> params = {"w": jnp.zeros(3)}
        >>> exponent = estimators.holder_exponent(
        ...     cusp, params, jax.random.key(0), radius=0.0, largest_scale=0.1
        ... )
        >>> f"{exponent.value:.2f}"
        '0.50'
    """
    if method not in get_args(Method):
        msg = f"Argument `method` must be one of {get_args(Method)}, but is {method!r}."
        raise ValueError(msg)
    params = _floating(params)
    largest, smallest = choose_scales(params, largest_scale, smallest_scale)
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
    if num_replicates < 1:
        msg = f"Argument `num_replicates` must be positive, but is {num_replicates}."
        raise ValueError(msg)
    given = stack_directions(params, directions)
    num_given = 1 if given is None else len(jax.tree.leaves(given)[0])
    lines_each = num_directions // num_given
    if given is not None and lines_each < MIN_DIRECTIONS:
        msg = (
            f"Argument `num_directions` must be at least {MIN_DIRECTIONS} for each of the"
            f" {num_given} given directions, but is {num_directions}."
        )
        raise ValueError(msg)
    sampler = LineSampler(
        objective,
        params,
        key,
        num_directions=lines_each * num_given,
        radius=largest if radius is None else float(radius),
        chunk_size=chunk_size,
        given=given,
    )
    lines = sampler.ladder(
        largest,
        smallest,
        points_per_line=points_per_line,
        num_replicates=num_replicates,
        common_random_numbers=common_random_numbers,
        on_progress=on_progress,
    )
    noise: float | np.ndarray = 0.0
    if noise_variance is not None:
        noise = noise_variance
    elif measure_noise:
        noise = sampler.noise_variance(lines.spacings)
    estimate = functools.partial(
        exponents_of_outputs,
        spacings=lines.spacings,
        noise_is_known=noise_variance is not None,
        pointwise=sampler.radius == 0,
        interval=interval,
        max_order=max_order,
        replicated=num_replicates > 1,
    )
    pooled = estimate(lines.values, noise_variance=noise)
    if given is None:
        return pooled
    shape = lines.values.shape
    grouped = lines.values.reshape((lines_each, num_given, *shape[1:]))
    grouped = np.moveaxis(grouped, 1, 4 if num_replicates > 1 else 3)
    outputs = shape[4:] if num_replicates > 1 else shape[3:]
    every = estimate(grouped, noise_variance=np.broadcast_to(noise, (num_given, *outputs)))
    return with_directions(pooled, every)


def _floating(params: PyTree) -> PyTree:
    """Parameters as arrays, all of them floating."""
    params = jax.tree.map(jnp.asarray, params)
    leaves = jax.tree.leaves(params)
    if not leaves or not all(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in leaves):
        msg = "Argument `params` must hold floating arrays only."
        raise ValueError(msg)
    return params
