"""Zips of Stable-Baselines3: equal actions, readable arguments, and no pickle ever opened.

The files in `data/` were written by Stable-Baselines3 itself, see `data/make_policies.py`.
"""

import base64
import json
import os
import pickle
import re
import zipfile
from pathlib import Path

import jax
import numpy as np
import pytest
from torch_archives import state_dictionary

from fracjax.cli.policies import load_environment_and_policy, parse_bounds
from fracjax.rl.checkpoints import load_policy, save_policy
from fracjax.rl.observation_statistics import read_statistics
from fracjax.rl.policies import PolicyFileError, initialize

DATA = Path(__file__).parent / "data"
BOX = ((-2.0, -0.5), (2.0, 1.5))


def expected(name):
    with np.load(DATA / "expected.npz") as archive:
        actions = dict(zip(archive["names"], archive["actions"], strict=True))
        return archive["observations"], actions[name]


def acts(policy, observations):
    found = jax.vmap(lambda o: policy.act(policy.params, o))(observations)
    low, high = np.array(BOX)
    return low + (high - low) * (np.asarray(found, float) + 1) / 2


def rewrite(source, target, change, compression=zipfile.ZIP_STORED):
    """Copy a zip with its entries changed; what becomes `None` is left out."""
    with zipfile.ZipFile(source) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    change(entries)
    with zipfile.ZipFile(target, "w", compression) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return target


def with_arguments(path, source="sb3_ppo.zip", **changed):
    def change(entries):
        entries["data"] = json.dumps(json.loads(entries["data"]) | changed).encode()

    return rewrite(DATA / source, path, change)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize(
    ("name", "hidden", "activation"),
    [
        ("sb3_ppo", (8, 6), "tanh"),
        ("sb3_ppo_relu", (5,), "relu"),  # with gSDE, whose mean is the same
        ("sb3_sac", (8, 6), "relu"),
        ("sb3_td3", (8, 6), "relu"),
    ],
)
def test_actions_are_those_of_predict(tmp_path, name, hidden, activation, compression):
    """Measured: 2.4e-7 at most."""
    observations, actions = expected(name)
    path = rewrite(DATA / f"{name}.zip", tmp_path / "a.zip", lambda _: None, compression)
    policy = load_policy(path)
    np.testing.assert_allclose(acts(policy, observations), actions, atol=1e-5)
    assert policy.network.hidden == hidden
    assert policy.network.activation == activation
    assert policy.network.head == "deterministic"
    training = policy.info.training
    assert (training["steps"], training["seed"]) == (64, 0)
    assert training["library"] == "stable-baselines3 2.9.2"
    assert training["action_bounds"] == [list(end) for end in BOX]
    assert ("default" in training.get("activation", "")) == (name != "sb3_ppo_relu")


def test_some_actions_of_ppo_are_clipped():
    _, actions = expected("sb3_ppo")
    assert 0.1 < ((actions == BOX[0]) | (actions == BOX[1])).mean() < 0.5


def test_a_loaded_policy_saves_as_one_of_ours(tmp_path):
    observations, actions = expected("sb3_ppo_normalised")
    policy = load_policy(DATA / "sb3_ppo.zip", statistics=DATA / "vec_normalize.pkl", trust=True)
    np.testing.assert_allclose(acts(policy, observations), actions, atol=1e-5)
    for suffix in ("npz", "msgpack"):
        save_policy(policy, tmp_path / f"policy.{suffix}")
        again = load_policy(tmp_path / f"policy.{suffix}")
        assert again.network == policy.network
        assert again.network.observation_clip == 1.5
        assert again.info.training == policy.info.training
        np.testing.assert_array_equal(acts(again, observations), acts(policy, observations))


# --- arguments ----------------------------------------------------------------------------


def test_serialised_arguments_are_never_opened(tmp_path):
    mark = tmp_path / "mark"

    class Attack:
        def __reduce__(self):
            return os.system, (f"touch {mark}",)

    forged = base64.b64encode(pickle.dumps(Attack())).decode()

    def poison(value):
        if isinstance(value, dict):
            return {k: forged if k == ":serialized:" else poison(v) for k, v in value.items()}
        return value

    with zipfile.ZipFile(DATA / "sb3_ppo_relu.zip") as archive:
        arguments = json.loads(archive.read("data"))
    poisoned = poison(arguments)
    assert json.dumps(poisoned).count(forged) == 3  # two spaces and the policy's arguments
    path = with_arguments(tmp_path / "a.zip", "sb3_ppo_relu.zip", **poisoned)
    for trust in (False, True):
        assert load_policy(path, trust=trust).network.activation == "relu"
    assert not mark.exists()


