"""A run comes back from disk; anything else under its name is refused, and bounded in size."""

import io
import os
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax.learning.exponent_regularization.run_files import load_run, save_run
from fracjax.learning.exponent_regularization.short_horizon import Learner, Log

RUNS, UPDATES = (2, 3), 5
IDENTITY = "of these settings"


def learners(update, seed=0):
    """Two weights and three seeds; their policies have moved by the number of updates."""
    first = {"w": jnp.broadcast_to(jnp.arange(4.0) + seed, (*RUNS, 4))}
    keys = jax.random.split(jax.random.key(seed), RUNS[1])
    return Learner(
        params=jax.tree.map(lambda leaf: leaf + update, first),
        first=first,
        moments=(jnp.ones((*RUNS, 4)),),
        critic={"v": jnp.zeros((*RUNS, 2))},
        critic_moments=(),
        slow={"v": jnp.zeros((*RUNS, 2))},
        tracked=jnp.zeros((*RUNS, 7)),
        age=jnp.zeros((*RUNS, 7), int),
        update=jnp.full(RUNS, update),
        key=jnp.broadcast_to(keys, RUNS),
    )


def log(update=UPDATES):
    draw = np.random.default_rng(0)
    return Log(*draw.normal(size=(len(Log._fields), *RUNS, update)).astype(np.float32))


@pytest.fixture
def file(tmp_path):
    place = tmp_path / "run.npz"
    save_run(place, learners(UPDATES), log(), IDENTITY)
    return place


def load(file, begun=None, identity=IDENTITY):
    return load_run(file, begun or learners(0), identity, num_updates=UPDATES)


def test_what_was_saved_is_read(file):
    found, past = load(file)
    assert jax.dtypes.issubdtype(found.key.dtype, jax.dtypes.prng_key)
    plain = [one._replace(key=jax.random.key_data(one.key)) for one in (found, learners(UPDATES))]
    jax.tree.map(np.testing.assert_array_equal, *plain)
    jax.tree.map(np.testing.assert_array_equal, past, log())
    assert os.listdir(file.parent) == ["run.npz"]


def test_the_file_of_another_run_is_refused(file):
    """Of other settings; with the same ones, of another key or of other first parameters."""
    with pytest.raises(ValueError, match=f"same run.*holds {IDENTITY} instead of others"):
        load(file, identity="others")
    other = learners(0, seed=1)
    for changed in (
        other,
        other._replace(key=learners(0).key),
        learners(0)._replace(key=other.key),
    ):
        with pytest.raises(ValueError, match="began with other parameters or another key"):
            load(file, changed)


def test_arrays_that_do_not_fit_the_run_are_refused(file):
    begun = learners(0)
    for wrong in (
        (begun._replace(moments=(jnp.ones((*RUNS, 5)),)), log(0)),
        (begun._replace(age=jnp.zeros((*RUNS, 7))), log(0)),
        (learners(UPDATES), log(4)),
        (learners(UPDATES), log()._replace(penalty=np.zeros((*RUNS, 4), np.float32))),
        (learners(UPDATES), log()._replace(penalty=np.full((*RUNS, UPDATES), "a"))),
    ):
        save_run(file, *wrong, IDENTITY)
        with pytest.raises(ValueError, match="do not fit"):
            load(file)


def bomb():
    """64 KiB that unpack to 64 MiB."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("learner_0.npy", bytes(2**26))
    return packed.getvalue()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda file: file.write_bytes(file.read_bytes()[:1000]), "BadZipFile"),
        (lambda file: np.savez(file, identity=np.array(IDENTITY)), "KeyError"),
        (lambda file: np.savez(file, identity=np.array([{}])), "pickles"),
        (lambda file: file.write_bytes(bomb()), "unpacks to more than"),
        (lambda file: os.truncate(file, 2**40), "too large"),
    ],
)
def test_damaged_and_hostile_files_are_refused(file, spoil, words):
    spoil(file)
    with pytest.raises(ValueError, match=f"`file` must hold a training run.*{words}"):
        load(file)
