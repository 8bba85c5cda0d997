"""Files of torch without torch: equal tensors, equal actions, and no harm from forged ones.

The files in `data/` were written by torch itself, see `data/make_policies.py`.
"""

import dataclasses
import io
import os
import pickle
import zipfile
from pathlib import Path

import jax
import ml_dtypes
import numpy as np
import pytest
from torch_archives import forge, state_dictionary, tensor

from fracjax.rl import archives, observation_statistics, stable_baselines, torch_files
from fracjax.rl.checkpoints import load_policy
from fracjax.rl.environment import Environment
from fracjax.rl.networks import ACTIVATIONS
from fracjax.rl.policies import PolicyFileError

DATA = Path(__file__).parent / "data"
BOX = ((-2.0, -0.5), (2.0, 1.5))


def expected(name):
    with np.load(DATA / "expected.npz") as archive:
        actions = dict(zip(archive["names"], archive["actions"], strict=True))
        return archive["observations"], actions[name]


def acts(policy, observations):
    return np.asarray(jax.vmap(lambda o: policy.act(policy.params, o))(observations), float)


def in_the_box(actions):
    low, high = np.array(BOX)
    return low + (high - low) * (actions + 1) / 2


def environment(action_bounds, name="drift"):
    values = {field.name: lambda *_: None for field in dataclasses.fields(Environment)}
    sizes = {"dt": 0.1, "observation_size": 3, "action_size": 2, "state_size": 3}
    return Environment(
        **{**values, **sizes, "name": name, "backend": "none", "action_bounds": action_bounds}
    )


# --- tensors ------------------------------------------------------------------------------


def test_every_kind_of_tensor_comes_back():
    base = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    brain = (base.astype(ml_dtypes.bfloat16) / ml_dtypes.bfloat16(3)).astype(np.float32)
    values = {
        "float64": base.astype(float) / 3,
        "float16": base.astype(np.float16) / np.float16(3),
        "bfloat16": brain,
        "int64": base.astype(np.int64),
        "int8": -base.astype(np.int8),
        "bool": base > 5,
        "transposed": base.transpose(2, 0, 1),
        "sliced": base[1, 1:, ::2],
        "expanded": np.ones(3, np.float32),
        "empty": np.zeros((0, 4), np.float32),
        "scalar": np.array(3),
        "parameter": np.ones(2, np.float32),
    }
    stored = torch_files.read((DATA / "kinds.pt").read_bytes())
    assert stored["others"] == [1, 2.5, None, True, "x", (1, 2)]
    assert stored["kinds"].keys() == values.keys()
    for name, value in values.items():
        np.testing.assert_array_equal(stored["kinds"][name], value, err_msg=name, strict=True)
    named = torch_files.flatten(stored)
    assert list(named) == [f"kinds.{name}" for name in values]


def test_torch_activations_are_those_of_the_same_name():
    """Measured: 4e-7 at most, over [-4, 4]."""
    with np.load(DATA / "expected.npz") as archive:
        points = archive["points"]
        answers = dict(zip(archive["kinds"], archive["activations"], strict=True))
    assert answers.keys() == stable_baselines.ACTIVATIONS.keys()
    for torch_name, name in stable_baselines.ACTIVATIONS.items():
        np.testing.assert_allclose(ACTIVATIONS[name](points), answers[torch_name], atol=1e-6)


# --- policies -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "file", "options"),
    [
        ("cleanrl_ppo", "cleanrl_ppo.pt", {"action_bounds": BOX}),
        ("cleanrl_sac", "cleanrl_sac.pt", {}),
        ("cleanrl_td3", "cleanrl_td3.pth", {}),  # a pair of actor and critic
    ],
)
def test_cleanrl_layouts_act_as_in_torch(name, file, options):
    """Measured: 2.5e-7 at most."""
    observations, actions = expected(name)
    policy = load_policy(DATA / file, environment=environment(BOX), **options)
    found = acts(policy, observations)
    np.testing.assert_allclose(in_the_box(found), actions, atol=1e-5)
    assert np.abs(found).max() <= 1
    assert policy.network.hidden == (8, 6)
    assert policy.info.training["action_bounds"] == [list(end) for end in BOX]
    assert "default" in policy.info.training["activation"]


