"""Checkpoints in orbax's layouts whose chunks of a few kilobytes unpack to gigabytes."""

import json
import struct
import zlib

import google_crc32c
import numcodecs
import numpy as np
import pytest
import tensorstore
from hardening.commands import contents, one_line, run

from fracjax.rl import brax_checkpoints, ocdbt_index

BYTES = 3 * 2**29  # more than `guarded` lets a command take
ZSTD = {"name": "zstd", "configuration": {"level": 1}}
BLOSC = {"cname": "zstd", "shuffle": "noshuffle", "clevel": 5, "blocksize": 0, "typesize": 4}
PLAIN = {"name": "bytes", "configuration": {"endian": "little"}}
SHARDED = {
    "name": "sharding_indexed",
    "configuration": {
        "chunk_shape": [1],
        "codecs": [PLAIN, {"name": "blosc", "configuration": BLOSC}],
        "index_codecs": [PLAIN, {"name": "crc32c"}],
    },
}


def frame(size):
    """One Zstandard frame of zeros: four bytes for every 128 KiB."""
    block = 2**17
    count = -(-size // block)
    heads = ((number == count - 1) | 1 << 1 | min(size, block) << 3 for number in range(count))
    blocks = b"".join(head.to_bytes(3, "little") + b"\0" for head in heads)
    return b"\x28\xb5\x2f\xfd\x00\x38" + blocks


def blosc():
    return bytes(numcodecs.Blosc("zstd", 1, numcodecs.Blosc.NOSHUFFLE).encode(bytes(BYTES)))


def zeros():
    return zlib.compress(bytes(4))


def older(chunk, compressor):
    return {
        "zarr_format": 2,
        "shape": [2],
        "chunks": [chunk],
        "dtype": "<f4",
        "fill_value": 0.0,
        "order": "C",
        "filters": None,
        "compressor": compressor,
    }


def newer(chunk, codecs):
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [2],
        "data_type": "float32",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [chunk]}},
        "chunk_key_encoding": {"name": "default"},
        "fill_value": 0.0,
        "codecs": codecs,
    }


def checkpoint(folder, array, chunk, *, packed):
    """Lay one array and its first chunk out as orbax does, in files or in its database."""
    folder.mkdir()
    config = {"network_factory_kwargs": {}, "normalize_observations": True, "action_size": 1}
    (folder / "ppo_network_config.json").write_text(json.dumps(config))
    entry = {"key_metadata": [{"key": "0"}, {"key": "mean"}]}
    newest = array["zarr_format"] == 3
    layout = {"tree_metadata": {"x": entry}, "use_zarr3": newest}
    (folder / "_METADATA").write_text(json.dumps(layout))
    names = ("zarr.json", "c/0") if newest else (".zarray", "0")
    files = dict(zip(names, (json.dumps(array).encode(), chunk), strict=True))
    if packed:
        base = {"driver": "ocdbt", "base": f"file://{folder}/"}
        database = tensorstore.KvStore.open(base).result()
        for name, content in files.items():
            database.write(f"0.mean/{name}", content).result()
        return folder
    for name, content in files.items():
        place = folder / "0.mean" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    return folder


