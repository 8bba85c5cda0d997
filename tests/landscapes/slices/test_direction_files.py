"""Directions in files: back as they went, or one error that says what differs."""

import io
import zipfile
from typing import NamedTuple

import jax
import jax.numpy as jnp
import msgpack
import numpy as np
import pytest
from flax import serialization

from fracjax import directions, landscapes
from fracjax.landscapes.slices.direction_files import load_directions, save_directions
from fracjax.landscapes.slices.grids import along

KEY = jax.random.key(0)
SUFFIXES = [".npz", ".msgpack"]


class Layer(NamedTuple):
    kernel: jax.Array
    bias: jax.Array


def layer():
    return Layer(jnp.arange(12.0).reshape(4, 3), jnp.ones(3))


# `file` is an argument of np.savez, a slash is what Haiku puts into names.
TREES = {
    "nested": {"params": {"layer_0": {"kernel": jnp.ones((4, 3)), "file": jnp.ones(())}}},
    "sequences": [layer(), (jnp.ones(2), jnp.ones(3))],
    "slashes": {"mlp/~/linear_0": {"w": jnp.ones((2, 2)), "b": jnp.ones(2)}},
    "bare": jnp.ones((5, 2)),
}


def same(first, second):
    assert jax.tree.structure(first) == jax.tree.structure(second)
    jax.tree.map(np.testing.assert_array_equal, first, second)


def bare_npz(**arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("name", list(TREES))
def test_directions_come_back(name, suffix, tmp_path):
    params = TREES[name]
    drawn = directions.draw("gaussian", KEY, params, 3)
    path = tmp_path / f"dirs{suffix}"
    save_directions(path, drawn)
    same(load_directions(path, params, normalize=False), drawn)
    same(load_directions(path, params), directions.normalize(drawn))
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_dtypes_are_those_of_the_parameters(suffix, x64, tmp_path):
    path = tmp_path / f"dirs{suffix}"
    for kept, wanted in (("float64", "float32"), ("bfloat16", "float64"), ("float16", "float32")):
        save_directions(path, {"w": jnp.full((1, 3), 0.3, kept)})
        loaded = load_directions(path, {"w": jnp.ones(3, wanted)}, normalize=False)["w"]
        assert loaded.dtype == wanted
        np.testing.assert_array_equal(loaded, jnp.full((1, 3), 0.3, kept).astype(wanted))


def test_msgpack_is_flax_own(tmp_path):
    params = TREES["nested"]
    drawn = directions.draw("gaussian", KEY, params, 2)
    ours, theirs = tmp_path / "ours.msgpack", tmp_path / "theirs.msgpack"
    save_directions(ours, drawn)
    same(serialization.msgpack_restore(ours.read_bytes()), drawn)
    theirs.write_bytes(serialization.to_bytes(drawn))
    same(load_directions(theirs, params, normalize=False), drawn)


def test_npz_opens_with_numpy_and_may_come_from_it(tmp_path):
    ours, theirs = tmp_path / "ours.npz", tmp_path / "theirs.npz"
    save_directions(ours, {"layer": {"w": jnp.ones((2, 3))}})
    assert np.load(ours)["layer/w"].shape == (2, 3)
    theirs.write_bytes(bare_npz(b=np.ones(3), w=np.full((4, 3), 2.0)))
    params = {"w": jnp.ones((4, 3)), "b": jnp.ones(3)}
    alone = load_directions(theirs, params, normalize=False)  # one direction, no leading axis
    assert (alone["w"].shape, alone["b"].shape) == ((1, 4, 3), (1, 3))


def test_a_scan_along_a_file(tmp_path):
    params = {"w": jnp.zeros(3)}
    save_directions(tmp_path / "d.npz", {"w": jnp.array([[2.0, 0, 0], [0, 0, 4.0]])})

    def objective(point, key):
        return point["w"][0] + 10 * point["w"][2]

    for normalize, sizes in ((True, (3**0.5, 3**0.5)), (False, (2.0, 4.0))):
        found = load_directions(tmp_path / "d.npz", params, normalize=normalize)
        grid = along(found, span=1.0, num_points=2)
        values = landscapes.scan(objective, params, grid, KEY)["value"]
        expected = sizes[0] * grid.axes[0][:, None] + 10 * sizes[1] * grid.axes[1]
        np.testing.assert_allclose(values, expected, rtol=1e-6)


@pytest.mark.usefixtures("single_precision")
@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"w": np.ones((2, 4, 3))}, "`b` is missing"),
        ({"w": np.ones((2, 4, 3)), "b": np.ones((2, 3)), "c": np.ones(1)}, "have no `c`"),
        (
            {"w": np.ones((2, 3, 4)), "b": np.ones((2, 3))},
            r"`w` .*\(directions, 4, 3\).*\(2, 3, 4\)",
        ),
        ({"w": np.ones((2, 4, 3)), "b": np.ones((1, 3))}, r"`w` .*beside 1 directions of `b`"),
        ({"w": np.ones((0, 4, 3)), "b": np.ones((0, 3))}, "must have shape"),
        ({"w": np.ones((1, 4, 3)), "b": np.full((1, 3), np.nan)}, "`b` is not finite"),
        ({"w": np.full((1, 4, 3), 1e300), "b": np.ones((1, 3))}, "`w` is not finite as float32"),
        ({"w": np.zeros((2, 4, 3)), "b": np.array([[1.0] * 3, [0.0] * 3])}, "direction 1 is zero"),
        ({"w": np.ones((1, 4, 3), int), "b": np.ones((1, 3))}, "`w` is of type int64"),
        ({"w": np.array([None]), "b": np.ones((1, 3))}, "Object arrays"),
    ],
)
def test_what_does_not_fit_is_named(arrays, message, tmp_path):
    path = tmp_path / "dirs.npz"
    path.write_bytes(bare_npz(**arrays))
    with pytest.raises(ValueError, match=message) as caught:
        load_directions(path, {"w": jnp.ones((4, 3)), "b": jnp.ones(3)})
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_damaged_file_is_one_error(suffix, tmp_path):
    params = {"w": jnp.ones((4, 3)), "b": jnp.ones(3)}
    path = tmp_path / f"dirs{suffix}"
    save_directions(path, directions.draw("gaussian", KEY, params, 2))
    content = path.read_bytes()
    for length in range(0, len(content), 7):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match="Directions file"):
            load_directions(path, params)
    said = []
    for position in range(0, len(content), 5):  # a flipped byte: an error or the same tree
        flipped = bytearray(content)
        flipped[position] ^= 64
        path.write_bytes(flipped)
        try:
            assert load_directions(path, params)["w"].shape == (2, 4, 3)
        except ValueError as error:
            said.append(str(error))
    assert said
    assert all(line.startswith("Directions file") for line in said)


