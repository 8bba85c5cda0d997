"""Training: losses, returns, replay, penalties, seeds as a batch, and resuming."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax.learning.world_models import imagination, penalties, replay, storage, training
from fracjax.learning.world_models.analysis import imagined_exponents, model_errors
from fracjax.learning.world_models.model_loss import balanced_divergence
from fracjax.learning.world_models.settings import PenaltySettings, TrainingSettings
from fracjax.rl import classic, rollouts
from fracjax.rl.world_models.agent import Agent, Belief
from fracjax.rl.world_models.networks import AgentSettings

KEY = jax.random.key(0)
SIZES = AgentSettings(deterministic=6, hidden=8, groups=3, classes=4, bins=11)
TINY = TrainingSettings(
    environments=2,
    episode_length=7,
    replay_length=24,
    prefill=10,
    explorers=1,
    batch_size=3,
    batch_length=5,
    imagined_starts=8,
    imagination_horizon=4,
    penalty=PenaltySettings(starts=4),
)
CARTPOLE = classic.cartpole_swingup()
AGENT = Agent(5, 1, SIZES)
TRAINER = training.Trainer(CARTPOLE, AGENT, TINY)


def test_lambda_returns_are_those_of_a_loop(x64):
    generator = np.random.default_rng(0)
    rewards, values = generator.normal(size=(2, 6, 3))
    discounts = generator.uniform(size=(6, 3))
    expected, later = np.zeros((6, 3)), values[-1]
    for time in reversed(range(6)):
        mixed = 0.3 * values[time] + 0.7 * later
        later = expected[time] = rewards[time] + discounts[time] * mixed
    found = imagination.lambda_returns(*map(jnp.asarray, (rewards, discounts, values)), 0.7)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_each_side_of_the_divergence_trains_its_own_distribution():
    """Weights .5 and .1; below the free nats the value is constant and the gradient zero."""
    first = jnp.array([[0.97, 0.01, 0.02], [0.05, 0.9, 0.05]])
    second = jnp.full((2, 3), 1 / 3)
    exact = float(jnp.sum(first * jnp.log(3 * first)))
    assert exact > 1
    value, slopes = jax.value_and_grad(
        lambda pair: balanced_divergence(*pair, TINY), has_aux=False
    )((first, second))
    np.testing.assert_allclose(value, 0.6 * exact, rtol=1e-5)
    np.testing.assert_allclose(slopes[0], 0.1 * (jnp.log(3 * first) + 1), rtol=1e-5)
    np.testing.assert_allclose(slopes[1], -0.5 * 3 * first, rtol=1e-5)
    near = first * 0.1 + second * 0.9
    value, slopes = jax.value_and_grad(lambda pair: balanced_divergence(*pair, TINY))(
        (near, second)
    )
    np.testing.assert_allclose(value, 0.6 * TINY.free_nats, rtol=1e-6)
    np.testing.assert_array_equal(jnp.stack(slopes), 0.0)


@pytest.mark.usefixtures("single_precision")
def test_sequences_are_consecutive_when_the_ring_has_turned():
    ring = replay.empty(8, 2, 1, 1)
    steps = jnp.arange(21.0).reshape(7, 3)
    for part in steps:
        values = part[:, None] + jnp.array([0.0, 100.0])
        records = replay.Record(values[..., None], values[..., None], values, values, values)
        ring = replay.append(ring, records)
    assert ring.filled == 8
    drawn = replay.sample(ring, jax.random.uniform(KEY, (2, 200)), length=4)
    rewards = np.asarray(drawn.reward)
    np.testing.assert_array_equal(np.diff(rewards, axis=1), 1.0)
    oldest = set(np.unique(rewards[:, 0]).tolist())
    assert oldest == {13.0, 14.0, 15.0, 16.0, 17.0, 113.0, 114.0, 115.0, 116.0, 117.0}
    np.testing.assert_array_equal(drawn.observation[..., 0], rewards)


def test_records_follow_the_environment():
    """Every record is one step after the one before it, unless it begins an episode."""
    state = TRAINER.start(KEY, 1)
    records = jax.tree.map(lambda leaf: leaf[0, :12], state.replay.records)

    @jax.jit
    @jax.vmap
    @jax.vmap
    def follow(observation, action):
        x, cosine, sine, velocity, omega = observation
        before = jnp.stack([x, jnp.arctan2(sine, cosine), velocity, omega])
        moved = CARTPOLE.step(before, action)
        return CARTPOLE.observe(moved.state), moved.reward, 1 - moved.done

    seen, reward, continues = follow(records.observation[:-1], records.action[1:])
    first = np.asarray(records.first[1:], bool)
    np.testing.assert_array_equal(records.first[0], 1)
    assert first.sum() >= 2  # an episode of 7 steps has 8 records
    np.testing.assert_array_equal(records.action[1:][first], 0)
    np.testing.assert_array_equal(records.reward[1:][first], 0)
    on = ~first
    np.testing.assert_allclose(records.observation[1:][on], seen[on], atol=1e-5)
    np.testing.assert_allclose(records.reward[1:][on], reward[on], atol=1e-5)
    np.testing.assert_array_equal(records.continues[1:][on], continues[on])


@pytest.mark.slow
def test_seeds_do_not_see_each_other():
    """Two updates of seeds 0 and 1 in one batch, and of each beside itself: the same numbers.

    A batch of one would be another program, which rounds differently.
    """
    started = TRAINER.start(KEY, 2)
    both, metrics = TRAINER.advance(started, 2)
    assert all(np.isfinite(part).all() for part in metrics.values())
    for seed in range(2):
        twice = jax.tree.map(lambda leaf, seed=seed: jnp.stack([leaf[seed]] * 2), started)
        alone, _ = TRAINER.advance(twice, 2)
        for leaf, other in zip(
            jax.tree.leaves(alone.params), jax.tree.leaves(both.params), strict=True
        ):
            np.testing.assert_array_equal(leaf[0], leaf[1])
            np.testing.assert_allclose(leaf[0], other[seed], atol=1e-6)
    kernel = both.params["actor"]["params"]["dense_0"]["kernel"]
    assert jnp.abs(kernel[0] - kernel[1]).max() > 0.1


@pytest.mark.parametrize("updates", [2**60, -2, "2", None])
def test_a_file_does_not_say_how_much_memory_is_taken(tmp_path, updates):
    path = tmp_path / "run.npz"
    storage.save_tree({}, path, {"updates": updates})
    with pytest.raises(storage.RunFileError, match="no number of them"):
        training.train(TRAINER, KEY, num_seeds=2, num_updates=2, chunk=2, path=path)


@pytest.mark.slow
def test_a_resumed_run_has_the_same_bytes(tmp_path):
    whole, cut = tmp_path / "whole.npz", tmp_path / "cut.npz"
    settings = {"num_seeds": 2, "chunk": 2}
    seen = []
    run = training.train(
        TRAINER, KEY, num_updates=4, path=whole, on_progress=seen.append, **settings
    )
    training.train(TRAINER, KEY, num_updates=2, path=cut, **settings)
    again = training.train(TRAINER, KEY, num_updates=4, path=cut, **settings)
    assert whole.read_bytes() == cut.read_bytes()
    assert [progress.updates for progress in seen] == [2, 4]
    np.testing.assert_array_equal(again.returns, run.returns)
    np.testing.assert_array_equal(run.environment_steps, [(3 + 2) * 4 * 2, (3 + 4) * 4 * 2])
    assert run.returns.shape == (2, 2)
    done = training.train(TRAINER, KEY, num_updates=4, path=cut, **settings)
    np.testing.assert_array_equal(done.returns, run.returns)
    other = dataclasses.replace(TRAINER, settings=dataclasses.replace(TINY, discount=0.5))
    with pytest.raises(storage.RunFileError, match="other settings: settings differ"):
        training.train(other, KEY, num_updates=4, path=cut, **settings)
    with pytest.raises(storage.RunFileError, match="other settings: key differ"):
        training.train(TRAINER, jax.random.key(5), num_updates=4, path=cut, **settings)


@pytest.mark.slow
def test_the_other_gradient_of_the_actor_is_finite():
    """Likelihood ratios; the actor moves and the critic with it."""
    settings = dataclasses.replace(TINY, actor_gradient="reinforce")
    trainer = dataclasses.replace(TRAINER, settings=settings)
    before = trainer.start(KEY, 1)
    after, metrics = trainer.advance(before, 2)
    assert all(np.isfinite(part).all() for part in metrics.values())
    for name in ("actor", "critic"):
        pairs = zip(
            jax.tree.leaves(before.params[name]), jax.tree.leaves(after.params[name]), strict=True
        )
        assert max(float(jnp.abs(one - other).max()) for one, other in pairs) > 1e-5


@pytest.mark.slow
def test_gradients_of_the_penalties_are_finite_and_not_zero():
    """Of the spread and of the exponent; without a penalty nothing is added."""
    params = AGENT.init(KEY)
    starts = Belief(*(jax.random.normal(KEY, (5, size)) for size in (6, 12)))
    chosen = [
        PenaltySettings(kind="spread"),
        PenaltySettings(kind="exponent", target=-5.0),
        PenaltySettings(),
    ]

    @jax.jit
    def slopes(actor):
        def loss(actor, settings):
            own = {**params, "actor": actor}
            return penalties.penalty(AGENT, own, starts, KEY, settings, horizon=6)

        return [jax.value_and_grad(loss)(actor, settings) for settings in chosen]

    *found, (nothing, flat) = slopes(params["actor"])
    for value, slope in found:
        leaves = jax.tree.leaves(slope)
        assert value > 0
        assert all(np.isfinite(leaf).all() for leaf in leaves)
        assert max(float(jnp.abs(leaf).max()) for leaf in leaves) > 1e-6
    assert nothing == 0
    assert not any(leaf.any() for leaf in jax.tree.leaves(flat))


@pytest.mark.slow
def test_the_exponent_of_imagination_is_that_of_the_penalty():
    """The same tangents: the analysis and the penalty agree belief by belief."""
    params = AGENT.init(KEY)
    starts = Belief(*(jax.random.normal(KEY, (5, size)) for size in (6, 12)))

    @jax.jit
    def both(params):
        _, exponent = penalties.imagined_exponent_penalty(AGENT, params, starts, KEY, horizon=6)
        return exponent, imagined_exponents(AGENT, params, starts, KEY, horizon=6)

    exponent, found = both(params)
    np.testing.assert_allclose(found.value, exponent, rtol=1e-4)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: TrainingSettings(batch_length=1), "batch_length"),
        (lambda: TrainingSettings(prefill=3), "prefill"),
        (lambda: TrainingSettings(discount=1.5), "discount"),
        (lambda: PenaltySettings(copies=1), "copies"),
        (lambda: PenaltySettings(weight=-1.0), "weight"),
    ],
)
def test_bad_settings_are_named(make, name):
    with pytest.raises(ValueError, match=f"`{name}`"):
        make()


def test_updates_must_fill_chunks():
    with pytest.raises(ValueError, match="multiple of `chunk`"):
        training.train(TRAINER, KEY, num_updates=3, chunk=2)


@pytest.mark.slow
def test_an_agent_learns_the_pendulum():
    """One seed, a few minutes: the model predicts, and the return leaves that of chance.

    Random actions return -830 (68 over episodes), hanging still -800, the best torque without
    swinging -770, and swinging up -250.
    """
    pendulum = classic.pendulum()
    agent = Agent(3, 1)
    trainer = training.Trainer(pendulum, agent)
    errors = jax.jit(model_errors(pendulum, agent))
    states = rollouts.initial_states(pendulum, KEY, 8)
    began = trainer.start(KEY, 1)
    run = training.train(trainer, KEY, num_seeds=1, num_updates=1000)
    before, after = (
        errors(jax.tree.map(lambda leaf: leaf[0], state.params), states, KEY)
        for state in (began, run.state)
    )
    assert before.observation > 1
    assert after.observation < 0.5  # 5 seeds ended between .18 and .37
    assert after.reward < 0.4  # between .06 and .21
    assert run.returns.max() > -500