def test_the_caller_settles_what_the_file_leaves_open(tmp_path):
    policy = load_policy(DATA / "sb3_ppo.zip", activation="elu")
    assert policy.network.activation == "elu"
    with pytest.raises(PolicyFileError, match="`activation` 'relu' by its own account"):
        load_policy(DATA / "sb3_ppo_relu.zip", activation="elu")
    own = {"activation_fn": "<class '__main__.Wave'>"}
    path = with_arguments(tmp_path / "a.zip", policy_kwargs=own)
    with pytest.raises(PolicyFileError, match=r"<class '__main__\.Wave'>`, which is not known"):
        load_policy(path)
    assert load_policy(path, activation="relu").network.activation == "relu"
    exact = {"activation_fn": "<class 'torch.nn.modules.activation.GELU'>"}
    with pytest.raises(PolicyFileError, match=r"GELU.*not known"):
        load_policy(with_arguments(path, policy_kwargs=exact))
    squashed = with_arguments(path, policy_kwargs={"squash_output": True})
    assert load_policy(squashed).network.squash == "tanh"


@pytest.mark.parametrize(
    ("low", "high", "message"),
    [
        (None, None, "says not in which bounds"),
        ("[-inf -inf]", "[inf inf]", "says not in which bounds"),
        ("[-2. ... -2.]", "[2. ... 2.]", "says not in which bounds"),
        ("[-2. -2. -2.]", "[2. 2. 2.]", "do not fit"),
        ("[2. 2.]", "[-2. -2.]", "low < high"),
    ],
)
def test_boxes_that_cannot_be_read_are_asked_for(tmp_path, low, high, message):
    space = {":type:": "<class 'gymnasium.spaces.box.Box'>", "low": low, "high": high}
    path = with_arguments(tmp_path / "a.zip", action_space=space)
    with pytest.raises(PolicyFileError, match=message):
        load_policy(path)


def test_boxes_of_several_lines_are_read(tmp_path):
    space = {"low": "[-4.e-01\n -1.5]", "high": "[ 0.4\n  .5 ]"}
    path = with_arguments(tmp_path / "a.zip", action_space=space)
    assert load_policy(path).info.training["action_bounds"] == [[-0.4, -1.5], [0.4, 0.5]]
    assert (
        load_policy(with_arguments(path, action_space=None), action_bounds=(-1, 1)).action_size == 2
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"action_space": {":type:": "<class 'gymnasium.spaces.discrete.Discrete'>"}},
            "`Discrete`",
        ),
        ({"observation_space": {":type:": "<class 'gym.spaces.dict.Dict'>"}}, "in a `Dict` space"),
    ],
)
def test_spaces_other_than_vectors_are_named(tmp_path, arguments, message):
    with pytest.raises(PolicyFileError, match=message):
        load_policy(with_arguments(tmp_path / "a.zip", **arguments))


# --- damage -------------------------------------------------------------------------------


def test_damaged_zips_raise_one_line(tmp_path):
    content = (DATA / "sb3_ppo.zip").read_bytes()
    noise = np.random.default_rng(0)
    path = tmp_path / "a.zip"
    refused = 0
    for trial in range(300):
        changed = bytearray(content)
        changed[noise.integers(len(content))] ^= int(noise.integers(1, 256))
        if trial % 3 == 0:
            changed = changed[: noise.integers(len(content))]
        path.write_bytes(changed)
        try:
            policy = load_policy(path)
        except PolicyFileError as error:
            refused += "\n" not in str(error)
        else:
            assert (policy.observation_size, policy.network.hidden) == (3, (8, 6))
    assert refused > 200


@pytest.mark.parametrize(
    ("entry", "content", "message"),
    [
        ("data", b"[]", "no table of arguments"),
        ("data", b"{", "JSONDecodeError"),
        ("policy.pth", b"", "damaged or truncated zip"),
        ("policy.pth", (DATA / "cleanrl_sac.pt").read_bytes(), "holds a CleanRL state dictionary"),
        ("policy.pth", (DATA / "legacy.pt").read_bytes(), "legacy format"),
    ],
)
def test_wrong_entries_are_named(tmp_path, entry, content, message):
    path = rewrite(DATA / "sb3_ppo.zip", tmp_path / "a.zip", lambda e: e.update({entry: content}))
    with pytest.raises(PolicyFileError, match=message):
        load_policy(path)


# --- VecNormalize -------------------------------------------------------------------------