def test_clipped_actions_are_among_those_compared():
    _, actions = expected("cleanrl_ppo")
    clipped = (actions == BOX[0]) | (actions == BOX[1])
    assert 0.05 < clipped.mean() < 0.5


def test_a_plain_stack_needs_its_activation_and_its_end():
    observations, actions = expected("sequential")
    policy = load_policy(DATA / "sequential.pt", activation="silu", squash="tanh")
    np.testing.assert_allclose(acts(policy, observations), actions, atol=1e-5)
    for options, missing in (
        ({}, "`activation` and `squash`"),
        ({"activation": "silu"}, "give `squash`"),
        ({"activation": "silu", "squash": "clip"}, "give `action_bounds=\\(low, high\\)`"),
    ):
        with pytest.raises(PolicyFileError, match=missing):
            load_policy(DATA / "sequential.pt", **options)


def test_the_box_comes_from_the_caller_the_file_or_the_environment():
    observations, actions = expected("cleanrl_ppo")
    policy = load_policy(DATA / "cleanrl_ppo.pt", environment=environment(BOX))
    np.testing.assert_allclose(in_the_box(acts(policy, observations)), actions, atol=1e-5)
    unit = load_policy(DATA / "cleanrl_ppo.pt", action_bounds=(-1, 1))
    assert unit.network == policy.network
    with pytest.raises(PolicyFileError, match="physical units, but says not in which bounds"):
        load_policy(DATA / "cleanrl_ppo.pt", environment=environment(None))
    with pytest.raises(PolicyFileError, match=r"between -1 and 1 by `action_bounds`"):
        load_policy(DATA / "cleanrl_sac.pt", action_bounds=(-1, 1))
    with pytest.raises(PolicyFileError, match=r"between -3 and 3 by `drift`"):
        load_policy(DATA / "cleanrl_sac.pt", environment=environment(((-3.0, -3.0), (3.0, 3.0))))
    for wrong in ((1, -1), (-np.inf, np.inf), ((-1, -1, -1), (1, 1, 1))):
        with pytest.raises(PolicyFileError, match="action bounds"):
            load_policy(DATA / "cleanrl_ppo.pt", action_bounds=wrong)


def test_statistics_kept_elsewhere_normalise_and_clip(tmp_path):
    observations, _ = expected("cleanrl_sac")
    mean, variance = np.array([0.5, -1.0, 2.0]), np.array([4.0, 0.25, 1.0])
    np.savez(tmp_path / "statistics.npz", mean=mean, var=variance, clip=0.7)
    plain = load_policy(DATA / "cleanrl_sac.pt")
    found = load_policy(DATA / "cleanrl_sac.pt", statistics=tmp_path / "statistics.npz")
    normalised = np.clip((observations - mean) / np.sqrt(variance + 1e-8), -0.7, 0.7)
    assert (np.abs(normalised) == 0.7).mean() > 0.3
    np.testing.assert_allclose(acts(found, observations), acts(plain, normalised), atol=1e-6)
    direct = observation_statistics.ObservationStatistics(mean, variance, clip=None)
    unclipped = load_policy(DATA / "cleanrl_sac.pt", statistics=direct)
    assert unclipped.network.observation_clip is None
    np.savez(tmp_path / "statistics.npz", mean=mean)
    with pytest.raises(PolicyFileError, match="must hold `mean` and `variance`, but holds 'mean'"):
        load_policy(DATA / "cleanrl_sac.pt", statistics=tmp_path / "statistics.npz")
    with pytest.raises(PolicyFileError, match="does not exist"):
        load_policy(DATA / "cleanrl_sac.pt", statistics=tmp_path / "none.npz")


# --- state dictionaries of many makes -----------------------------------------------------


