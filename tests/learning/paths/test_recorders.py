"""What is recorded is what is read back, whatever happens to the process in between."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import xarray

from fracjax.learning.paths import store
from fracjax.learning.paths.callbacks import brax_callbacks
from fracjax.learning.paths.reading import load_path
from fracjax.learning.paths.recorders import open_recorder
from fracjax.learning.paths.store import PathError, find_store

NOT_OF_THE_PATH = ("state.json", "writer.lock")


def snapshot(step):
    """Parameters at a step, of which 12 snapshots of 20 kB fill a chunk."""
    base = np.random.default_rng(0).normal(size=(2500, 2)).astype(np.float32)
    return {"params": {"hidden": {"kernel": base + 0.5 * step, "bias": base[0] - step}}}


def begin(folder, **options):
    return open_recorder(folder, snapshot(0), metrics=("loss",), settings={"rate": 0.1}, **options)


def record_all(recorder, steps):
    for step in steps:
        recorder.record(step, snapshot(step), loss=1 / (1 + step))
    return recorder.count


def record(folder, steps, **options):
    with begin(folder, **options) as recorder:
        return record_all(recorder, steps)


def content(folder):
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.name not in NOT_OF_THE_PATH
    }


def check_whole(folder, num):
    """All snapshots that are marked done are whole."""
    path = load_path(folder)
    assert len(path) == num
    for row, values in zip(path.steps, path.values, strict=True):
        wanted = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(snapshot(int(row)))])
        np.testing.assert_array_equal(values, wanted)
    np.testing.assert_array_equal(path.metrics["loss"], 1 / (1 + path.steps))


# --- what is recorded -------------------------------------------------------------------------


def squared_norm(params):
    return sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(params))


@pytest.mark.usefixtures("single_precision")
def test_an_optax_loop_is_read_back(tmp_path):
    params = {"w": jnp.array([1.0, -2.0]), "layers": [jnp.zeros(()), (jnp.ones((2, 2)),)]}
    optimizer = optax.sgd(0.1)
    state = optimizer.init(params)
    kept = []
    with open_recorder(tmp_path / "p", params, metrics=("loss",), every=3) as recorder:
        for step in range(10):
            if recorder.is_due(step):
                kept.append(params)
            loss, gradient = jax.value_and_grad(squared_norm)(params)
            assert recorder.record(step, params, loss=loss) == (step % 3 == 0)
            updates, state = optimizer.update(gradient, state)
            params = optax.apply_updates(params, updates)
    path = load_path(tmp_path / "p")
    np.testing.assert_array_equal(path.steps, [0, 3, 6, 9])
    # The gradient of the squared norm shrinks it by (1 - 2/10)² a step.
    np.testing.assert_allclose(path.metrics["loss"], 9 * 0.64**path.steps, rtol=1e-5)
    for index, tree in enumerate(kept):
        found = path.unravel(index)
        assert jax.tree.structure(found) == jax.tree.structure(tree)
        jax.tree.map(np.testing.assert_array_equal, found, tree)
    assert path.notes["versions"]["jax"] == jax.__version__


@pytest.mark.usefixtures("single_precision")
def test_a_train_state_of_many_seeds_and_its_own_dtype(tmp_path):
    tree = {"a": jnp.arange(6.0, dtype=jnp.bfloat16).reshape(2, 3), "b": jnp.ones((2, 4)) / 3}
    state = SimpleNamespace(step=jnp.array([7, 7]), params=tree)
    options = {"num_seeds": 2, "dtype": "leaf", "metrics": ("score", "loss")}
    with open_recorder(tmp_path / "p", tree, **options) as recorder:
        assert recorder.record_state(state, score=jnp.array([1.0, 2.0]))
        with pytest.raises(ValueError, match="one for each of 2 seeds"):
            recorder.record(8, tree, score=np.ones(3))
        with pytest.raises(ValueError, match="`params` must have shapes"):
            recorder.record(8, {"a": tree["a"][0], "b": tree["b"][0]})
    path = load_path(tmp_path / "p")
    assert (path.values.shape, path.values.dtype) == ((2, 1, 7), np.float32)
    np.testing.assert_array_equal(path.metrics["score"], [[1], [2]])
    assert np.isnan(path.metrics["loss"]).all()
    found = path.unravel(0)
    assert (found["a"].dtype, found["b"].shape) == (jnp.bfloat16, (2, 4))
    jax.tree.map(np.testing.assert_array_equal, found, tree)


def test_float64_leaves_are_kept_as_they_are(tmp_path, x64):
    tree = {"a": jnp.array([1 / 3, jnp.nan]), "n": jnp.array([2**40 + 1])}
    with open_recorder(tmp_path / "p", tree, dtype="leaf") as recorder:
        recorder.record(0, tree)
        assert not recorder.record(0, tree)  # NaN equals itself
    jax.tree.map(np.testing.assert_array_equal, load_path(tmp_path / "p").unravel(0), tree)


@pytest.mark.parametrize("first", ["parameters", "return"])
def test_brax_hands_out_parameters_and_return_in_either_order(tmp_path, first):
    policy = {"params": {"hidden_0": {"kernel": jnp.ones((3, 2))}}}
    with open_recorder(tmp_path / "p", policy, metrics=("score",)) as recorder:
        on_params, on_progress = brax_callbacks(recorder, metric="score")
        for step in (0, 100):
            handed = (None, jax.tree.map(lambda leaf, s=step: leaf + s, policy), None)
            calls = [
                lambda s=step, h=handed: on_params(s, None, h),
                lambda s=step: on_progress(s, {"eval/episode_reward": jnp.float32(s / 2)}),
            ]
            for call in calls if first == "parameters" else calls[::-1]:
                assert recorder.count == step // 100
                call()
            assert recorder.last_step == step
        recorder.policy_params_fn()(200, None, handed)  # without a return: at once
    path = load_path(tmp_path / "p")
    np.testing.assert_array_equal(path.steps, [0, 100, 200])
    np.testing.assert_array_equal(path.metrics["score"], [0, 50, np.nan])
    assert path.layers == ("params/hidden_0",)


def test_xarray_opens_it_at_every_moment(tmp_path):
    with begin(tmp_path / "p") as recorder:
        for step in (0, 4, 8):
            recorder.record(step, snapshot(step), loss=0.5)
            with xarray.open_zarr(tmp_path / "p", chunks=None) as data:
                assert data.parameters.dims == ("seed", "step", "parameter")
                assert dict(data.sizes) == {"seed": 1, "step": step // 4 + 1, "parameter": 5002}
                np.testing.assert_array_equal(data.step, np.arange(0, step + 1, 4))
                np.testing.assert_array_equal(data.loss[0], 0.5)
    assert find_store(tmp_path) is None
    assert find_store(tmp_path / "p") == tmp_path / "p"


# --- what a crash leaves ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    folder = tmp_path_factory.mktemp("straight") / "p"
    assert record(folder, range(30)) == 30
    return folder


def test_death_before_any_write_leaves_whole_snapshots_and_the_same_bytes(
    tmp_path, straight, monkeypatch
):
    """Every write but the last of five snapshots is the last act of a process once."""
    folder = tmp_path / "p"
    record(folder, range(11))
    acts = {"left": 0}

    def dying(original):
        def act(*arguments):
            if acts["left"] == 0:
                raise KeyboardInterrupt
            acts["left"] -= 1
            original(*arguments)

        return act

    for count in range(1, 20):  # 4 writes a snapshot: three arrays and the mark
        with monkeypatch.context() as patch:
            recorder = begin(folder)
            before = recorder.count
            acts["left"] = count
            patch.setattr(store, "_write", dying(store._write))
            patch.setattr(store, "replace_text", dying(store.replace_text))
            with pytest.raises(KeyboardInterrupt):
                record_all(recorder, range(before, before + 9))
            recorder._lock.close()  # the kernel does that
        check_whole(folder, before + count // 4)
        record(folder, (), keep_until=10)
    record(folder, range(30))
    assert content(folder) == content(straight)


CHILD = """
    import sys, time
    sys.path.insert(0, {tests!r})
    from test_recorders import begin, record_all
    with begin({folder!r}) as recorder:
        for step in range(29):
            record_all(recorder, [step])
            time.sleep(0.03)
        time.sleep(600)  # never finishes by itself, however late the signal comes
