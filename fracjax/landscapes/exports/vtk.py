"""A scan as VTK's structured grid, written without VTK.

Format: VTK XML file formats, docs.vtk.org; appended data in raw encoding, each array preceded by
its size in bytes as an unsigned 64-bit integer, the first coordinate running fastest.
"""

import math
import struct
from pathlib import Path
from xml.sax.saxutils import quoteattr

import numpy as np
import xarray

from fracjax.landscapes.exports.tables import grid_axes, numeric_columns, written_aside

__all__ = ["write_vts"]

_HIDDEN_POINT = 2  # of VTK's ghost types
_VTK_NAMES = {
    "f": {4: "Float32", 8: "Float64"},
    "i": {1: "Int8", 2: "Int16", 4: "Int32", 8: "Int64"},
    "u": {1: "UInt8", 2: "UInt16", 4: "UInt32", 8: "UInt64"},
}


def write_vts(
    dataset: xarray.Dataset,
    path: Path | str,
    *,
    height: str | None = None,
    height_scale: float | None = None,
) -> Path:
    """Write a VTK XML structured grid, for ParaView, PyVista and VTK itself.

    Points lie at (a, b, c), with 0 for axes that a line or plane lacks; every variable and
    output is an array over the points, named as in the CSV, with NaN and infinity as they
    are. Data are appended raw, little-endian.

    With `height` a line or plane becomes a curve or surface: z is
    `height_scale × (value − smallest value)`. A point cannot lie at NaN or infinity: such
    points lie at height 0 and are hidden by VTK's own `vtkGhostType`; their values remain.

    Args:
        dataset: Result of `scan` or `open_scan`, of up to three axes.
        path: Where to write.
        height: Column that gives the height, "value" or "value_0".
        height_scale: Length of one unit of the height; by default such that the surface is
            half as high as it is wide. Kept in the file as field data, with `height_offset`.

    Returns:
        The path.

    Raises:
        ValueError: If the grid has more than three axes, three axes and a height, no such
            column, or a variable holds no numbers.
        OSError: If the file cannot be written; an older one is left as it was.
    """
    axes = grid_axes(dataset)
    wanted = numeric_columns(dataset)
    if len(axes) > 3:
        msg = f"Argument `dataset` must have at most 3 axes for VTK, but has {len(axes)}."
        raise ValueError(msg)
    sizes = [dataset.sizes[axis] for axis in axes] + [1] * (3 - len(axes))
    arrays = [(column.name, column.of(dataset)) for column in wanted]
    fields: dict[str, float] = {}
    lift = None
    if height is not None:
        lift, fields, hidden = _lifted(dataset, axes, dict(arrays), height, height_scale)
        arrays.append(("vtkGhostType", hidden))
    points = _points(dataset, axes, lift)

    attributes, offset = [], 0
    layout = [(name, array.dtype, 1) for name, array in arrays]
    layout.append(("Points", np.dtype(np.float64), 3))
    for name, dtype, components in layout:
        stored = _vtk_dtype(dtype)
        kind = _VTK_NAMES[stored.kind][stored.itemsize]
        attributes.append(
            f'<DataArray type="{kind}" Name={quoteattr(name)}'
            f' NumberOfComponents="{components}" format="appended" offset="{offset}"/>'
        )
        offset += 8 + math.prod(sizes) * components * stored.itemsize
    field_data = "".join(
        f'<DataArray type="Float64" Name="{name}" NumberOfTuples="1" format="ascii">'
        f"{value!r}</DataArray>"
        for name, value in fields.items()
    )
    extent = " ".join(f"0 {size - 1}" for size in sizes)
    scalars = quoteattr(height or wanted[0].name) if wanted else '""'
    head = (
        '<?xml version="1.0"?>\n'
        '<VTKFile type="StructuredGrid" version="1.0" byte_order="LittleEndian"'
        ' header_type="UInt64">\n'
        f'<StructuredGrid WholeExtent="{extent}"><FieldData>{field_data}</FieldData>\n'
        f'<Piece Extent="{extent}"><PointData Scalars={scalars}>\n'
        + "\n".join(attributes[:-1])
        + f"\n</PointData><Points>{attributes[-1]}</Points></Piece></StructuredGrid>\n"
        '<AppendedData encoding="raw">\n_'
    )
    with written_aside(path) as file:
        file.write(head.encode())
        for _, array in arrays:
            values = array.values
            data = np.ascontiguousarray(values.T, _vtk_dtype(values.dtype))  # x runs fastest
            file.write(struct.pack("<Q", data.nbytes))
            file.write(data.data)
        file.write(struct.pack("<Q", points.nbytes))
        file.write(points.data)
        file.write(b"\n</AppendedData>\n</VTKFile>\n")
    return Path(path)


def _lifted(
    dataset: xarray.Dataset,
    axes: tuple[str, ...],
    arrays: dict[str, xarray.DataArray],
    height: str,
    scale: float | None,
) -> tuple[np.ndarray, dict[str, float], xarray.DataArray]:
    """Heights over the grid, how they were made, and which points VTK shall hide."""
    if len(axes) > 2:
        msg = "Argument `height` must be None for a grid of three axes, but is given."
        raise ValueError(msg)
    if height not in arrays:
        msg = f"Argument `height` must be one of {', '.join(sorted(arrays))}, but is {height!r}."
        raise ValueError(msg)
    values = arrays[height].values.astype(np.float64)
    finite = np.isfinite(values)
    low = float(values[finite].min()) if finite.any() else 0.0
    extent = float(values[finite].max()) - low if finite.any() else 0.0
    width = max(float(np.ptp(dataset[axis].values)) for axis in axes)
    if scale is None:
        scale = 0.5 * width / extent if extent > 0 else 1.0
    lift = np.where(finite, scale * (np.where(finite, values, low) - low), 0.0)
    hidden = np.where(finite, 0, _HIDDEN_POINT).astype(np.uint8)
    fields = {"height_scale": float(scale), "height_offset": low}
    return lift, fields, xarray.DataArray(hidden, dims=axes)


def _points(dataset: xarray.Dataset, axes: tuple[str, ...], lift: np.ndarray | None) -> np.ndarray:
    """Three coordinates per point, x fastest; the height is z."""
    grids = np.meshgrid(*(dataset[axis].values for axis in axes), indexing="ij")
    points = np.zeros((*grids[0].T.shape, 3), "<f8")
    for axis, grid in enumerate(grids):
        points[..., axis] = grid.T
    if lift is not None:
        points[..., 2] = lift.T
    return points


def _vtk_dtype(dtype: np.dtype) -> np.dtype:
    """Closest type that VTK has, little-endian: it knows neither booleans nor half precision."""
    if dtype.kind == "b":
        return np.dtype("u1")
    if dtype.kind == "f" and dtype.itemsize < 4:
        return np.dtype("<f4")
    return dtype.newbyteorder("<")
