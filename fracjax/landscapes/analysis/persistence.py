"""Persistence of level sets: how many minima and maxima a scan has, and how deep they are."""

import importlib
import math
from types import ModuleType

import numpy as np
import xarray
from scipy import stats

from fracjax._types import Status
from fracjax.landscapes.analysis.fields import NoiseLike, read_field

__all__ = ["level_set_persistence", "num_extrema"]


def level_set_persistence(
    dataset: xarray.Dataset,
    *,
    superlevel: bool = False,
    variable: str = "value",
    output: int | None = None,
    noise: NoiseLike = None,
    confidence: float = 0.95,
    tolerated_missing: float = 0.0,
) -> xarray.Dataset:
    """Compute the persistence diagram of a scan's sublevel or superlevel sets.

    As a level rises, a component of the set of points below it is born at every local
    minimum and dies where it meets one that was born deeper; its persistence, death less
    birth, is how far one must climb out of that minimum. In a plane holes are born and die
    too (dimension 1). Superlevel sets are the same with the level falling: maxima, and their
    height above the pass to a higher one. Neighbours are those along the axes (cubical
    complex on the grid points); values are used as they are, in float64.

    **Missing points.** Nonfinite values never enter a set: a missing point is a wall, and a
    minimum behind it counts as one of its own. They are not filled in. Components and holes
    that are never closed for that reason have an infinite death; `status` is DIVERGED where
    their share exceeds `tolerated_missing`, and the diagram is still given.

    **Noise floor.** Changing values by at most ε moves no point of the diagram by more than
    ε (stability), so that a pair of persistence above 2ε exists without the change, too.
    `band` is 2ε for the largest error that all points stay below with probability
    `confidence`: Gaussian with standard deviation `noise`, plus half a unit in the last
    place. Count nothing below the band.

    Measured, one CPU core: .3 s and 0.1 GB at 512², 9 s and 1 GB at 2048²; both grow with
    the number of points.

    Args:
        dataset: Scan of one to three axes.
        superlevel: Whether to follow superlevel sets (maxima), not sublevel sets (minima).
        variable: Which variable of the scan.
        output: Which component of a vector-valued objective.
        noise: Standard error of each value, as for `roughness_map`.
        confidence: Probability that no pair above the band is due to noise.
        tolerated_missing: Share of nonfinite points above which `status` is DIVERGED.

    Returns:
        Dataset over `feature`, most persistent first: `dimension` (0 for components, 1 for
        holes), `birth` and `death` (levels; the death of a component or hole that never
        dies is infinite, of superlevel sets minus infinite), `persistence` (that of the
        deepest component is the whole range, of others that never die infinite), the
        coordinates of the point where it is born, such as `a` and `b`: of a component the
        extremum. Scalars:

        - `band`, `num_extrema` (components whose persistence exceeds it);
        - `total_persistence`: sum over components that die and exceed the band. Twice this
          sum and the range is the total variation of a line that starts and ends at its
          largest value;
        - `mean_persistence`: mean over the same components, the saddle-minimum average
          distance (SMAD) of Chen et al. without noise, and `roughness`, the same over the
          range: 0 for a single basin, towards 1 where all are as deep as the whole;
        - `num_missing` and `status`: DIVERGED as above, AT_NOISE_FLOOR where no persistence
          exceeds the band.

    Raises:
        ModuleNotFoundError: If GUDHI is not installed: `pip install 'fracjax[topology]'`.
        ValueError: If a setting is out of range.

    References:
        Cohen-Steiner, Edelsbrunner and Harer (2007), Stability of persistence diagrams,
        https://doi.org/10.1007/s00454-006-1276-5. Wagner, Chen and Vuçini (2012), Efficient
        computation of persistent homology for cubical data. Chen et al. (2026), Landscaper,
        https://arxiv.org/abs/2602.07135, for the average.
    """
    if not 0 < confidence < 1 or not 0 <= tolerated_missing < 1:
        msg = (
            "Arguments `confidence` and `tolerated_missing` must lie inside (0, 1) and [0, 1),"
            f" but are {confidence} and {tolerated_missing}."
        )
        raise ValueError(msg)
    gudhi = _gudhi()
    field = read_field(dataset, variable=variable, output=output, noise=noise, num_axes=(1, 2, 3))
    values = field.values.astype(np.float64)
    finite = np.isfinite(values)
    num_finite = int(finite.sum())
    sign = -1.0 if superlevel else 1.0
    filtration = np.where(finite, sign * values, np.inf)
    place, dimension, birth, death = _pairs(gudhi, filtration)
    span = float(np.ptp(values[finite])) if num_finite else math.nan
    deepest = birth == (birth.min() if len(birth) else 0)
    deepest &= np.isinf(death) & (dimension == 0)
    persistence = np.where(deepest, span, death - birth)
    order = np.argsort(-persistence, kind="stable")
    place, dimension, persistence = place[order], dimension[order], persistence[order]
    birth, death, dies = birth[order], death[order], np.isfinite(death[order])

    band = math.nan
    if num_finite:
        # The largest of n independent Gaussian errors stays below this with `confidence`.
        quantile = float(stats.norm.isf(-math.expm1(math.log(confidence) / num_finite) / 2))
        errors = quantile * field.noise + field.rounding()
        band = 2 * float(errors[finite].max())
    components = (dimension == 0) & dies & (persistence > band)
    total = float(persistence[components].sum())
    mean = total / max(int(components.sum()), 1)
    status = Status.OK
    if num_finite < max((1 - tolerated_missing) * values.size, 1):
        status = Status.DIVERGED
    elif not (persistence > band).any():
        status = Status.AT_NOISE_FLOOR
    index = np.unravel_index(place, values.shape)
    result = xarray.Dataset(
        {
            "dimension": ("feature", dimension),
            "birth": ("feature", sign * birth),
            "death": ("feature", sign * death),
            "persistence": ("feature", persistence),
            "band": band,
            "total_persistence": total,
            "mean_persistence": mean,
            "roughness": mean / span if num_finite and span > 0 else math.nan,
            "num_missing": values.size - num_finite,
            "status": int(status),
        },
        coords={
            dim: ("feature", axis[where])
            for dim, axis, where in zip(field.dims, field.axes, index, strict=True)
        },
        attrs={"variable": variable, "sets": "superlevel" if superlevel else "sublevel"},
    )
    return result.assign(num_extrema=num_extrema(result, band))


