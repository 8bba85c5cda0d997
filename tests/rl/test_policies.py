"""Policies against Brax's own networks, and their files against damage and malice."""

import dataclasses
import functools
import json
import os
import pickle

import chex
import jax
import jax.numpy as jnp
import msgpack
import numpy as np
import pytest
from flax import serialization

from fracjax.rl import checkpoints, gallery, layers, networks, policies
from fracjax.rl.environment import Environment

OBSERVATION = jnp.array([0.3, -1.2, 0.7, 2.0, -0.1, 0.5], jnp.float32)


def _unused(*_):
    raise NotImplementedError


def environment(name, observation_size, action_size):
    """An environment of which only the sizes matter."""
    values = {field.name: _unused for field in dataclasses.fields(Environment)}
    values |= {"name": name, "backend": "analytic", "dt": 0.1, "state_size": 1}
    values |= {"action_bounds": None}
    return Environment(
        **values | {"observation_size": observation_size, "action_size": action_size}
    )


def make_policy(seed=0, **options):
    policy = policies.initialize(jax.random.key(seed), 6, 2, hidden=(5, 4), **options)
    normalizer = networks.Normalizer(jnp.linspace(-1, 1, 6), jnp.linspace(0.5, 2, 6))
    training = {"algorithm": "ppo", "seed": 3, "steps": 4096, "return": -1.5}
    info = policies.PolicyInfo("acrobot", "analytic", "test", training)
    return policy.replace(normalizer=normalizer, info=info)


# --- acting -------------------------------------------------------------------------------


def test_mode_is_the_squashed_mean_by_hand():
    policy = make_policy(activation="relu")
    weights = jax.tree.map(np.asarray, policy.params["params"])
    hidden = (np.asarray(OBSERVATION) - policy.normalizer.mean) / policy.normalizer.std
    for layer in ("hidden_0", "hidden_1"):
        hidden = np.maximum(hidden @ weights[layer]["kernel"] + weights[layer]["bias"], 0)
    outputs = hidden @ weights["hidden_2"]["kernel"] + weights["hidden_2"]["bias"]
    np.testing.assert_allclose(policy.logits(policy.params, OBSERVATION), outputs, rtol=1e-5)
    action = policy.act(policy.params, OBSERVATION)
    np.testing.assert_allclose(action, np.tanh(outputs[:2]), rtol=1e-5)


@pytest.mark.parametrize(("squash", "bound"), [("tanh", np.tanh), ("clip", None)])
def test_deterministic_head_squashes_its_outputs(squash, bound):
    policy = make_policy(head="deterministic", squash=squash)
    params = jax.tree.map(lambda leaf: 5 * leaf, policy.params)
    outputs = np.asarray(policy.logits(params, OBSERVATION))
    assert np.abs(outputs).max() > 1
    expected = np.tanh(outputs) if bound else np.clip(outputs, -1, 1)
    np.testing.assert_allclose(policy.act(params, OBSERVATION), expected, rtol=1e-6)
    with_key = policy.act(params, OBSERVATION, jax.random.key(0))
    np.testing.assert_array_equal(with_key, policy.act(params, OBSERVATION))


def test_samples_have_the_mean_and_scale_of_the_head():
    """Null: 4000 samples have the stated moments; two-sided at 4 standard errors."""
    policy = make_policy()
    keys = jax.random.split(jax.random.key(1), 4000)
    actions = jax.vmap(lambda key: policy.act(policy.params, OBSERVATION, key))(keys)
    mean, scale = np.split(np.asarray(policy.logits(policy.params, OBSERVATION)), 2)
    std = np.log1p(np.exp(scale)) + 0.001
    raw = np.arctanh(np.asarray(actions, np.float64))
    assert (np.abs(raw.mean(0) - mean) < 4 * std / 4000**0.5).all()
    assert (np.abs(raw.std(0) / std - 1) < 4 / 8000**0.5).all()


