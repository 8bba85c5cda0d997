"""Zooms into a landscape: frames around one point, each a fraction as wide as the last."""

import math
from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np
import xarray

from fracjax._types import Estimate, Key, Objective, PyTree, Status
from fracjax.estimators.roughness.graph_dimension import graph_dimension
from fracjax.landscapes.refinement.batches import Batches, Journal
from fracjax.landscapes.refinement.pixel_sets import PictureSet, picture_dimension
from fracjax.landscapes.refinement.rounding import StepError, step_error
from fracjax.landscapes.refinement.zoom_centres import SEARCH_SIDE, roughest_point
from fracjax.landscapes.slices.grids import Grid, axis_names

__all__ = ["zoom_batches", "zoom_frames"]

_STRIDES = (4, 2, 1)
_LARGEST_STEP_ERROR = 0.25
_SMALLEST_SIDE = 32


def zoom_frames(
    objective: Objective,
    params: PyTree,
    grid: Grid,
    key: Key,
    *,
    num_frames: int,
    factor: float | int = 2,
    centre: tuple[float, ...] | Literal["roughest", "boundary"] = "roughest",
    num_points: int = 257,
    progressive: bool = True,
    picture_set: PictureSet | None = None,
    level: float | int = 0.0,
    chunk_size: int | None = None,
    memory: int | None = None,
    batch_size: int | None = None,
    on_progress: Callable[[int], None] | None = None,
    store: Journal | None = None,
) -> Iterator[xarray.Dataset]:
    """Zoom towards a point, frame by frame.

    Frame f is centred at `centre` and as wide as the grid over factor^f. Its coordinates are
    centre + k · spacing in float64 with whole k, so that every second point of a frame is,
    bit by bit, a point of the frame before when the factor is 2: a quarter of the points of a
    plane are taken over and not evaluated again (other powers of two share points likewise).
    With `progressive`, a frame comes three times: every fourth point, every second, all; from
    the second frame on, with a factor of 2, the first two cost nothing. Every point has the
    value that `landscapes.scan` gives at these coordinates with the plain evaluator at the same
    `chunk_size`, bit by bit.

    **How deep it can go.** Parameters are rounded to their dtype, so that far in, neighbouring
    points become the same parameters, or differ by something else than the step. This is
    measured in every frame, from the parameters themselves: `step_error`, the root mean square
    over parameters of (step made - step meant) over that of the step meant, along the worse
    axis. Above 0.25 (a step below about 1.6 units in the last place) the frame's `status` is
    at_noise_floor: it is a picture of rounding. Such frames are still made. Measured with 1000
    normal parameters and Gaussian directions from ±1 at 257² points: float32 reaches it at
    frame 16, float64 at frame 45. Use float64 parameters (`jax.enable_x64`) for deeper zooms.
    A journal is read and written as in `adaptive_scan`.

    Args:
        objective: Pure function of parameters and key returning one number.
        params: Origin of the coordinates.
        grid: A line or a plane: its directions, and how wide the first frame is.
        key: The objective's key.
        num_frames: How many frames.
        factor: How much narrower each frame is.
        centre: Coordinates of the point, in float64; or `"roughest"`, which looks for one first:
            in `num_frames` nested windows of 33 points along each axis, every next one is the
            part of the last where squared second differences are largest in the mean; or
            `"boundary"`, the same search where all values up to `level` count as one and all
            others as another: the part that most of the boundary between them lies in.
        num_points: Points along each axis of a frame.
        progressive: Whether coarse pictures come first.
        picture_set: Also estimate the box-counting dimension of a set that the picture shows,
            see `fracjax.landscapes.refinement.pixel_sets.picture_dimension`.
        level: Of `picture_set`, and of a `centre` on the boundary.
        chunk_size: Points that one device evaluates together; chosen from the size of `params`
            if not given.
        memory: Bound in bytes on the memory that evaluating takes, see `landscapes.scan`; the
            chunk is halved until it is kept.
        batch_size: Points evaluated together and kept together in the journal.
        on_progress: Called with the number of points evaluated so far.
        store: Keeps values of batches; `zoom_batches` says how many at most.

    Returns:
        Iterator of Datasets with `value` over `a` (and `b`). Attributes: directions, chunk_size,
        dtype; frame, zoom (factor^frame), stride, complete (whether all points are there),
        centre, half_width, spacing, num_evaluated and num_reused (in this frame); step_error,
        equal_parameters (share of neighbours with all parameters the same), equal_values (share
        of neighbours with the same value), status. Of complete frames also graph_dimension and
        holder_exponent (from `fracjax.estimators.graph_dimension`) and, if asked for,
        box_dimension, each with _stderr, _low, _high and _status.

    Raises:
        ValueError: If a setting is out of range.
    """
    if num_frames < 1 or num_points < 3 or not factor > 1:
        msg = (
            "Arguments `num_frames`, `num_points` and `factor` must be at least 1, at least 3 and"
            f" above 1, but are {num_frames}, {num_points} and {factor}."
        )
        raise ValueError(msg)
    if centre not in ("roughest", "boundary") and (
        isinstance(centre, str) or len(centre) != len(grid.axes) or not np.isfinite(centre).all()
    ):
        msg = (
            'Argument `centre` must be "roughest", "boundary" or one finite coordinate for each'
            f" of {len(grid.axes)} axes, but is {centre!r}."
        )
        raise ValueError(msg)
    if picture_set is not None and len(grid.axes) != 2:
        msg = "Argument `picture_set` must be None for a line, but is not."
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
    widths = tuple(float(axis[-1] - axis[0]) for axis in grid.axes)

    def rounding(axes: tuple[np.ndarray, ...]) -> StepError:
        return step_error(params, grid.directions, axes)

    def searched(axes: tuple[np.ndarray, ...]) -> np.ndarray:
        values = _evaluate_all(run, axes)
        return (values <= level).astype(float) if centre == "boundary" else values

    def frames() -> Iterator[xarray.Dataset]:
        if isinstance(centre, str):
            middle = tuple((axis[0] + axis[-1]) / 2 for axis in grid.axes)
            point = roughest_point(
                searched,
                middle,
                widths,
                num_windows=num_frames,
                factor=float(factor),
                stop=lambda axes: rounding(axes).error > _LARGEST_STEP_ERROR,
            )
        else:
            point = tuple(float(x) for x in centre)
        steps = np.arange(num_points) - (num_points - 1) // 2
        before: _Frame | None = None
        for index in range(num_frames):
            spacing = tuple(w / (num_points - 1) / factor**index for w in widths)
            axes = tuple(c + steps * h for c, h in zip(point, spacing, strict=True))
            frame = _Frame(axes, run.dtype)
            reused = frame.take_over(before) if before is not None else 0
            start, error = run.num_points, rounding(axes)
            for stride in _STRIDES if progressive else (1,):
                kept = steps % stride == 0
                frame.evaluate(run, kept)
                attributes = {
                    "directions": grid.kind,
                    "chunk_size": run.chunk_size,
                    "dtype": run.parameter_dtype,
                    "frame": index,
                    "zoom": float(factor) ** index,
                    "stride": stride,
                    "complete": stride == 1,
                    "centre": point,
                    "half_width": tuple(w / 2 / factor**index for w in widths),
                    "spacing": spacing,
                    "num_evaluated": run.num_points - start,
                    "num_reused": reused,
                    "step_error": error.error,
                    "equal_parameters": error.equal,
                }
                if stride == 1:
                    attributes |= _measured(frame.values, spacing, picture_set, level)
                yield _dataset(frame, kept, attributes)
            before = frame

    return frames()