def stack(prefix, sizes, indices):
    noise = np.random.default_rng(len(prefix))
    found = {}
    for (inputs, outputs), index in zip(sizes, indices, strict=True):
        found[f"{prefix}{index}.weight"] = noise.normal(size=(outputs, inputs))
        found[f"{prefix}{index}.bias"] = noise.normal(size=outputs)
    return found


SIZES = ((3, 5), (5, 4), (4, 2))


def test_layers_go_by_their_numbers_and_wrappers_are_dropped(tmp_path):
    tensors = stack("_orig_mod.actor_mean.", SIZES, (2, 10, 12))
    shuffled = dict(sorted(tensors.items()))  # 10 and 12 before 2
    path = state_dictionary(tmp_path / "a.pt", shuffled)
    policy = load_policy(path, action_bounds=(-1, 1))
    assert policy.network.hidden == (5, 4)
    for index, number in enumerate((2, 10, 12)):
        kernel = policy.params["params"][f"hidden_{index}"]["kernel"]
        weight = tensors[f"_orig_mod.actor_mean.{number}.weight"]
        np.testing.assert_array_equal(kernel, weight.T.astype(np.float32))


def test_a_prefix_chooses_among_networks(tmp_path):
    actor, critic = stack("pi.", SIZES, (0, 2, 4)), stack("vf.", (*SIZES[:2], (4, 1)), (0, 2, 4))
    path = state_dictionary(tmp_path / "a.pt", actor | critic)
    with pytest.raises(PolicyFileError, match=r"`pi\.0\.weight` \(5, 3\).*`prefix` chooses"):
        load_policy(path, activation="relu", squash="tanh")
    policy = load_policy(path, activation="relu", squash="tanh", prefix="pi")
    assert policy.network.layer_sizes == (5, 4, 2)
    with pytest.raises(PolicyFileError, match="no tensor whose name begins with `q`"):
        load_policy(path, prefix="q")
    two = stack("left.actor_mean.", SIZES, "024") | stack("right.actor_mean.", SIZES, "024")
    with pytest.raises(PolicyFileError, match=r"several actors.*'left\.', 'right\.'"):
        load_policy(state_dictionary(path, two))
    slow = stack("actor.actor_mean.", SIZES, "024") | stack("target.actor_mean.", SIZES, "024")
    assert load_policy(state_dictionary(path, slow), action_bounds=(-1, 1)).action_size == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"actor_mean.1.weight": np.ones(5)}, r"`actor_mean\.1` with `weight` \(5,\), but only"),
        ({"actor_mean.0.running_mean": np.ones(5)}, "only dense layers"),
        ({"features_extractor.0.weight": np.ones((3, 3))}, "computes features before"),
        ({"actor_mean.4.bias": np.ones(3)}, r"bias in `actor_mean\.4` that does not fit"),
        ({"actor_mean.4.bias": [np.nan, 1]}, "NaN or infinite"),
        ({"actor_mean.2.weight": np.ones((4, 6))}, "does not chain"),
    ],
)
def test_what_is_more_than_dense_layers_is_named(tmp_path, change, message):
    path = state_dictionary(tmp_path / "a.pt", stack("actor_mean.", SIZES, (0, 2, 4)) | change)
    with pytest.raises(PolicyFileError, match=message):
        load_policy(path, action_bounds=(-1, 1))


def test_files_of_unknown_content_say_what_was_found(tmp_path):
    for content, message in (
        (b".", "damaged pickle"),
        (b"(d.", "holds no tensor, but has nothing"),
        (b"(dVx\n" + tensor(0, 1, 0, (1,), (1,)) + b"s.", r"has `x` \(1,\)"),
    ):
        with pytest.raises(PolicyFileError, match=message) as error:
            load_policy(forge(tmp_path / "a.pt", content, [[1.0]]))
        assert "\n" not in str(error.value)
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("word/document.xml", "")
    with pytest.raises(PolicyFileError, match=r"zip archive with `word/document\.xml`"):
        load_policy(tmp_path / "b.zip")


