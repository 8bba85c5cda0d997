"""Training by Brax's PPO, what it leaves on disk, and the repair it needs."""

import dataclasses
import functools
import os
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax.rl import (
    brax_training,
    checkpoints,
    classic,
    networks,
    policies,
    snapshots,
    training,
)

TINY = training.TrainingSettings(
    num_timesteps=350,
    episode_length=20,
    num_envs=8,
    batch_size=8,
    num_minibatches=2,
    unroll_length=5,
    num_eval_envs=4,
)


SMALL_SAC = training.SACSettings(
    hidden=(5,),
    num_timesteps=200,
    episode_length=20,
    num_envs=4,
    batch_size=8,
    num_passes=2,
    min_replay_size=38,
    max_replay_size=120,
    num_eval_envs=4,
)


def run_brax_ppo(**options):
    """The smallest run of Brax's own trainer, on its cheapest environment."""
    from brax import envs
    from brax.training.agents.ppo import networks as ppo_networks
    from brax.training.agents.ppo import train as ppo

    return ppo.train(
        envs.get_environment("fast"),
        num_timesteps=10,
        episode_length=10,
        num_envs=4,
        batch_size=4,
        num_minibatches=1,
        num_updates_per_batch=1,
        unroll_length=2,
        num_evals=0,
        run_evals=False,
        max_devices_per_host=1,
        normalize_observations=True,
        network_factory=functools.partial(
            ppo_networks.make_ppo_networks,
            policy_hidden_layer_sizes=(8, 4),
            value_hidden_layer_sizes=(4,),
        ),
        **options,
    )


# --- one iteration of Brax's own trainer --------------------------------------------------


@pytest.fixture(scope="module")
def trained_by_brax(tmp_path_factory):
    from brax.io import model

    folder = tmp_path_factory.mktemp("brax")
    with training.device_put_replicated(), jax.enable_x64(False):
        make_policy, params, _ = run_brax_ppo(save_checkpoint_path=str(folder / "checkpoints"))
    model.save_params(str(folder / "params"), params)
    return make_policy, params, folder


@pytest.mark.usefixtures("single_precision")
@pytest.mark.brax
@pytest.mark.parametrize(("name", "trust"), [("checkpoints", False), ("params", True)])
def test_what_brax_trained_and_saved_acts_the_same_here(trained_by_brax, name, trust):
    make_policy, params, folder = trained_by_brax
    policy = checkpoints.load_policy(folder / name, trust=trust)
    assert not np.allclose(params[0].mean, 0)  # the statistics have seen data
    for seed in range(5):
        key = jax.random.PRNGKey(seed)
        observation = 2 * jax.random.normal(key, (2,))
        mode, _ = make_policy(params, deterministic=True)(observation, key)
        sample, extras = make_policy(params)(observation, key)
        logits = policy.logits(policy.params, observation)
        np.testing.assert_allclose(logits, extras["distribution_params"], atol=1e-6)
        np.testing.assert_allclose(policy.act(policy.params, observation), mode, atol=1e-6)
        ours = policy.act(policy.params, observation, key)
        np.testing.assert_allclose(ours, sample, atol=1e-6)


@pytest.mark.brax
def test_brax_still_needs_the_shim():
    """Fails once Brax trains without `jax.device_put_replicated`: then delete the shim."""
    assert not hasattr(jax, "device_put_replicated")
    with pytest.raises(AttributeError, match="device_put_replicated"):
        run_brax_ppo()


def test_the_shim_is_gone_after_use_and_after_failure():
    with training.device_put_replicated():
        copies = jax.device_put_replicated({"a": 3.0, "b": np.ones(2)}, jax.local_devices()[:1])
        chex.assert_trees_all_equal(copies, {"a": jnp.array([3.0]), "b": jnp.ones((1, 2))})
    with pytest.raises(KeyError), training.device_put_replicated():
        raise KeyError
    assert not hasattr(jax, "device_put_replicated")


