"""Policies and what lies beside them, damaged: `fracjax diagnose --policy` says so and no more."""

import pickle
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hardening.commands import contents, guarded, one_line, run, said
from hardening.damage import damages, fuzz, place
from hypothesis import given

from fracjax import landscapes
from fracjax.rl import checkpoints, initialize
from fracjax.rl.networks import Normalizer

DATA = Path(__file__).parents[1] / "rl" / "data"


class Loaded(Exception):
    """The policy was read; what would be computed is no matter here."""


@pytest.fixture(scope="module")
def no_diagnosis():
    patch = pytest.MonkeyPatch()

    def stop(request, environment, policy, title, report):
        leaves = jax.tree.leaves((policy.params, policy.normalizer))
        assert all(np.isfinite(leaf).all() for leaf in leaves)
        assert policy.network.observation_size == environment.observation_size
        assert policy.network.action_size == environment.action_size
        raise Loaded

    patch.setattr(sys.modules["fracjax.cli.diagnose"], "_run", stop)
    yield
    patch.undo()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Files of the pendulum's sizes: three observations, one action."""
    place = tmp_path_factory.mktemp("policies")
    policy = initialize(jax.random.key(0), 3, 1, hidden=(4,))
    policy = policy.replace(normalizer=Normalizer(jnp.ones(3), jnp.ones(3)))
    for suffix in ("npz", "msgpack"):
        checkpoints.save_policy(policy, place / f"ours.{suffix}")
    arrays = {"a/weight": np.ones((4, 3)), "a/bias": np.ones(4)}
    np.savez(place / "bare.npz", **arrays, **{"b/weight": np.ones((1, 4)), "b/bias": np.ones(1)})
    statistics = {"mean": np.zeros(3, np.float32), "std": np.ones(3, np.float32)}
    dense = {"kernel": np.ones((3, 2), np.float32), "bias": np.zeros(2, np.float32)}
    weights = {"params": {"hidden_0": dense}}
    for protocol in (2, 4, 5):
        content = pickle.dumps((statistics, weights, {}), protocol)
        (place / f"brax_{protocol}.pkl").write_bytes(content)
    np.savez(place / "statistics.npz", mean=np.zeros(3), variance=np.ones(3))
    before = jax.config.jax_enable_x64
    yield place
    jax.config.update("jax_enable_x64", before)


def diagnose(path, *more):
    return run("diagnose", "pendulum", "--policy", path, "--trust", "--out", f"{path}-out", *more)


def check(path, *more):
    """Run the command; the policy loads, or one line says why not and nothing is written."""
    before = contents(path.parent)
    result = diagnose(path, *more)
    if isinstance(result.exception, Loaded):
        assert (path.parent / f"{path.name}-out").is_dir()
        return True
    one_line(result)
    assert contents(path.parent) == before
    return False


OURS = ("ours.npz", "ours.msgpack", "bare.npz", "brax_2.pkl", "brax_4.pkl", "brax_5.pkl")
FOREIGN = ("sb3_ppo.zip", "sb3_td3.zip", "cleanrl_ppo.pt", "sequential.pt", "legacy.pt")
MORE = ("--activation", "tanh", "--squash", "tanh")


def damaged_policy(files, folders, count, *more):
    """Damage a policy's file, or one in its folder, and diagnose it; how often it loaded."""
    loaded = []

    @fuzz(count)
    @given(damages(files))
    def one(damage):
        name, change = damage
        base = folders.mktemp("one")
        for other, content in files.items():
            (base / other).parent.mkdir(parents=True, exist_ok=True)
            (base / other).write_bytes(content)
        place(base / name, change)
        loaded.append(check(base / Path(name).parts[0], *more))

    one()
    return loaded


def alone(path):
    return {path.name: path.read_bytes()}


@pytest.mark.parametrize("name", OURS)
@pytest.mark.usefixtures("no_diagnosis")
def test_own_files_and_pickles(name, folder, tmp_path_factory):
    assert not all(damaged_policy(alone(folder / name), tmp_path_factory, 12))


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.usefixtures("no_diagnosis", "folder")
def test_files_of_other_libraries(name, tmp_path_factory):
    assert not all(damaged_policy(alone(DATA / name), tmp_path_factory, 8, *MORE))


