"""Point sets and measures whose generalised dimensions are known.

A self-similar measure is the fixed point of a few similar copies of itself, each with its
own weight. `SelfSimilarMeasure.sample` draws independent points from it and
`SelfSimilarMeasure.dimension` gives D_q.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.optimize import brentq

from fracjax._types import Key

__all__ = [
    "SelfSimilarMeasure",
    "cantor",
    "koch_curve",
    "sierpinski_carpet",
    "sierpinski_triangle",
    "uniform_circle",
    "uniform_cube",
]


@dataclasses.dataclass(frozen=True)
class SelfSimilarMeasure:
    """A measure made of copies of itself: μ = Σ_i weights_i · μ after x → ratio_i R_i x + t_i.

    The copies must not overlap (open set condition), else the dimensions are upper bounds.

    Attributes:
        ratios: Contraction of each copy, inside (0, 1).
        translations: Shift of each copy, one vector each.
        weights: Probability of each copy; they add up to 1.
        angles: Rotation of each copy in radians, in the plane only; none by default.
    """

    ratios: tuple[float, ...]
    translations: tuple[tuple[float, ...], ...]
    weights: tuple[float, ...]
    angles: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        """Refuse what is not a measure."""
        if not all(0 < ratio < 1 for ratio in self.ratios):
            msg = f"Argument `ratios` must lie inside (0, 1), but is {self.ratios}."
            raise ValueError(msg)
        if min(self.weights) <= 0 or not math.isclose(sum(self.weights), 1, abs_tol=1e-9):
            msg = f"Argument `weights` must be positive and add up to 1, but is {self.weights}."
            raise ValueError(msg)
        sizes = {len(self.ratios), len(self.translations), len(self.weights)}
        if len(sizes) > 1:
            msg = (
                f"Argument `weights` must have one entry per copy, but there are {len(self.ratios)}"
                f" ratios, {len(self.translations)} translations and {len(self.weights)} weights."
            )
            raise ValueError(msg)

    def dimension(self, order: float = 0.0) -> float:
        """Generalised dimension D_q of order q: exact, the root D of Σ w_i^q r_i^{(1-q) D} = 1.

        q = 0 is the box-counting dimension (Moran's equation), q = 1 the information
        dimension Σ w ln w / Σ w ln r, q = 2 the correlation dimension.

        References:
            Halsey et al. (1986), https://doi.org/10.1103/PhysRevA.33.1141.
        """
        weights, ratios = np.asarray(self.weights), np.asarray(self.ratios)
        local = np.log(weights) / np.log(ratios)
        low, high = float(local.min()), float(local.max())
        if high - low < 1e-12 or order == math.inf:
            return low
        if order == 1:
            return float((weights * np.log(weights)).sum() / (weights * np.log(ratios)).sum())

        def excess(dimension: float) -> float:
            return float((weights**order * ratios ** ((1 - order) * dimension)).sum() - 1)

        return float(brentq(excess, low, high, xtol=1e-14))

    def sample(self, key: Key, num_points: int) -> Float[Array, "num_points dim"]:
        """Draw independent points by random addresses, as deep as the dtype resolves.

        Unlike a long orbit of the chaos game, the points are independent: errors of an
        estimator between seeds are those of a sample of this size. The default float decides
        the dtype. Cost: one uniform number per point and level (25 levels of a halving map in
        float32).

        Args:
            key: Randomness.
            num_points: How many points.
        """
        dtype = jnp.result_type(float)
        depth = 2 + math.ceil(math.log(float(jnp.finfo(dtype).eps)) / math.log(max(self.ratios)))
        translations = np.asarray(self.translations)
        matrices = np.asarray(self.ratios)[:, None, None] * np.eye(translations.shape[1])
        if self.angles is not None:
            cosine, sine = np.cos(self.angles), np.sin(self.angles)
            turns = np.moveaxis(np.asarray([[cosine, -sine], [sine, cosine]]), 2, 0)
            matrices = matrices @ turns
        edges = jnp.asarray(np.cumsum(self.weights)[:-1], dtype)
        draws = jax.random.uniform(key, (depth, num_points), dtype)
        digits = jnp.searchsorted(edges, draws, side="right")

        def step(points: Array, copy: Array) -> tuple[Array, None]:
            turned = (jnp.asarray(matrices, dtype)[copy] * points[:, None, :]).sum(axis=-1)
            return turned + jnp.asarray(translations, dtype)[copy], None

        start = jnp.zeros((num_points, translations.shape[1]), dtype)
        return jax.lax.scan(step, start, digits)[0]


def cantor(
    ratios: tuple[float, float] = (1 / 3, 1 / 3), weights: tuple[float, float] = (0.5, 0.5)
) -> SelfSimilarMeasure:
    """Make a measure on a Cantor set in [0, 1]: one copy at either end.

    The defaults give the middle-third set, where D_q = ln 2 / ln 3 for all q. Unequal
    weights make a multifractal: with ratios (½, ½) and weights (w, 1-w) it is the binomial
    measure on the whole interval, D_q = log2(w^q + (1-w)^q) / (1-q).

    Raises:
        ValueError: If the copies overlap.
    """
    if sum(ratios) > 1:
        msg = f"Argument `ratios` must add up to at most 1, but is {ratios}."
        raise ValueError(msg)
    return SelfSimilarMeasure(ratios, ((0.0,), (1.0 - ratios[1],)), weights)


def sierpinski_triangle() -> SelfSimilarMeasure:
    """Make the uniform measure on Sierpiński's triangle of side 1: ln 3 / ln 2."""
    corners = ((0.0, 0.0), (0.5, 0.0), (0.25, math.sqrt(3) / 4))
    return SelfSimilarMeasure((0.5,) * 3, corners, (1 / 3,) * 3)


def sierpinski_carpet() -> SelfSimilarMeasure:
    """Make the uniform measure on Sierpiński's carpet in the unit square: ln 8 / ln 3."""
    cells = tuple((i / 3, j / 3) for i in range(3) for j in range(3) if (i, j) != (1, 1))
    return SelfSimilarMeasure((1 / 3,) * 8, cells, (1 / 8,) * 8)


def koch_curve() -> SelfSimilarMeasure:
    """Make the uniform measure on Koch's curve from (0, 0) to (1, 0): ln 4 / ln 3."""
    turn, height = math.pi / 3, math.sqrt(3) / 6
    starts = ((0.0, 0.0), (1 / 3, 0.0), (0.5, height), (2 / 3, 0.0))
    return SelfSimilarMeasure((1 / 3,) * 4, starts, (0.25,) * 4, (0.0, turn, -turn, 0.0))


def uniform_circle(key: Key, num_points: int) -> Float[Array, "num_points 2"]:
    """Draw points uniformly on the unit circle: dimension 1 of every order."""
    angle = jax.random.uniform(key, (num_points,), maxval=2 * math.pi)
    return jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=-1)


def uniform_cube(key: Key, num_points: int, *, dim: int = 2) -> Float[Array, "num_points dim"]:
    """Draw points uniformly in the unit cube: dimension `dim` of every order.

    The edge of the cube bends log-log curves at large scales.
    """
    return jax.random.uniform(key, (num_points, dim))