"""


def killed(folder, enough):
    """Record in a process of its own; kill it at a random moment after `enough` snapshots."""
    text = CHILD.format(tests=os.path.dirname(__file__), folder=str(folder))
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(text)],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
    )
    deadline = time.monotonic() + 120
    while find_store(folder) is None or len(load_path(folder)) < enough:
        assert child.poll() is None, child.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    assert json.loads((folder / "state.json").read_text())["state"] == "running"
    with pytest.raises(PathError, match=f"written by process {child.pid}"):
        begin(folder)
    time.sleep(np.random.default_rng().uniform(0, 0.1))
    child.send_signal(signal.SIGKILL)
    _, said = child.communicate(timeout=120)
    assert child.returncode == -signal.SIGKILL, said
    there = len(load_path(folder))
    assert enough <= there < 30
    check_whole(folder, there)


def test_a_killed_process_leaves_the_bytes_of_an_uninterrupted_one(tmp_path, straight):
    killed(tmp_path / "p", 8)
    assert record(tmp_path / "p", range(30)) == 30
    assert content(tmp_path / "p") == content(straight)
    assert json.loads((tmp_path / "p" / "state.json").read_text())["state"] == "finished"


@pytest.mark.slow
def test_so_do_processes_that_are_killed_again_and_again(tmp_path, straight):
    for enough in (1, 4, 9, 13, 17, 20):
        killed(tmp_path / "p", enough)
    assert record(tmp_path / "p", range(30)) == 30
    assert content(tmp_path / "p") == content(straight)


def chunk(folder, index):
    return folder / "parameters" / "c" / "0" / str(index) / "0"


def test_what_is_torn_at_the_end_is_recorded_again(tmp_path, straight):
    folder = tmp_path / "p"
    record(folder, range(30))
    last = max(int(file.name) for file in (folder / "parameters/c/0").iterdir())
    assert last == 2
    for spoil in (
        lambda file: file.write_bytes(file.read_bytes()[:1000]),
        lambda file: file.write_bytes(b"\x00" + file.read_bytes()[1:]),
        lambda file: file.unlink(),
    ):
        spoil(chunk(folder, last))
        with pytest.raises(PathError, match="cannot be read"):
            load_path(folder).unravel(-1)
        assert record(folder, ()) == 26
        check_whole(folder, 26)
        record(folder, range(30))
        assert content(folder) == content(straight)


def test_what_is_missing_in_the_middle_is_said_in_one_line(tmp_path, straight):
    folder = tmp_path / "p"
    record(folder, range(30))
    chunk(folder, 0).unlink()
    with pytest.raises(PathError, match=r"0 is missing: snapshots 0 to 0 cannot be read") as told:
        load_path(folder).unravel(0)
    assert "\n" not in str(told.value)
    assert load_path(folder).last(4).values.shape == (4, 5002)
    with pytest.raises(PathError, match=r"is missing or damaged.*`keep_until`"):
        begin(folder)
    with pytest.raises(PathError, match="another run"):
        open_recorder(folder, snapshot(0), metrics=("loss",), settings={"rate": 0.2})
    assert record(folder, range(30), keep_until=-1) == 30
    assert content(folder) == content(straight)


def test_the_first_damage_is_found_where_it_is_not_counted_to_the_end(tmp_path, monkeypatch):
    """As much as is counted of parameters is damaged, and a metric earlier: rows 104 and 64."""
    folder = tmp_path / "p"
    record(folder, range(150))
    monkeypatch.setattr(store, "_MOST_DAMAGED", 1)
    chunk(folder, 8).unlink()
    (folder / "loss" / "c" / "0" / "1").unlink()
    with pytest.raises(PathError, match="snapshots from 64 on of 150"):
        begin(folder)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "damaged or not of a path"),
        ('{"attributes": ', "JSONDecodeError"),
        ("[1, 2]", "TypeError"),
        ('{"attributes": {"format": 3}}', "KeyError"),
    ],
)
def test_a_manifest_that_is_none_is_said_in_one_line(tmp_path, text, words):
    folder = tmp_path / "p"
    record(folder, range(2))
    (folder / "zarr.json").write_text(text)
    for act in (load_path, begin):
        with pytest.raises(PathError, match=words) as told:
            act(folder)
        assert "\n" not in str(told.value)
        assert "copy" in str(told.value)


def test_a_manifest_of_shapes_without_axes_is_said_in_one_line(tmp_path):
    folder = tmp_path / "p"
    record(folder, range(2))
    document = json.loads((folder / "zarr.json").read_text())
    document["consolidated_metadata"]["metadata"]["step"]["shape"] = []
    (folder / "zarr.json").write_text(json.dumps(document))
    with pytest.raises(PathError, match="IndexError"):
        load_path(folder)


# --- what is refused ---------------------------------------------------------------------------


def test_settings_of_another_run_are_refused_by_name(tmp_path):
    folder = tmp_path / "p"
    record(folder, range(3))
    before = content(folder)
    tree = snapshot(0)
    given = {"metrics": ("loss",), "settings": {"rate": 0.1}}
    for changes, words in (
        ({"settings": {"rate": 0.2}}, "rate: 0.1 there, 0.2 now"),
        ({"settings": {}}, "rate: 0.1 there, None now"),
        ({"every": 2}, "every: 1 there, 2 now"),
        ({"metrics": ()}, "metrics:"),
        ({"dtype": "float64"}, "dtype:"),
        ({"num_seeds": 2, "params": jax.tree.map(lambda x: np.stack([x, x]), tree)}, "num_seeds"),
        ({"params": {"w": np.ones(5002)}}, "layout"),
    ):
        options = {"params": tree, **given, **changes}
        with pytest.raises(PathError, match=words):
            open_recorder(folder, **options)
    with begin(folder, notes={"host": "other"}) as recorder:  # notes are not compared
        with pytest.raises(PathError, match="being written by process"):
            begin(folder)
        with pytest.raises(PathError, match=r"other parameters at step 1.*`keep_until=0`"):
            recorder.record(1, snapshot(5), loss=0.0)
        with pytest.raises(ValueError, match="'other' was given: name all of them"):
            recorder.record(9, tree, other=1.0)
    with pytest.raises(ValueError, match="closed"):
        recorder.record(9, tree)
    assert content(folder) == before


def test_settings_do_not_hide_what_the_recorder_itself_was_told(tmp_path):
    """A run may call a setting `every`, too."""
    tree = {"w": np.ones(3)}
    with open_recorder(tmp_path / "p", tree, every=2, settings={"every": 5}):
        pass
    with pytest.raises(PathError, match=r"\(every: 2 there, 3 now\)"):
        open_recorder(tmp_path / "p", tree, every=3, settings={"every": 5})


def test_bad_settings_are_named(tmp_path):
    tree = {"w": np.ones(3)}
    for options, words in (
        ({"every": 0}, "`every`"),
        ({"num_seeds": 0}, "seeds"),
        ({"dtype": "int8"}, "`dtype`"),
        ({"metrics": ("step",)}, "`metrics`"),
        ({"metrics": ("a", "a")}, "`metrics`"),
    ):
        with pytest.raises(ValueError, match=words):
            open_recorder(tmp_path / "p", tree, **options)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    with pytest.raises(PathError, match="holds no path"):
        open_recorder(tmp_path / "mine", tree)
    with pytest.raises(PathError, match="holds no path"):
        load_path(tmp_path)


def test_a_path_that_describes_a_stranger_is_not_gone_on_with(tmp_path):
    with begin(tmp_path / "p") as recorder:
        record_all(recorder, range(3))
    document = json.loads((tmp_path / "p/zarr.json").read_text())
    document["consolidated_metadata"]["metadata"]["x"] = None
    (tmp_path / "p/zarr.json").write_text(json.dumps(document))
    with pytest.raises(PathError, match="other arrays"):
        begin(tmp_path / "p")


def test_a_state_that_cannot_be_noted_leaves_no_lock(tmp_path):
    begin(tmp_path / "p").close()
    (tmp_path / "p/state.json").unlink()
    (tmp_path / "p/state.json").mkdir()
    for _ in range(2):  # again: not "is being written"
        with pytest.raises(OSError, match=r"state\.json"):
            begin(tmp_path / "p")
    (tmp_path / "p/state.json").rmdir()
    recorder = begin(tmp_path / "p")
    (tmp_path / "p/state.json").unlink()
    (tmp_path / "p/state.json").mkdir()
    with pytest.raises(OSError, match=r"state\.json"):
        recorder.close()
    (tmp_path / "p/state.json").rmdir()
    begin(tmp_path / "p").close()
