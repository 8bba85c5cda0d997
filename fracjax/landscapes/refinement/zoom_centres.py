"""Where to zoom: the point around which a landscape is roughest at every width."""

from collections.abc import Callable

import numpy as np

__all__ = ["SEARCH_SIDE", "roughest_point"]

SEARCH_SIDE = 33  # points along each axis of a window


def roughest_point(
    evaluate: Callable[[tuple[np.ndarray, ...]], np.ndarray],
    middle: tuple[float, ...],
    widths: tuple[float, ...],
    *,
    num_windows: int,
    factor: float = 2.0,
    stop: Callable[[tuple[np.ndarray, ...]], bool] | None = None,
) -> tuple[float, ...]:
    """Follow the roughest part of a window from width to width.

    In a window of 33 points along each axis, the mean of squared second differences is taken
    over every part that is `factor` times narrower; the next window is the part with the
    largest mean (the first of equal ones). A point next to one without a finite value counts as
    a jump of one standard deviation. The search ends early where nothing differs.

    Args:
        evaluate: Values on the grid with given axes.
        middle: Centre of the first window.
        widths: Of the first window.
        num_windows: How many windows.
        factor: How much narrower each is.
        stop: Whether to end before a window with given axes.
    """
    steps = np.arange(SEARCH_SIDE) - SEARCH_SIDE // 2
    part = max(round((SEARCH_SIDE - 1) / factor) - 1, 1)
    for _ in range(num_windows):
        spacing = tuple(width / (SEARCH_SIDE - 1) for width in widths)
        axes = tuple(c + steps * h for c, h in zip(middle, spacing, strict=True))
        if stop is not None and stop(axes):
            break
        rough = _squares(evaluate(axes))
        sums = rough
        for axis in range(rough.ndim):
            window = np.lib.stride_tricks.sliding_window_view(sums, part, axis=axis)
            sums = window.mean(axis=-1)
        if not sums.max() > 0:
            break
        place = np.unravel_index(int(np.argmax(sums)), sums.shape)
        # The first sample of `rough` is at index 1, a part reaches over `part` samples.
        middle = tuple(
            float(axis[0] + (index + 1 + (part - 1) / 2) * h)
            for axis, index, h in zip(axes, place, spacing, strict=True)
        )
        widths = tuple(width / factor for width in widths)
    return middle


def _squares(values: np.ndarray) -> np.ndarray:
    """Mean over axes of squared second differences at the inner points."""
    finite = np.isfinite(values)
    spread = float(np.std(values[finite].astype(float))) if finite.any() else 0.0
    jump = spread**2 or 1.0
    inner = tuple(slice(1, -1) for _ in values.shape)
    total = np.zeros(tuple(n - 2 for n in values.shape))
    for axis in range(values.ndim):
        three = [list(inner) for _ in range(3)]
        for part, where in zip(three, (slice(None, -2), slice(1, -1), slice(2, None)), strict=True):
            part[axis] = where
        before, here, after = (values[tuple(part)].astype(float) for part in three)
        good = [finite[tuple(part)] for part in three]
        with np.errstate(invalid="ignore", over="ignore"):
            square = np.minimum((before - 2 * here + after) ** 2, 1e300)
        every, some = np.all(good, axis=0), np.any(good, axis=0)
        total += np.where(every, square, np.where(some, jump, 0.0))
    return total / values.ndim