@pytest.mark.slow
def test_tangent_of_an_action_matches_finite_differences():
    with jax.enable_x64(True):
        policy = make_policy().astype("float64")
        direction = jax.tree.map(jnp.ones_like, policy.params)

        def along(amount):
            params = jax.tree.map(lambda p, d: p + amount * d, policy.params, direction)
            return policy.act(params, OBSERVATION)

        _, tangent = jax.jvp(along, (jnp.float64(0.0),), (jnp.float64(1.0),))
        difference = (along(1e-5) - along(-1e-5)) / 2e-5
        assert np.abs(tangent).max() > 1e-3
        np.testing.assert_allclose(tangent, difference, rtol=1e-7)


@pytest.mark.parametrize("head", ["tanh_normal", "deterministic"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_actions_keep_the_dtype_of_the_parameters(dtype, head):
    with jax.enable_x64(True):
        policy = make_policy(head=head, layer_norm=True).astype(dtype)
        for observation in (jnp.float32(OBSERVATION), jnp.float64(OBSERVATION)):
            for key in (None, jax.random.key(0)):
                assert policy.act(policy.params, observation, key).dtype == dtype
        other = policy.replace(normalizer=make_policy().astype("float64").normalizer)
        assert other.act(policy.params, OBSERVATION).dtype == dtype


@pytest.mark.usefixtures("single_precision")
def test_float64_without_x64_is_refused():
    with pytest.raises(ValueError, match="jax_enable_x64"):
        make_policy().astype("float64")


def test_one_program_serves_policies_of_equal_networks():
    chex.clear_trace_counter()

    @functools.partial(jax.jit, static_argnums=0)
    @chex.assert_max_traces(n=1)
    def act(network, params, normalizer, observation):
        return network.act(params, normalizer, observation)

    first, second = make_policy(0), make_policy(1)
    assert first.network == second.network
    assert first != second
    one = act(first.network, first.params, first.normalizer, OBSERVATION)
    two = act(second.network, second.params, second.normalizer, OBSERVATION)
    assert not np.allclose(one, two)
    np.testing.assert_allclose(two, second.act(second.params, OBSERVATION), rtol=1e-5)


def test_act_of_one_policy_is_one_cache_key():
    policy = make_policy()
    assert hash(policy.act) == hash(policy.act)
    assert policy.act == policy.act
    assert policy.act != make_policy().act


def test_parameters_exclude_the_normalizer():
    policy = make_policy()
    sizes = sorted(leaf.size for leaf in jax.tree.leaves(policy.params))
    assert sizes == sorted([6 * 5, 5, 5 * 4, 4, 4 * 4, 4])


def test_untrained_counterpart_has_the_structure_and_nothing_else():
    policy = make_policy()
    fresh = policies.untrained(policy, seed=5)
    chex.assert_trees_all_equal_shapes_and_dtypes(
        (policy.params, policy.normalizer), (fresh.params, fresh.normalizer)
    )
    assert fresh.network == policy.network
    assert not fresh.info.training
    np.testing.assert_array_equal(fresh.normalizer.mean, 0)
    again = policies.untrained(policy, seed=5)
    chex.assert_trees_all_equal(fresh.params, again.params)
    with pytest.raises(AssertionError):
        chex.assert_trees_all_close(fresh.params, policies.untrained(policy, seed=6).params)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"activation": "swoosh"}, "`activation`"),
        ({"squash": "clip"}, "`squash`"),
        ({"hidden": (0,)}, "positive integers"),
    ],
)
def test_a_network_refuses_bad_settings(change, message):
    with pytest.raises(ValueError, match=message):
        networks.PolicyNetwork(**{"observation_size": 3, "action_size": 1} | change)


# --- against Brax -------------------------------------------------------------------------