def test_the_shim_leaves_the_original_alone(monkeypatch):
    original = object()
    monkeypatch.setattr(jax, "device_put_replicated", original, raising=False)
    with training.device_put_replicated():
        assert jax.device_put_replicated is original
    assert jax.device_put_replicated is original


# --- our own runs -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained_pendulum(tmp_path_factory):
    """Five updates of 80 steps on the pendulum, a snapshot at every second one."""
    folder = tmp_path_factory.mktemp("training") / "path"
    reports = []
    policy = training.train(
        classic.pendulum(),
        settings=TINY,
        discount=0.9,
        seed=3,
        hidden=(5,),
        activation="relu",
        on_progress=reports.append,
        path_folder=folder,
        path_every=2,
    )
    return policy, reports, folder


@pytest.mark.usefixtures("single_precision")
@pytest.mark.brax
def test_a_run_reports_whole_updates(trained_pendulum):
    _, reports, _ = trained_pendulum
    assert TINY.steps_per_update == 80
    assert [report.steps for report in reports] == [0, 160, 320, 480]
    assert {report.total_steps for report in reports} == {480}
    assert all(report.steps_per_second > 0 for report in reports[1:])
    # 20 steps near the hanging rest cost about 4 each.
    assert all(-160 < report.episode_return < -40 for report in reports)
    assert not jax.config.jax_enable_x64
    assert not hasattr(jax, "device_put_replicated")


@pytest.mark.brax
def test_a_policy_knows_how_it_was_trained(trained_pendulum, tmp_path):
    policy, reports, _ = trained_pendulum
    assert policy.network == networks.PolicyNetwork(3, 1, (5,), "relu")
    assert (policy.info.environment, policy.info.backend) == ("pendulum", "analytic")
    summary = policy.info.training
    assert (summary["algorithm"], summary["seed"], summary["steps"]) == ("ppo", 3, 480)
    assert summary["return"] == reports[-1].episode_return
    assert summary["settings"]["discount"] == 0.9
    assert (summary["updates"], summary["updates_per_report"]) == (6, 2)
    checkpoints.save_policy(policy, tmp_path / "policy.npz")
    assert checkpoints.load_policy(tmp_path / "policy.npz").info.training == summary


@pytest.mark.brax
def test_the_path_runs_from_the_start_to_the_trained_policy(trained_pendulum):
    policy, reports, folder = trained_pendulum
    names = ["000000.npz", "000002.npz", "000004.npz", "000006.npz", "resume.npz"]
    assert sorted(file.name for file in folder.iterdir()) == names
    steps, params = training.read_path(folder)
    np.testing.assert_array_equal(steps, [0, 160, 320, 480])
    chex.assert_tree_shape_prefix(params, (4,))
    chex.assert_trees_all_equal(jax.tree.map(lambda leaf: leaf[-1], params), policy.params)
    lengths = [
        jax.tree.reduce(
            jnp.add, jax.tree.map(lambda leaf, i=i: jnp.sum((leaf[i + 1] - leaf[i]) ** 2), params)
        )
        for i in range(3)
    ]
    assert min(lengths) > 0
    kept = training.read_policies(folder)
    returns = [snapshot.info.training["return"] for snapshot in kept]
    assert returns == [report.episode_return for report in reports]
    chex.assert_trees_all_equal(kept[-1].normalizer, policy.normalizer)
    np.testing.assert_array_equal(kept[0].normalizer.mean, 0)


@pytest.mark.brax
def test_reported_returns_are_those_of_the_deterministic_policy(trained_pendulum):
    """The mean over many resets lies within 4 standard errors of the 4 reported episodes."""
    policy, reports, _ = trained_pendulum
    environment = classic.pendulum()

    def episode(key):
        def step(state, _):
            action = policy.act(policy.params, environment.observe(state))
            transition = environment.step(state, action)
            return transition.state, transition.reward

        return jax.lax.scan(step, environment.reset(key), length=TINY.episode_length)[1].sum()

    returns = jax.vmap(episode)(jax.random.split(jax.random.key(0), 64))
    stderr = float(returns.std()) / TINY.num_eval_envs**0.5
    assert abs(float(returns.mean()) - reports[-1].episode_return) < 4 * stderr