def test_other_files_are_one_error(tmp_path):
    params = {"w": jnp.ones(3)}
    contents = {
        "absent.npz": None,
        "text.npz": b"hello",
        "list.msgpack": msgpack.packb([1, 2]),
        "number.msgpack": msgpack.packb({"w": 3}),
        "extension.msgpack": msgpack.packb({"w": msgpack.ExtType(7, b"")}),
        "object.msgpack": msgpack.packb(
            {"w": msgpack.ExtType(1, msgpack.packb(((1, 1), "object", bytes(8))))}
        ),
        "pickle.pkl": b"\x80\x04.",
    }
    for name, content in contents.items():
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match="cannot be read"):
            load_directions(tmp_path / name, params)


@pytest.mark.parametrize(
    ("name", "tree", "message"),
    [
        ("dirs.pkl", {"w": jnp.ones((1, 3))}, "npz or .msgpack"),
        ("dirs.npz", {"w": jnp.ones((1, 3)), "b": jnp.ones((2, 3))}, "leading axis"),
        ("dirs.npz", {"w": jnp.ones(())}, "leading axis"),
        ("dirs.npz", {"w": jnp.ones((1, 3), int)}, "floating"),
        ("dirs.npz", {"a/b": jnp.ones((1, 3)), "a": {"b": jnp.ones((1, 3))}}, "one name each"),
        ("dirs.msgpack", {"a/b": jnp.ones((1, 3)), "a": jnp.ones((1, 3))}, "`a/b` lies"),
    ],
)
def test_what_cannot_be_written_is_refused(name, tree, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        save_directions(tmp_path / name, tree)
    assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "dirs.npz"
    save_directions(path, {"w": jnp.ones((1, 3))})
    before = path.read_bytes()

    def full(*_):
        msg = "disk full"
        raise OSError(msg)

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="disk full"):
        save_directions(path, {"w": jnp.zeros((1, 3))})
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    assert zipfile.is_zipfile(path)