def brax_networks(activation="swish"):
    from brax.training import networks as brax_networks_
    from brax.training.acme import running_statistics
    from brax.training.agents.ppo import networks as ppo_networks

    factory = functools.partial(
        ppo_networks.make_ppo_networks,
        policy_hidden_layer_sizes=(5, 4),
        value_hidden_layer_sizes=(3,),
        activation=brax_networks_.ACTIVATION[activation],
    )
    networks_ = factory(6, 2, preprocess_observations_fn=running_statistics.normalize)
    return factory, networks_, ppo_networks.make_inference_fn(networks_)


def brax_parameters(policy, networks_):
    from brax.training.acme import running_statistics

    statistics = running_statistics.init_state(jax.ShapeDtypeStruct((6,), jnp.float32))
    statistics = statistics.replace(mean=policy.normalizer.mean, std=policy.normalizer.std)
    return statistics, policy.params, networks_.value_network.init(jax.random.PRNGKey(0))


@pytest.mark.usefixtures("single_precision")
@pytest.mark.brax
@pytest.mark.parametrize("activation", list(networks.ACTIVATIONS))
def test_actions_and_samples_are_those_of_brax(activation):
    _, networks_, make_inference = brax_networks(activation)
    policy = make_policy(activation=activation)
    parameters = brax_parameters(policy, networks_)
    key = jax.random.PRNGKey(4)
    for deterministic in (True, False):
        theirs, _ = make_inference(parameters, deterministic)(OBSERVATION, key)
        ours = policy.act(policy.params, OBSERVATION, None if deterministic else key)
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    logits = networks_.policy_network.apply(*parameters[:2], OBSERVATION)
    np.testing.assert_allclose(policy.logits(policy.params, OBSERVATION), logits, atol=1e-6)


@pytest.mark.brax
def test_layer_norm_is_that_of_brax():
    from brax.training import networks as brax_networks_

    policy = make_policy(layer_norm=True)
    theirs = brax_networks_.MLP((5, 4, 4), activation=jnp.tanh, layer_norm=True)
    inputs = (OBSERVATION - policy.normalizer.mean) / policy.normalizer.std
    expected = theirs.apply(policy.params, inputs)
    np.testing.assert_allclose(policy.logits(policy.params, OBSERVATION), expected, atol=1e-6)


@pytest.fixture
def brax_files(tmp_path):
    """One policy as Brax saves it: a pickle and a folder of two checkpoints."""
    from brax.io import model
    from brax.training.agents.ppo import checkpoint

    factory, networks_, _ = brax_networks("elu")
    policy = make_policy(activation="elu")
    parameters = brax_parameters(policy, networks_)
    model.save_params(str(tmp_path / "params"), parameters)
    config = checkpoint.network_config(6, 2, True, factory)
    folder = tmp_path / "checkpoints"
    zeros = jax.tree.map(jnp.zeros_like, parameters[1])
    checkpoint.save(folder, 100, (parameters[0], zeros, parameters[2]), config)
    checkpoint.save(folder, 2000, parameters, config)
    return policy, tmp_path / "params", folder


@pytest.mark.brax
def test_brax_files_give_the_same_policy(brax_files):
    policy, pickled, folder = brax_files
    latest = checkpoints.load_policy(folder)
    trusted = checkpoints.load_policy(pickled, trust=True, activation="elu")
    assert latest.info.training == {"algorithm": "ppo", "steps": 2000}
    for loaded in (latest, trusted, checkpoints.load_policy(folder / "000000002000")):
        assert loaded.network == dataclasses.replace(policy.network)
        chex.assert_trees_all_equal(loaded.params, policy.params)
        chex.assert_trees_all_equal(loaded.normalizer, policy.normalizer)
    earlier = checkpoints.load_policy(folder / "000000000100")
    np.testing.assert_array_equal(earlier.act(earlier.params, OBSERVATION), 0)


