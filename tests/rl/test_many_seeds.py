"""Many seeds trained at once: the same policies as rejax's, kept, resumed and measured."""

import dataclasses
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax import Status
from fracjax.rl import classic, many_seeds, rejax_training, rollouts, training
from fracjax.rl.environment import Environment, Transition

KEY = jax.random.PRNGKey(3)
SMALL = {
    "num_seeds": 2,
    "num_timesteps": 8192,
    "num_snapshots": 4,
    "episode_length": 20,
    "discount": 0.9,
    "hidden": (8, 4),
    "seed": 5,
    "num_eval_states": 8,
}
SETTINGS = {"num_envs": 16, "num_steps": 16, "num_minibatches": 4, "learning_rate": 0.01}


def point(limit=10.0):
    """A point on a line that pays for being near 1, starts near 0, and ends beyond `limit`."""

    def step(state, action):
        moved = state + 0.3 * action
        reward = -((moved[0] - 1.0) ** 2)
        return Transition(moved, reward, jnp.abs(moved[0]) > limit)

    return Environment(
        name="point",
        backend="analytic",
        dt=1.0,
        observation_size=1,
        action_size=1,
        state_size=1,
        reset=lambda key: jax.random.uniform(key, (1,), jnp.float32, -0.1, 0.1),
        observe=lambda state: state,
        step=step,
        coordinates=lambda state: state,
    )


@pytest.mark.usefixtures("single_precision")
@pytest.mark.parametrize("algorithm", ["ppo", "sac", "td3"])
def test_policies_act_as_those_of_rejax(algorithm):
    """All parameters and statistics are drawn, so that none of them can be ignored."""
    training = rejax_training.RejaxTraining(
        classic.double_pendulum(dtype="float32"),
        algorithm=algorithm,
        discount=0.9,
        episode_length=10,
        hidden=(8, 4),
        activation="swish",
        settings={},
    )
    generator = np.random.default_rng(0)
    leaves = tuple(
        jnp.asarray(0.5 * np.abs(generator.normal(size=leaf.shape)), leaf.dtype)
        for leaf in jax.eval_shape(training.start, KEY)
    )
    params, normalizer = training.policy(leaves)
    assert (normalizer is not None) == (algorithm == "ppo")
    observations = jnp.asarray(generator.normal(size=(64, 6)) - 1, jnp.float32)
    theirs = jax.vmap(lambda one: training.library_action(leaves, one))(observations)
    ours = jax.vmap(lambda one: training.network.act(params, normalizer, one))(observations)
    assert ours.shape == (64, 2)
    assert ours.std() > 0.05
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


@pytest.mark.slow
def test_an_interrupted_run_goes_on_to_the_same_bits(tmp_path):
    """And it learns: the best return is -9 of 20 steps, resting pays -20."""
    seen = []

    def stop_after_the_second(progress):
        seen.append(progress)
        if len(seen) == 2:
            raise KeyboardInterrupt

    whole = many_seeds.train_seeds(point(), settings=SETTINGS, **SMALL)
    arguments = {"settings": SETTINGS, "folder": tmp_path, **SMALL}
    with pytest.raises(KeyboardInterrupt):
        many_seeds.train_seeds(point(), on_progress=stop_after_the_second, **arguments)
    assert [progress.steps for progress in seen] == [0, 2048]
    later = []
    resumed = many_seeds.train_seeds(point(), on_progress=later.append, **arguments)
    assert [progress.steps for progress in later] == [4096, 6144, 8192]
    again = many_seeds.train_seeds(point(), on_progress=later.append, **arguments)
    assert len(later) == 3
    for other in (resumed, again):
        same = jax.tree.map(np.array_equal, dataclasses.astuple(whole), dataclasses.astuple(other))
        assert all(jax.tree.leaves(same))

    with pytest.raises(ValueError, match=r"another run.*seed 5 there, 6 now"):
        many_seeds.train_seeds(point(), **{**arguments, "seed": 6})
    (tmp_path / "snapshot_00001.npz").write_bytes(b"PK damaged")
    with pytest.raises(ValueError, match=r"snapshot_00001.npz` of a training run is damaged"):
        many_seeds.train_seeds(point(), **arguments)

    assert whole.steps.tolist() == [0, 2048, 4096, 6144, 8192]
    assert (whole.num_seeds, whole.num_snapshots) == (2, 5)
    returns = whole.returns
    assert returns.value.shape == (2, 5)
    assert (returns.status == Status.OK).all()
    assert (returns.low[:, -1] > returns.high[:, 0]).all()
    assert (returns.value[:, -1] > -12).all()
    assert not np.array_equal(whole.state_returns[0, 0], whole.state_returns[1, 0])
    check_returns(whole)


def check_returns(whole):
    """Returns are those that the policies give by the package's own rollouts."""
    states = rollouts.initial_states(point(), jax.random.fold_in(jax.random.key(5), 0x5EED), 8)
    policy = whole.policy(1, 2)
    assert policy.info.training["member"] == 1
    assert policy.info.training["steps"] == 4096
    run = rollouts.discounted_returns(point(), policy, horizon=20, discounts=(1.0, 0.9))
    expected = run(policy.params, states, KEY)
    np.testing.assert_allclose(whole.returns.value[1, 2], expected[0], rtol=1e-5)
    np.testing.assert_allclose(whole.discounted.value[1, 2], expected[1], rtol=1e-5)


