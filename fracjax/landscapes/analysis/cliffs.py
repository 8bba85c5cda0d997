"""Cliffs: drops over one grid step that stand out from the roughness around them."""

import math

import numpy as np
import xarray
from scipy import stats

from fracjax._types import Status
from fracjax.landscapes.analysis.bisection import Evaluator, bisect_changes
from fracjax.landscapes.analysis.fields import Field, NoiseLike, read_field

__all__ = ["cliffs"]

_SAME_SLOPE = 0.5  # share of a change that its neighbour may have and it still be a cliff
_FEWEST = 8  # neighbours that the roughness around is measured by
_MAD = 1.4826  # makes the median absolute deviation a standard deviation
_FREEDOM_PER_NEIGHBOUR = 0.25
_AT_ONCE = 4096


def cliffs(
    dataset: xarray.Dataset,
    *,
    variable: str = "value",
    output: int | None = None,
    noise: NoiseLike = None,
    steps: int = 1,
    share_of_range: float = 0.25,
    neighbours: int = 16,
    false_alarm_rate: float = 0.05,
    evaluate: Evaluator | None = None,
    num_halvings: int = 12,
    max_refined: int = 256,
) -> xarray.Dataset:
    """Find cliffs along every grid line of a scan.

    A change over `steps` grid steps is a cliff if

    1. it is at least `share_of_range` of the range of the whole scan (as in Sullivan et al.,
       but with no ratio to the value at the start, which means nothing for a negative
       return),
    2. the next changes on either side of it that have its sign are at most half as large: a
       steep slope that the grid resolves goes on, a cliff does not,
    3. it stands out from the changes around it: its excess over their median, in units of
       their scale (1.4826 median absolute deviations, at least √2 errors of a value), passes
       the quantile of Student's t that all tests of the scan together pass with probability
       `false_alarm_rate` where changes are Gaussian. A fractal has large changes everywhere;
       they are not cliffs.

    Both directions and both axes count; a cliff that crosses a plane is found once for
    every line it crosses. From the grid alone a jump cannot be told from a slope narrower than
    a step, nor a fractal's rare large change from either: `kind` is "unresolved". With
    `evaluate` every interval is bisected, keeping the half with the larger change: a "jump"
    keeps at least half of its height down to 2^-`num_halvings` of the interval, a "steep"
    one does not.

    Measured (200 exact fractional Brownian surfaces of 64² for each H of .05 to .8): a false
    alarm in 0 to 2 % of them, and in 1 to 4 % with `share_of_range=0.02`, where only the third
    condition protects. Changes with heavier tails than Gaussian ones (intermittent returns)
    raise more; bisect. A cliff is missed where a second one of its sign follows within
    `steps`, and where it does not clear the roughness: the threshold is 10.4 scales at 64²,
    and a fault of 12 standard deviations of a change is found on two lines in three, one of
    24 on all.

    Args:
        dataset: Scan of one or two axes; spacing may vary.
        variable: Which variable of the scan.
        output: Which component of a vector-valued objective.
        noise: Standard error of each value, as for `roughness_map`.
        steps: Grid steps over which a cliff may fall; more find wider ones.
        share_of_range: Smallest change, as a share of the largest less the smallest value.
        neighbours: Changes on each side by which the roughness is measured, at least 8.
        false_alarm_rate: Probability of one or more false cliffs in the whole scan.
        evaluate: Values at given coordinates (points, axes), such as `point_evaluator`.
        num_halvings: Of every interval; the last must be wider than the parameters'
            rounding.
        max_refined: At most so many are bisected, largest first; the others stay
            "unresolved".

    Returns:
        Dataset over `cliff`, largest first: coordinates of the middle under the names of the
        axes, `along` (axis), `left` and `right` (ends along it), `height` (signed, in
        rising coordinate), `share` (of the range), `contrast` (excess in scales of the
        surroundings), `kind`, `refined_height`, `width` (shortest interval known to hold half of
        the height), `status` (OK, or DIVERGED where a value met in bisecting is not finite).
        Scalars: `range`, `threshold` (of the contrast), `num_tested`, `num_missing` (changes
        that touch a nonfinite value: no cliff is looked for there) and `scan_status`: DIVERGED
        without a finite change, AT_NOISE_FLOOR where the whole range is within ten errors of a
        value, TOO_FEW_POINTS where no axis has 10 points more than `steps`.

    Raises:
        ValueError: If a setting is out of range.

    References:
        Sullivan, Terry, Black and Dickerson (2022), Cliff Diving: Exploring Reward Surfaces in
        Reinforcement Learning Environments, https://arxiv.org/abs/2205.07015.
    """
    _check(steps, share_of_range, neighbours, false_alarm_rate, num_halvings)
    field = read_field(dataset, variable=variable, output=output, noise=noise)
    values = field.values.astype(np.float64)
    finite = np.isfinite(values)
    errors = np.hypot(field.noise, field.rounding())
    span = float(np.ptp(values[finite])) if finite.any() else math.nan
    rough = [size for size in values.shape if size >= steps + _FEWEST + 2]
    with np.errstate(invalid="ignore"):
        changes = [np.diff(values, axis=axis) for axis in range(values.ndim)]
    num_missing = sum(int((~np.isfinite(change)).sum()) for change in changes)
    num_tested = sum(change.size for change in changes) - num_missing
    freedom = 2 * neighbours * _FREEDOM_PER_NEIGHBOUR
    threshold = float(stats.t.isf(false_alarm_rate / 2 / max(num_tested, 1), freedom))
    status = Status.OK
    if not num_tested:
        status = Status.DIVERGED
    elif not rough:
        status = Status.TOO_FEW_POINTS
    elif span <= 10 * errors[finite].max():
        status = Status.AT_NOISE_FLOOR
    parts = []
    if status == Status.OK:
        for axis in range(values.ndim):
            parts.append(
                _along(
                    np.moveaxis(values, axis, -1),
                    np.moveaxis(errors, axis, -1),
                    axis,
                    steps=steps,
                    smallest=share_of_range * span,
                    neighbours=neighbours,
                    threshold=threshold,
                )
            )
    found = np.concatenate([*parts, np.zeros((0, values.ndim + 3))])
    found = found[np.argsort(-np.abs(found[:, -2]), kind="stable")]
    scalars = {
        "range": span,
        "threshold": threshold,
        "num_tested": num_tested,
        "num_missing": num_missing,
        "scan_status": int(status),
    }
    return _table(field, found, steps, span, evaluate, num_halvings, max_refined).assign(scalars)


