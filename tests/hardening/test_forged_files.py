"""Files made to do harm: code in pickles, bombs, sizes that lie, pipes, paths that lead out."""

import importlib
import io
import json
import os
import pickle
import shutil
import stat
import struct
import zipfile
from pathlib import Path

import jax
import jax.numpy as jnp
import msgpack
import numcodecs
import numpy as np
import pytest
import recorded_walks
from hardening.commands import Canary, contents, guarded, one_line, run

from fracjax import landscapes, safe_files
from fracjax.learning.paths.reading import load_path
from fracjax.rl.snapshots import RESUME, read_resume, write_resume
from fracjax.rl.trained_seeds import read_arrays, write_arrays

DATA = Path(__file__).parents[1] / "rl" / "data"
HUGE = 2**60
DIAGNOSE = "diagnose pendulum --trust --policy".split()


def refused(folder, *command):
    """Run a command that must refuse its input in one line, and write nothing."""
    before = contents(folder)
    said = one_line(run(*command))
    assert contents(folder) == before
    return said


def refused_policy(path):
    return refused(path.parent, *DIAGNOSE, path, "--out", path.parent / "out")


# --- code -------------------------------------------------------------------------------------


@pytest.fixture
def canary(tmp_path):
    canary = Canary(tmp_path)
    yield canary
    assert not canary.sings


def test_a_pickle_would_run(tmp_path):
    """The canary sings where anything unpickles it: the tests below can fail."""
    canary = Canary(tmp_path)
    pickle.loads(canary.pickles()[-1])
    assert canary.sings


@pytest.mark.parametrize("suffix", ["pkl", "npz", "msgpack", "zip", "pt", "pth", "none"])
def test_no_pickle_runs_under_any_name(canary, tmp_path, suffix):
    folder = tmp_path / "in"
    folder.mkdir()
    for protocol, content in enumerate(canary.pickles()):
        (folder / f"{protocol}.{suffix}").write_bytes(content)
        refused_policy(folder / f"{protocol}.{suffix}")


@pytest.mark.parametrize("entry", ["w.npy", "data", "policy.pth", "archive/data.pkl"])
def test_no_pickle_runs_inside_an_archive(canary, tmp_path, entry):
    folder = tmp_path / "in"
    folder.mkdir()
    for protocol, content in enumerate(canary.pickles()):
        for suffix in ("npz", "zip", "pt"):
            path = folder / f"{protocol}.{suffix}"
            with (
                zipfile.ZipFile(DATA / "sb3_ppo.zip") as whole,
                zipfile.ZipFile(path, "w") as forged,
            ):
                for other in whole.namelist() if suffix == "zip" else ():
                    if other != entry:
                        forged.writestr(other, whole.read(other))
                forged.writestr(entry, content)
            refused_policy(path)


