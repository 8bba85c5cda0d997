"""Small agents: the sums that are kept, values that are known, and heads."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fracjax.learning.plasticity.relabelling import train_on_relabelled
from fracjax.learning.plasticity.toy_agents import train_dqn
from fracjax.learning.plasticity.toy_mdps import prototype_observations, toy_mdp
from fracjax.learning.plasticity.toy_networks import ToyNetwork
from fracjax.learning.plasticity.value_heads import REGRESSION, two_hot

KEY = jax.random.key(0)
IMAGES = prototype_observations(KEY, num_per_class=6, side=5)
NETWORK = ToyNetwork((5, 5), (24,))


def trained(mdp, optimizer, *, network=NETWORK, seed=0, **settings):
    run = functools.partial(train_dqn, network, optimizer=optimizer, **settings)
    return jax.jit(run)(mdp=mdp, key=jax.random.key(seed))


@pytest.mark.slow
def test_what_is_kept_of_a_run():
    """One update per period: squared lengths are squared distances; the state counts them."""
    mdp = toy_mdp("true-label", IMAGES)
    settings = {"num_periods": 3, "target_every": 1, "batch_size": 4, "replay_size": 16}
    run = trained(mdp, optax.adam(1e-3), **settings)
    moves = jax.tree.map(lambda leaf: np.diff(leaf, axis=0), run.params)
    squares = sum((leaf**2).reshape(3, -1).sum(axis=1) for leaf in jax.tree.leaves(moves))
    np.testing.assert_allclose(run.squared_lengths, squares, rtol=1e-3)
    assert run.opt_states[0].count.tolist() == [0, 1, 2, 3]
    assert run.states.shape == (16,)
    assert run.accuracies.shape == (4,)
    first = jax.tree.map(lambda leaf: leaf[0], run.params)
    jax.tree.map(
        np.testing.assert_array_equal,
        first,
        NETWORK.init(jax.random.split(jax.random.key(0), 4)[0]),
    )
    outputs = NETWORK.apply(first, mdp.images)
    np.testing.assert_allclose(run.accuracies[0], (outputs.argmax(axis=1) == mdp.latent).mean())


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"experience": "old"}, "experience"),
        ({"head": two_hot(0.0, 1.0, 5)}, "network"),
        ({"replay_size": 2, "num_actors": 4}, "replay_size"),
        ({"num_periods": 0}, "num_periods"),
    ],
)
def test_bad_settings_are_named(settings, name):
    with pytest.raises(Exception, match=name):
        train_dqn(NETWORK, toy_mdp("true-label", IMAGES), optax.sgd(0.1), KEY, **settings)


def test_heads_read_their_own_targets():
    """A two-hot head whose logits are its targets' weights has their value, and no better loss."""
    head = two_hot(-1.0, 3.0, 5)
    assert head.width(2) == 10
    assert REGRESSION.width(2) == 2
    targets = jnp.asarray([[0.25, 3.0], [-1.0, 1.5]])
    weights = np.zeros((2, 2, 5))
    weights[0, 0, 1:3] = 0.75, 0.25
    weights[0, 1, 4] = weights[1, 0, 0] = 1
    weights[1, 1, 2:4] = 0.5, 0.5
    outputs = jnp.log(jnp.asarray(weights.reshape(2, 10)) + 1e-9)
    np.testing.assert_allclose(head.values(outputs), targets, atol=1e-4)
    entropy = -(weights * np.log(weights + 1e-9)).sum(axis=-1)
    np.testing.assert_allclose(head.losses(outputs, targets), entropy, atol=1e-4)
    np.testing.assert_allclose(REGRESSION.losses(targets, targets - 2), 4)


@pytest.mark.slow
@pytest.mark.parametrize("experience", ["replay", "fresh"])
def test_values_without_a_future_are_rewards(experience):
    """γ = 0: Q(s, a) = 1[a = s], and the greedy action is right for every image."""
    mdp = toy_mdp("true-label", IMAGES)
    settings = {"num_periods": 2, "target_every": 1500, "discount": 0.0, "epsilon": 1.0}
    run = trained(
        mdp, optax.adam(3e-3), experience=experience, num_actors=8, replay_size=4000, **settings
    )
    last = jax.tree.map(lambda leaf: leaf[-1], run.params)
    expected = np.eye(10)[np.asarray(mdp.latent)]
    assert np.abs(NETWORK.apply(last, mdp.images) - expected).mean() < 0.03
    assert run.accuracies[-1] == 1
    assert run.losses[1] < 0.2 * run.losses[0]


@pytest.mark.slow
def test_values_of_a_future_and_a_two_hot_head():
    """Exact after n replacements of the target, γ = .5: 1[a = s] + γ + … + γ^{n-1}."""
    mdp = toy_mdp("true-label", IMAGES)
    head = two_hot(-0.5, 2.5, 13)
    network = ToyNetwork((5, 5), (48,), head.width(10))
    run = trained(
        mdp,
        optax.adam(3e-3),
        network=network,
        head=head,
        num_periods=6,
        target_every=800,
        discount=0.5,
        epsilon=1.0,
        experience="fresh",
    )
    last = jax.tree.map(lambda leaf: leaf[-1], run.params)
    found = head.values(network.apply(last, mdp.images))
    expected = np.eye(10)[np.asarray(mdp.latent)] + sum(0.5**k for k in range(1, 6))
    assert np.abs(found - expected).mean() < 0.05


@pytest.mark.slow
def test_vmap_is_the_loop():
    mdp = toy_mdp("sparse-reward", IMAGES)
    settings = {"num_periods": 2, "target_every": 20, "batch_size": 8, "replay_size": 32}
    run = functools.partial(train_dqn, NETWORK, mdp, optax.sgd(0.05), **settings)
    keys = jax.random.split(KEY, 2)
    both = jax.jit(jax.vmap(run))(keys)
    for index in range(2):
        np.testing.assert_allclose(jax.jit(run)(keys[index]).losses, both.losses[index], rtol=1e-4)


@pytest.mark.slow
def test_labels_are_drawn_anew_and_learned():
    """Every task is learned; labels of one are no use for the next."""
    run = functools.partial(
        train_on_relabelled,
        ToyNetwork((5, 5), (64,)),
        jnp.asarray(IMAGES.images),
        optax.adam(3e-3),
        num_tasks=3,
        steps_per_task=600,
        batch_size=32,
    )
    found = jax.jit(run)(KEY)
    assert found.accuracies.shape == (3,)
    assert found.accuracies.min() > 0.9
    assert found.opt_states[0].count.tolist() == [0, 600, 1200, 1800]
    assert (found.largest_updates > 0).all()
    untrained = jax.jit(functools.partial(run, num_tasks=1, steps_per_task=1))(KEY)
    assert untrained.accuracies[0] < 0.4
