"""Choosing parts of a path reads what they hold and nothing else."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax.learning.paths import documents, reading
from fracjax.learning.paths.projections import Projection
from fracjax.learning.paths.reading import load_path, path_in_memory
from fracjax.learning.paths.recorders import open_recorder

SEEDS, ROWS = 3, 150
SHAPES = {"a": {"kernel": (6, 40), "bias": (40,)}, "b": {"kernel": (40, 2), "bias": (2,)}}


def stacked():
    rng = np.random.default_rng(0)
    return {
        layer: {
            name: rng.normal(size=(SEEDS, ROWS, *shape)).astype(np.float32)
            for name, shape in leaves.items()
        }
        for layer, leaves in SHAPES.items()
    }


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A path of which chunks hold 7 rows and 200 columns."""
    folder = tmp_path_factory.mktemp("path") / "p"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(documents, "_CHUNK_BYTES", 7 * 4 * 200)
        patch.setattr(documents, "_CHUNK_COLUMNS", 200)
        trees = stacked()

        def at(row):
            return {
                layer: {name: leaf[:, row] for name, leaf in leaves.items()}
                for layer, leaves in trees.items()
            }

        with open_recorder(folder, at(0), metrics=("loss",), num_seeds=SEEDS) as recorder:
            for row in range(ROWS):
                recorder.record(10 * row, at(row), loss=np.arange(SEEDS) + row)
    flat = [
        trees[layer][name].reshape(SEEDS, ROWS, -1)
        for layer in ("a", "b")
        for name in ("bias", "kernel")
    ]
    return folder, np.concatenate(flat, axis=2), trees


def test_parts_are_the_parts_of_the_whole(recorded):
    folder, whole, trees = recorded
    path = load_path(folder)
    assert (path.layers, path.width, path.num_seeds) == (("a", "b"), 362, 3)
    assert path.nbytes == whole.nbytes
    np.testing.assert_array_equal(path.values, whole)
    for chosen, expected in (
        (path.last(9), whole[:, -9:]),
        (path.stride(40), whole[:, 29::40]),
        (path.stride(40).last(2), whole[:, [109, 149]]),
        (path.last(30).stride(7).seed(2), whole[2, 121::7]),
        (path.spread(4), whole[:, [0, 50, 99, 149]]),
        (path.last(3).spread(5), whole[:, 147:]),
        (path.layer("b"), whole[..., 280:]),
        (path.seed(0).layer("a/kernel"), whole[0, :, 40:280]),
        (path.layer("bias").stride(149), whole[:, [0, 149]][..., [*range(40), 280, 281]]),
        (path.layer("b").layer("b/bias").last(1), whole[:, -1:, 280:282]),
    ):
        np.testing.assert_array_equal(chosen.values, expected)
        assert chosen.nbytes == expected.nbytes
        assert len(chosen.steps) == expected.shape[-2]
        pieces = list(chosen.blocks(max_bytes=5000))
        np.testing.assert_array_equal(np.concatenate([p for _, p in pieces], axis=-2), expected)
        assert all(np.array_equal(p, expected[..., rows, :]) for rows, p in pieces)
    strided = path.stride(40)
    np.testing.assert_array_equal(strided.steps, [290, 690, 1090, 1490])
    np.testing.assert_array_equal(strided.metrics["loss"][1], [30, 70, 110, 150])
    np.testing.assert_array_equal(path.seed(2).last(2).metrics["loss"], [150, 151])
    tree = path.stride(40).unravel(1)
    jax.tree.map(lambda leaf, all_: np.testing.assert_array_equal(leaf, all_[:, 69]), tree, trees)
    single = path.seed(1).layer("b").unravel(-1)
    assert set(single) == {"b"}
    np.testing.assert_array_equal(single["b"]["kernel"], trees["b"]["kernel"][1, -1])