def test_no_object_array_is_read(canary, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    buffer = io.BytesIO()
    np.save(buffer, np.array([canary], object), allow_pickle=True)
    for name in ("layer_0/kernel", "metadata", "mean", "w", "leaf_0000"):
        path = folder / "objects.npz"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(f"{name}.npy", buffer.getvalue())
        refused_policy(path)
        statistics = (*DIAGNOSE, DATA / "sequential.pt", "--statistics", path)
        refused(folder, *statistics, "--out", folder / "out")
        with pytest.raises(ValueError, match="cannot be read"):
            landscapes.load_directions(path, {"w": jnp.ones(2)})
        shutil.copy(path, folder / RESUME)
        with pytest.raises(ValueError, match="damaged"):
            read_resume(folder, {}, {})
        (folder / RESUME).unlink()


def scanned(folder):
    params = {"w": jnp.ones((3, 2))}
    grid = landscapes.plane(params, jax.random.key(0), span=0.1, num_points=(4, 4))
    landscapes.scan(
        lambda params, key: jnp.sum(params["w"] ** 2),
        params,
        grid,
        jax.random.key(1),
        store=folder,
        chunk_size=8,
        evaluator="plain",
    )
    return folder


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    base = tmp_path_factory.mktemp("stores")
    scanned(base / "scan")
    with recorded_walks.recorder(base / "path.zarr") as recorder:
        recorded_walks.record(recorder, range(24))
    return base


@pytest.fixture
def unsafe_numcodecs(monkeypatch):
    """Versions before 0.16.6 unpickle whatever a Zarr array says is a pickle."""
    with_switch = "numcodecs.pickles"
    module = importlib.import_module(with_switch)
    monkeypatch.setattr(module, "ALLOW_UNSAFE_PICKLE_DECODE", True, raising=False)


def pickled_array(array, canary):
    """Turn an array of version 3 into one of version 2 whose chunks are pickles."""
    document = json.loads((array / "zarr.json").read_text())
    shutil.rmtree(array)
    array.mkdir()
    shape = document["shape"]
    older = {
        "zarr_format": 2,
        "shape": shape,
        "chunks": document["chunk_grid"]["configuration"]["chunk_shape"],
        "dtype": "|O",
        "fill_value": "",
        "order": "C",
        "filters": [{"id": "vlen-bytes"}],
        "compressor": {"id": "pickle", "protocol": 5},
        "dimension_separator": "/",
    }
    (array / ".zarray").write_text(json.dumps(older))
    (array / ".zattrs").write_text(json.dumps({"_ARRAY_DIMENSIONS": document["dimension_names"]}))
    chunk = array / "/".join("0" * len(shape))
    chunk.parent.mkdir(parents=True, exist_ok=True)
    chunk.write_bytes(pickle.dumps(canary))


@pytest.mark.usefixtures("unsafe_numcodecs")
@pytest.mark.parametrize("name", ["value", "done", "a"])
def test_no_codec_of_a_scan_unpickles(canary, stores, tmp_path, name):
    folder = shutil.copytree(stores / "scan", tmp_path / "in" / "scan")
    pickled_array(folder / name, canary)
    refused(tmp_path, "report", folder)
    with pytest.raises(ValueError, match=r"zarr\.json"):
        scanned(folder)


@pytest.mark.usefixtures("unsafe_numcodecs")
def test_no_scan_of_an_older_format_is_opened(canary, stores, tmp_path):
    folder = shutil.copytree(stores / "scan", tmp_path / "in" / "scan")
    attributes = json.loads((folder / "zarr.json").read_text())["attributes"]
    (folder / "zarr.json").unlink()
    (folder / ".zgroup").write_text('{"zarr_format": 2}')
    (folder / ".zattrs").write_text(json.dumps(attributes))
    for name in ("value", "done", "a", "b"):
        pickled_array(folder / name, canary)
    refused(tmp_path, "report", folder)


@pytest.mark.usefixtures("unsafe_numcodecs")
@pytest.mark.parametrize("name", ["step", "loss", "parameters"])
def test_no_codec_of_a_path_unpickles(canary, stores, tmp_path, name):
    folder = shutil.copytree(stores / "path.zarr", tmp_path / "in" / "path.zarr")
    pickled_array(folder / name, canary)
    refused(tmp_path, "watch", folder, "--no-follow")
    with pytest.raises(ValueError, match="description"):
        recorded_walks.recorder(folder)


def test_the_unsafe_codec_would_run(stores, tmp_path):
    """The two tests above can fail: NumCodecs runs the pickle where it is let."""
    canary = Canary(tmp_path)
    module = importlib.import_module("numcodecs.pickles")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "ALLOW_UNSAFE_PICKLE_DECODE", True, raising=False)
        numcodecs.get_codec({"id": "pickle"}).decode(pickle.dumps(canary))
    assert canary.sings


# --- sizes ------------------------------------------------------------------------------------


def header(shape, descr="<f8"):
    text = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape!r}, }}".encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