@pytest.mark.brax
@pytest.mark.parametrize("use_ocdbt", [True, False])
@pytest.mark.parametrize("use_zarr3", [True, False])
def test_every_layout_of_orbax_is_read(brax_files, tmp_path, use_ocdbt, use_zarr3):
    from orbax import checkpoint as orbax

    policy, _, folder = brax_files
    stored = (policy.normalizer._asdict(), policy.params)
    other = tmp_path / "other"
    saver = orbax.PyTreeCheckpointer(use_ocdbt=use_ocdbt, use_zarr3=use_zarr3)
    saver.save(other, stored)
    config = folder / "000000002000" / "ppo_network_config.json"
    (other / config.name).write_text(config.read_text())
    assert (other / "manifest.ocdbt").exists() == use_ocdbt
    chex.assert_trees_all_equal(checkpoints.load_policy(other).params, policy.params)


@pytest.mark.brax
def test_a_checkpoint_of_brax_sac_is_read(tmp_path):
    from brax.training.agents.sac import checkpoint
    from brax.training.agents.sac import networks as sac_networks

    policy = make_policy(activation="relu", layer_norm=True)
    factory = functools.partial(
        sac_networks.make_sac_networks,
        hidden_layer_sizes=(5, 4),
        policy_network_layer_norm=True,
    )
    statistics = brax_parameters(policy, brax_networks()[1])[0]
    config = checkpoint.network_config(6, 2, True, factory)
    checkpoint.save(tmp_path, 77, (statistics, policy.params), config)
    loaded = checkpoints.load_policy(tmp_path)
    assert loaded.network == policy.network
    assert loaded.info.training == {"algorithm": "sac", "steps": 77}
    chex.assert_trees_all_equal(loaded.params, policy.params)


