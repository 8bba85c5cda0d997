"""Scan a plane with points where interpolation fails, instead of everywhere."""

import math
from collections.abc import Callable

import numpy as np
import xarray

from fracjax._types import Key, Objective, PyTree
from fracjax.landscapes.refinement.batches import Batches, Journal
from fracjax.landscapes.refinement.interpolation_checks import check_interpolation, draw_unknown
from fracjax.landscapes.refinement.lattice_interpolation import fill_between, lattice, paint_cells
from fracjax.landscapes.refinement.quadtree import Quadtree
from fracjax.landscapes.slices.grids import Grid, axis_names

__all__ = ["adaptive_batches", "adaptive_scan"]

_FIRST_SHARE = 16  # of the points, inverted, that the first two lattices may take together
_GROWTH = 8  # points added between two choices: at least one in so many
_FEWEST_POINTS = 16
_MOST_LEVELS = 64
_CHECK_SHARE, _MOST_CHECKS = 20, 4096  # points drawn at random to check the picture


def adaptive_scan(
    objective: Objective,
    params: PyTree,
    grid: Grid,
    key: Key,
    *,
    max_points: int,
    tolerance: float | int | None = None,
    stride: int | None = None,
    chunk_size: int | None = None,
    memory: int | None = None,
    batch_size: int | None = None,
    on_progress: Callable[[int], None] | None = None,
    store: Journal | None = None,
) -> xarray.Dataset:
    """Scan a plane or line with at most `max_points` evaluations, and interpolate the rest.

    A coarse lattice is evaluated first. Cells where values at new points deviate most from
    those interpolated between their neighbours, times the area of the cell, are split into
    four, in rounds (`Quadtree` has the rule); the finest grid is `grid`. All points see the
    same key, and an evaluated point has the value that `landscapes.scan` gives it with the plain
    evaluator at the same `chunk_size`, bit by bit. The result does not depend on the number of
    devices.

    Sizes of the grid may be any: the last cell of an axis is cut off where the axis ends.
    Coordinates should be evenly spaced, as cells are split by index.

    What it gains depends on where the roughness is. Measured error of a uniform lattice with as
    many points, bilinear, over that of this scan (root mean square; mean absolute):

        objective on 1025²              2 % of points     5 %              10 %
        smooth with a narrow peak       4.9   1.2         6.0   1.4         5.7   1.3
        disc with rough values inside   1.9   1.7         2.5   2.6         5.4  10.4
        set of Mandelbrot, escape time  1.5   1.4         1.9   1.9         3.7   4.2
        rough half (H = 0.3)            1.06  1.07        1.10  1.13        1.17  1.24
        equally rough (H = 0.3)         0.94  0.95        0.94  0.95        0.91  0.93
        equally rough (H = 0.7)         0.90  0.91        0.88  0.91        0.88  0.89

    Jumps between constant values are found exactly with 5 % of the points. Where all
    is equally rough there is nothing to gain, and a uniform scan is the better picture. Do not
    estimate exponents or dimensions from the interpolated picture, which is smooth between
    its points: use evaluated points, or a scan.

    With a journal every batch is kept as soon as it is evaluated; the same call goes on after
    an interruption, and ends in the same bytes. The journal must belong to this scan (same
    arguments): nothing checks that here.

    Beside evaluating, 10 % of 4096² points take 6 to 10 seconds and 0.9 GB on the host (50 bytes
    per point of the grid).

    Args:
        objective: Pure function of parameters and key returning one number.
        params: Centre of the grid.
        grid: Finest grid, a plane or a line.
        key: The objective's key.
        max_points: Evaluations, at least 16; fewer where the grid has fewer points.
        tolerance: Stop when the root-mean-square error of the picture that the cells expect
            falls to this. Measured over expected was 1.1 (smooth) to 2.4 (rough everywhere).
        stride: Width of the first cells in points, a power of two. By default the smallest
            for which the lattice of half that width takes a sixteenth of `max_points` or
            less. Features that fall between the points of the first lattices can be missed.
        chunk_size: Points that one device evaluates together; chosen from the size of `params`
            if not given.
        memory: Bound in bytes on the memory that evaluating takes, see `landscapes.scan`; the
            chunk is halved until it is kept.
        batch_size: Points evaluated between two choices, and kept together in the journal.
        on_progress: Called with the number of points finished so far.
        store: Keeps values of batches; `adaptive_batches` says how many at most.

    Returns:
        Dataset over `a` (and `b`): `value`; `evaluated`, whether the value is the objective's;
        `error`, the root-mean-square interpolation error expected in the cell that a point lies
        in, 0 where evaluated. Attributes: directions, chunk_size, dtype, batch_size,
        num_evaluated, evaluated_share; `interpolation_error` with `interpolation_error_stderr`,
        the root-mean-square error over all points that were not evaluated, measured at
        `num_checked` of them (a twentieth of `max_points`, at most 4096 draws) that were drawn at
        random, half of them where errors are expected, and only then evaluated;
        `mistaken_share`, of all these points, finite in the picture and not in truth or the other
        way round. Errors by cell are calibrated at the same points. Both miss what no cell
        expects and few points show.

    Raises:
        ValueError: If a setting is out of range or the objective does not return one number.
    """
    flat = len(grid.axes) == 1
    shape = (grid.shape[0], 1 if flat else grid.shape[-1])
    if max_points < _FEWEST_POINTS:
        msg = f"Argument `max_points` must be at least {_FEWEST_POINTS}, but is {max_points}."
        raise ValueError(msg)
    if tolerance is not None and not tolerance >= 0:
        msg = f"Argument `tolerance` must not be negative, but is {tolerance}."
        raise ValueError(msg)
    run = Batches(
        objective,
        params,
        grid,
        key,
        chunk_size=chunk_size,
        memory=memory,
        batch_size=batch_size,
        journal=store,
        on_progress=on_progress,
    )
    stride = _first_stride(shape, max_points) if stride is None else stride
    if stride < 1 or stride & (stride - 1) or _lattice_size(shape, stride) > max_points:
        msg = (
            "Argument `stride` must be a power of two whose lattice has at most"
            f" {max_points} points, but is {stride}."
        )
        raise ValueError(msg)
    tree = Quadtree(shape, run.dtype, stride)
    first, second = grid.axes[0], np.zeros(1) if flat else grid.axes[1]

    def evaluate(points: np.ndarray) -> None:
        row, column = np.divmod(points, shape[1])
        tree.learn(points, run(first[row], second[column]))

    checks = min(max_points // _CHECK_SHARE, _MOST_CHECKS)
    evaluate(tree.lattice_points())
    while tree.num_cells and run.num_points < max_points - checks:
        if tolerance is not None and tree.root_mean_square_error() <= tolerance:
            break
        wanted = max(run.num_points // _GROWTH // run.batch_size, 1) * run.batch_size
        points = tree.propose(min(wanted, max_points - checks - run.num_points))
        if len(points):
            evaluate(points)
        tree.split()

    row, column, width, _, square = tree.square_errors()
    expected = paint_cells(shape, row, column, width, np.sqrt(square), stride)
    picture = fill_between(tree.values, tree.known, stride)
    draw = draw_unknown(tree.known, expected, checks)
    interpolated = picture.ravel()[draw.points]
    evaluate(draw.points)
    found = tree.values.ravel()[draw.points]
    check = check_interpolation(expected, draw, interpolated, found)
    picture.ravel()[draw.points] = found
    errors = np.where(tree.known, 0, check.calibrated)
    names = axis_names(len(grid.axes))
    pictures = {"value": picture, "evaluated": tree.known, "error": errors}
    return xarray.Dataset(
        {name: (names, array.reshape(grid.shape)) for name, array in pictures.items()},
        coords=dict(zip(names, grid.axes, strict=True)),
        attrs={
            "directions": grid.kind,
            "chunk_size": run.chunk_size,
            "dtype": run.parameter_dtype,
            "batch_size": run.batch_size,
            "num_evaluated": run.num_points,
            "evaluated_share": run.num_points / grid.size,
            "interpolation_error": check.error,
            "interpolation_error_stderr": check.stderr,
            "mistaken_share": check.mistaken,
            "num_checked": len(draw.points),
        },
    )


def adaptive_batches(max_points: int, batch_size: int) -> int:
    """Count the batches that a journal must have room for, at most.

    A round asks for a batch or more, unless it has nothing left to split at its level: there are
    no more such rounds than levels, twice over.
    """
    return -(-max_points // batch_size) + _MOST_LEVELS


def _lattice_size(shape: tuple[int, ...], stride: int) -> int:
    return math.prod(len(lattice(n, stride)) for n in shape)


def _first_stride(shape: tuple[int, ...], max_points: int) -> int:
    stride = 2
    while _lattice_size(shape, stride // 2) > max(max_points // _FIRST_SHARE, _FEWEST_POINTS):
        stride *= 2
    while stride > 2 and max(shape) <= stride:
        stride //= 2
    return stride
