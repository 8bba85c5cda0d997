"""Dimension of a path from the length of its minimum spanning trees (persistent homology H0)."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from fracjax._types import Estimate, Key, Status
from fracjax.estimators.diffusion.displacements import checked_path

__all__ = ["persistent_homology_dimension", "spanning_tree_length", "total_persistence"]

_SIZES = tuple(range(200, 951, 50))


def _distances(points: Float[Array, "n m"]) -> Float[Array, "n n"]:
    """Distances between all points; in float32 close pairs far from the mean lose digits."""
    centred = points - points.mean(axis=0)
    squares = jnp.sum(centred**2, axis=1)
    between = squares[:, None] + squares - 2 * centred @ centred.T
    return jnp.sqrt(jnp.maximum(between, 0))


def _prim(distances: Float[Array, "n n"], kept: Bool[Array, " n"]) -> Float[Array, ""]:
    """Length of the minimum spanning tree of the kept points, by Prim's algorithm."""
    count = len(distances)
    reach = jnp.where(kept, distances[jnp.argmax(kept)], jnp.inf)
    reach = reach.at[jnp.argmax(kept)].set(jnp.inf)
    outside = kept.at[jnp.argmax(kept)].set(False)

    def add(_: int | Array, state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        total, reach, outside = state
        near = jnp.where(outside, reach, jnp.inf)
        chosen = jnp.argmin(near)
        some = outside.any()
        total = total + jnp.where(some, near[chosen], 0)
        return total, jnp.minimum(reach, distances[chosen]), outside.at[chosen].set(False)

    start = (jnp.zeros((), distances.dtype), reach, outside)
    return jnp.asarray(jax.lax.fori_loop(0, count - 1, add, start)[0])


def spanning_tree_length(
    points: Float[Array | np.ndarray, "n m"] | Float[Array | np.ndarray, " n"],
) -> Float[Array, ""]:
    """Length of the Euclidean minimum spanning tree: the sum of finite H0 lifetimes.

    O(n²) time and memory. NaN where a point is not finite.

    Args:
        points: (n, m), at least two.
    """
    points = checked_path(points, 2)
    length = _prim(_distances(points), jnp.ones(len(points), bool))
    return jnp.where(jnp.isfinite(points).all(), length, jnp.nan)


def total_persistence(points: Float[Array | np.ndarray, "n m"]) -> float:
    """Sum of the finite H0 lifetimes by GUDHI, on the host: a check of `spanning_tree_length`.

    Args:
        points: (n, m).

    Raises:
        ImportError: If GUDHI is missing; the extra `topology` brings it.
    """
    try:
        import gudhi
    except ImportError as error:
        msg = "Persistent homology needs GUDHI: pip install 'fracjax[topology]'."
        raise ImportError(msg) from error
    table = np.asarray(points, float)
    distances = np.sqrt(((table[:, None] - table) ** 2).sum(axis=2))
    tree = gudhi.RipsComplex(distance_matrix=distances).create_simplex_tree(max_dimension=1)
    tree.compute_persistence(homology_coeff_field=2, persistence_dim_max=False)
    lifetimes = tree.persistence_intervals_in_dimension(0)
    deaths = lifetimes[:, 1]
    return float(deaths[np.isfinite(deaths)].sum())


def persistent_homology_dimension(
    points: Float[Array | np.ndarray, "n m"] | Float[Array | np.ndarray, " n"],
    key: Key,
    *,
    sizes: Sequence[int] | None = None,
    num_repeats: int = 4,
) -> Estimate:
    """Estimate the H0 dimension of points from the growth of their minimum spanning trees.

    E(k) ~ k^{1 - 1/D} for the tree's length of k random points of a set of dimension D, so that
    D = 1/(1 - m) with m the slope of ln E on ln k. Birdal et al. take the last 1000 iterates, sizes
    200, 250, …, 950 and draw each once without replacement; here every size is drawn
    `num_repeats` times.

    Computed for this project, 1000 points: uniform cubes of dimension 1, 2, 3 and 5 read 1.00 to
    1.01, 1.96 to 2.00, 2.76 to 2.94 and 4.5 to 4.8; Brownian paths in 2 and 50 dimensions (law: 2)
    1.77 to 1.80 and 2.21 to 2.28; isotropic stable paths of index 1.5 in 50 dimensions, anything
    from 1.0 to 1.8. The error is that of the fit alone: it does not see that all subsamples are of
    the same points, and is too small. Take the spread between runs (`average_over_runs`).

    For a path this is a number about the cloud of its last iterates at those scales, not a bound on
    generalisation: Tan et al. (2024) show how it is confounded by learning rate and batch size.

    Args:
        points: Iterates, (n, m); the order does not matter.
        key: Draws the subsamples.
        sizes: Numbers of points; 20 % to 95 % of n in steps of 5 % by default, the published ones
            for n = 1000.
        num_repeats: Subsamples per size, at least 2.

    Returns:
        The dimension with a 95 % interval. `details`: `sizes`, `lengths` (repeats, sizes), `slope`.
        Status DIVERGED for points that are not finite, AT_NOISE_FLOOR where all are one,
        NO_SCALING_REGION where the slope is not below 1 (no dimension).

    Raises:
        ValueError: If a size exceeds the number of points.

    References:
        Birdal, Lou, Guibas and Simsekli (2021), https://arxiv.org/abs/2111.13171.
        Tan, Garcia-Redondo, Wang, Bronstein and Monod (2024), https://arxiv.org/abs/2406.02234.
    """
    points = checked_path(points, 20)
    count = len(points)
    if sizes is None:
        sizes = [max(2, count * share // 1000) for share in _SIZES]
    if not all(2 <= size <= count for size in sizes) or len(set(sizes)) < 3:
        msg = (
            f"Argument `sizes` must be at least 3 numbers between 2 and {count}, but is"
            f" {tuple(sizes)}."
        )
        raise ValueError(msg)
    if num_repeats < 2:
        msg = f"Argument `num_repeats` must be at least 2, but is {num_repeats}."
        raise ValueError(msg)
    finite = jnp.isfinite(points).all()
    clean = jnp.where(jnp.isfinite(points), points, 0)
    distances = _distances(clean)
    order = jax.vmap(lambda k: jax.random.permutation(k, count))(
        jax.random.split(key, num_repeats * len(sizes))
    )
    limits = jnp.tile(jnp.asarray(list(sizes)), num_repeats)
    lengths = jax.vmap(lambda kept: _prim(distances, kept))(order < limits[:, None])
    lengths = lengths.reshape(num_repeats, len(sizes))
    spread = (lengths > 0).all()
    logs = jnp.log(jnp.where(spread, lengths, 1))
    centred = np.log(sizes) - np.log(sizes).mean()
    weights = jnp.asarray(centred / (centred @ centred), points.dtype)
    slope = weights @ logs.mean(axis=0)
    residual = logs - logs.mean() - slope * jnp.asarray(centred, points.dtype)
    freedom = residual.size - 2
    error = jnp.sqrt(jnp.sum(residual**2) / freedom * jnp.sum(weights**2) / num_repeats)
    growing = slope < 1
    safe = jnp.where(growing, 1 - slope, 1)
    dimension, stderr = 1 / safe, error / safe**2
    blank = jnp.where(finite & spread & growing, 0, jnp.nan).astype(points.dtype)
    upper = safe - 1.96 * error
    status = jnp.select(
        [~finite, ~spread, ~growing],
        [int(Status.DIVERGED), int(Status.AT_NOISE_FLOOR), int(Status.NO_SCALING_REGION)],
        int(Status.OK),
    )
    return Estimate(
        value=dimension + blank,
        stderr=stderr + blank,
        low=1 / (safe + 1.96 * error) + blank,
        high=jnp.where(upper > 0, 1 / jnp.where(upper > 0, upper, 1), jnp.inf) + blank,
        status=status,
        details={"sizes": jnp.asarray(list(sizes)), "lengths": lengths, "slope": slope},
    )
