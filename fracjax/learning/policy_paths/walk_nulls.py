"""Random walks to hold a path against: drawn from its own Gram matrix, with bands.

Only the Gram matrix of a walk matters, and that of m-dimensional Gaussian steps is drawn
without drawing m numbers per step: by the triangular factor of a Wishart matrix (Bartlett).
"""

import dataclasses
import functools
from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from fracjax._types import Key, Leaf
from fracjax.estimators.settings import check_at_least, check_choice
from fracjax.learning.policy_paths.batching import in_float64
from fracjax.learning.policy_paths.path_gram import (
    Centering,
    PathGram,
    joined,
    path_gram,
)
from fracjax.learning.policy_paths.temporal_svd import SHARES, summarise_gram

__all__ = ["Band", "Walk", "WalkNull", "draw_walk", "walk_null"]

Walk = Literal["drifting", "free", "shuffled"]
_TAIL = 0.025
_BANDED = ("information", "dimensionality", "courses", "detour", "final")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Band:
    """Where a number lies under the null: `low` to `high` pointwise, and the median."""

    low: Leaf
    median: Leaf
    high: Leaf

    def departs(self, value: Array) -> Array:
        """Whether values lie outside of the band."""
        return (value < self.low) | (value > self.high)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class WalkNull:
    """Bands of a random walk for the fields of `TemporalSvd` of the same name.

    Attributes:
        information: Band of a_k.
        dimensionality: Band of D(β), for the same β.
        courses: Band of the time courses.
        detour: Band of their detours.
        final: Band of their final changes.
        level: Probability that a number of the null falls into its band.
        walk: Which null it is.
    """

    information: Band
    dimensionality: Band
    courses: Band
    detour: Band
    final: Band
    level: float = dataclasses.field(metadata={"static": True})
    walk: Walk = dataclasses.field(metadata={"static": True})


def walk_null(
    path: Float[Array | np.ndarray, "n m"] | PathGram,
    key: Key,
    *,
    walk: Walk = "drifting",
    center: Centering = "mean",
    num_directions: int = 8,
    shares: tuple[float, ...] = SHARES,
    num_draws: int = 39,
) -> WalkNull:
    """Draw random walks like a path, and give the bands of all that `temporal_svd` returns.

    Every walk starts at θ_1 (its norm is what uncentred numbers read), takes steps in all
    parameters alike, and is

    - `"free"`: steps of the path's own lengths, in random directions. Nothing is kept of where
      the path went.
    - `"drifting"`: the same, conditional on the net displacement θ_n - θ_1 and its angle to
      θ_1: a drift in proportion to the length of each step plus a Brownian bridge with the rest
      of it. What departs from it is more than a walk with a drift.
    - `"shuffled"`: the path's own steps in random order: an exact test, in any number of
      parameters and for steps of any distribution, of whether the order matters. Lengths lose
      their order as well, so that a schedule of the learning rate departs from it.

    The band of 39 draws goes from the smallest to the largest, and holds 95 % of the null's
    values exactly: numbers of path and draws are exchangeable ("shuffled") or nearly so. It is
    pointwise: of twenty numbers one falls outside. Tested on 200 walks of 24 steps in 300
    dimensions: no number falls outside more often than 10 %, and detours on average at least
    2 %; D(β) is discrete and falls outside less often.

    "free" and "drifting" say isotropic. Steps of a network are not: gradients live in few
    directions, so that D(β) below the band is expected of any training. "shuffled" knows the
    directions, and is the one to depart from.

    Args:
        path: Snapshots, one per row, or their `path_gram` (in float64).
        key: Draws the walks.
        walk: Which null.
        center: As in `temporal_svd`.
        num_directions: As in `temporal_svd`.
        shares: As in `temporal_svd`.
        num_draws: Walks; each costs an eigendecomposition of n × n.

    Returns:
        `WalkNull`; NaN for a path that is not finite.

    Raises:
        ValueError: If a setting is out of range.
    """
    check_choice("walk", walk, get_args(Walk))
    check_choice("center", center, get_args(Centering))
    check_at_least(num_directions=(num_directions, 1), num_draws=(num_draws, 3))
    gram = path if isinstance(path, PathGram) else path_gram(path)
    if gram.precision != "float64":
        msg = f"Argument `path` must be a Gram matrix in float64, but has {gram.precision}."
        raise ValueError(msg)
    rank = min(gram.parts.shape[-1] - (center != "none"), gram.num_parameters)
    cut = max(int(_TAIL * (num_draws + 1)), 1)
    settings = (center, rank, min(num_directions, rank), tuple(shares))
    # One program for all layers of many parameters, whose number only scales the draws.
    many = gram.num_parameters > 2 * gram.parts.shape[-1] or walk == "shuffled"
    few = None if many else gram.num_parameters
    size = jnp.asarray(gram.num_parameters, gram.parts.dtype)
    found = _draw_bands(gram.parts, key, size, few, walk, num_draws, cut, *settings)
    found = jax.tree.map(lambda part: jnp.where(gram.finite, part, jnp.nan), found)
    bands = {name: Band(*parts) for name, parts in found.items()}
    return WalkNull(**bands, level=1 - 2 * cut / (num_draws + 1), walk=walk)