@pytest.mark.brax
@pytest.mark.slow
def test_equal_seeds_give_equal_policies(trained_pendulum):
    policy, _, _ = trained_pendulum
    options = {"settings": TINY, "discount": 0.9, "hidden": (5,), "activation": "relu"}
    again = training.train(classic.pendulum(), seed=3, num_reports=3, **options)
    chex.assert_trees_all_equal(again.params, policy.params)
    with jax.enable_x64(True):  # which Brax must not see
        wide = training.train(classic.pendulum(dtype="float32"), seed=3, num_reports=3, **options)
    chex.assert_trees_all_equal(wide.params, policy.params)
    other = training.train(classic.pendulum(), seed=4, num_reports=3, **options)
    with pytest.raises(AssertionError):
        chex.assert_trees_all_close(other.params, policy.params)


# --- an interrupted run, and SAC ------------------------------------------------------------


class Interrupted(Exception):
    """Stands in for the end of the process."""


def train_and_stop(folder, after, **options):
    """Train five updates of 80 steps, stopped right after the snapshot of `after` steps."""
    seen = []

    def stop(steps, make_policy, params):
        seen.append(steps)
        if steps == after:
            raise Interrupted

    try:
        policy = training.train(
            classic.pendulum(),
            settings=TINY,
            hidden=(5,),
            path_folder=folder,
            on_params=stop,
            **options,
        )
    except Interrupted:
        policy = None
    assert not hasattr(jax, "device_put_replicated")
    return policy, seen


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("interrupted") / "path"
    assert train_and_stop(folder, 240) == (None, [0, 80, 160, 240])
    stopped = training.read_policies(folder)[-1]
    policy, seen = train_and_stop(folder, -1, resume=True)
    return folder, stopped, policy, seen


@pytest.mark.brax
@pytest.mark.slow
def test_an_interrupted_run_goes_on_from_its_last_snapshot(interrupted):
    folder, stopped, policy, seen = interrupted
    assert seen == [240, 320, 400]
    steps, params = training.read_path(folder)
    np.testing.assert_array_equal(steps, [0, 80, 160, 240, 320, 400])
    chex.assert_trees_all_equal(jax.tree.map(lambda leaf: leaf[3], params), stopped.params)
    chex.assert_trees_all_equal(jax.tree.map(lambda leaf: leaf[-1], params), policy.params)
    assert policy.info.training["resumed_at"] == [240]
    assert policy.info.training["steps"] == 400
    # The statistics of the normaliser go on too: 400 steps have been seen, not 160.
    with np.load(folder / "resume.npz") as archive:
        counts = [archive[name] for name in archive.files if archive[name].dtype == np.uint32]
    assert 400 in [int(count) for count in counts if count.ndim == 0]


@pytest.mark.brax
@pytest.mark.slow
def test_a_finished_run_is_not_trained_again_and_may_grow(interrupted):
    folder, _, policy, _ = interrupted
    again, seen = train_and_stop(folder, -1, resume=True)
    assert seen == []
    chex.assert_trees_all_equal(again.params, policy.params)
    longer, seen = train_and_stop(folder, -1, resume=True, num_timesteps=430)
    assert seen == [400, 480]
    assert longer.info.training["resumed_at"][0] == 240


@pytest.mark.brax
@pytest.mark.slow
def test_a_run_killed_before_its_last_return_was_known_gets_it_when_gone_on_with(tmp_path):
    folder = tmp_path / "path"
    assert train_and_stop(folder, 400)[0] is None
    stopped = training.read_policies(folder)[-1]
    assert (stopped.info.training["steps"], stopped.info.training["return"]) == (400, None)
    policy, seen = train_and_stop(folder, -1, resume=True)
    assert seen == [400]
    chex.assert_trees_all_equal(policy.params, stopped.params)
    last = training.read_policies(folder)[-1].info.training["return"]
    assert last == policy.info.training["return"] < 0

    (folder / "000005.npz").unlink()  # killed still earlier
    policy, seen = train_and_stop(folder, -1, resume=True)
    assert seen == [400]
    chex.assert_trees_all_equal(training.read_policies(folder)[-1].params, policy.params)
    policy, seen = train_and_stop(folder, -1, resume=True)
    assert seen == []
    assert policy.info.training["return"] == last


