"""The plasticity probe, where its loss has a closed form, and its targets."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fracjax import Status
from fracjax.learning.plasticity.fits import fit
from fracjax.learning.plasticity.probes import (
    fresh_probe,
    loss_of_plasticity,
    over_targets,
    plasticity_probe,
    probe_sines,
    probe_targets,
)
from fracjax.learning.plasticity.toy_networks import ToyNetwork

KEY = jax.random.key(0)
NETWORK = ToyNetwork((4, 4), (32,), 3)
IMAGES = jax.random.uniform(jax.random.key(1), (64, 4, 4))


def linear(params, inputs):
    return inputs @ params


def probed(params, sines, optimizer, apply=NETWORK.apply, inputs=IMAGES, **settings):
    run = functools.partial(plasticity_probe, apply, optimizer=optimizer, **settings)
    return jax.jit(run)(params, inputs, sines)


def test_a_linear_network_has_the_closed_form(x64):
    """Exact: residuals (I - ηK)^k r_0, K = 2XXᵀ/N; the mean over outputs halves K by two."""
    draws = np.random.default_rng(0)
    inputs, params = draws.normal(size=(12, 5)), draws.normal(size=(5, 2))
    sines = draws.normal(size=(3, 12, 2))
    rate, steps = 0.05, (0, 1, 7, 30)
    start = inputs @ params
    for reduction, share in (("sum", 1), ("mean", 1 / 2)):
        found = probed(
            jnp.asarray(params),
            jnp.asarray(sines),
            optax.sgd(rate),
            linear,
            jnp.asarray(inputs),
            iterations=steps,
            reduction=reduction,
        )
        kernel = share * 2 * inputs @ inputs.T / 12
        residuals = start - (start.mean(axis=0) + sines)
        powers = [np.linalg.matrix_power(np.eye(12) - rate * kernel, k) for k in steps]
        expected = np.array(
            [
                [share * ((power @ one) ** 2).sum(axis=1).mean() for power in powers]
                for one in residuals
            ]
        )
        np.testing.assert_allclose(found.losses, expected, rtol=1e-6)
        base = share * sines.var(axis=1).sum(axis=1)
        np.testing.assert_allclose(found.baseline, base, rtol=1e-12)
        np.testing.assert_allclose(found.plasticity.value, (base - expected[:, -1]).mean())
        np.testing.assert_allclose(found.curve.value, expected.mean(axis=0), rtol=1e-6)
        np.testing.assert_allclose(found.initial_loss.value, expected[:, 0].mean(), rtol=1e-6)
        assert found.plasticity.status == Status.OK


def test_targets_are_sines_of_uniform_phases_around_the_networks_mean():
    sines = probe_sines(NETWORK.apply, NETWORK.init, IMAGES, KEY, num_targets=40)
    assert sines.shape == (40, 64, 3)
    # 7680 numbers whose squares have SD .35: the bound is five standard errors.
    assert abs(float(jnp.mean(sines**2)) - 0.5) < 0.02
    assert abs(float(sines.mean())) < 0.04  # 5 · √(.5/7680)
    # Unrelated between inputs and between targets: correlations of 192 numbers.
    table = np.corrcoef(np.asarray(sines).reshape(40, -1))
    assert np.abs(table[np.triu_indices(40, 1)]).max() < 6 / np.sqrt(192)
    again = probe_sines(NETWORK.apply, NETWORK.init, IMAGES, KEY, num_targets=40)
    np.testing.assert_array_equal(sines, again)
    params = NETWORK.init(jax.random.key(5))
    targets = probe_targets(NETWORK.apply, params, IMAGES, sines)
    mean = NETWORK.apply(params, IMAGES).mean(axis=0)
    np.testing.assert_allclose(targets - sines, jnp.broadcast_to(mean, sines.shape), atol=1e-6)


def test_probing_writes_nothing_back_and_takes_up_the_agents_optimiser():
    inputs, params = jax.random.normal(KEY, (12, 5)), jnp.ones((5, 2))
    optimizer = optax.sgd(1e-2, momentum=0.9)
    state = optimizer.update(params, optimizer.init(params), params)[1]
    before = jax.tree.map(lambda leaf: np.array(leaf, copy=True), (params, state))
    sines = jnp.sin(jnp.arange(72.0)).reshape(3, 12, 2)
    settings = {"apply": linear, "inputs": inputs, "iterations": (0, 3)}
    own = probed(params, sines, optimizer, opt_state=state, **settings)
    jax.tree.map(np.testing.assert_array_equal, before, (params, state))
    target = np.asarray(probe_targets(linear, params, inputs, sines)[0])
    x, theta, trace = (np.asarray(part, float) for part in (inputs, params, params))
    for _ in range(3):  # the same, by hand: the agent's momentum is there from the first step
        trace = 0.9 * trace + x.T @ (x @ theta - target) / 12
        theta = theta - 1e-2 * trace
    np.testing.assert_allclose(own.losses[0, 1], ((x @ theta - target) ** 2).mean(), rtol=1e-5)


@pytest.mark.slow
def test_signs_of_lost_plasticity():
    """A network without live units learns a constant at most; both signs say it got worse."""
    params = NETWORK.init(KEY)
    broken = {**params, "layer_0": {**params["layer_0"], "bias": jnp.full(32, -100.0)}}
    sines = probe_sines(NETWORK.apply, NETWORK.init, IMAGES, KEY, num_targets=4)
    settings = {"iterations": (0, 200)}
    good, bad = (probed(p, sines, optax.adam(1e-2), **settings) for p in (params, broken))
    np.testing.assert_allclose(bad.plasticity.value, 0, atol=1e-3)  # b is the best constant's
    assert good.plasticity.low > 0.02
    for paired in (True, False):
        found = loss_of_plasticity(bad, good, paired=paired)
        np.testing.assert_allclose(found.formula.value, -found.plotted.value, atol=1e-6)
        assert found.formula.high < 0 < found.plotted.low
    exact = bad.losses[:, -1] - good.losses[:, -1]
    np.testing.assert_allclose(loss_of_plasticity(bad, good).plotted.value, exact.mean(), rtol=1e-5)
    with pytest.raises(ValueError, match="`paired`"):
        loss_of_plasticity(bad, good._replace(losses=good.losses[:2]))


@pytest.mark.slow
def test_a_fresh_network_has_lost_nothing():
    """Null: both are fresh. Bound: four standard errors of the difference."""
    sines = probe_sines(NETWORK.apply, NETWORK.init, IMAGES, KEY, num_targets=24)
    run = functools.partial(
        fresh_probe, NETWORK.apply, NETWORK.init, optimizer=optax.adam(1e-2), iterations=(0, 60)
    )
    one, two = (jax.jit(run)(IMAGES, sines, key=jax.random.key(seed)) for seed in (1, 2))
    found = loss_of_plasticity(one, two).plotted
    assert abs(found.value) < 4 * found.stderr
    assert 0 < found.stderr < 0.1 * one.final_loss.value
    assert one.final_loss.value < 0.9 * one.initial_loss.value


@pytest.mark.slow
def test_vmap_is_the_loop_and_batches_are_drawn():
    sines = probe_sines(NETWORK.apply, NETWORK.init, IMAGES, KEY, num_targets=2)
    seeds = jax.vmap(NETWORK.init)(jax.random.split(KEY, 2))

    def run(params):
        return plasticity_probe(
            NETWORK.apply,
            params,
            IMAGES,
            sines,
            optax.sgd(0.1),
            iterations=(0, 3, 10),
            batch_size=16,
            key=KEY,
            targets_at_once=1,
        )

    both = jax.jit(jax.vmap(run))(seeds)
    for index in range(2):
        one = jax.jit(run)(jax.tree.map(lambda leaf, i=index: leaf[i], seeds))
        np.testing.assert_allclose(both.losses[index], one.losses, rtol=1e-4)
    assert both.plasticity.value.shape == (2,)


def test_failures_have_a_status():
    """A loss that is not finite has no mean; one target has no interval."""
    losses = jnp.asarray([[0.5, 0.2], [0.4, jnp.inf]])
    found = over_targets(losses)
    assert found.status.tolist() == [Status.OK, Status.DIVERGED]
    np.testing.assert_allclose(found.value[0], 0.45, rtol=1e-6)
    assert jnp.isnan(jnp.stack([found.value[1], found.stderr[1], found.low[1]])).all()
    alone = over_targets(jnp.ones((1, 2)))
    assert alone.status.tolist() == [Status.TOO_FEW_POINTS] * 2
    assert jnp.isnan(alone.low).all()


@pytest.mark.slow
def test_descent_that_is_too_fast_diverges():
    sines = jnp.sin(jnp.arange(48.0)).reshape(2, 12, 2)
    inputs = jax.random.normal(KEY, (12, 5))
    diverged = plasticity_probe(
        linear, jnp.ones((5, 2)), inputs, sines, optax.sgd(1e20), iterations=(0, 3)
    )
    assert diverged.final_loss.status == Status.DIVERGED
    assert jnp.isnan(diverged.plasticity.value)
    assert diverged.initial_loss.status == Status.OK


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"iterations": (0, 5, 5)}, "iterations"),
        ({"iterations": (1, 5)}, "iterations"),
        ({"iterations": ()}, "iterations"),
        ({"reduction": "max"}, "reduction"),
        ({"batch_size": 4}, "key"),
        ({"batch_size": 0, "key": KEY}, "batch_size"),
    ],
)
def test_bad_settings_are_named(settings, name):
    params = NETWORK.init(KEY)
    sines = jnp.zeros((2, 64, 3))
    with pytest.raises(Exception, match=name):
        plasticity_probe(NETWORK.apply, params, IMAGES, sines, optax.sgd(0.1), **settings)
    with pytest.raises(ValueError, match="num_targets"):
        probe_sines(NETWORK.apply, NETWORK.init, IMAGES, KEY, num_targets=0)


def test_a_fit_is_looked_at_after_the_right_steps():
    """x ← x/2 at every step."""
    found = fit(
        lambda x, _: x**2 / 4,
        jnp.asarray(64.0),
        optax.sgd(1.0),
        iterations=(1, 2, 5),
        observe=lambda x: {"x": x},
    )
    np.testing.assert_array_equal(found["x"], [32, 16, 2])


@pytest.mark.slow
def test_intervals_over_ten_targets_cover():
    """Null: 95 % of 1000 groups of 10 targets hold the mean over all; bounds: 4 SD of .7 %."""
    network = ToyNetwork((1, 2), (16,), 2)
    inputs = jax.random.uniform(KEY, (24, 1, 2))
    groups = 1000
    sines = jax.jit(
        lambda: probe_sines(network.apply, network.init, inputs, KEY, num_targets=10 * groups)
    )()

    @jax.jit
    @jax.vmap
    def final(group, key):
        found = fresh_probe(
            network.apply,
            network.init,
            inputs,
            group,
            optax.adam(1e-2),
            key,
            iterations=(0, 100),
        )
        return found.final_loss

    found = final(sines.reshape(groups, 10, 24, 2), jax.random.split(KEY, groups))
    truth = found.value.mean()
    share = float(((found.low <= truth) & (truth <= found.high)).mean())
    assert 0.922 < share < 0.978