HONEST = {
    "none": (older(2, None), lambda: bytes(8)),
    "zstd": (older(2, {"id": "zstd", "level": 1}), lambda: frame(8)),
    "newer": (newer(2, [PLAIN, ZSTD]), lambda: frame(8)),
    "no axes": ({**older(2, None), "shape": [], "chunks": []}, lambda: bytes(4)),
    "two chunks, one of them filled in": (older(1, {"id": "zlib", "level": 1}), zeros),
}
BOMBS = {
    "the chunk is larger than the array": (
        older(BYTES // 4, {"id": "zstd", "level": 1}),
        lambda: frame(BYTES),
        "too large",
    ),
    "so it is in the newer format": (newer(BYTES // 4, [PLAIN, ZSTD]), lambda: frame(BYTES), "too"),
    "blosc": (
        older(2, {"id": "blosc", "cname": "zstd", "clevel": 5, "shuffle": 0}),
        blosc,
        "packed by blosc",
    ),
    "blosc in the newer format": (
        newer(2, [PLAIN, {"name": "blosc", "configuration": BLOSC}]),
        blosc,
        "packed by blosc",
    ),
    "blosc in a shard": (newer(2, [SHARDED]), lambda: b"", "packed by blosc"),
    "elements of any size": (
        {**older(1, {"id": "zstd", "level": 1}), "dtype": f"|V{BYTES}", "fill_value": None},
        lambda: frame(BYTES),
        "else than numbers",
    ),
    "a compound": (
        {**older(1, None), "dtype": [["x", "<f4", [BYTES // 4]]], "fill_value": None},
        lambda: b"",
        "else than numbers",
    ),
    "zstd goes on after the chunk": (
        older(2, {"id": "zstd", "level": 1}),
        lambda: frame(BYTES),
        "",
    ),
    "so it does in the newer format": (newer(2, [PLAIN, ZSTD]), lambda: frame(BYTES), ""),
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", HONEST)
def test_the_forger_can_write_what_is_read(tmp_path, name, packed):
    array, chunk = HONEST[name]
    folder = checkpoint(tmp_path / "checkpoint", array, chunk(), packed=packed)
    statistics, _ = brax_checkpoints._restore(folder)
    np.testing.assert_array_equal(statistics["mean"], np.zeros(array["shape"], np.float32))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", BOMBS)
def test_a_chunk_that_unpacks_to_more_than_it_may(tmp_path, name, packed):
    array, chunk, words = BOMBS[name]
    content = chunk()
    assert len(content) < BYTES // 1000
    folder = checkpoint(tmp_path / "checkpoint", array, content, packed=packed)
    before = contents(folder)
    command = ("diagnose", "pendulum", "--policy", folder, "--out", tmp_path / "out")
    assert words in one_line(run(*command))
    assert contents(folder) == before
    assert not (tmp_path / "out").exists()


# --- the index of a packed checkpoint -----------------------------------------------------------


def varint(number):
    found = b""
    while number > 127:
        found += bytes([number & 127 | 128])
        number >>= 7
    return found + bytes([number])


CONFIGURATION = bytes(16) + varint(0) + varint(100) + varint(2**23) + b"\4" + varint(0)


def index(magic, body, *, zstd):
    """A manifest or node, with a checksum that is right."""
    inner = b"\0" + bytes([zstd]) + body
    whole = magic + struct.pack("<Q", 12 + len(inner) + 4) + inner
    return whole + struct.pack("<I", google_crc32c.value(whole))


def names(count, length=65_000):
    """Names that share all letters but the last with the one before."""
    shared = varint(count) + varint(length - 1) * (count - 1)
    return shared + varint(length) + varint(1) * (count - 1), bytes(length + count - 1)


def table(count):
    lengths, letters = names(count)
    return lengths + varint(0) * count + letters


def behind(start, size):
    """One frame: what is given, and zeros."""
    raw = (len(start) << 3).to_bytes(3, "little") + start
    zeros_ = frame(size)
    return zeros_[:6] + raw + zeros_[6:]


NODE, MANIFEST = b"\x0c\xdb\x20\xde", b"\x0c\xdb\x3a\x2a"
INDICES = {
    "names of files": index(MANIFEST, CONFIGURATION + table(30_000), zstd=False),
    "files without names": index(
        MANIFEST, behind(CONFIGURATION + varint(2**26), 3 * 2**26), zstd=True
    ),
    "names of files in a node": index(NODE, b"\0" + table(30_000), zstd=False),
    "keys of a node": index(NODE, b"\0" + varint(0) + b"".join(names(30_000)), zstd=False),
}


@pytest.mark.parametrize("name", INDICES)
def test_an_index_that_unpacks_to_more_than_it_may(tmp_path, name):
    array, chunk = HONEST["none"]
    folder = checkpoint(tmp_path / "checkpoint", array, chunk(), packed=True)
    content = INDICES[name]
    assert len(content) < 2**20
    place = folder / "manifest.ocdbt" if content[:4] == MANIFEST else folder / "d" / "forged"
    place.write_bytes(content if content[:4] == MANIFEST else b"before" + content)
    command = ("diagnose", "pendulum", "--policy", folder, "--out", tmp_path / "out")
    assert "index too large" in one_line(run(*command))


def test_an_index_is_read_as_tensorstore_writes_it(tmp_path):
    """Every piece of it, to its end: what is counted is what is there."""
    database = tensorstore.KvStore.open({"driver": "ocdbt", "base": f"file://{tmp_path}/"}).result()
    keys = [f"1.params.hidden_{number}.kernel/.zarray" for number in range(50)]
    for key in keys:
        database.write(key, key.encode()).result()
    (tmp_path / "other").write_bytes(MANIFEST + b"is no manifest")
    ocdbt_index.refuse_large_indices(tmp_path)
    found = set()
    for path in tmp_path.glob("d/*"):
        content = path.read_bytes()
        at = content.find(NODE)
        while at >= 0:
            found.add(ocdbt_index._unpacked_bytes(content, at, 2**25))
            at = content.find(NODE, at + 1)
    letters = sum(len(key) for key in keys)
    assert letters + 64 * len(keys) < max(found) < 3 * (letters + 64 * len(keys))