@pytest.mark.brax
@pytest.mark.slow
def test_another_run_is_not_gone_on_with(interrupted):
    folder, *_ = interrupted
    with pytest.raises(ValueError, match=r"another run \(seed differ\)"):
        train_and_stop(folder, -1, resume=True, seed=5)
    with pytest.raises(ValueError, match=r"\(settings differ\)"):
        train_and_stop(folder, -1, resume=True, discount=0.5)


@pytest.mark.brax
@pytest.mark.slow
def test_sac_trains_reports_and_leaves_a_path(tmp_path):
    """40 steps fill the buffer, then 160 in updates of 4, 20 updates to a report."""
    reports, handed = [], []
    policy = training.train(
        classic.pendulum(),
        algorithm="sac",
        settings=SMALL_SAC,
        seed=2,
        on_progress=reports.append,
        on_params=lambda steps, _, params: handed.append((steps, params)),
        path_folder=tmp_path,
        path_every=20,
    )
    assert [report.steps for report in reports] == [0, 120, 200]
    assert [steps for steps, _ in handed] == [0, 120, 200]
    assert all(-160 < report.episode_return < -40 for report in reports)
    assert policy.network == networks.PolicyNetwork(3, 1, (5,), "relu")
    steps, params = training.read_path(tmp_path)
    np.testing.assert_array_equal(steps, [0, 120, 200])
    chex.assert_trees_all_equal(jax.tree.map(lambda leaf: leaf[-1], params), policy.params)
    chex.assert_trees_all_equal(handed[-1][1][1], policy.params)
    assert not np.allclose(jax.tree.leaves(policy.params)[1], jax.tree.leaves(params)[1][0])
    returns = [kept.info.training["return"] for kept in training.read_policies(tmp_path)]
    assert returns == [report.episode_return for report in reports]
    observation = jnp.array([1.0, 0.0, 0.5])
    assert policy.act(policy.params, observation).shape == (1,)


@pytest.mark.brax
def test_brax_evaluates_as_before_outside_the_block():
    from brax.training import acting

    before = acting.Evaluator
    with brax_training.evaluated_parameters(print):
        assert acting.Evaluator is not before
    assert acting.Evaluator is before
    with pytest.raises(KeyError), brax_training.evaluated_parameters(print):
        raise KeyError
    assert acting.Evaluator is before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"algorithm": "ddpg"}, "`algorithm`"),
        ({"algorithm": "sac"}, "`settings` must be those of sac"),
        ({"settings": training.SACSettings()}, "`settings` must be those of ppo"),
        ({"resume": True}, "`resume`"),
        (
            {"algorithm": "sac", "settings": SMALL_SAC, "path_folder": "x", "resume": True},
            "`resume`",
        ),
        (
            {"algorithm": "sac", "settings": SMALL_SAC, "num_timesteps": 20},
            "`min_replay_size` must lie between",
        ),
        ({"num_envs": 7}, "`num_envs` must divide 16"),
        ({"num_envs": 0}, "`num_envs` must be positive"),
        ({"settings": dataclasses.replace(TINY, unroll_length=0)}, "`unroll_length` must be"),
        (
            {"algorithm": "sac", "settings": SMALL_SAC, "num_envs": 0},
            "`num_envs` must be positive",
        ),
        ({"num_timesteps": 0}, "`num_timesteps` must be positive"),
        ({"discount": 1.0}, "`discount`"),
        ({"activation": "swoosh"}, "`activation`"),
        ({"num_reports": 0}, "`num_reports`"),
    ],
)
def test_bad_arguments_are_named_before_anything_is_compiled(options, message):
    with pytest.raises(ValueError, match=message):
        training.train(classic.pendulum(), **{"settings": TINY} | options)
    assert not Path("x").exists()