BOMBS = {
    "zeros": header((2**29,)) + bytes(2**20),
    "elements": header((HUGE,)),
    "overflow": header((2**32, 2**32)),
    "text": header((), f"<U{2**28}"),
    "deep": header("(" * 4000),
}


@pytest.mark.parametrize("name", BOMBS)
def test_headers_of_arrays_that_lie(tmp_path, name):
    for suffix in ("npz", "zip"):
        path = tmp_path / f"{name}.{suffix}"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("layer_0/kernel.npy", BOMBS[name])
        refused_policy(path)
    with pytest.raises(ValueError, match="cannot be read"), guarded():
        landscapes.load_directions(tmp_path / f"{name}.npz", {"w": jnp.ones(2)})


@pytest.fixture(scope="module")
def bomb():
    """A kilobyte of zeros for every byte."""
    buffer = io.BytesIO()
    numbers = safe_files.MOST_BYTES // 8 + 1
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}))
        archive.writestr("layer_0/kernel.npy", header((numbers,)) + bytes(8 * numbers))
    assert len(buffer.getvalue()) < 2**21
    return buffer.getvalue()


@pytest.mark.parametrize("suffix", ["npz", "pt"])
def test_archives_that_unpack_to_more_than_they_may(bomb, tmp_path, suffix):
    """Also one of which the directory says another size."""
    path = tmp_path / f"bomb.{suffix}"
    path.write_bytes(bomb)
    refused_policy(path)
    content = bytearray(bomb)
    place = content.rfind(b"PK\x01\x02")
    content[place + 24 : place + 28] = struct.pack("<I", 1000)
    path.write_bytes(content)
    refused_policy(path)
    with pytest.raises(ValueError, match="cannot be read"), guarded():
        landscapes.load_directions(path.rename(tmp_path / "d.npz"), {"w": jnp.ones(2)})


def test_messages_whose_lengths_lie(tmp_path):
    path = tmp_path / "policy.msgpack"
    lying = [b"\xdf\xff\xff\xff\xff", b"\xdd\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff"]
    lying += [
        b"\xc9\xff\xff\xff\xff\x01",
        b"\xdb\xff\xff\xff\xff",
        b"\x81" * 100_000,
        b"\x91" * 5000,
    ]
    inner = msgpack.packb(((HUGE,), "float32", b""))
    lying += [msgpack.packb({"metadata": {}, "arrays": {"w": msgpack.ExtType(1, inner)}})]
    for content in lying:
        path.write_bytes(content)
        refused_policy(path)
        with pytest.raises(ValueError, match="cannot be read"), guarded():
            landscapes.load_directions(path, {"w": jnp.ones(2)})


def test_a_file_larger_than_any_policy(tmp_path):
    for name in ("policy.npz", "policy.msgpack", "policy.pkl", "policy.pt"):
        with (tmp_path / name).open("wb") as file:
            file.write(b"PK\x03\x04")
            file.truncate(2**40)  # takes no room on the disk
        out = tmp_path / "out"
        assert "larger than" in one_line(run(*DIAGNOSE, tmp_path / name, "--out", out))
        assert not out.exists()
        os.truncate(tmp_path / name, 0)


@pytest.mark.parametrize(
    ("array", "change"),
    [
        ("value", {"shape": [2**40, 2**40]}),
        ("a", {"shape": [2**33]}),
        ("done", {"shape": [2**33, 4]}),
        ("value", {"codecs": [{"name": "bytes"}, {"name": "zstd", "configuration": {"level": 1}}]}),
    ],
)
def test_shapes_of_a_scan_that_lie(stores, tmp_path, array, change):
    folder = shutil.copytree(stores / "scan", tmp_path / "scan")
    place = folder / array / "zarr.json"
    place.write_text(json.dumps({**json.loads(place.read_text()), **change}))
    refused(tmp_path, "report", folder)


