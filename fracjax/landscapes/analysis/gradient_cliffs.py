"""Sullivan et al.'s rule: does a step along the gradient fall off a cliff?"""

import numpy as np
import xarray

from fracjax._types import Status
from fracjax.landscapes.analysis.fields import read_field

__all__ = ["gradient_cliffs"]


def gradient_cliffs(
    dataset: xarray.Dataset,
    *,
    variable: str = "value",
    output: int | None = None,
    along: str = "a",
    start: int | float = 0.0,
    num_fine: int | None = None,
    share_of_start: float = 0.5,
    share_of_range: float = 0.25,
) -> xarray.Dataset:
    """Apply the cliff rule of Cliff Diving to lines along the normalised gradient.

    A line starts at the policy and goes up the estimated gradient, first in ten times finer
    steps. A step from z to z' is a cliff if z' ≤ `share_of_start` · z and z - z' exceeds
    `share_of_range` of the range over all lines. Tested are, as in the authors' script, the
    first coarse step (over all fine ones) and then every step over one and over two coarse
    points. `at_start` is the first alone.

    Do not use it for returns that may be negative: the ratio then says that a small loss is
    a cliff or a deep fall none. Lines on which a tested value is not positive before the step
    get NOT_CONVERGED, as their answer means nothing; `cliffs` uses the range alone and any
    line.

    Args:
        dataset: Scan of one axis, or of two of which the other counts lines (checkpoints).
        variable: Which variable of the scan, a return (larger is better).
        output: Which component of a vector-valued objective.
        along: Axis that follows the gradient.
        start: Coordinate of the policy; points below are not looked at.
        num_fine: Points up to the end of the first coarse step, the start included; found from
            the spacing if not given (2 on an evenly spaced line; 10 in the authors' files).
        share_of_start: Largest share of the value that is left after a cliff.
        share_of_range: Smallest drop as a share of the range.

    Returns:
        Dataset over the other axis (or nothing): `at_start`, `anywhere` (booleans), `position`
        (coordinate before the first cliff, NaN without one), `height` (its change, negative),
        `status`: OK, DIVERGED where a value on the line is not finite (comparisons with
        it are false), NOT_CONVERGED as above, AT_NOISE_FLOOR where all values are
        equal. Attribute `range`.

    Raises:
        ValueError: If there is no such axis, fewer than two points lie at or above `start`, or a
            setting is out of range.

    References:
        Sullivan, Terry, Black and Dickerson (2022), Cliff Diving: Exploring Reward Surfaces in
        Reinforcement Learning Environments, https://arxiv.org/abs/2205.07015.
    """
    field = read_field(dataset, variable=variable, output=output)
    if along not in field.dims:
        msg = f"Argument `along` must be one of {field.dims}, but is {along!r}."
        raise ValueError(msg)
    if not 0 < share_of_start < 1 or not 0 < share_of_range < 1:
        msg = (
            "Arguments `share_of_start` and `share_of_range` must lie inside (0, 1), but are"
            f" {share_of_start} and {share_of_range}."
        )
        raise ValueError(msg)
    place = field.dims.index(along)
    values = np.moveaxis(field.values.astype(np.float64), place, -1)
    finite = np.isfinite(values)
    span = float(np.ptp(values[finite])) if finite.any() else np.nan
    ahead = field.axes[place] >= start
    axis, values = field.axes[place][ahead], values[..., ahead]
    if num_fine is None:
        num_fine = _fine_points(axis)
    if not 2 <= num_fine <= len(axis):
        msg = (
            f"Argument `num_fine` must lie between 2 and the {len(axis)} points at or above"
            f" `start`, but is {num_fine}."
        )
        raise ValueError(msg)

    kept = np.array([0, *range(num_fine - 1, len(axis))])
    coarse = values[..., kept]
    shape, lines = coarse.shape[:-1], coarse.reshape(-1, len(kept))
    tested = [(i, j) for j in range(1, len(kept)) for i in (j - 1, j - 2) if i >= 0]
    tested = [(i, j) for i, j in tested if (i, j) != (0, 2)]  # over the fine steps twice
    before, after = lines[:, [i for i, _ in tested]], lines[:, [j for _, j in tested]]
    with np.errstate(invalid="ignore"):
        fall = (after <= share_of_start * before) & (before - after > share_of_range * span)
        positive = (before > 0).all(axis=1)
    first = fall.argmax(axis=1)
    some = fall.any(axis=1)
    begin = axis[kept[[i for i, _ in tested]]]
    change = np.take_along_axis(after - before, first[:, None], axis=1)[:, 0]
    status = np.select(
        [~np.isfinite(lines).all(axis=1), np.full(len(lines), span == 0), ~positive],
        [int(Status.DIVERGED), int(Status.AT_NOISE_FLOOR), int(Status.NOT_CONVERGED)],
        int(Status.OK),
    )
    results = {
        "at_start": fall[:, 0],
        "anywhere": some,
        "position": np.where(some, begin[first], np.nan),
        "height": np.where(some, change, np.nan),
        "status": status,
    }
    dims = tuple(dim for dim in field.dims if dim != along)
    coords = {dim: field.axes[field.dims.index(dim)] for dim in dims}
    return xarray.Dataset(
        {name: (dims, column.reshape(shape)) for name, column in results.items()},
        coords=coords,
        attrs={"range": span, "num_fine": num_fine, "along": along},
    )


def _fine_points(axis: np.ndarray) -> int:
    """Points up to the end of the first coarse step."""
    if len(axis) < 3:
        return 2
    gaps = np.diff(axis)
    wider = np.nonzero(gaps > 1.5 * gaps[0])[0]
    return int(wider[0]) + 1 if len(wider) and wider[0] > 0 else 2