def zoom_batches(num_frames: int, num_points: int, num_axes: int, batch_size: int) -> int:
    """Count the batches that a journal must have room for, at most."""
    search, frame = SEARCH_SIDE**num_axes, num_points**num_axes
    return num_frames * (-(-search // batch_size) + frame // batch_size + len(_STRIDES))


class _Frame:
    """Coordinates and values of one frame; a line is a plane with one column."""

    def __init__(self, axes: tuple[np.ndarray, ...], dtype: np.dtype) -> None:
        self.axes = axes
        self.values = np.full(tuple(len(axis) for axis in axes), np.nan, dtype)
        self.known = np.zeros(self.values.shape, bool)

    def take_over(self, other: "_Frame") -> int:
        """Take the values of another frame at equal coordinates; how many."""
        mine, theirs = [], []
        for axis, there in zip(self.axes, other.axes, strict=True):
            place = np.minimum(np.searchsorted(there, axis), len(there) - 1)
            same = np.flatnonzero(there[place] == axis)
            mine.append(same)
            theirs.append(place[same])
        self.values[np.ix_(*mine)] = other.values[np.ix_(*theirs)]
        self.known[np.ix_(*mine)] = True
        return math.prod(len(part) for part in mine)

    def evaluate(self, run: Batches, kept: np.ndarray) -> None:
        """Evaluate what is not known of some rows and columns."""
        wanted = ~self.known
        for axis in range(wanted.ndim):
            wanted &= np.moveaxis(kept.reshape((-1,) + (1,) * (wanted.ndim - 1)), 0, axis)
        where = np.nonzero(wanted)
        coordinates = [axis[place] for axis, place in zip(self.axes, where, strict=True)]
        nothing = np.zeros(len(where[0]))
        self.values[where] = run(coordinates[0], coordinates[1] if len(where) > 1 else nothing)
        self.known[where] = True


def _evaluate_all(run: Batches, axes: tuple[np.ndarray, ...]) -> np.ndarray:
    frame = _Frame(axes, run.dtype)
    frame.evaluate(run, np.ones(len(axes[0]), bool))
    return frame.values


def _dataset(frame: _Frame, kept: np.ndarray, attributes: dict[str, Any]) -> xarray.Dataset:
    names = axis_names(len(frame.axes))
    values = frame.values[np.ix_(*[kept] * len(names))]
    finite = np.isfinite(values)
    same, pairs = 0, 0
    for axis in range(values.ndim):
        first, last = (np.moveaxis(values, axis, 0)[part] for part in (slice(-1), slice(1, None)))
        both = np.isfinite(first) & np.isfinite(last)
        same, pairs = same + int((both & (first == last)).sum()), pairs + int(both.sum())
    status = Status.OK
    if not finite.any():
        status = Status.DIVERGED
    elif attributes["step_error"] > _LARGEST_STEP_ERROR:
        status = Status.AT_NOISE_FLOOR
    return xarray.Dataset(
        {"value": (names, values)},
        coords={name: axis[kept] for name, axis in zip(names, frame.axes, strict=True)},
        attrs={
            **attributes,
            "equal_values": same / pairs if pairs else math.nan,
            "status": status.label,
        },
    )


def _measured(
    values: np.ndarray, spacing: tuple[float, ...], kind: PictureSet | None, level: float | int
) -> dict[str, Any]:
    """Dimensions and exponent of a complete frame, as attributes."""
    found: dict[str, Any] = {}
    if min(values.shape) >= _SMALLEST_SIDE:
        if values.ndim == 1:
            graph = graph_dimension(values)
        else:  # the exponent has no unit; tiny spacings would underflow in float32
            graph = graph_dimension(values, spacing=(1.0, spacing[1] / spacing[0]))
        found |= _as_attributes("graph_dimension", graph)
        exponent = float(graph.details["exponent"])
        margin = 1.96 * float(graph.stderr)
        found |= {
            "holder_exponent": exponent,
            "holder_exponent_stderr": float(graph.stderr),
            "holder_exponent_low": exponent - margin,
            "holder_exponent_high": exponent + margin,
            "holder_exponent_status": found["graph_dimension_status"],
        }
    else:
        for name in ("graph_dimension", "holder_exponent"):
            blank = dict.fromkeys(("", "_stderr", "_low", "_high"), math.nan)
            found |= {f"{name}{end}": number for end, number in blank.items()}
            found[f"{name}_status"] = Status.TOO_FEW_POINTS.label
    if kind is not None:
        dimension = picture_dimension(
            values, kind, level=level, spacing=math.sqrt(spacing[0] * spacing[-1])
        )
        found |= _as_attributes("box_dimension", dimension)
    return found


def _as_attributes(name: str, estimate: Estimate) -> dict[str, Any]:
    return {
        name: float(estimate.value),
        f"{name}_stderr": float(estimate.stderr),
        f"{name}_low": float(estimate.low),
        f"{name}_high": float(estimate.high),
        f"{name}_status": Status(int(estimate.status)).label,
    }