@functools.partial(jax.jit, static_argnums=tuple(range(3, 11)))
def _draw_bands(
    parts: Array,
    key: Key,
    size: Array,
    few: int | None,
    walk: Walk,
    num_draws: int,
    cut: int,
    center: Centering,
    rank: int,
    num_directions: int,
    shares: tuple[float, ...],
) -> dict[str, tuple[Array, Array, Array]]:
    dtype = parts.dtype

    def compute(parts: Array, key: Key, size: Array) -> dict[str, tuple[Array, Array, Array]]:
        own = joined(parts)
        number = size.astype(jnp.float64) if few is None else few

        def draw(key: Key) -> dict[str, Array]:
            return summarise_gram(
                draw_walk(own, key, walk=walk, num_parameters=number),
                center=center,
                rank=rank,
                num_directions=num_directions,
                shares=shares,
            )

        drawn = jax.lax.map(draw, jax.random.split(key, num_draws))
        return {name: _band(drawn[name].astype(dtype), cut) for name in _BANDED}

    return in_float64(compute)(parts, key, size)


def draw_walk(
    gram: Float[Array, "n n"], key: Key, *, walk: Walk, num_parameters: int | Array
) -> Float[Array, "n n"]:
    """Draw the matrix of a `PathGram` of a random walk, given that of a path, in its dtype."""
    start, cross = gram[0, 0], jnp.diff(gram[0].at[0].set(0))
    moved = gram.at[0].set(0).at[:, 0].set(0)
    products = jnp.diff(jnp.diff(moved, axis=0), axis=1)
    if walk == "shuffled":
        order = jax.random.permutation(key, products.shape[0])
        return _from_steps(start, cross[order], products[order][:, order])
    lengths = jnp.sqrt(jnp.maximum(jnp.diagonal(products), 0))
    noise = lengths[:, None] * _isotropic(key, lengths.size, num_parameters, gram.dtype)
    radius = jnp.sqrt(start)
    if walk == "drifting":
        # Coordinates: along θ_1, along the rest of the displacement, and the others.
        net = jnp.sqrt(jnp.maximum(moved[-1, -1], 0))
        along = jnp.where(radius > 0, gram[0, -1] / jnp.where(radius > 0, radius, 1), 0)
        across = jnp.sqrt(jnp.maximum(net**2 - along**2, 0))
        total, squares = lengths.sum(), (lengths**2).sum()
        scale = 1 - (lengths**4).sum() / squares**2
        scale = jnp.sqrt(jnp.maximum(1 - (net / total) ** 2, 0) / jnp.where(scale > 0, scale, 1))
        noise = scale * (noise - (lengths**2 / squares)[:, None] * noise.sum(axis=0))
        drift = (lengths / total)[:, None] * jnp.stack([along, across])
        noise = noise.at[:, :2].add(drift)
    return _from_steps(start, radius * noise[:, 0], noise @ noise.T)


def _isotropic(key: Key, number: int, size: int | Array, dtype: DTypeLike) -> Float[Array, "t k"]:
    """Draw Gaussian steps of mean square length 1 in `size` dimensions, up to a rotation.

    The first two coordinates are what they are; the others are rotated into as few as there are
    steps.
    """
    # In float32, as JAX builds some generators later, where there may be no float64.
    if isinstance(size, int) and size <= 2 * number + 2:
        drawn = jax.random.normal(key, (number, max(size, 2)), jnp.float32)
        return drawn.astype(dtype) / jnp.sqrt(size)
    drawn = jax.random.normal(key, (number, number + 2), jnp.float32).astype(dtype)
    # On the diagonal stand roots of χ² with more degrees of freedom than there are steps, by Wilson
    # and Hilferty's cube: quantiles from .001 to .999 are right to .13 % from 50 degrees on.
    degrees = size - 2 - jnp.arange(number, dtype=dtype)
    cube = 1 - 2 / (9 * degrees) + jnp.diagonal(drawn[:, 2:]) * jnp.sqrt(2 / (9 * degrees))
    lengths = jnp.sqrt(degrees * jnp.maximum(cube, 0) ** 3)
    others = jnp.tril(drawn[:, 2:], -1) + jnp.diag(lengths)
    return jnp.concatenate([drawn[:, :2], others], axis=1) / jnp.sqrt(size)


def _from_steps(start: Array, cross: Array, products: Array) -> Array:
    """Build the matrix of a `PathGram` from inner products of steps."""
    moved = jnp.cumsum(jnp.cumsum(products, axis=0), axis=1)
    aside = jnp.cumsum(cross)
    first = jnp.concatenate([start[None], aside])
    rest = jnp.concatenate([aside[:, None], moved], axis=1)
    return jnp.concatenate([first[None], rest])


def _band(drawn: Array, cut: int) -> tuple[Array, Array, Array]:
    ordered = jnp.sort(drawn, axis=0)
    number = ordered.shape[0]
    return ordered[cut - 1], ordered[number // 2], ordered[number - cut]