def _along(
    values: np.ndarray,
    errors: np.ndarray,
    axis: int,
    *,
    steps: int,
    smallest: float,
    neighbours: int,
    threshold: float,
) -> np.ndarray:
    """Cliffs along the last axis: rows of indices over the grid, axis, height and contrast."""
    lines = values.reshape(-1, values.shape[-1])
    with np.errstate(invalid="ignore"):
        change = lines[:, steps:] - lines[:, :-steps]
    change = np.where(np.isfinite(change), change, np.nan)
    with np.errstate(invalid="ignore"):
        line, place = np.nonzero(np.abs(change) >= smallest)
    floor = math.sqrt(2) * errors.reshape(lines.shape)
    contrast = np.concatenate(
        [
            _contrast(
                change, floor, line[i : i + _AT_ONCE], place[i : i + _AT_ONCE], steps, neighbours
            )
            for i in range(0, len(line), _AT_ONCE)
        ]
        or [np.zeros(0)]
    )
    keep = contrast > threshold
    line, place, contrast = line[keep], place[keep], contrast[keep]
    height = change[line, place]
    if steps > 1:
        keep = _largest_of_overlapping(line, place, np.abs(height), steps)
        line, place, contrast, height = (x[keep] for x in (line, place, contrast, height))
    others = np.unravel_index(line, values.shape[:-1]) if values.ndim > 1 else ()
    index = np.insert(np.reshape(others, (values.ndim - 1, len(line))), axis, place, axis=0)
    return np.column_stack([index.T, np.full(len(line), axis), height, contrast])


