"""Evaluate an objective along short lines around a point, at a ladder of spacings."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fracjax import directions, tree
from fracjax._types import Key, Objective, PyTree
from fracjax.estimators.roughness.line_moments import LAGS
from fracjax.evaluation import map_combinations, map_points

__all__ = ["LineSampler", "Lines", "choose_scales", "default_scales", "root_mean_square"]

Progress = Callable[[int], None]


def root_mean_square(params: PyTree) -> float:
    """Typical size of one parameter; 1 where all are zero."""
    count = max(tree.size(params), 1)
    size = float(tree.norm(params)) / count**0.5
    return size if size > 0 else 1.0


def default_scales(params: PyTree) -> tuple[float, float]:
    """Largest and smallest scale: a tenth of the typical parameter, down to 64 roundings.

    At most six decades apart: below, a longer ladder costs points and says nothing new.
    """
    size = root_mean_square(params)
    dtype = jnp.result_type(*jax.tree.leaves(params))
    largest = 0.1 * size
    smallest = max(1e-6 * largest, 64 * float(jnp.finfo(dtype).eps) * size)
    return largest, smallest


def choose_scales(
    params: PyTree, largest_scale: float | None, smallest_scale: float | None
) -> tuple[float, float]:
    """Fill in what was not given.

    Raises:
        ValueError: If the scales leave no room for a ladder.
    """
    largest, smallest = default_scales(params)
    largest = largest if largest_scale is None else float(largest_scale)
    smallest = min(smallest, largest / 256) if smallest_scale is None else float(smallest_scale)
    if not 0 < smallest < largest / max(LAGS):
        msg = (
            f"Argument `smallest_scale` must be positive and below 1/{max(LAGS)} of"
            f" `largest_scale`, but they are {smallest:.3g} and {largest:.3g}."
        )
        raise ValueError(msg)
    return largest, smallest


@functools.lru_cache(maxsize=64)
def _at_replicate(objective: Objective) -> Callable:
    """Evaluate at params + a u_i + b u_j with a key of its own; one function per objective."""

    def evaluate(row: PyTree, params: PyTree, table: PyTree, key: Key) -> PyTree:
        first, a, second, b, replicate, number = row
        point = params
        for index, factor in ((first, a), (second, b)):
            direction = jax.tree.map(lambda leaf, index=index: leaf[index], table)
            point = tree.add_scaled(point, factor, direction)
        key = jax.random.fold_in(jax.random.fold_in(key, replicate), number)
        return objective(point, key)

    return evaluate


@dataclasses.dataclass(frozen=True)
class Lines:
    """Values along lines.

    Attributes:
        values: Array (directions, levels, points, *outputs of the objective), with an axis
            of replicates after the points where there are several.
        spacings: Distance between neighbours per level, largest first, as root mean
            square change per parameter.
        radius: Root-mean-square distance of the lines' centres from the parameters.
    """

    values: np.ndarray
    spacings: np.ndarray
    radius: float


@dataclasses.dataclass(frozen=True)
class LineSampler:
    """Lines through a neighbourhood: independent directions, each around its own centre.

    Directions and centres depend on the key alone; the objective sees one key everywhere
    (common random numbers).

    Attributes:
        objective: `objective(params, key)`, returning a scalar or an array.
        params: Centre of the neighbourhood.
        key: Source of directions, centres and the objective's key.
        num_directions: Number of lines.
        radius: Root-mean-square distance per parameter of the centres from `params`.
        chunk_size: Points evaluated together on one device (see `evaluation`).
        given: Directions to use instead of random ones, stacked along a leading axis; line i
            takes direction i modulo their number. Only their direction counts.
    """

    objective: Objective
    params: PyTree
    key: Key
    num_directions: int
    radius: float
    chunk_size: int
    given: PyTree | None = None

    @functools.cached_property
    def _directions(self) -> PyTree:
        """Centre offsets, then lines of root mean square 1, stacked."""
        count = max(tree.size(self.params), 1)

        def make(params: PyTree, key: Key, given: PyTree | None) -> PyTree:
            drawn = directions.draw("gaussian", key, params, 2 * self.num_directions)
            if given is not None:
                drawn = jax.tree.map(self._replace_lines, drawn, given)
            norms = jax.vmap(tree.norm)(drawn)
            is_line = jnp.arange(2 * self.num_directions) >= self.num_directions
            factors = jnp.where(is_line, count**0.5 / norms, 1.0)
            return jax.vmap(tree.scale)(factors, drawn)

        return jax.jit(make)(self.params, jax.random.fold_in(self.key, 0), self.given)

    def _replace_lines(self, drawn: Array, given: Array) -> Array:
        """Put the given directions where the lines are, again and again."""
        index = np.arange(self.num_directions) % len(given)
        return jnp.concatenate([drawn[: self.num_directions], jnp.asarray(given)[index]])

    def evaluate(
        self,
        lines: np.ndarray,
        offsets: np.ndarray,
        *,
        chunk_size: int | None = None,
        params: PyTree | None = None,
        objective: Objective | None = None,
        on_progress: Progress | None = None,
    ) -> np.ndarray:
        """Evaluate at given lines and offsets along them (flat arrays of equal length)."""
        radius = np.full(len(lines), self.radius)
        return map_combinations(
            objective or self.objective,
            self.params if params is None else params,
            self._directions,
            (lines, radius, lines + self.num_directions, offsets),
            jax.random.fold_in(self.key, 1),
            chunk_size=chunk_size or self.chunk_size,
            on_progress=on_progress,
        )

    def evaluate_replicates(
        self,
        lines: np.ndarray,
        offsets: np.ndarray,
        num_replicates: int,
        *,
        common_random_numbers: bool,
        on_progress: Progress | None = None,
    ) -> np.ndarray:
        """Evaluate every point several times with independent keys.

        Args:
            lines: Line of every point.
            offsets: Offset along it.
            num_replicates: Evaluations per point, on a new axis after the points'.
            common_random_numbers: Whether one replicate sees one key at all points, rather
                than a fresh one everywhere.
            on_progress: Called with the number of evaluations so far.
        """
        size = len(lines)
        replicate = np.repeat(np.arange(num_replicates, dtype=np.int32), size)
        number = np.arange(size, dtype=np.int32) * (not common_random_numbers)
        dtype = np.dtype(jnp.result_type(*jax.tree.leaves(self.params)))
        line, offset = np.tile(lines, num_replicates), np.tile(offsets, num_replicates)
        rows = (
            line.astype(np.int32),
            np.full(len(line), self.radius, dtype),
            (line + self.num_directions).astype(np.int32),
            offset.astype(dtype),
            replicate,
            np.tile(number, num_replicates),
        )
        values = map_points(
            _at_replicate(self.objective),
            rows,
            self.params,
            self._directions,
            jax.random.fold_in(self.key, 1),
            chunk_size=self.chunk_size,
            on_progress=on_progress,
        )
        return np.moveaxis(values.reshape((num_replicates, size, *values.shape[1:])), 0, 1)

    @staticmethod
    def num_levels(largest_scale: float, smallest_scale: float, *, max_ratio: float = 4.0) -> int:
        """Number of levels that `ladder` uses for these scales."""
        ratio = largest_scale / max(LAGS) / smallest_scale
        return max(3, int(np.ceil(np.log(ratio) / np.log(max_ratio))) + 1)

    def ladder(
        self,
        largest_scale: float,
        smallest_scale: float,
        *,
        points_per_line: int,
        max_ratio: float = 4.0,
        num_replicates: int = 1,
        common_random_numbers: bool = True,
        on_progress: Progress | None = None,
    ) -> Lines:
        """Sample every line at spacings from `largest_scale / 8` down to `smallest_scale`.

        Neighbouring levels differ by at most `max_ratio`, so that the scales that the
        lags of one level cover overlap with the next. With several replicates, see
        `evaluate_replicates`.
        """
        num_levels = self.num_levels(largest_scale, smallest_scale, max_ratio=max_ratio)
        spacings = np.geomspace(largest_scale / max(LAGS), smallest_scale, num_levels)
        offsets = np.arange(points_per_line) - (points_per_line - 1) / 2
        grid = spacings[:, None] * offsets
        shape = (self.num_directions, num_levels, points_per_line)
        line = np.broadcast_to(np.arange(self.num_directions)[:, None, None], shape)
        offset = np.broadcast_to(grid, shape)
        if num_replicates > 1:
            values = self.evaluate_replicates(
                line.ravel(),
                offset.ravel(),
                num_replicates,
                common_random_numbers=common_random_numbers,
                on_progress=on_progress,
            )
        else:
            values = self.evaluate(line.ravel(), offset.ravel(), on_progress=on_progress)
        return Lines(values.reshape(shape + values.shape[1:]), spacings, self.radius)

    def noise_variance(
        self,
        spacings: np.ndarray,
        *,
        num_points: int = 128,
        reference: tuple[Objective, PyTree] | None = None,
    ) -> Float[np.ndarray, "..."]:
        """Measure the variance of one value that rounding causes.

        The same points are evaluated again (a) in another batch shape, (b) with every
        parameter moved by one unit in the last place, up or down at random, and, where a
        reference is given, (c) by it. The largest of the mean squared changes, halved
        for (a) and (b), is the variance, or else (d) that of rounding the value itself,
        a twelfth of its squared unit in the last place.

        Args:
            spacings: Spacings of the ladder; points are spread over all levels.
            num_points: How many points are evaluated again.
            reference: The same objective and parameters in double precision.

        Returns:
            Variance per output of the objective.
        """
        generator = np.random.default_rng(0)
        line = generator.integers(self.num_directions, size=num_points)
        offset = generator.choice(spacings, num_points) * generator.uniform(-16, 16, num_points)
        first = self.evaluate(line, offset)
        other_batch = self.evaluate(line, offset, chunk_size=self.chunk_size // 2 + 1)

        def jitter(leaf: Array) -> Array:
            infinity = np.where(generator.uniform(size=leaf.shape) < 0.5, np.inf, -np.inf)
            return jnp.asarray(np.nextafter(np.asarray(leaf), infinity.astype(leaf.dtype)))

        rounded = self.evaluate(line, offset, params=jax.tree.map(jitter, self.params))
        finite = np.where(np.isfinite(first), first, 0.0)
        last_place = np.spacing(np.abs(finite)).astype(float)
        variances = [
            np.mean(last_place**2, axis=0) / 12,
            _mean_square_change(first, other_batch) / 2,
            _mean_square_change(first, rounded) / 2,
        ]
        if reference is not None:
            with jax.enable_x64(True):
                objective, params = reference
                exact = self.evaluate(line, offset, params=params, objective=objective)
            variances.append(_mean_square_change(first, exact))
        return np.asarray(np.maximum.reduce(variances))


def _mean_square_change(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Mean squared difference over points, nonfinite pairs left out."""
    squared = (first.astype(float) - second.astype(float)) ** 2
    kept = np.isfinite(squared)
    total = np.where(kept, squared, 0.0).sum(axis=0)
    return np.asarray(total / np.maximum(kept.sum(axis=0), 1))