def test_only_chunks_that_are_wanted_are_read(recorded, monkeypatch):
    folder, _, _ = recorded
    asked = []
    original = reading.read_rows

    def read_rows(*arguments, **options):
        asked.append((arguments[3], arguments[4], options["seed"], options["columns"]))
        return original(*arguments, **options)

    path = load_path(folder)
    monkeypatch.setattr(reading, "read_rows", read_rows)
    # What a path can hold in memory: three chunks of rows.
    monkeypatch.setattr(reading, "_BLOCK_BYTES", SEEDS * 3 * 7 * 82 * 4)
    assert path.seed(1).layer("b").last(30).values.shape == (30, 82)
    assert asked == [
        (120, 126, 1, slice(280, 362)),
        (126, 147, 1, slice(280, 362)),
        (147, 150, 1, slice(280, 362)),
    ]


def test_a_path_does_not_change(recorded):
    path = load_path(recorded[0])
    with pytest.raises(AttributeError):
        path.steps = np.zeros(3)
    with pytest.raises(ValueError, match="read-only"):
        path.steps[0] = 1
    with pytest.raises(TypeError):
        path.metrics["loss"] = np.zeros(3)
    assert len(path.seed(0)) == len(path) == ROWS


def test_another_structure_is_made_on_demand(recorded):
    path = load_path(recorded[0]).seed(0)
    like = tuple(
        tuple(jax.ShapeDtypeStruct(s, "float32") for s in sorted(SHAPES[n].values(), key=len))
        for n in "ab"
    )
    found = path.unravel(3, like)
    np.testing.assert_array_equal(found[1][1], path.unravel(3)["b"]["kernel"])
    with pytest.raises(ValueError, match="`like`"):
        path.unravel(3, like[0])


def test_snapshots_in_memory_are_a_path_too(recorded):
    folder, _, trees = recorded
    one = jax.tree.map(lambda leaf: jnp.asarray(leaf[1]), trees)
    path = path_in_memory(10 * np.arange(ROWS), one, metrics={"loss": np.arange(ROWS)})
    kept = load_path(folder).seed(1)
    for left, right in ((path, kept), (path.layer("a").stride(3), kept.layer("a").stride(3))):
        np.testing.assert_array_equal(left.values, right.values)
        np.testing.assert_array_equal(left.steps, right.steps)
        assert left.layers == right.layers
    with pytest.raises(ValueError, match="`snapshots` must have a leading axis of 2,"):
        path_in_memory(np.arange(2), one)
    with pytest.raises(ValueError, match="`metrics` must have a leading axis of 150,"):
        path_in_memory(np.arange(ROWS), one, metrics={"loss": np.arange(3)})


def test_bad_choices_are_named(recorded, tmp_path):
    path = load_path(recorded[0])
    for act, words in (
        (lambda: path.layer("c"), r"a/bias, a/kernel, b/bias, b/kernel.*'c'"),
        (lambda: path.stride(0), "`every`"),
        (lambda: path.last(0), "`count`"),
        (lambda: path.spread(1), "`count`"),
        (lambda: path.seed(3), "one of 3 seeds"),
        (lambda: path.seed(0).seed(0), "one of no seeds"),
        (lambda: path.unravel(150), "one of 150"),
    ):
        with pytest.raises(ValueError, match=words):
            act()
    projection = Projection(8)
    with open_recorder(tmp_path / "p", {"w": np.ones(20)}, projection=projection) as recorder:
        recorder.record(0, {"w": np.ones(20)})
    projected = load_path(tmp_path / "p")
    assert projected.projected
    assert projected.layout.projection == projection
    with pytest.raises(ValueError, match="random projections"):
        projected.unravel(0)


def test_an_empty_path_is_one(tmp_path):
    with open_recorder(tmp_path / "p", {"w": np.ones(20)}):
        path = load_path(tmp_path / "p")
    assert (len(path), path.values.shape, list(path.blocks())) == (0, (0, 20), [])
    assert len(path.stride(3)) == len(path.last(2)) == 0
