"""Cells of a lattice that are split where interpolation between their corners fails.

Everything is an array over cells; a cell is its first corner, its width (a power of two, cut
at the end of an axis) and the mean square error that is expected in it.
"""

import dataclasses
import math

import numpy as np

from fracjax.landscapes.refinement.lattice_interpolation import lattice

__all__ = ["Quadtree"]

# Of the expected square error: what neighbours say even where the corners are all alike, so
# that a feature between the corners of a cell is still found.
_HIDDEN = 0.02
_LARGEST_RATIO, _SMALLEST_RATIO = 1.0, 1 / 16  # of square errors from width to half width
_HUGE = 1e300
# Mean square of the interpolation error over a cell, over its mean square at the points that
# a split adds: measured between 0.5 (smooth) and 0.75 (H = 0.3).
_INSIDE = 0.65


class Quadtree:
    """Cells over a grid of any shape, with the values at all points known so far.

    **Error of a cell.** When a cell is split, five points are added (its centre and the middles
    of its edges), and the deviation of each value from the one interpolated between the corners
    is known. A child takes the mean square of the three deviations at its own corners, but not
    more than the square of the range of its own corner values: behind a jump, where they are
    all equal, there is nothing to refine. Errors fall with the width as 2^{-H}; the factor is
    measured per width, as the ratio of what splits found to what had been expected.

    **Order.** Cells with the largest expected square error times area come first.

    **Nonfinite values.** An edge of a region without finite values is a jump of the size of
    one standard deviation; inside the region nothing deviates.

    Attributes:
        values: Values at all points of the grid, valid where `known`.
        known: Which points have been evaluated.
    """

    def __init__(self, shape: tuple[int, int], dtype: np.dtype, stride: int) -> None:
        """Start with cells of width `stride`, a power of two; nothing is known yet."""
        self.shape, self.stride = shape, stride
        self.values = np.full(shape, np.nan, dtype)
        self.known = np.zeros(shape, bool)
        starts = [lattice(n, stride)[: max(-(-(n - 1) // stride), 1)] for n in shape]
        rows, columns = np.meshgrid(*starts, indexing="ij")
        number = rows.size if max(shape) > 2 else 0  # nothing between the points
        self._cells = _Cells(
            row=rows.ravel()[:number].astype(np.int32),
            column=columns.ravel()[:number].astype(np.int32),
            width=np.full(number, stride, np.int32),
            square=np.full(number, np.inf),
            priority=np.full(number, np.inf),
        )
        levels = stride.bit_length()
        self._found, self._expected = np.zeros(levels), np.zeros(levels)
        self._jump = 1.0
        self._candidates = np.zeros(0, int)

    @property
    def num_cells(self) -> int:
        """Cells that can be split."""
        return len(self._cells.row)

    def lattice_points(self) -> np.ndarray:
        """Flat indices of the points of the first lattice."""
        rows, columns = (lattice(n, self.stride) for n in self.shape)
        return (rows[:, None] * self.shape[1] + columns).ravel()

    def learn(self, points: np.ndarray, values: np.ndarray) -> None:
        """Take in values at flat indices."""
        first = not self.known.any()
        self.values.ravel()[points] = values
        self.known.ravel()[points] = True
        if first:
            finite = values[np.isfinite(values)].astype(float)
            with np.errstate(over="ignore", invalid="ignore"):
                spread = float(np.std(finite)) if len(finite) else 0.0
            self._jump = min(spread, math.sqrt(_HUGE)) or 1.0

    def propose(self, number: int) -> np.ndarray:
        """Flat indices of up to `number` new points in the cells that come first.

        Fewer only if there are no more.
        """
        cells, take = self._cells, max(number, 1)
        while True:
            chosen = cells.first(take)
            points = _points(_places(cells.at(chosen), self.shape), self.shape[1])
            flat = points.ravel()
            flat = flat[~self.known.ravel()[flat]]
            unique, place = np.unique(flat, return_index=True)
            if len(unique) >= number or len(chosen) == len(cells.row):
                self._candidates = chosen
                return unique[np.argsort(place)][:number]
            take *= 2

    def split(self) -> None:
        """Split the cells last proposed whose points are all known."""
        chosen = self._candidates
        places = _places(self._cells.at(chosen), self.shape)
        ready = self.known.ravel()[_points(places, self.shape[1])].all(axis=1)
        chosen, places = chosen[ready], tuple(place[ready] for place in places)
        parents = self._cells.at(chosen)
        children = self._children(parents, places)
        live = np.ones(len(self._cells.row), bool)
        live[chosen] = False
        self._cells = self._cells.at(live).joined(children)

    def ratios(self) -> np.ndarray:
        """Square error at a split over the one expected, per binary logarithm of the width.

        Widths that were never split take the ratio of the next larger one that was.
        """
        ratios = np.full(len(self._found), 0.25)
        have = self._expected > 0
        last = 0.25
        for level in reversed(range(len(ratios))):
            if have[level]:
                last = self._found[level] / self._expected[level]
            ratios[level] = np.clip(last, _SMALLEST_RATIO, _LARGEST_RATIO)
        return ratios

    def square_errors(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """First row and column, width, area and expected mean square error of cells, if not 0."""
        cells = self._cells
        level = np.log2(cells.width).astype(int)
        inside = np.where(cells.width > 2, _INSIDE, 1.0)
        square = cells.square * self.ratios()[level] * inside
        r0, r1, c0, c1, *_ = _places(cells, self.shape)
        area = np.maximum(r1 - r0, 1) * np.maximum(c1 - c0, 1) * 1.0
        return cells.row, cells.column, cells.width, area, square

    def root_mean_square_error(self) -> float:
        """Expected error of the interpolated picture."""
        *_, area, square = self.square_errors()
        whole = math.prod(max(n - 1, 1) for n in self.shape)
        return math.sqrt(float((area * square).sum()) / whole)

    def _children(self, parents: "_Cells", places: tuple[np.ndarray, ...]) -> "_Cells":
        r0, r1, c0, c1, rm, cm = places
        value = self.values
        corner = [value[r, c].astype(float) for r in (r0, r1) for c in (c0, c1)]
        down, right = _share(rm, r0, r1), _share(cm, c0, c1)
        with np.errstate(invalid="ignore", over="ignore"):
            sides = [
                (value[rm, c0], _between(corner[0], corner[2], down)),
                (value[rm, c1], _between(corner[1], corner[3], down)),
                (value[r0, cm], _between(corner[0], corner[1], right)),
                (value[r1, cm], _between(corner[2], corner[3], right)),
            ]
            middle = (value[rm, cm], _between(sides[0][1], sides[1][1], right))
            left, last, top, bottom, centre = (
                self._square(found.astype(float), expected) for found, expected in (*sides, middle)
            )
        found = (left + last + top + bottom + centre) / 5
        self._remember(parents, found)
        half = parents.width // 2
        parts = []
        for rows, columns, one, other in (
            ((r0, rm), (c0, cm), left, top),
            ((r0, rm), (cm, c1), last, top),
            ((rm, r1), (c0, cm), left, bottom),
            ((rm, r1), (cm, c1), last, bottom),
        ):
            square = (one + other + centre) / 3
            corners = np.stack([value[r, c].astype(float) for r in rows for c in columns])
            square = self._limited(square, corners)
            wide = [np.maximum(b - a, 1) for a, b in (rows, columns)]
            # The second half of a cell that the end of the axis cuts off is empty.
            kept = ((rows[0] == r0) | (rows[1] > rows[0])) & (
                (columns[0] == c0) | (columns[1] > columns[0])
            )
            splittable = (half > 1) & ((wide[0] > 1) | (wide[1] > 1))
            priority = wide[0] * wide[1] * square
            cells = _Cells(rows[0], columns[0], half.astype(np.int32), square, priority)
            parts.append(cells.at(np.flatnonzero(kept & splittable)))
        return parts[0].joined(*parts[1:])

    def _remember(self, parents: "_Cells", found: np.ndarray) -> None:
        """Compare the errors found with those expected, per width."""
        known = np.isfinite(parents.square) & (parents.square < _HUGE) & (found < _HUGE)
        level = np.log2(parents.width[known]).astype(int)
        size = len(self._found)
        self._found += np.bincount(level, found[known], minlength=size)
        self._expected += np.bincount(level, parents.square[known], minlength=size)

    def _square(self, found: np.ndarray, expected: np.ndarray) -> np.ndarray:
        """Squared deviations; between a finite value and one that is not, the jump."""
        square = (found - expected) ** 2
        odd = ~np.isfinite(square)
        if odd.any():
            both = ~np.isfinite(found) & ~np.isfinite(expected)
            square = np.where(odd, np.where(both, 0.0, self._jump**2), square)
            overflow = odd & np.isfinite(found) & np.isfinite(expected)
            square = np.where(overflow, _HUGE, square)
        return np.minimum(square, _HUGE)

    def _limited(self, square: np.ndarray, corners: np.ndarray) -> np.ndarray:
        """Limit square errors by the ranges of the corners of cells, (4, cells)."""
        finite = np.isfinite(corners)
        every, some = finite.all(axis=0), finite.any(axis=0)
        low = np.where(finite, corners, np.inf).min(axis=0)
        high = np.where(finite, corners, -np.inf).max(axis=0)
        with np.errstate(over="ignore", invalid="ignore"):
            limit = np.where(some, np.minimum((high - low) ** 2, _HUGE), 0.0)
        limited = (1 - _HIDDEN) * np.minimum(square, limit) + _HIDDEN * square
        return np.where(some & ~every, np.maximum(limited, self._jump**2), limited)


@dataclasses.dataclass(frozen=True)
class _Cells:
    row: np.ndarray
    column: np.ndarray
    width: np.ndarray
    square: np.ndarray
    priority: np.ndarray

    def _arrays(self) -> tuple[np.ndarray, ...]:
        return self.row, self.column, self.width, self.square, self.priority

    def at(self, index: np.ndarray) -> "_Cells":
        return _Cells(*(array[index] for array in self._arrays()))

    def joined(self, *others: "_Cells") -> "_Cells":
        every = (self, *others)
        return _Cells(*(np.concatenate(x) for x in zip(*(c._arrays() for c in every), strict=True)))

    def first(self, number: int) -> np.ndarray:
        """Cells of highest priority in order, ties by width, then by place."""
        possible = np.arange(len(self.row))
        if number < len(possible):
            # All that tie with the last one, so that the choice does not depend on storage.
            least = -np.partition(-self.priority, number - 1)[number - 1]
            possible = np.flatnonzero(self.priority >= least)
        cells = self.at(possible)
        order = np.lexsort((cells.column, cells.row, -cells.width, -cells.priority))
        return possible[order[:number]]


def _places(cells: _Cells, shape: tuple[int, int]) -> tuple[np.ndarray, ...]:
    """First, last and middle row and column, in the order r0, r1, c0, c1, rm, cm."""
    r0, c0, half = cells.row, cells.column, cells.width // 2
    r1 = np.minimum(r0 + cells.width, shape[0] - 1)
    c1 = np.minimum(c0 + cells.width, shape[1] - 1)
    return r0, r1, c0, c1, np.minimum(r0 + half, r1), np.minimum(c0 + half, c1)


def _points(places: tuple[np.ndarray, ...], columns: int) -> np.ndarray:
    """Flat indices of the five points that a split adds, (cells, 5), the centre first."""
    r0, r1, c0, c1, rm, cm = places
    rows = np.stack([rm, rm, rm, r0, r1], axis=1).astype(np.int64)
    return rows * columns + np.stack([cm, c0, c1, cm, cm], axis=1)


def _share(middle: np.ndarray, first: np.ndarray, last: np.ndarray) -> np.ndarray:
    return (middle - first) / np.maximum(last - first, 1)


def _between(first: np.ndarray, last: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Interpolate; where the share is 0 or 1 the other end does not matter, even if infinite."""
    inner = first + share * (last - first)
    return np.where(share <= 0, first, np.where(share >= 1, last, inner))
