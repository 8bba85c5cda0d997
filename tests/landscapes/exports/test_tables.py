"""Exports hold the numbers of the scan, read back by other programs and by a parser of our own."""

import json
import os
import re
import resource
import tracemalloc
import xml.etree.ElementTree as ET

import numpy as np
import pandas
import pytest
import xarray

from fracjax.landscapes.exports.tables import columns, write_csv, write_npz
from fracjax.landscapes.exports.vtk import write_vts

# Numbers that a text format gets wrong first.
AWKWARD = [np.nan, np.inf, -np.inf, 0.1, -0.0, 1e-310, 1.7976931348623157e308, 1 / 3]


def dataset(shape, outputs=(), dtype=np.float64):
    rng = np.random.default_rng(len(shape))
    axes = tuple("abcd"[: len(shape)])
    values = rng.standard_normal(shape + outputs).astype(dtype)
    with np.errstate(over="ignore"):
        some = min(len(AWKWARD), values.size)
        values.ravel()[:some] = np.array(AWKWARD[:some]).astype(dtype)
    rest = tuple(f"output_{i}" for i in range(len(outputs)))
    return xarray.Dataset(
        {"value": ((*axes, *rest), values), "done": (axes, rng.random(shape) > 0.2)},
        coords={axis: np.linspace(-0.3, 1 + i, shape[i]) for i, axis in enumerate(axes)},
        attrs={"directions": "filter", "manifest": '{"params": "0"}'},
    )


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_csv_reads_back_bit_for_bit(tmp_path, dtype):
    data = dataset((4, 3, 5), (2,), dtype)
    path = write_csv(data, tmp_path / "scan.csv", block_size=7)
    table = pandas.read_csv(path)
    words = pandas.read_csv(path, dtype=str)  # older ones round the numbers that they read
    table = table.assign(**{name: words[name].astype(float) for name in table if name != "done"})
    assert list(table) == ["a", "b", "c", "value_0", "value_1", "done"]
    assert len(table) == 60
    grid = np.meshgrid(data.a, data.b, data.c, indexing="ij")
    for axis, coordinates in zip("abc", grid, strict=True):
        np.testing.assert_array_equal(table[axis], coordinates.ravel())
    for output in range(2):
        back = table[f"value_{output}"].to_numpy().astype(dtype)
        expected = data["value"].values[..., output].ravel()
        np.testing.assert_array_equal(back, expected)
        np.testing.assert_array_equal(np.signbit(back), np.signbit(expected))
    np.testing.assert_array_equal(table["done"], data["done"].values.ravel())
    plain = np.genfromtxt(path, delimiter=",", names=True)
    np.testing.assert_array_equal(plain["value_1"].astype(dtype), back)


def test_csv_is_the_same_in_blocks_of_any_size(tmp_path):
    data = dataset((3, 4, 5))
    texts = {
        write_csv(data, tmp_path / f"{size}.csv", block_size=size).read_bytes()
        for size in (1, 4, 7, 20, 59, 1000)
    }
    assert len(texts) == 1


def test_csv_of_many_points_takes_the_memory_of_a_block(tmp_path):
    # 100,000 rows are 5 MB of text and about 40 MB of Python strings; a block of 2048 rows
    # takes less than 2 MB.
    data = dataset((400, 250))
    tracemalloc.start()
    write_csv(data, tmp_path / "scan.csv", block_size=2048)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (tmp_path / "scan.csv").stat().st_size > 4e6
    assert peak < 3e6


def test_npz_holds_coordinates_variables_and_attributes(tmp_path):
    data = dataset((6, 5), (3,), np.float32)
    with np.load(write_npz(data, tmp_path / "scan.npz"), allow_pickle=False) as back:
        assert set(back) == {"a", "b", "value", "done", "attrs"}
        for name, array in data.variables.items():
            np.testing.assert_array_equal(back[name], array.values)
            assert back[name].dtype == array.dtype
        assert json.loads(str(back["attrs"])) == data.attrs


VTK_DTYPES = {"Float64": "<f8", "Float32": "<f4", "UInt8": "u1", "Int32": "<i4"}


def read_vts(path):
    """Read a structured grid with raw appended data, from VTK's description of the format."""
    content = path.read_bytes()
    head, rest = content.split(b'<AppendedData encoding="raw">', 1)
    blob = rest[rest.index(b"_") + 1 :]
    root = ET.fromstring(head + b"</VTKFile>")
    assert root.attrib["type"] == "StructuredGrid"
    assert root.attrib["byte_order"] == "LittleEndian"
    assert root.attrib["header_type"] == "UInt64"
    grid = root.find("StructuredGrid")
    piece = grid.find("Piece")
    assert piece.attrib["Extent"] == grid.attrib["WholeExtent"]
    extent = [int(word) for word in piece.attrib["Extent"].split()]
    dimensions = tuple(extent[2 * i + 1] - extent[2 * i] + 1 for i in range(3))
    arrays = {}
    for element in [*piece.find("PointData"), *piece.find("Points")]:
        offset = int(element.attrib["offset"])
        size = int.from_bytes(blob[offset : offset + 8], "little")
        values = np.frombuffer(
            blob[offset + 8 : offset + 8 + size], VTK_DTYPES[element.attrib["type"]]
        )
        components = int(element.attrib["NumberOfComponents"])
        assert values.size == np.prod(dimensions) * components
        arrays[element.attrib["Name"]] = values.reshape(-1, components).squeeze(
            -1 if components == 1 else ()
        )
    end = offset + 8 + size
    assert re.fullmatch(rb"\s*</AppendedData>\s*</VTKFile>\s*", blob[end:])
    fields = {e.attrib["Name"]: float(e.text) for e in grid.find("FieldData")}
    return dimensions, arrays, fields