# --- files that must not be run, nor crash, nor fill the memory ---------------------------


def test_old_formats_and_whole_modules_are_named():
    with pytest.raises(PolicyFileError, match=r"legacy format.*torch\.save"):
        load_policy(DATA / "legacy.pt")
    wanted = r"asks for `torch\.nn\.modules\.linear\.Linear`.*nothing was run.*state_dict"
    with pytest.raises(PolicyFileError, match=wanted):
        load_policy(DATA / "module.pt")


def test_torchscript_is_named(tmp_path):
    path = forge(tmp_path / "a.pt", b"N.", **{"archive/constants.pkl": b"N."})
    with pytest.raises(PolicyFileError, match="TorchScript"):
        load_policy(path)


@pytest.mark.parametrize("trust", [False, True])
@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_no_pickle_inside_is_run(tmp_path, protocol, trust):
    mark = tmp_path / "mark"

    class Attack:
        def __reduce__(self):
            return os.system, (f"touch {mark}",)

    program = pickle.dumps({"actor_mean.0.weight": Attack()}, protocol=protocol)
    path = forge(tmp_path / "attack.pt", program)
    with pytest.raises(PolicyFileError, match=r"asks for `(posix|nt)\.system`.*nothing was run"):
        load_policy(path, trust=trust)
    assert not mark.exists()


def _deep(levels):
    """A dictionary whose key is a tuple in a tuple …: hashing it would overflow the stack."""
    return b"}" + b")" + b"\x85" * levels + b"Ns."


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (tensor(0, 6, 1, (2, 3), (3, 1)) + b".", "does not lie inside"),
        (tensor(0, 6, -1, (2,), (1,)) + b".", "does not lie inside"),
        (tensor(0, 6, 0, (-2,), (1,)) + b".", "does not lie inside"),
        (tensor(0, 6, 5, (2,), (-1,)) + b".", "does not lie inside"),
        (tensor(0, 6, 0, (2, 2), (1,)) + b".", "does not lie inside"),
        (tensor(0, 6, 0, (2**62,), (2**62,)) + b".", "does not lie inside"),
        (tensor(0, 6, 0, (1,) * 40, (1,) * 40) + b".", "does not lie inside"),
        (tensor(0, 6, 0, (2**30, 2**20), (0, 0)) + b".", "many times over"),
        (tensor(0, 6, 0, (0, 2**40), (0, 0)) + b".", "many times over"),
        (tensor(0, 7, 0, (6,), (1,)) + b".", "24 bytes in `archive/data/0`, but states 7"),
        (tensor(0, -6, 0, (6,), (1,)) + b".", "states -6"),
        (tensor(0, 6, 0, (6,), (1,), b"DoubleStorage") + b".", "numbers of type f8"),
        (tensor(0, 6, 0, (6,), (1,), b"QInt8Storage") + b".", "asks for `torch.QInt8Storage`"),
        (tensor(9, 6, 0, (6,), (1,)) + b".", "no entry `archive/data/9`"),
        (b"(" + tensor(0, 6, 0, (6,), (1,)) + tensor(0, 3, 0, (3,), (1,)) + b"t.", "two sizes"),
        (b"ctorch\nFloatStorage\n(I9\ntR.", "storage of its own"),
        (b"Vx\nQ.", "damaged pickle"),
        (_deep(1_000), "keys that no policy needs"),
        (b"}r\xff\xff\xff\xff0h\xff.", "damaged pickle"),
        (b"\x80\x05\x96" + b"\xff" * 7 + b"\x00.", "damaged pickle"),
        (b"(lI1\naI2\nd.", "damaged pickle"),
        (b"}", "damaged pickle"),
        (b"N0" * 130_000 + b"N.", "more than 250000 operations"),
        (b"(l" + b"(l" * 50 + b"a" * 50 + b".", "deep"),
        (b"\x82\x01.", "uses `EXT1`"),
        (b"cbuiltins\neval\n(V1\ntR.", r"asks for `builtins\.eval`"),
    ],
)
def test_forged_programs_are_refused_in_one_line(tmp_path, program, message):
    path = forge(tmp_path / "forged.pt", program, [np.arange(6.0)])
    with pytest.raises(PolicyFileError, match=message) as error:
        load_policy(path)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500


