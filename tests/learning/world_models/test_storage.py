"""Trees come back from disk; what is none, or larger than the tree, is refused."""

import io
import os
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax.learning.world_models import replay, storage
from fracjax.learning.world_models.settings import TrainingSettings

KEY = jax.random.key(0)
TREE = {"a": (jnp.arange(3, dtype=jnp.int32), KEY), "b": replay.empty(4, 2, 3, 1)}


def test_a_tree_comes_back_from_disk(tmp_path):
    """Arrays and keys by their paths; the same bytes every time; anything else is refused."""
    path, again = tmp_path / "tree.npz", tmp_path / "again.npz"
    metadata = storage.describe_settings(settings=TrainingSettings(), seeds=2)
    storage.save_tree(TREE, path, metadata)
    found = storage.load_tree(TREE, path, metadata)
    storage.save_tree(found, again, metadata)
    assert path.read_bytes() == again.read_bytes()
    assert jax.tree.structure(found) == jax.tree.structure(TREE)
    assert jax.random.key_data(found["a"][1]).tolist() == jax.random.key_data(KEY).tolist()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["again.npz", "tree.npz"]
    with pytest.raises(storage.RunFileError, match="other settings: seeds differ"):
        storage.load_tree(TREE, path, {**metadata, "seeds": 3})
    with pytest.raises(storage.RunFileError, match="other arrays"):
        storage.load_tree({"a": TREE["a"]}, path, metadata)
    with pytest.raises(storage.RunFileError, match="was expected"):
        storage.load_tree({**TREE, "b": replay.empty(5, 2, 3, 1)}, path, metadata)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(storage.RunFileError, match="damaged"):
        storage.load_tree(TREE, path, metadata)


def bomb():
    """64 KiB that unpack to 64 MiB."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("metadata.npy", bytes(2**26))
    return packed.getvalue()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda path: np.savez(path, metadata=np.array([{}])), "pickles"),
        (lambda path: path.write_bytes(bomb()), "unpacks to more than"),
        (lambda path: os.truncate(path, 2**40), "too large"),
    ],
)
def test_hostile_files_are_refused(tmp_path, spoil, words):
    path = tmp_path / "tree.npz"
    storage.save_tree(TREE, path, {})
    spoil(path)
    for read in (
        lambda: storage.load_tree(TREE, path, {}),
        lambda: storage.read_metadata(path, TREE),
    ):
        with pytest.raises(storage.RunFileError, match=f"not a training run.*{words}"):
            read()