@pytest.mark.parametrize("shape", [(7,), (5, 4), (4, 3, 5)])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_structured_grid_has_x_fastest_and_the_bytes_of_the_scan(tmp_path, shape, dtype):
    data = dataset(shape, (2,), dtype)
    dimensions, arrays, fields = read_vts(write_vts(data, tmp_path / "scan.vts"))
    assert dimensions == shape + (1,) * (3 - len(shape))
    assert fields == {}
    assert list(arrays) == ["value_0", "value_1", "done", "Points"]
    grid = np.meshgrid(*(data[axis] for axis in "abc"[: len(shape)]), indexing="ij")
    for axis in range(3):
        expected = grid[axis].ravel(order="F") if axis < len(shape) else 0.0
        np.testing.assert_array_equal(arrays["Points"][:, axis], expected)
    for output in range(2):
        assert arrays[f"value_{output}"].dtype == dtype
        np.testing.assert_array_equal(
            arrays[f"value_{output}"], data["value"].values[..., output].ravel(order="F")
        )
    np.testing.assert_array_equal(arrays["done"], data["done"].values.ravel(order="F"))


def test_height_is_z_and_what_has_none_is_hidden_but_kept(tmp_path):
    data = dataset((5, 4))
    data["value"].values[:] = np.arange(20.0).reshape(5, 4) - 3
    data["value"].values[1, 2], data["value"].values[3, 3] = np.nan, np.inf
    path = write_vts(data, tmp_path / "scan.vts", height="value", height_scale=2.0)
    _, arrays, fields = read_vts(path)
    assert fields == {"height_scale": 2.0, "height_offset": -3.0}
    values = data["value"].values.ravel(order="F")
    finite = np.isfinite(values)
    np.testing.assert_array_equal(arrays["value"], values)
    np.testing.assert_array_equal(arrays["vtkGhostType"], np.where(finite, 0, 2))
    np.testing.assert_allclose(arrays["Points"][finite, 2], 2 * (values[finite] + 3))
    np.testing.assert_array_equal(arrays["Points"][~finite, 2], 0)
    # By default half as high as wide.
    _, arrays, _ = read_vts(write_vts(data, path, height="value"))
    assert np.ptp(arrays["Points"][:, 2]) == pytest.approx(0.5 * np.ptp(data.b.values))


def test_constant_heights_are_flat(tmp_path):
    data = dataset((5, 4))
    data["value"].values[:] = 7.0
    _, arrays, _ = read_vts(write_vts(data, tmp_path / "scan.vts", height="value"))
    np.testing.assert_array_equal(arrays["Points"][:, 2], 0)


def test_named_outputs_are_columns_and_what_is_not_over_the_grid_is_not():
    data = dataset((3, 2))
    data["map"] = (("a", "b", "x", "y"), np.zeros((3, 2, 2, 2)))
    data["history"] = (("time",), np.zeros(9))
    names = [column.name for column in columns(data)]
    assert names == ["value", "done", "map_0_0", "map_0_1", "map_1_0", "map_1_1"]


def test_settings_that_cannot_be(tmp_path):
    path = tmp_path / "file"
    data = dataset((3, 2))
    with pytest.raises(ValueError, match="`block_size`"):
        write_csv(data, path, block_size=0)
    with pytest.raises(ValueError, match="`dataset` must have at most 3 axes"):
        write_vts(dataset((3, 2, 2, 2)), path)
    with pytest.raises(ValueError, match="`height` must be one of done, value"):
        write_vts(data, path, height="loss")
    with pytest.raises(ValueError, match="`height` must be None"):
        write_vts(dataset((3, 2, 2)), path, height="value")
    with pytest.raises(ValueError, match="real numbers"):
        write_csv(data.assign(phase=data["value"] * 1j), path)
    with pytest.raises(ValueError, match="its dimensions are: time"):
        write_npz(xarray.Dataset({"x": ("time", [1.0])}), path)
    assert list(tmp_path.iterdir()) == []


def test_npz_holds_variables_of_any_name(tmp_path):
    data = dataset((3,))
    named = data.rename(value="file").assign(allow_pickle=data["value"])
    with np.load(write_npz(named, tmp_path / "scan.npz")) as found:
        for name in ("file", "allow_pickle"):
            np.testing.assert_array_equal(found[name], data["value"])


@pytest.mark.parametrize("write", [write_csv, write_npz, write_vts])
def test_full_disk_names_the_file_and_leaves_the_old_one(tmp_path, write):
    path = tmp_path / "scan"
    path.write_bytes(b"old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))  # as a disk with 4 KB left
    try:
        with pytest.raises(OSError, match=re.escape(str(path))):
            write(dataset((40, 50)), path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert os.listdir(tmp_path) == ["scan"]
    assert path.read_bytes() == b"old"