def test_default_settings_hold_together():
    for name in ("pendulum", "acrobot", "hopper", "an environment nobody has heard of"):
        settings = training.default_settings(name)
        assert settings.batch_size * settings.num_minibatches % settings.num_envs == 0
        sac = training.default_settings(name, "sac")
        assert sac.num_envs <= sac.steps_before_updates < sac.num_timesteps
        assert sac.min_replay_size <= sac.max_replay_size
    with pytest.raises(ValueError, match="`algorithm`"):
        training.default_settings("pendulum", "ddpg")


# --- snapshots ----------------------------------------------------------------------------


def recorder(folder):
    return snapshots.Recorder(
        network=networks.PolicyNetwork(2, 1, (3,)),
        info=policies.PolicyInfo("fast"),
        summary={"algorithm": "ppo"},
        settings=TINY,
        total_steps=160,
        on_progress=None,
        folder=folder,
    )


def parameters(value):
    network = networks.PolicyNetwork(2, 1, (3,))
    weights = jax.tree.map(lambda leaf: leaf + value, network.init(jax.random.key(0)))
    return networks.Normalizer(jnp.full(2, value), jnp.ones(2)), weights, {}


def test_a_snapshot_is_kept_before_its_return_is_known(tmp_path):
    record = recorder(tmp_path)
    record.on_evaluation(0, {"eval/episode_reward": 1.0})
    record.on_params(0, None, parameters(0.0))
    record.on_params(80, None, parameters(1.0))  # and here the run is killed
    first, second = training.read_policies(tmp_path)
    assert (first.info.training["return"], first.info.training["updates"]) == (1.0, 0)
    assert (second.info.training["return"], second.info.training["updates"]) == (None, 1)
    record.on_evaluation(80, {"eval/episode_reward": 2.0})
    assert training.read_policies(tmp_path)[1].info.training["return"] == 2.0


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    record = recorder(tmp_path)
    record.on_params(80, None, parameters(1.0))
    before = (tmp_path / "000001.npz").read_bytes()

    def fail(*_):
        raise OSError

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError):  # noqa: PT011 (any failure of the disk)
        record.on_params(80, None, parameters(2.0))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["000001.npz", "resume.npz"]
    assert (tmp_path / "000001.npz").read_bytes() == before


def test_an_unfinished_write_is_not_part_of_the_path(tmp_path):
    record = recorder(tmp_path)
    record.on_params(80, None, parameters(1.0))
    (tmp_path / ".000002.npz.partial").write_bytes(b"PK")
    steps, _ = training.read_path(tmp_path)
    np.testing.assert_array_equal(steps, [80])


def test_a_path_of_more_than_a_million_updates_is_in_order(tmp_path):
    record = recorder(tmp_path)
    for steps in (999_999 * 80, 1_000_000 * 80):
        record.on_params(steps, None, parameters(float(steps)))
    assert (tmp_path / "1000000.npz").exists()
    steps, path = training.read_path(tmp_path)
    np.testing.assert_array_equal(steps, [999_999 * 80, 1_000_000 * 80])
    assert (np.diff(jax.tree.leaves(path)[0], axis=0) > 0).all()


def test_paths_are_not_mixed_and_not_made_up(tmp_path):
    with pytest.raises(ValueError, match="no snapshots"):
        training.read_path(tmp_path / "none")
    recorder(tmp_path).on_params(80, None, parameters(1.0))
    with pytest.raises(ValueError, match="no earlier path"):
        training.train(classic.pendulum(), settings=TINY, path_folder=tmp_path)
    settings = dataclasses.replace(TINY, normalize_observations=False)
    plain = dataclasses.replace(recorder(None), settings=settings)
    plain.on_params(80, None, parameters(1.0))
    assert plain.policy().normalizer is None