@pytest.mark.usefixtures("single_precision")
def test_episodes_end_where_they_should():
    adapted = rejax_training.Adapted(point(limit=0.5), 5, squash=False)
    observation, episode = adapted.reset(KEY, {})
    for time in range(1, 5):
        before = episode
        observation, episode, reward, done, _ = adapted.step(KEY, before, jnp.zeros(1), {})
        assert not done
        assert episode.time == time
        assert reward == -((before.state[0] - 1) ** 2)
    observation, episode, _, done, _ = adapted.step(KEY, episode, jnp.zeros(1), {})
    assert done
    assert episode.time == 0
    np.testing.assert_array_equal(observation, adapted.reset(KEY, {})[0])
    moved = adapted.step(KEY, episode, 5 * jnp.ones(1), {})
    assert not moved[3]
    np.testing.assert_allclose(moved[1].state, episode.state + 0.3)  # clipped
    *_, done, _ = adapted.step(KEY, moved[1], jnp.ones(1), {})
    assert done
    observation, episode, reward, done, _ = adapted.step(KEY, episode, jnp.full(1, jnp.nan), {})
    assert done
    assert reward == 0
    assert jnp.isfinite(observation).all()
    squashed = rejax_training.Adapted(point(), 5, squash=True)
    _, episode = squashed.reset(KEY, {})
    moved = squashed.step(KEY, episode, 0.7 * jnp.ones(1), {})[1]
    np.testing.assert_allclose(moved.state, episode.state + 0.3 * np.tanh(0.7), rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(("algorithm", "steps"), [("ppo", 800_000), ("sac", 40_000)])
def test_the_pendulum_swings_up(algorithm, steps):
    """Hanging pays -800 in 200 steps. Measured: PPO about -240, SAC -253 and -526 of two seeds."""
    found = many_seeds.train_seeds(
        classic.pendulum(dtype="float32"),
        algorithm=algorithm,
        num_seeds=4,
        num_timesteps=steps,
        num_snapshots=4,
        episode_length=200,
    )
    assert np.median(found.returns.value[:, 0]) < -700
    assert np.median(found.returns.value[:, -1]) > -600


@pytest.mark.slow
@pytest.mark.brax
def test_brax_trains_seed_by_seed(tmp_path):
    """The fallback has the same form, and finished seeds are not trained again."""
    settings = {
        "num_envs": 16,
        "unroll_length": 16,
        "batch_size": 4,
        "num_minibatches": 4,
        "learning_rate": 0.01,
    }
    arguments = {"settings": settings, "library": "brax", "folder": tmp_path, **SMALL}
    found = many_seeds.train_seeds(point(), **arguments)
    later = []
    again = many_seeds.train_seeds(point(), on_progress=later.append, **arguments)
    assert later == []
    np.testing.assert_array_equal(found.state_returns, again.state_returns)
    assert found.steps.tolist() == [0, 2048, 4096, 6144, 8192]
    assert (found.returns.low[:, -1] > found.returns.high[:, 0]).all()
    assert found.network.head == "tanh_normal"
    assert not np.array_equal(found.state_returns[0, 0], found.state_returns[1, 0])


def test_a_run_whose_settings_json_spells_otherwise_is_the_same_run(tmp_path, monkeypatch):
    """A tuple comes back as a list."""

    class Trains(Exception):
        pass

    def begin(*_, **__):
        raise Trains

    monkeypatch.setattr(training, "train", begin)
    arguments = {**SMALL, "library": "brax", "folder": tmp_path}
    for _ in range(2):
        with pytest.raises(Trains):
            many_seeds.train_seeds(point(), settings={"hidden": (8, 4)}, **arguments)
    with pytest.raises(ValueError, match=r"another run.*\[8, 4\]"):
        many_seeds.train_seeds(point(), settings={"hidden": (8, 5)}, **arguments)


def test_mistakes_are_named(monkeypatch):
    for wrong, message in (
        ({"algorithm": "dqn"}, "`algorithm` must be one of ppo, sac, td3"),
        ({"algorithm": "sac", "library": "brax"}, "`algorithm` must be one of ppo, but"),
        ({"discount": 1.0}, "`discount` must lie"),
        ({"num_eval_states": 1}, "`num_eval_states` must be at least 2"),
        ({"activation": "sine"}, "`activation` must be one of"),
        ({"settings": {"gamma": 0.5}}, "`settings` must name settings of rejax"),
    ):
        with pytest.raises(ValueError, match=message):
            many_seeds.train_seeds(point(), **{**SMALL, **wrong})
    monkeypatch.setitem(sys.modules, "rejax", None)
    with pytest.raises(ValueError, match=r"pip install 'fracjax\[training\]'"):
        many_seeds.train_seeds(point(), **SMALL)