def test_all_shapes_of_a_scan_that_lie_together(stores, tmp_path):
    """Consistent, and empty on disk: coordinates alone would take 64 GiB."""
    folder = shutil.copytree(stores / "scan", tmp_path / "scan")
    for place in [folder / "zarr.json", *folder.glob("*/zarr.json")]:
        text = place.read_text()
        document = json.loads(text)
        if "attributes" in document and "shape" in document["attributes"]:
            document["attributes"]["shape"] = [2**33, 4]
        elif document["shape"][:1] == [4] and place.parent.name != "b":
            document["shape"][0] = 2**33
        place.write_text(json.dumps(document))
    refused(tmp_path, "report", folder)


def sparse(path, size=2**40):
    """Let a file be large without taking room on the disk."""
    with path.open("ab") as file:
        file.truncate(size)
    return path


@pytest.mark.parametrize("chunk", ["value/c/0/0", "value/c/1/0", "done/c/1/0", "a/c/0"])
def test_a_chunk_of_a_scan_that_is_larger_than_its_values(stores, tmp_path, chunk):
    """Zarr would read all of it; the scan evaluates the block again."""
    folder = shutil.copytree(stores / "scan", tmp_path / "scan")
    sparse(folder / chunk)
    refused_report = one_line(run("report", folder))
    assert str(folder) in refused_report
    with pytest.raises(ValueError, match=r"larger than its values|are damaged"), guarded():
        landscapes.open_scan(folder)
    with guarded():
        scanned(folder)
    assert contents(folder) == contents(stores / "scan")


def test_a_chunk_of_a_block_that_was_not_done_is_not_read_either(stores, tmp_path):
    folder = shutil.copytree(stores / "scan", tmp_path / "scan")
    (folder / "done" / "c" / "1" / "0").unlink()
    sparse(folder / "value" / "c" / "1" / "0")
    with pytest.raises(ValueError, match="larger than its values"), guarded():
        landscapes.open_scan(folder)


def test_a_path_of_more_snapshots_than_there_are(stores, tmp_path):
    folder = shutil.copytree(stores / "path.zarr", tmp_path / "path.zarr")
    document = json.loads((folder / "zarr.json").read_text())
    for name, metadata in document["consolidated_metadata"]["metadata"].items():
        axis = 0 if name == "step" else 1
        metadata["shape"][axis] = 2**40
        inner = json.loads((folder / name / "zarr.json").read_text())
        inner["shape"][axis] = 2**40
        (folder / name / "zarr.json").write_text(json.dumps(inner))
    (folder / "zarr.json").write_text(json.dumps(document))
    refused(tmp_path, "watch", folder, "--no-follow")
    with pytest.raises(ValueError, match="snapshots"), guarded():
        recorded_walks.recorder(folder)


def test_a_metric_that_leads_out_of_the_folder(stores, tmp_path):
    folder = shutil.copytree(stores / "path.zarr", tmp_path / "in" / "path.zarr")
    shutil.copytree(folder / "loss", tmp_path / "outside")
    text = (folder / "zarr.json").read_text().replace('"loss"', '"../../outside"')
    (folder / "zarr.json").write_text(text)
    before = contents(tmp_path / "outside")
    with pytest.raises(ValueError, match="damaged"):
        load_path(folder)
    refused(tmp_path, "watch", folder, "--no-follow")
    assert contents(tmp_path / "outside") == before