def _contrast(
    change: np.ndarray,
    floor: np.ndarray,
    line: np.ndarray,
    place: np.ndarray,
    steps: int,
    neighbours: int,
) -> np.ndarray:
    """Excess of changes over those around them, in scales of those; 0 where a slope goes on."""
    offsets = np.concatenate([np.arange(-neighbours, 0), np.arange(1, neighbours + 1)])
    offsets = offsets + (steps - 1) * np.sign(offsets)  # beyond what overlaps
    where = place[:, None] + offsets
    inside = (where >= 0) & (where < change.shape[1])
    around = np.where(inside, change[line[:, None], np.clip(where, 0, change.shape[1] - 1)], np.nan)
    enough = np.isfinite(around).sum(axis=1) >= _FEWEST
    around = np.where(enough[:, None], around, 0.0)
    middle = np.nanmedian(around, axis=1)
    scale = _MAD * np.nanmedian(np.abs(around - middle[:, None]), axis=1)
    error = np.maximum(floor[line, place], floor[line, place + steps])
    excess = change[line, place] - middle
    beside = (around - middle[:, None])[:, [neighbours - 1, neighbours]] * np.sign(excess)[:, None]
    known = np.isfinite(beside).any(axis=1)
    slope = np.nan_to_num(beside).max(axis=1)
    isolated = known & enough & (slope <= _SAME_SLOPE * np.abs(excess))
    tiny = np.finfo(np.float64).tiny
    return np.where(isolated, np.abs(excess) / np.maximum(np.maximum(scale, error), tiny), 0.0)


def _largest_of_overlapping(
    line: np.ndarray, place: np.ndarray, size: np.ndarray, steps: int
) -> np.ndarray:
    """Keep the largest of changes whose intervals overlap."""
    keep = np.zeros(len(line), bool)
    taken: set[tuple[int, int]] = set()
    for index in np.argsort(-size, kind="stable"):
        own = [(int(line[index]), int(place[index]) + step) for step in range(steps)]
        if taken.isdisjoint(own):
            keep[index] = True
            taken.update(own)
    return keep


def _table(
    field: Field,
    found: np.ndarray,
    steps: int,
    span: float,
    evaluate: Evaluator | None,
    num_halvings: int,
    max_refined: int,
) -> xarray.Dataset:
    """Coordinates of cliffs, and what bisection makes of them."""
    ndim, count = len(field.dims), len(found)
    first, axis = found[:, :ndim].astype(int), found[:, ndim].astype(int)
    height, contrast = found[:, -2], found[:, -1]
    last = first + steps * (np.arange(ndim) == axis[:, None])
    left, right = (
        np.stack([a[i] for a, i in zip(field.axes, index.T, strict=True)], axis=1)
        for index in (first, last)
    )
    rows = np.arange(count)
    width = np.abs(right - left)[rows, axis]
    kind = np.full(count, "unresolved", dtype="<U10")
    refined, status = np.full(count, np.nan), np.full(count, int(Status.OK))
    some = slice(0, max_refined)
    if evaluate is not None and count:
        low, high = (
            field.values[tuple(index[some].T)].astype(np.float64) for index in (first, last)
        )
        walked = bisect_changes(
            left[some], right[some], low, high, evaluate, num_halvings=num_halvings
        )
        kind[some] = np.where(walked.persistent, "jump", "steep")
        kind[some][~walked.finite] = "unresolved"
        status[some] = np.where(walked.finite, int(Status.OK), int(Status.DIVERGED))
        refined[some], width[some] = walked.height, walked.width
    middle = (left + right) / 2
    data = {
        "along": np.asarray(field.dims, dtype=str)[axis],
        "left": left[rows, axis],
        "right": right[rows, axis],
        "height": height,
        "share": np.abs(height) / span,
        "contrast": contrast,
        "kind": kind,
        "refined_height": refined,
        "width": width,
        "status": status,
    }
    coords = {dim: ("cliff", middle[:, i]) for i, dim in enumerate(field.dims)}
    return xarray.Dataset(
        {name: ("cliff", column) for name, column in data.items()},
        coords=coords,
        attrs={"variable": field.name, "steps": steps},
    )


def _check(
    steps: int, share: float, neighbours: int, false_alarm_rate: float, num_halvings: int
) -> None:
    """Raise a ValueError that says what to do."""
    if steps < 1 or num_halvings < 1:
        msg = (
            f"Arguments `steps` and `num_halvings` must be positive, but are {steps} and"
            f" {num_halvings}."
        )
        raise ValueError(msg)
    if not 0 < share < 1 or not 0 < false_alarm_rate < 1:
        msg = (
            "Arguments `share_of_range` and `false_alarm_rate` must lie inside (0, 1), but are"
            f" {share} and {false_alarm_rate}."
        )
        raise ValueError(msg)
    if neighbours < _FEWEST:
        msg = f"Argument `neighbours` must be at least {_FEWEST}, but is {neighbours}."
        raise ValueError(msg)