def test_a_vec_normalize_needs_trust_and_runs_nothing(tmp_path):
    with pytest.raises(PolicyFileError, match=r"is a pickle.*--trust"):
        load_policy(DATA / "sb3_ppo.zip", statistics=DATA / "vec_normalize.pkl")
    mark = tmp_path / "mark"

    class Attack:
        def __reduce__(self):
            return os.system, (f"touch {mark}",)

    (tmp_path / "attack.pkl").write_bytes(pickle.dumps(Attack()))
    with pytest.raises(PolicyFileError, match=r"`posix\.system`.*nothing was run"):
        load_policy(DATA / "sb3_ppo.zip", statistics=tmp_path / "attack.pkl", trust=True)
    assert not mark.exists()
    content = (DATA / "vec_normalize.pkl").read_bytes()
    noise = np.random.default_rng(0)
    refused = 0
    for _ in range(200):
        changed = bytearray(content)
        changed[noise.integers(len(content))] ^= int(noise.integers(1, 256))
        (tmp_path / "attack.pkl").write_bytes(changed)
        try:
            read_statistics(tmp_path / "attack.pkl", trust=True)
        except PolicyFileError as error:
            refused += "\n" not in str(error)
    assert refused > 50


def test_statistics_beside_a_normaliser_are_refused(tmp_path):
    policy = load_policy(DATA / "sb3_ppo.zip", statistics=DATA / "vec_normalize.pkl", trust=True)
    save_policy(policy, tmp_path / "policy.npz")
    with pytest.raises(PolicyFileError, match="holds statistics of observations itself"):
        load_policy(tmp_path / "policy.npz", statistics=DATA / "vec_normalize.pkl", trust=True)
    with pytest.raises(PolicyFileError, match="is no file of torch"):
        load_policy(tmp_path / "policy.npz", action_bounds=(-1, 1))
    save_policy(initialize(jax.random.key(0), 2, 1), tmp_path / "policy.npz")
    with pytest.raises(PolicyFileError, match=r"normalizer/mean"):
        load_policy(tmp_path / "policy.npz", statistics=DATA / "vec_normalize.pkl", trust=True)


# --- command line -------------------------------------------------------------------------


def request(policy, **options):
    shared = {"backend": None, "dtype": "float32", "seed": 0, "stochastic": False, "trust": False}
    return load_environment_and_policy("pendulum", str(policy), **shared, **options)


def test_the_command_line_says_what_is_missing():
    for policy, message in (
        ("sb3_ppo.zip", "has 3 observations and 2 actions, but `pendulum` needs 3 and 1"),
        ("cleanrl_ppo.pt", "--action-bounds LOW,HIGH"),
        ("sequential.pt", "give `activation` and `squash`"),
        ("module.pt", "nothing was run"),
    ):
        with pytest.raises(PolicyFileError, match=re.escape(message)):
            request(DATA / policy)
    with pytest.raises(PolicyFileError, match="--trust"):
        request(DATA / "sb3_ppo.zip", statistics=str(DATA / "vec_normalize.pkl"))
    for named in ("trained", "untrained"):
        with pytest.raises(ValueError, match="give --policy FILE"):
            request(named, activation="relu")
    assert parse_bounds("-2,2") == (-2.0, 2.0)
    assert parse_bounds(None) is None
    for wrong in ("-2", "-2,2,3", "a,b"):
        with pytest.raises(ValueError, match="--action-bounds must be two numbers"):
            parse_bounds(wrong)


def test_the_command_line_loads_a_policy_that_fits(tmp_path):
    def one_action(entries):
        entries["data"] = json.dumps({"action_space": {"low": "[-2.]", "high": "[2.]"}}).encode()
        entries["policy.pth"] = (tmp_path / "policy.pth").read_bytes()

    noise = np.random.default_rng(0)
    shapes = {"mlp_extractor.policy_net.0": (4, 3), "action_net": (1, 4)}
    tensors = {}
    for module, shape in shapes.items():
        tensors[f"{module}.weight"] = noise.normal(size=shape)
        tensors[f"{module}.bias"] = noise.normal(size=shape[0])
    state_dictionary(tmp_path / "policy.pth", tensors)
    path = rewrite(DATA / "sb3_ppo.zip", tmp_path / "pendulum.zip", one_action)
    environment, policy = request(path, activation="relu")
    assert (environment.name, policy.info.origin) == ("pendulum", "pendulum.zip")
    assert policy.network.description == "3-4-1 relu, deterministic head"
    with pytest.raises(ValueError, match="--stochastic needs a policy with noise"):
        load_environment_and_policy(
            "pendulum",
            str(path),
            backend=None,
            dtype="float32",
            seed=0,
            stochastic=True,
            trust=False,
        )