@pytest.mark.slow
@pytest.mark.parametrize("name", [*OURS, *FOREIGN])
@pytest.mark.usefixtures("no_diagnosis")
def test_policies_thoroughly(name, folder, tmp_path_factory):
    path, more = (folder / name, ()) if name in OURS else (DATA / name, MORE)
    damaged_policy(alone(path), tmp_path_factory, 1500, *more)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A checkpoint of Brax's PPO, as orbax lays it out in files."""
    from orbax import checkpoint as orbax

    dense = {"kernel": np.ones((3, 2), np.float32), "bias": np.zeros(2, np.float32)}
    statistics = {"mean": np.zeros(3, np.float32), "std": np.ones(3, np.float32)}
    found = {}
    for name, ocdbt in (("packed", True), ("files", False)):
        base = tmp_path_factory.mktemp(name)
        saver = orbax.PyTreeCheckpointer(use_ocdbt=ocdbt, use_zarr3=not ocdbt)
        saver.save(base / "p", (statistics, {"params": {"hidden_0": dense}}))
        (base / "p" / "ppo_network_config.json").write_text(
            '{"network_factory_kwargs": {"activation": "tanh"}, "normalize_observations": true,'
            ' "action_size": 1}'
        )
        files = {n: c for n, c in contents(base).items() if isinstance(c, bytes)}
        found[name] = files
    return found


@pytest.mark.parametrize("layout", ["packed", "files"])
@pytest.mark.usefixtures("no_diagnosis", "folder")
def test_checkpoints_of_brax(layout, checkpoint, tmp_path_factory):
    loaded = damaged_policy(checkpoint[layout], tmp_path_factory, 12)
    assert not all(loaded)


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["packed", "files"])
@pytest.mark.usefixtures("no_diagnosis", "folder")
def test_checkpoints_of_brax_thoroughly(layout, checkpoint, tmp_path_factory):
    assert any(damaged_policy(checkpoint[layout], tmp_path_factory, 1500))


def damaged_statistics(name, folder, folders, count):
    source = {"npz": folder / "statistics.npz", "pkl": DATA / "vec_normalize.pkl"}[name]
    policy = folder / "bare.npz"
    outcomes = []

    @fuzz(count)
    @given(damages(alone(source)))
    def one(damage):
        base = folders.mktemp("one")
        (base / policy.name).write_bytes(policy.read_bytes())
        place(base / damage[0], damage[1])
        outcomes.append(check(base / policy.name, "--statistics", base / damage[0]))

    one()
    return outcomes


@pytest.mark.parametrize("name", ["npz", "pkl"])
@pytest.mark.usefixtures("no_diagnosis")
def test_statistics(name, folder, tmp_path_factory):
    assert not all(damaged_statistics(name, folder, tmp_path_factory, 10))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["npz", "pkl"])
@pytest.mark.usefixtures("no_diagnosis")
def test_statistics_thoroughly(name, folder, tmp_path_factory):
    damaged_statistics(name, folder, tmp_path_factory, 1500)


def damaged_directions(suffix, folders, count):
    params = {"w": jnp.ones((3, 2)), "b": jnp.ones(2)}
    directions = {"w": np.ones((2, 3, 2), np.float32), "b": np.full((2, 2), 0.5, np.float32)}
    path = folders.mktemp("directions") / f"d.{suffix}"
    landscapes.save_directions(path, directions)
    outcomes = []

    @fuzz(count)
    @given(damages(alone(path)))
    def one(damage):
        target = folders.mktemp("one") / damage[0]
        place(target, damage[1])
        before = contents(target.parent)
        try:
            with guarded():
                found = landscapes.load_directions(target, params)
        except ValueError as error:
            said(error)
            outcomes.append(False)
        else:
            assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))
            assert {len(leaf) for leaf in jax.tree.leaves(found)} <= {1, 2}
            outcomes.append(True)
        assert contents(target.parent) == before

    one()
    return outcomes


@pytest.mark.parametrize("suffix", ["npz", "msgpack"])
def test_directions(suffix, tmp_path_factory):
    assert not all(damaged_directions(suffix, tmp_path_factory, 40))


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["npz", "msgpack"])
def test_directions_thoroughly(suffix, tmp_path_factory):
    damaged_directions(suffix, tmp_path_factory, 4000)