@pytest.mark.brax
def test_a_damaged_brax_checkpoint_is_refused_or_read_right(brax_files):
    policy, _, folder = brax_files
    latest = folder / "000000002000"
    refused = set()
    for file in [path for path in sorted(latest.rglob("*")) if path.is_file()]:
        content = file.read_bytes()
        file.write_bytes(content[: len(content) // 3])
        try:
            chex.assert_trees_all_equal(checkpoints.load_policy(latest).params, policy.params)
        except checkpoints.PolicyFileError:
            refused.add(file.name)
        file.write_bytes(content)
    assert {"ppo_network_config.json", "_METADATA", "manifest.ocdbt"} <= refused
    chex.assert_trees_all_equal(checkpoints.load_policy(latest).params, policy.params)


@pytest.mark.brax
def test_other_distributions_are_refused(brax_files):
    _, _, folder = brax_files
    config = folder / "000000002000" / "ppo_network_config.json"
    stated = json.loads(config.read_text())
    stated["network_factory_kwargs"]["distribution_type"] = "normal"
    config.write_text(json.dumps(stated))
    with pytest.raises(ValueError, match="distribution `normal`"):
        checkpoints.load_policy(folder)


# --- pickles ------------------------------------------------------------------------------


class Malice:
    """Pickles into a call of `function`."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.brax
def test_a_pickle_needs_trust_and_the_message_names_the_safe_ways(brax_files):
    _, pickled, _ = brax_files
    with pytest.raises(ValueError, match=r"fracjax train.*save_checkpoint_path.*--trust") as error:
        checkpoints.load_policy(pickled)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("trust", [False, True])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_malicious_pickle_never_runs(tmp_path, protocol, trust):
    mark = tmp_path / "mark"
    attacks = [
        Malice(os.system, f"touch {mark}"),
        Malice(eval, f"open({str(mark)!r}, 'w').close()"),
        Malice(open, str(mark), "w"),
        Malice(getattr, "text", "upper"),
        # a builder that the array constructor is to call
        Malice(jax._src.array._reconstruct_array, open, (str(mark), "w"), None, None),
        # object arrays from raw bytes would be forged pointers
        Malice(np.ndarray, (1,), np.dtype("O"), b"\1" * 8),
    ]
    for attack in attacks:
        file = tmp_path / "attack.pkl"
        file.write_bytes(pickle.dumps((attack, {"params": {}}), protocol=protocol))
        with pytest.raises(checkpoints.PolicyFileError):
            checkpoints.load_policy(file, trust=trust)
        assert not mark.exists()


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_a_trusted_pickle_of_numpy_arrays_loads(tmp_path, protocol):
    policy = make_policy(activation="swish")
    stored = (
        {"mean": np.asarray(policy.normalizer.mean), "std": np.asarray(policy.normalizer.std)},
        jax.tree.map(np.asfortranarray, policy.params),
    )
    file = tmp_path / "params.pkl"
    file.write_bytes(pickle.dumps(stored, protocol=protocol))
    loaded = checkpoints.load_policy(file, trust=True)
    assert loaded.network == policy.network
    chex.assert_trees_all_equal(loaded.params, policy.params)
    plain = checkpoints.load_policy(file, trust=True, normalize=False, activation="tanh")
    assert plain.normalizer is None
    assert plain.network.activation == "tanh"


# --- our files ----------------------------------------------------------------------------


@pytest.fixture(params=["npz", "msgpack"])
def saved(request, tmp_path):
    policy = make_policy(layer_norm=True)
    path = tmp_path / f"policy.{request.param}"
    checkpoints.save_policy(policy, path)
    return policy, path


def test_a_saved_policy_comes_back_exactly(saved):
    policy, path = saved
    loaded = checkpoints.load_policy(path, environment=environment("acrobot", 6, 2))
    assert loaded.network == policy.network
    chex.assert_trees_all_equal(loaded.params, policy.params)
    chex.assert_trees_all_equal(loaded.normalizer, policy.normalizer)
    assert loaded.info == dataclasses.replace(policy.info, origin=path.suffix[1:])


def test_equal_policies_are_equal_files(saved):
    policy, path = saved
    content = path.read_bytes()
    checkpoints.save_policy(policy, path)
    assert path.read_bytes() == content
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.usefixtures("single_precision")
def test_float64_survives_where_jax_holds_it(saved):
    _, path = saved
    with jax.enable_x64(True):
        policy = checkpoints.load_policy(path).astype("float64")
        checkpoints.save_policy(policy, path)
        chex.assert_trees_all_equal(checkpoints.load_policy(path).params, policy.params)
    leaves = jax.tree.leaves(checkpoints.load_policy(path).params)
    assert {str(leaf.dtype) for leaf in leaves} == {"float32"}


def test_every_truncation_is_a_one_line_value_error(saved, tmp_path):
    _, path = saved
    content = path.read_bytes()
    damaged = tmp_path / f"damaged{path.suffix}"
    for length in range(0, len(content), 5):
        damaged.write_bytes(content[:length])
        with pytest.raises(checkpoints.PolicyFileError) as error:
            checkpoints.load_policy(damaged)
        assert "\n" not in str(error.value)


def test_changed_bytes_never_raise_anything_else(saved, tmp_path):
    policy, path = saved
    content = bytearray(path.read_bytes())
    damaged = tmp_path / f"damaged{path.suffix}"
    noise = np.random.default_rng(0)
    failures = 0
    for position in range(0, len(content), 4):
        changed = content.copy()
        changed[position] ^= int(noise.integers(1, 256))
        damaged.write_bytes(changed)
        try:
            loaded = checkpoints.load_policy(damaged)
        except checkpoints.PolicyFileError:
            failures += 1
        else:
            sizes = (loaded.observation_size, loaded.network.layer_sizes)
            assert sizes == (policy.observation_size, policy.network.layer_sizes)
    assert failures > 0


def test_flax_opens_the_msgpack(tmp_path):
    policy = make_policy()
    checkpoints.save_policy(policy, tmp_path / "policy.msgpack")
    stored = serialization.msgpack_restore((tmp_path / "policy.msgpack").read_bytes())
    kernel = policy.params["params"]["hidden_0"]["kernel"]
    np.testing.assert_array_equal(stored["arrays"]["layer_0/kernel"], kernel)
    assert stored["metadata"]["activation"] == "tanh"


def test_an_object_array_in_a_msgpack_is_refused(tmp_path):
    forged = msgpack.ExtType(1, msgpack.packb(((1,), "object", b"\1" * 8)))
    metadata = layers.metadata(make_policy())
    content = msgpack.packb({"metadata": metadata, "arrays": {"layer_0/kernel": forged}})
    (tmp_path / "forged.msgpack").write_bytes(content)
    with pytest.raises(ValueError, match="type object"):
        checkpoints.load_policy(tmp_path / "forged.msgpack")


def test_an_object_array_in_an_npz_is_refused(tmp_path):
    np.savez(tmp_path / "forged.npz", np.array([{}], dtype=object))
    with pytest.raises(checkpoints.PolicyFileError):
        checkpoints.load_policy(tmp_path / "forged.npz")


def test_a_wrong_environment_is_named_with_its_sizes(saved):
    _, path = saved
    with pytest.raises(
        ValueError, match="has 6 observations and 2 actions, but `reacher` needs 11 and 2"
    ):
        checkpoints.load_policy(path, environment=environment("reacher", 11, 2))


def test_what_is_not_a_policy_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"none\.npz` does not exist"):
        checkpoints.load_policy(tmp_path / "none.npz")
    with pytest.raises(ValueError, match="folder without ppo_network_config"):
        checkpoints.load_policy(tmp_path)
    (tmp_path / "policy.txt").write_text("hello")
    with pytest.raises(ValueError, match=r"unknown kind `\.txt`"):
        checkpoints.load_policy(tmp_path / "policy.txt")
    with pytest.raises(ValueError, match="must end in"):
        checkpoints.save_policy(make_policy(), tmp_path / "policy.pkl")
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(ValueError, match="not an npz archive"):
        checkpoints.load_policy(tmp_path / "text.npz")


def _rewrite(path, change):
    """Load the arrays and the header of an npz, change them, and write them back."""
    with np.load(path) as archive:
        arrays = dict(archive)
    header = json.loads(str(arrays.pop("metadata")))
    change(arrays, header)
    np.savez(path, **arrays, metadata=np.array(json.dumps(header)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a, h: a["layer_1/kernel"].__setitem__((0, 0), np.nan), "NaN.*`layer_1/kernel`"),
        (lambda a, h: a["normalizer/std"].__setitem__(0, 0.0), "`normalizer/std`"),
        (lambda a, h: a.update({"layer_1/kernel": np.ones((7, 4))}), "`layer_1` takes 7 inputs"),
        (lambda a, h: a.update({"layer_1/bias": np.ones(3)}), r"\(3,\) in `layer_1/bias`"),
        (lambda a, h: a.update({"layer_1/bias": np.ones(4, int)}), "type int64"),
        (lambda a, h: a.update(extra=np.ones(3)), "unknown array `extra`"),
        (lambda a, h: a.pop("layer_2/bias"), "no array `layer_2/bias`"),
        (lambda a, h: a.pop("layer_1/kernel"), "without a gap"),
        (lambda a, h: a.pop("normalizer/mean"), "no array `normalizer/mean`"),
        (lambda a, h: h.update(observation_size=9), "states sizes"),
        (lambda a, h: h.update(version=99), "version 99"),
        (lambda a, h: h.update(format="other"), "not a fracjax-policy"),
        (lambda a, h: h.update(activation="swoosh"), "activation 'swoosh'"),
        (lambda a, h: h.update(head="normal"), "head 'normal'"),
        (lambda a, h: h.update(squash="sine"), "squash 'sine'"),
    ],
)
def test_inconsistent_contents_are_named(tmp_path, change, message):
    path = tmp_path / "policy.npz"
    checkpoints.save_policy(make_policy(), path)
    _rewrite(path, lambda arrays, header: change(arrays, header))
    with pytest.raises(checkpoints.PolicyFileError, match=message):
        checkpoints.load_policy(path)


def test_a_file_that_speaks_for_itself_is_not_overruled(saved):
    _, path = saved
    assert checkpoints.load_policy(path, activation="tanh").network.activation == "tanh"
    with pytest.raises(ValueError, match="`activation` 'tanh' by its own account"):
        checkpoints.load_policy(path, activation="relu")


# --- bare layers --------------------------------------------------------------------------


def _bare(tmp_path, outputs, transpose=False, names=("w0", "b0", "w1", "b1")):
    noise = np.random.default_rng(0)
    arrays = [
        noise.normal(size=shape).astype(np.float32)
        for shape in ((6, 5), (5,), (5, outputs), (outputs,))
    ]
    stored = [a.T if transpose and a.ndim == 2 else a for a in arrays]
    path = tmp_path / "bare.npz"
    np.savez(path, **dict(zip(names, stored, strict=True)))
    return arrays, path


def test_bare_layers_make_a_deterministic_policy(tmp_path):
    (w0, b0, w1, b1), path = _bare(tmp_path, 2)
    policy = checkpoints.load_policy(path, squash="clip", activation="relu")
    outputs = np.maximum(np.asarray(OBSERVATION) @ w0 + b0, 0) @ w1 + b1
    action = policy.act(policy.params, OBSERVATION)
    np.testing.assert_allclose(action, np.clip(outputs, -1, 1), rtol=1e-5)


def test_bare_layers_with_two_outputs_per_action_are_mean_and_scale(tmp_path):
    _, path = _bare(tmp_path, 4)
    assert checkpoints.load_policy(path).action_size == 4
    policy = checkpoints.load_policy(path, environment=environment("acrobot", 6, 2))
    assert (policy.network.head, policy.action_size) == ("tanh_normal", 2)


def test_torch_weights_are_turned_and_others_are_not(tmp_path):
    names = ("net.0.weight", "net.0.bias", "net.2.weight", "net.2.bias")
    (w0, *_), path = _bare(tmp_path, 2, transpose=True, names=names)
    policy = checkpoints.load_policy(path)
    np.testing.assert_array_equal(policy.params["params"]["hidden_0"]["kernel"], w0)
    _, path = _bare(tmp_path, 2, transpose=True)
    with pytest.raises(ValueError, match="does not chain"):
        checkpoints.load_policy(path)


def test_bare_layers_of_our_names_go_by_their_numbers(tmp_path):
    names = ("layer_1/kernel", "layer_1/bias", "layer_0/kernel", "layer_0/bias")
    w0, b0, w1, b1 = (np.ones((5, 2)), np.ones(2), np.ones((6, 5)), np.ones(5))
    np.savez(tmp_path / "named.npz", **dict(zip(names, (w0, b0, w1, b1), strict=True)))
    policy = checkpoints.load_policy(tmp_path / "named.npz")
    assert (policy.observation_size, policy.network.hidden, policy.action_size) == (6, (5,), 2)


def test_bare_layers_need_a_bias_each(tmp_path):
    np.savez(tmp_path / "bare.npz", np.ones((6, 2)))
    with pytest.raises(ValueError, match="one bias per matrix"):
        checkpoints.load_policy(tmp_path / "bare.npz")


# --- shipped ------------------------------------------------------------------------------


def test_shipped_policies_load_and_fit_in_their_budget():
    import importlib.resources

    folder = importlib.resources.files("fracjax.rl") / "shipped"
    assert sum(len(entry.read_bytes()) for entry in folder.iterdir()) < 200_000
    assert gallery.shipped_names()
    for name in gallery.shipped_names():
        policy = gallery.shipped(name)
        assert policy.info.environment == name
        assert policy.info.training["algorithm"] == "ppo"
        assert policy.info.training["why"]
        assert policy.info.training["command"].startswith(f"fracjax train {name} ")
        action = policy.act(policy.params, jnp.zeros(policy.observation_size))
        assert action.shape == (policy.action_size,)
    with pytest.raises(ValueError, match="`name` must be one of"):
        gallery.shipped("nonesuch")