def test_a_checkpoint_that_leads_out_of_its_folder_or_is_filled_in(tmp_path):
    """An array of 2⁴⁰ zeros that no chunk holds, and one that lies elsewhere."""
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    config = {
        "network_factory_kwargs": {"activation": "tanh"},
        "normalize_observations": True,
        "action_size": 1,
    }
    (folder / "ppo_network_config.json").write_text(json.dumps(config))
    older = {
        "zarr_format": 2,
        "shape": [2**20, 2**20],
        "chunks": [2**10, 2**10],
        "dtype": "<f4",
        "fill_value": 1.0,
        "order": "C",
        "filters": None,
        "compressor": None,
    }
    for key, place, words in (
        ("mean", folder / "0.mean", "too large"),
        ("../../elsewhere", tmp_path / "elsewhere", "leads out"),
    ):
        place.mkdir(parents=True)
        (place / ".zarray").write_text(json.dumps(older))
        entry = {"key_metadata": [{"key": "0"}, {"key": key}]}
        layout = {"tree_metadata": {"x": entry}, "use_zarr3": False}
        (folder / "_METADATA").write_text(json.dumps(layout))
        assert words in refused_policy(folder)


def test_a_checkpoint_with_a_file_larger_than_any_policy(tmp_path):
    """TensorStore reads a chunk whole, whatever the shape says."""
    folder = tmp_path / "checkpoint"
    (folder / "0.mean").mkdir(parents=True)
    config = {"network_factory_kwargs": {}, "normalize_observations": True, "action_size": 1}
    (folder / "ppo_network_config.json").write_text(json.dumps(config))
    array = {
        "zarr_format": 2,
        "shape": [2],
        "chunks": [2],
        "dtype": "<f4",
        "fill_value": 0.0,
        "order": "C",
        "filters": None,
        "compressor": None,
    }
    (folder / "0.mean" / ".zarray").write_text(json.dumps(array))
    entry = {"key_metadata": [{"key": "0"}, {"key": "mean"}]}
    layout = {"tree_metadata": {"x": entry}, "use_zarr3": False}
    (folder / "_METADATA").write_text(json.dumps(layout))
    chunk = sparse(folder / "0.mean" / "0")
    assert "larger than" in one_line(run(*DIAGNOSE, folder, "--out", tmp_path / "out"))
    chunk.write_bytes(bytes(8))
    assert "larger than" not in one_line(run(*DIAGNOSE, folder, "--out", tmp_path / "out"))


