"""Sets in a picture of an objective, and their box-counting dimension."""

import dataclasses
from collections.abc import Iterable
from typing import Literal, get_args

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from fracjax._types import Estimate, Status
from fracjax.estimators.dimensions.linear_region import linear_region

__all__ = [
    "PictureSet",
    "boundary_dimension",
    "distance_dimension",
    "mixed_boxes",
    "picture_dimension",
    "pixel_set_dimension",
]

PictureSet = Literal["boundary", "below", "distance"]
_TILES = 6  # along an axis: blocks that sampling errors are taken from
_LARGEST = 8  # a box is at most the shortest side over this
_MIN_DECADES = 0.85
_SMALLEST_SIDE = 64
_FEWEST_TILES = 4


def picture_dimension(
    values: Float[np.ndarray, "n m"],
    kind: PictureSet,
    *,
    level: float | int = 0.0,
    spacing: float = 1.0,
) -> Estimate:
    """Estimate the box-counting dimension of a set that a picture shows.

    Args:
        values: Values at the points of a grid. Nonfinite ones count as above `level`.
        kind: `"boundary"`: where values cross `level`. `"below"`: points with values up to
            `level`. `"distance"`: the set that `values` are the distances from.
        level: See `kind`.
        spacing: Distance between neighbouring points in the units of the values, for
            `"distance"`.

    Returns:
        As `boundary_dimension`, `pixel_set_dimension` or `distance_dimension`.

    Raises:
        ValueError: If `kind` is unknown.
    """
    if kind not in get_args(PictureSet):
        msg = f"Argument `kind` must be one of {get_args(PictureSet)}, but is {kind!r}."
        raise ValueError(msg)
    if kind == "distance":
        return distance_dimension(values, spacing=spacing)
    inside = np.where(values <= level, True, False)
    return pixel_set_dimension(inside) if kind == "below" else boundary_dimension(inside)


def pixel_set_dimension(pixels: Bool[np.ndarray, "n m"]) -> Estimate:
    """Estimate the box-counting dimension of a set of pixels.

    A box of s × s pixels is put at every place of the picture, not on one grid only: the
    share P(s) of places where it holds a pixel of the set, over s², is the number of boxes
    averaged over all shifts. The slope of -ln(P/s²) on ln s, for half-octave sizes from one
    pixel to an eighth of the shortest side, is that of `fracjax.estimators.linear_region`,
    with the sampling covariance of 36 tiles of the picture.

    A pixel must belong to the set where the set meets it. Do not use it on samples of points
    (`fracjax.estimators.box_counting_dimension` is for them, and on pixels would see their
    lattice), nor on a thin set whose indicator was sampled at points, which miss most of it.

    Measured at 257² points, ten zooms of ×2: a filled plane 2.00; Koch's curve with all pixels
    that it meets 1.24 to 1.28 (1.262 is exact), intervals of ±.02 to ±.05.

    Args:
        pixels: Which pixels belong to the set.

    Returns:
        Dimension, with the details of `linear_region`, `sizes` and `shares`. Status
        TOO_FEW_POINTS for a picture below 64 pixels or a set in fewer than 4 tiles;
        AT_NOISE_FLOOR for an empty set.
    """
    sums = np.zeros((pixels.shape[0] + 1, pixels.shape[1] + 1), np.int64)
    sums[1:, 1:] = pixels.cumsum(axis=0).cumsum(axis=1)

    def held(size: int) -> np.ndarray:
        inside = sums[size:, size:] - sums[:-size, size:] - sums[size:, :-size]
        return (inside + sums[:-size, :-size] > 0).astype(float)

    side = min(pixels.shape)
    sizes = np.unique(np.round(_half_octaves(side / _LARGEST)).astype(int))
    return _from_shares(side, sizes, map(held, sizes.tolist()))