def test_memory_slots_cost_nothing(tmp_path):
    """Python's own unpickler takes 64 GB for this one."""
    path = forge(tmp_path / "forged.pt", b"}r\xfe\xff\xff\xff.")
    with pytest.raises(PolicyFileError, match="holds no tensor"):
        load_policy(path)


def test_archives_that_lie_are_refused(tmp_path, monkeypatch):
    for name in ("../../evil", "/etc/evil", "..\\evil", "C:evil"):
        with pytest.raises(PolicyFileError, match="leads out of it"):
            load_policy(forge(tmp_path / "a.pt", b"N.", **{name: b""}))
    path = tmp_path / "twice.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", b"N.")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a/data.pkl", b"}.")
    with pytest.raises(PolicyFileError, match="not what it counts"):
        load_policy(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", b"N.")
        archive.writestr("b/data.pkl", b"N.")
    with pytest.raises(PolicyFileError, match="2 entries"):
        load_policy(path)
    with pytest.raises(PolicyFileError, match="byte order"):
        load_policy(forge(path, b"N.", **{"archive/byteorder": b"middle"}))
    monkeypatch.setattr(archives, "MOST_BYTES", 2**20)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"N." + bytes(2**21))
    assert path.stat().st_size < 5_000
    with pytest.raises(PolicyFileError, match="too large for a policy"):
        load_policy(path)


def test_big_endian_files_are_turned(tmp_path):
    program = tensor(0, 3, 0, (3,), (1,)) + b"."
    path = tmp_path / "big.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", program)
        archive.writestr("archive/data/0", np.array([1.0, -2.0, 3.5], ">f4").tobytes())
        archive.writestr("archive/byteorder", b"big")
    found = torch_files.read(path.read_bytes())
    np.testing.assert_array_equal(found, np.array([1.0, -2.0, 3.5], np.float32), strict=True)


@pytest.mark.parametrize("name", ["kinds.pt", "cleanrl_td3.pth"])
def test_damage_raises_nothing_else(name):
    """Bytes changed, cut off and doubled: an error in one line, or the numbers that were saved.

    Contents have checksums, so that a changed number is always noticed; a changed date is not.
    """
    content = (DATA / name).read_bytes()
    whole = torch_files.flatten(torch_files.read(content))
    noise = np.random.default_rng(0)
    refused = 0
    for trial in range(600):
        changed = bytearray(content)
        for _ in range(1 + trial % 3):
            changed[noise.integers(len(content))] = noise.integers(256)
        if trial % 4 == 0:
            changed = changed[: noise.integers(len(content))]
        if trial % 40 == 1:
            changed += changed[noise.integers(len(content)) :]
        try:
            found = torch_files.flatten(torch_files.read(bytes(changed)))
        except PolicyFileError as error:
            refused += "\n" not in str(error)
        else:
            assert found.keys() == whole.keys()
            for key in whole:
                np.testing.assert_array_equal(found[key], whole[key])
    assert refused > 300


def test_damaged_programs_raise_nothing_else(tmp_path):
    """The pickle itself is changed, and its checksum made anew."""
    with zipfile.ZipFile(DATA / "cleanrl_ppo.pt") as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    (place,) = (name for name in entries if name.endswith("data.pkl"))
    noise = np.random.default_rng(1)
    refused = 0
    for _ in range(600):
        program = bytearray(entries[place])
        for position in noise.integers(len(program), size=2):
            program[position] = noise.integers(256)
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for name, content in entries.items():
                archive.writestr(name, bytes(program) if name == place else content)
        try:
            torch_files.flatten(torch_files.read(buffer.getvalue()))
        except PolicyFileError as error:
            refused += "\n" not in str(error)
    assert refused > 200
