"""Pictures from values that are known at some points of nested lattices."""

import numpy as np

__all__ = ["fill_between", "lattice", "paint_cells"]


def lattice(size: int, stride: int) -> np.ndarray:
    """Every `stride`-th index along an axis, and the last one: any size will do."""
    return np.unique(np.append(np.arange(0, size, stride), size - 1))


def fill_between(values: np.ndarray, known: np.ndarray, stride: int) -> np.ndarray:
    """Interpolate a picture between its known points.

    From the lattice of width `stride`, all known, the picture is doubled until every point has
    a value: known points keep theirs, a point on an edge gets the mean of its two neighbours on
    it, a point in the middle of a square that of the four on its edges. Where half of the
    neighbours have no finite value, the others count.

    Args:
        values: Values, (n, m), valid where known.
        known: Where they are.
        stride: Width of the first lattice, a power of two.
    """
    rows, columns = (lattice(n, stride) for n in values.shape)
    picture = values[np.ix_(rows, columns)]
    clean = bool(np.isfinite(values[known]).all())
    while stride > 1:
        stride //= 2
        fine_rows, fine_columns = (lattice(n, stride) for n in values.shape)
        found = _midpoints(picture, rows, fine_rows, 0, clean)
        _put_known(found, values, known, fine_rows, columns)
        one = _midpoints(found, columns, fine_columns, 1, clean)
        found = _midpoints(picture, columns, fine_columns, 1, clean)
        _put_known(found, values, known, rows, fine_columns)
        other = _midpoints(found, rows, fine_rows, 0, clean)
        picture = _mean(one, other, np.asarray(0.5, values.dtype), clean)
        _put_known(picture, values, known, fine_rows, fine_columns)
        rows, columns = fine_rows, fine_columns
    return picture


def _put_known(
    picture: np.ndarray, values: np.ndarray, known: np.ndarray, rows: np.ndarray, cols: np.ndarray
) -> None:
    where = np.ix_(rows, cols)
    np.copyto(picture, values[where], where=known[where])


def _midpoints(
    picture: np.ndarray, coarse: np.ndarray, fine: np.ndarray, axis: int, clean: bool
) -> np.ndarray:
    """Insert the points of the finer lattice along one axis."""
    if len(fine) == len(coarse):
        return picture.copy()
    picture = np.moveaxis(picture, axis, 0)
    cell = np.clip(np.searchsorted(coarse, fine, side="right") - 1, 0, len(coarse) - 2)
    share = (fine - coarse[cell]) / (coarse[cell + 1] - coarse[cell])
    new = np.flatnonzero((share > 0) & (share < 1))
    found = np.empty((len(fine), picture.shape[1]), picture.dtype)
    found[share == 0] = picture[cell[share == 0]]
    found[share == 1] = picture[cell[share == 1] + 1]
    weight = share[new, None].astype(picture.dtype)
    found[new] = _mean(picture[cell[new]], picture[cell[new] + 1], weight, clean)
    return np.moveaxis(found, 0, axis)


def _mean(first: np.ndarray, last: np.ndarray, weight: np.ndarray, clean: bool) -> np.ndarray:
    """Weighted mean, or the finite one of two."""
    with np.errstate(invalid="ignore", over="ignore"):
        mean = first + weight * (last - first)
        if clean:
            return mean
        mean = np.where(first == last, first, mean)  # infinite on both sides
    mean = np.where(np.isfinite(first) & ~np.isfinite(last), first, mean)
    return np.where(np.isfinite(last) & ~np.isfinite(first), last, mean)


def paint_cells(
    shape: tuple[int, int],
    row: np.ndarray,
    column: np.ndarray,
    width: np.ndarray,
    number: np.ndarray,
    stride: int,
) -> np.ndarray:
    """Give every point the number of the cell that it lies in, in float32.

    Args:
        shape: Of the picture.
        row: First row of each cell, a multiple of its width.
        column: First column.
        width: Powers of two up to `stride`; cells of width 1 may be larger ones cut off by the
            end of an axis.
        number: What to paint.
        stride: Width of the largest cells.
    """
    painted = np.zeros(tuple(-(-n // stride) for n in shape), np.float32)
    with np.errstate(over="ignore"):
        number = number.astype(np.float32)
    while True:
        here = width == stride
        painted[row[here] // stride, column[here] // stride] = number[here]
        if stride == 1:
            break
        stride //= 2
        painted = painted.repeat(2, axis=0).repeat(2, axis=1)
        painted = painted[tuple(slice(-(-n // stride)) for n in shape)]
    for axis, size in enumerate(shape):  # the last point of an axis belongs to the cell before
        if size > 1:
            last = np.moveaxis(painted, axis, 0)
            last[-1] = last[-2]
    return painted