def num_extrema(diagram: xarray.Dataset, threshold: int | float) -> int:
    """Count components of a diagram that are more persistent than `threshold`.

    Minima of a sublevel diagram, maxima of a superlevel one, those that never die included.
    A threshold below the diagram's `band` counts noise.

    Args:
        diagram: Result of `level_set_persistence`.
        threshold: In the objective's unit.
    """
    components = np.asarray(diagram["dimension"]) == 0
    return int((components & (np.asarray(diagram["persistence"]) > threshold)).sum())


def _pairs(
    gudhi: ModuleType, filtration: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Where features are born (index in C order), their dimension, birth and death."""
    if not np.isfinite(filtration).any():
        return np.zeros(0, int), np.zeros(0, int), np.zeros(0), np.zeros(0)
    cells = gudhi.CubicalComplex(vertices=filtration)
    cells.compute_persistence()
    closed, open_ = cells.vertices_of_persistence_pairs()
    flat = filtration.ravel(order="F")  # the library counts the first axis fastest
    kinds, births, deaths = [], [], []
    for kind, found in enumerate(closed):
        pair = np.reshape(found, (-1, 2)).astype(int)
        kinds.append(np.full(len(pair), kind))
        births.append(pair[:, 0])
        deaths.append(flat[pair[:, 1]])
    for kind, born in enumerate(open_):
        kinds.append(np.full(len(born), kind))
        births.append(np.asarray(born, int))
        deaths.append(np.full(len(born), np.inf))
    place, dimension = np.concatenate(births), np.concatenate(kinds)
    index = np.unravel_index(place, filtration.shape, order="F")
    return (
        np.ravel_multi_index(index, filtration.shape),
        dimension,
        flat[place],
        np.concatenate(deaths),
    )


def _gudhi() -> ModuleType:
    try:
        return importlib.import_module("gudhi")
    except ModuleNotFoundError as error:
        msg = (
            "Persistence of level sets needs GUDHI, which is not installed:"
            " pip install 'fracjax[topology]'."
        )
        raise ModuleNotFoundError(msg, name="gudhi") from error