def test_arrays_of_many_seeds_are_those_that_must_be_there(tmp_path, bomb):
    path = tmp_path / "state.npz"
    arrays = {"leaf_0": np.arange(6.0), "leaf_1": np.ones((2, 3), np.float32)}
    expected = {name: jax.ShapeDtypeStruct(a.shape, a.dtype) for name, a in arrays.items()}
    write_arrays(path, arrays, {"snapshot": 3})
    found, about = read_arrays(path, expected)
    assert about == {"snapshot": 3}
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
    good = path.read_bytes()

    def refused_arrays(message):
        with pytest.raises(ValueError, match=message) as error, guarded():
            read_arrays(path, expected)
        assert str(path) in str(error.value)
        assert "\n" not in str(error.value)

    sparse(path)
    refused_arrays("larger than")
    for content, message in (
        (bomb, "larger than|unpacks to more"),
        (good[:-30], "damaged"),
        (b"", "damaged"),
    ):
        path.write_bytes(content)
        refused_arrays(message)
    small = io.BytesIO()
    with zipfile.ZipFile(small, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("leaf_0.npy", header((2**24,)) + bytes(2**27))
    path.write_bytes(small.getvalue())
    refused_arrays("unpacks to more")
    path.unlink()
    os.mkfifo(path)
    refused_arrays("is no file")
    path.unlink()
    refused_arrays("No such file")
    for wrong, message in (
        ({"leaf_0": arrays["leaf_0"]}, "`leaf_1` is missing"),
        ({**arrays, "leaf_2": np.ones(1)}, "`leaf_2` is .*not expected"),
        ({**arrays, "leaf_0": np.arange(5.0)}, r"`leaf_0` is \(\(5,\)"),
        ({**arrays, "leaf_1": np.ones((2, 3))}, "`leaf_1` is .*float64.*not .*float32"),
    ):
        write_arrays(path, wrong, {"snapshot": 3})
        refused_arrays(message)


# --- what is no file --------------------------------------------------------------------------


@pytest.fixture(params=["pipe", "zero", "socket", "folder", "loop", "unreadable"])
def odd(request):
    """Put something in the place of a file."""

    def put(path):
        path.unlink(missing_ok=True)
        if request.param == "pipe":
            os.mkfifo(path)
        elif request.param == "zero":
            path.symlink_to("/dev/zero")
        elif request.param == "socket":
            os.mknod(path, stat.S_IFSOCK | 0o600)
        elif request.param == "folder":
            path.mkdir()
        elif request.param == "loop":
            path.symlink_to(path.name)
        else:
            path.write_bytes(b"{}")
            path.chmod(0)
            if os.geteuid() == 0:  # who may read everything
                os.chown(path, 65534, 65534)
                pytest.skip("runs as root, who may read everything")
        return path

    return put


@pytest.mark.parametrize("name", ["p.npz", "p.msgpack", "p.zip", "p.pt", "p"])
def test_policies_that_are_no_files(tmp_path, odd, name):
    refused_policy(odd(tmp_path / name))


def test_requests_and_records_that_are_no_files(tmp_path, odd):
    for name, command in (
        ("scan.json", ("scan", "--resume")),
        ("scan.json", ("report",)),
        ("results.json", ("report",)),
        ("zarr.json", ("report",)),
        ("watch.json", ("watch", "--no-follow")),
        ("records.jsonl", ("watch", "--no-follow")),
        ("state.json", ("watch", "--no-follow")),
        ("zarr.json", ("watch", "--no-follow")),
        ("000000.npz", ("watch", "--no-follow")),
        ("rows.json", ("reproduce", "references", "--only", "cat", "--quick", "--out")),
    ):
        folder = tmp_path / f"{command[0]}-{name}"
        folder.mkdir()
        if name == "records.jsonl":
            (folder / "watch.json").write_text('{"budget": 0.1}')
        odd(folder / name)
        refused(folder, *command, folder)


def test_text_from_a_file_does_not_speak_to_the_terminal(tmp_path):
    path = tmp_path / "p.msgpack"
    settings = {"format": "fracjax-policy", "version": 1, "head": "\x1b[2J\x07" + "x" * 10_000}
    arrays = {"layer_0/kernel": np.ones((3, 1), np.float32), "layer_0/bias": np.ones(1, np.float32)}
    packed = {
        name: msgpack.ExtType(1, msgpack.packb((a.shape, a.dtype.name, a.tobytes())))
        for name, a in arrays.items()
    }
    path.write_bytes(msgpack.packb({"metadata": settings, "arrays": packed}))
    said = refused_policy(path)
    assert "x" * 100 in said
    assert len(said) < 1200
    assert "\x1b" not in said


def test_safe_files_read_what_is_there(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"content")
    assert safe_files.read_bytes(path) == b"content"
    with pytest.raises(ValueError, match="too large"):
        safe_files.read_bytes(path, most=3)
    path.write_text('{"a": "\\ud800", "b": ["\\ud83d\\ude00"]}')
    assert safe_files.read_json(path) == {"a": "?", "b": ["😀"]}
    with pytest.raises(FileNotFoundError):
        safe_files.read_bytes(tmp_path / "nothing")
    arrays = {"x": np.arange(6.0).reshape(2, 3), "y/z": np.array("text")}
    np.savez_compressed(path.with_suffix(".npz"), **arrays)
    found = safe_files.read_npz(path.with_suffix(".npz").read_bytes())
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype


def test_a_run_that_is_gone_on_with_is_read_back(tmp_path):
    params = {"w": np.arange(6.0), "n": np.int64(3)}
    write_resume(tmp_path / RESUME, params, 7, {"seed": 0})
    steps, found, _ = read_resume(tmp_path, params, {"seed": 0})
    assert steps == 7
    np.testing.assert_array_equal(found["w"], params["w"])
