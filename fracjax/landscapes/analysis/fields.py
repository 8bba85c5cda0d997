"""Read one field out of a scan: values, coordinates, and the error of each value."""

import dataclasses

import numpy as np
import xarray

__all__ = ["Field", "NoiseLike", "read_field"]

NoiseLike = int | float | str | np.ndarray | xarray.DataArray | xarray.Dataset | None
_UNEVEN = 1e-5  # of a step; coordinates written in float32 are this even


@dataclasses.dataclass(frozen=True)
class Field:
    """Values of one variable of a scan over its grid.

    Attributes:
        name: Of the variable.
        values: Over the grid, in the dtype of the scan; unfinished points are NaN.
        dims: Names of the axes.
        axes: Their coordinates.
        noise: Standard error of each value, broadcast over the grid; 0 where none was given.
    """

    name: str
    values: np.ndarray
    dims: tuple[str, ...]
    axes: tuple[np.ndarray, ...]
    noise: np.ndarray

    def steps(self) -> tuple[float, ...]:
        """Distance between neighbours along every axis.

        Raises:
            ValueError: If an axis is not evenly spaced.
        """
        found = []
        for dim, axis in zip(self.dims, self.axes, strict=True):
            gaps = np.diff(axis)
            step = (axis[-1] - axis[0]) / (len(axis) - 1) if len(axis) > 1 else np.nan
            if not (step > 0 and np.abs(gaps - step).max() <= _UNEVEN * step):
                msg = f"Argument `dataset` must be evenly spaced along `{dim}`, but is not."
                raise ValueError(msg)
            found.append(float(step))
        return tuple(found)

    def rounding(self) -> np.ndarray:
        """Largest error of rounding each value to its dtype: half a unit in the last place."""
        finite = np.where(np.isfinite(self.values), self.values, 0)
        return np.spacing(np.abs(finite)).astype(np.float64) / 2


def read_field(
    dataset: xarray.Dataset,
    *,
    variable: str = "value",
    output: int | None = None,
    noise: NoiseLike = None,
    num_axes: tuple[int, ...] = (1, 2),
) -> Field:
    """Take one variable of a scan.

    Args:
        dataset: Result of `landscapes.scan` or `landscapes.open_scan`. Where it has a
            variable `done`, points that are not done are NaN.
        variable: Which variable.
        output: Which component of a vector-valued objective.
        noise: Standard error of each value: a number, an array over the grid, the name of a
            variable of `dataset`, or a Dataset with the variable `stderr` (or, without
            one, `variable`). A point whose error is NaN or negative counts as missing.
        num_axes: How many axes the grid may have.

    Raises:
        ValueError: If there is no such variable, it has other axes, or `noise` does not fit.
    """
    if variable not in dataset:
        msg = (
            f"Argument `variable` must be one of {sorted(map(str, dataset))}, but is {variable!r}."
        )
        raise ValueError(msg)
    data = _component(dataset[variable], output)
    if data.ndim not in num_axes:
        msg = (
            f"Argument `dataset` must have {' or '.join(map(str, num_axes))} axes, but"
            f" `{variable}` has {data.dims}; take a slice with `.isel`."
        )
        raise ValueError(msg)
    values = np.asarray(data)
    if not np.issubdtype(values.dtype, np.floating):
        values = values.astype(np.float64)
    if "done" in dataset:
        values = np.where(np.asarray(dataset["done"].transpose(*data.dims)), values, np.nan)
    axes = tuple(
        np.asarray(data[dim] if dim in data.coords else np.arange(size), np.float64)
        for dim, size in zip(data.dims, data.shape, strict=True)
    )
    errors = _errors(dataset, data, variable, output, noise)
    values = np.where(errors >= 0, values, np.nan).astype(values.dtype)
    return Field(variable, values, tuple(map(str, data.dims)), axes, np.nan_to_num(errors))


def _component(data: xarray.DataArray, output: int | None) -> xarray.DataArray:
    if "output" not in data.dims:
        return data
    if output is None:
        msg = (
            f"Argument `output` must say which of {data.sizes['output']} components of"
            f" `{data.name}` is meant, but is None."
        )
        raise ValueError(msg)
    return data.isel(output=output)


def _errors(
    dataset: xarray.Dataset,
    data: xarray.DataArray,
    variable: str,
    output: int | None,
    noise: NoiseLike,
) -> np.ndarray:
    """Standard errors over the grid of `data`."""
    if noise is None:
        return np.zeros(data.shape)
    if isinstance(noise, str):
        if noise not in dataset:
            msg = f"Argument `noise` must name a variable of the scan, but is {noise!r}."
            raise ValueError(msg)
        noise = dataset[noise]
    if isinstance(noise, xarray.Dataset):
        noise = noise["stderr" if "stderr" in noise else variable]
    if isinstance(noise, xarray.DataArray):
        noise = _component(noise, output)
        if set(noise.dims) == set(data.dims):
            noise = noise.transpose(*data.dims)
    errors = np.asarray(noise, np.float64)
    if errors.shape not in ((), data.shape):
        msg = (
            f"Argument `noise` must be a number or have the shape {data.shape} of the scan,"
            f" but has {errors.shape}."
        )
        raise ValueError(msg)
    if errors.ndim == 0 and not 0 <= float(errors) < np.inf:
        msg = f"Argument `noise` must be finite and not negative, but is {float(errors)}."
        raise ValueError(msg)
    return np.broadcast_to(np.where(np.isfinite(errors), errors, np.nan), data.shape)