def boundary_dimension(inside: Bool[np.ndarray, "n m"]) -> Estimate:
    """Estimate the box-counting dimension of the boundary of a region seen at points.

    A box counts if its four corners are not all on one side. At corners alone, because points
    within the box would find a larger share of what meets a larger box: counted with all of
    them, Koch's curve reads 1.09 to 1.18. Otherwise as `pixel_set_dimension`.

    Measured in windows of 257² points on Koch's curve, nine widths around three points each:
    1.23 to 1.30, mean 1.264, standard deviation .014 (1.262 is exact), intervals of ±.03 to ±.07;
    at 129² points 1.19 to 1.31. A line and a circle read 1.00.

    Args:
        inside: Which points of a grid are inside.
    """
    side = min(inside.shape)

    def held(size: int) -> np.ndarray:
        return mixed_boxes(inside, size).astype(float)

    sizes = np.unique(np.round(_half_octaves(side / _LARGEST)).astype(int))
    return _from_shares(side, sizes, map(held, sizes.tolist()))


def mixed_boxes(inside: Bool[np.ndarray, "n m"], size: int) -> Bool[np.ndarray, "k l"]:
    """Say of every box of a picture whether its four corners are not all on one side.

    Args:
        inside: Which points of a grid are inside.
        size: Spacings along a box's edge; one box begins at every point where it fits. 1 gives
            the boundary pixels.
    """
    first, last = inside[:-size], inside[size:]
    some = first[:, :-size] | first[:, size:]
    every = first[:, :-size] & first[:, size:]
    for corner in (last[:, :-size], last[:, size:]):
        some |= corner
        every &= corner
    return some & ~every


def distance_dimension(distances: Float[np.ndarray, "n m"], *, spacing: float = 1.0) -> Estimate:
    """Estimate the box-counting dimension of a set from distances to it.

    The area of all that is closer than r to the set grows as r^{2-D} (Minkowski and
    Bouligand), for radii from one spacing to a sixteenth of the shortest side; a point
    within half a spacing of that radius counts in part. Otherwise as `pixel_set_dimension`.
    What is outside the picture and near it counts, so that there is no edge.

    Args:
        distances: Distances, not negative; nonfinite ones count as far.
        spacing: Distance between neighbouring points.
    """
    far = np.where(np.isfinite(distances), np.abs(distances) / spacing, np.inf)
    side = min(distances.shape)
    radii = _half_octaves(side / _LARGEST / 2)
    return _from_shares(side, radii, (np.clip(0.5 + r - far, 0, 1) for r in radii))


def _half_octaves(largest: float) -> np.ndarray:
    return 2 ** (np.arange(int(2 * np.log2(max(largest, 1))) + 1) / 2)


def _from_shares(side: int, sizes: np.ndarray, pictures: Iterable[np.ndarray]) -> Estimate:
    """Fit the share of each picture that is held, against the size that it belongs to."""
    if side < _SMALLEST_SIDE:
        return _nothing(Status.TOO_FEW_POINTS)
    rows = []
    for held in pictures:
        edges = [np.linspace(0, length, _TILES + 1).astype(int)[:-1] for length in held.shape]
        sums = np.add.reduceat(np.add.reduceat(held, edges[0], axis=0), edges[1], axis=1)
        rows.append(sums.ravel() / held.size)
    tiles = np.stack(rows)
    shares, number = tiles.sum(axis=1), tiles.shape[1]
    if shares[0] == 0:
        return _nothing(Status.AT_NOISE_FLOOR)
    if np.count_nonzero(tiles[0]) < _FEWEST_TILES:
        return _nothing(Status.TOO_FEW_POINTS)
    deviations = tiles / shares[:, None] - 1 / number
    covariance = deviations @ deviations.T * number / (number - 1)
    # Counts of boxes: as many of them as share / size² says.
    log_measure = 2 * np.log(sizes) - np.log(shares)
    estimate = linear_region(
        np.log(sizes / side)[::-1].astype(np.float32),
        log_measure[::-1].astype(np.float32),
        covariance[::-1, ::-1].astype(np.float32),
        covariance_samples=number,
        min_decades=_MIN_DECADES,
    )
    details = {**estimate.details, "sizes": sizes, "shares": shares}
    return dataclasses.replace(estimate, details=details)


def _nothing(status: Status) -> Estimate:
    blank = jnp.asarray(np.nan, jnp.float32)
    return Estimate(blank, blank, blank, blank, jnp.asarray(int(status)))
