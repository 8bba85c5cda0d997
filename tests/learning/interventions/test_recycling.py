"""ReDo and continual backprop: what is replaced, what must not change, what is counted."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fracjax.learning.interventions.continual_backprop import continual_backprop, unit_utility
from fracjax.learning.interventions.intervene import intervene
from fracjax.learning.interventions.layers import UnitLayer, fresh_parameters, sequential_layers
from fracjax.learning.interventions.redo import recycle_dormant, redo

KEY = jax.random.key(0)
recycle = jax.jit(recycle_dormant, static_argnames=("layers", "tau"))


def convolve(images, layer):
    numbers = ("NHWC", "HWIO", "NHWC")
    return (
        jax.lax.conv_general_dilated(
            images, layer["kernel"], (1, 1), "SAME", dimension_numbers=numbers
        )
        + layer["bias"]
    )


@functools.partial(jax.jit, static_argnames="channels_last")
def cnn(params, images, *, channels_last=True):
    """Conv, conv, flatten, dense, dense: outputs and hidden activations, as Flax names them."""
    first = jax.nn.relu(convolve(images, params["Conv_0"]))
    second = jax.nn.relu(convolve(first, params["Conv_1"]))
    flat = second if channels_last else jnp.moveaxis(second, -1, 1)
    flat = flat.reshape(len(images), -1)
    third = jax.nn.relu(flat @ params["Dense_0"]["kernel"] + params["Dense_0"]["bias"])
    outputs = third @ params["Dense_1"]["kernel"] + params["Dense_1"]["bias"]
    return outputs, {"Conv_0": first, "Conv_1": second, "Dense_0": third}


@pytest.fixture(scope="module")
def network():
    """A CNN with dead units, fresh parameters for it, a batch."""
    with jax.enable_x64(False):  # of what is drawn in float64 other units are dead
        shapes = {
            "Conv_0": (3, 3, 1, 4),
            "Conv_1": (3, 3, 4, 3),
            "Dense_0": (48, 6),
            "Dense_1": (6, 2),
        }
        params = {
            name: {"kernel": jnp.ones(shape), "bias": jnp.ones(shape[-1])}
            for name, shape in shapes.items()
        }
        init = jax.jit(fresh_parameters(params))
        params, fresh = init(KEY), init(jax.random.key(1))
        for name, dead in (("Conv_0", [1, 3]), ("Conv_1", [0]), ("Dense_0", [2, 5])):
            bias = params[name]["bias"].at[jnp.array(dead)].set(-30.0)
            params[name] = {**params[name], "bias": bias}
        return params, fresh, init, jax.random.uniform(jax.random.key(2), (5, 4, 4, 1))


@pytest.mark.usefixtures("single_precision")
def test_redo_at_zero_changes_parameters_and_not_the_outputs(network):
    """Exact, to the bit: a dead unit is not read before, and not read afterwards."""
    params, fresh, _, images = network
    outputs, hidden = cnn(params, images)
    layers = sequential_layers(params)
    found, anew, chosen = recycle(params, fresh, hidden, layers, tau=0.0)
    assert {name: np.flatnonzero(one).tolist() for name, one in chosen.items()} == {
        "Conv_0": [1, 3],
        "Conv_1": [0],
        "Dense_0": [2, 5],
    }
    np.testing.assert_array_equal(cnn(found, images)[0], outputs)
    kernel, drawn = found["Conv_1"]["kernel"], fresh["Conv_1"]["kernel"]
    # Incoming weights of a unit are fresh, but for those from units that begin anew themselves.
    np.testing.assert_array_equal(kernel[:, :, [0, 2], 0], drawn[:, :, [0, 2], 0])
    np.testing.assert_array_equal(kernel[:, :, [1, 3]], 0)
    np.testing.assert_array_equal(found["Conv_1"]["bias"][0], fresh["Conv_1"]["bias"][0])
    assert not np.any(found["Dense_0"]["kernel"][::3])  # channel 0 of 3, at all 16 places
    # What is not marked is what it was, and what is marked is not.
    jax.tree.map(
        lambda new, old, flag: np.testing.assert_array_equal(new == old, ~flag),
        found,
        params,
        anew,
    )


def test_redo_between_convolution_and_dense_layer_needs_the_order_of_the_flattening(network):
    """The bug of ports: a mask repeated the wrong way zeroes the weights of living units."""
    params, fresh, _, images = network
    for flat, told, kept in ((True, True, True), (True, False, False), (False, False, True)):
        outputs, hidden = cnn(params, images, channels_last=flat)
        layers = tuple(one._replace(channels_last=told) for one in sequential_layers(params))
        found = recycle(params, fresh, hidden, layers, tau=0.0)[0]
        same = np.array_equal(cnn(found, images, channels_last=flat)[0], outputs)
        assert same == kept


def test_redo_in_adam_resets_the_moments_of_what_begins_anew(network):
    """Exact: moments are 0 there and Adam's own elsewhere, and the count goes on."""
    params, _, init, images = network
    layers = sequential_layers(params)
    plain = optax.adam(1e-3)
    optimizer = intervene(plain, redo(init, layers, tau=0.0), every=2, key=KEY)
    gradient = jax.tree.map(lambda leaf: 0.1 + leaf, params)
    update = jax.jit(optimizer.update)
    state, own = optimizer.init(params), plain.init(params)
    hidden = cnn(params, images)[1]
    for number in (1, 2):
        updates, state = update(gradient, state, params, activations=hidden)
        expected, own = jax.jit(plain.update)(gradient, own, params)
        if number == 1:
            jax.tree.map(np.testing.assert_array_equal, (updates, state.optimizer), (expected, own))
    moved = optax.apply_updates(params, expected)
    key = jax.random.fold_in(KEY, 2)
    found, anew, _ = recycle(moved, init(key), hidden, layers, tau=0.0)
    assert 0 < sum(int(flag.sum()) for flag in jax.tree.leaves(anew))

    def check(found, own, flag):
        np.testing.assert_array_equal(found, jnp.where(flag, 0, own))

    jax.tree.map(check, state.optimizer[0].mu, own[0].mu, anew)
    jax.tree.map(check, state.optimizer[0].nu, own[0].nu, anew)
    assert state.optimizer[0].count == 2
    landed = optax.apply_updates(params, updates)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=4e-6), landed, found)
    np.testing.assert_array_equal(landed["Dense_0"]["kernel"][::3], 0)  # zeros are exact


def test_redo_over_seeds_is_redo_of_every_seed(network):
    """vmap over parameters with different dead units; NaN recycles nothing."""
    params, fresh, _, images = network
    layers = sequential_layers(params)
    other = jax.tree.map(lambda leaf: leaf[..., ::-1] if leaf.ndim == 1 else leaf, params)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), params, other)

    def one(params):
        return recycle(params, fresh, cnn(params, images)[1], layers, tau=0.1)[0]

    together = jax.jit(jax.vmap(one))(stacked)
    for index, alone in enumerate((params, other)):
        expected = one(alone)
        jax.tree.map(
            lambda a, b, i=index: np.testing.assert_allclose(a[i], b, atol=1e-6), together, expected
        )
    broken = {name: one * jnp.nan for name, one in cnn(params, images)[1].items()}
    kept, anew, _ = recycle(params, fresh, broken, layers, tau=0.1)
    assert not any(flag.any() for flag in jax.tree.leaves(anew))
    jax.tree.map(np.testing.assert_array_equal, kept, params)


def dense(widths, seed=0):
    shapes = itertools.pairwise(widths)
    params = [{"w": jnp.ones(shape), "b": jnp.ones(shape[1])} for shape in shapes]
    init = jax.jit(fresh_parameters(params))
    return init(jax.random.key(seed)), init


def test_the_utility_of_a_unit():
    """Exact, by hand, with two readers: mean|h - ĥ| · mean|w_out|/mean|w_in|."""
    params = {
        "in": jnp.array([[1.0, -4.0, 0.0], [3.0, 0.0, 0.0]]),
        "a": jnp.array([[1.0], [2.0], [5.0]]),
        "b": jnp.array([[-1.0, 4.0], [0.0, 0.0], [5.0, 5.0]]),
    }
    layer = UnitLayer("h", "in", None, ("a", "b"))
    hidden = jnp.array([[1.0, 2.0, 0.0], [3.0, 2.0, 0.0]])
    found = unit_utility(hidden, jnp.array([1.0, 1.0, 0.0]), params, layer)
    np.testing.assert_allclose(found, [1 * 2 / 2, 1 * (2 / 3) / 2, 0], rtol=1e-6)


def run_backprop(intervention, params, hidden, number):
    """Apply to parameters that learning leaves alone: replacements by update."""
    apply = jax.jit(intervention.apply)
    state, history = intervention.init(params), []
    for index in range(number):
        key = jax.random.fold_in(KEY, index)
        after, state, anew = apply(key, params, state, hidden)
        history.append((params, after, np.flatnonzero(anew[0]["b"]), state))
        params = after
    return history


def test_continual_backprop_counts_and_chooses(network):
    """Exact: maturity, the running sum of rate times the mature, least utility, bias correction."""
    params, init = dense((3, 8, 2))
    layers = sequential_layers(params)
    intervention = continual_backprop(init, layers, rate=0.1, maturity=3, decay=0.9)
    hidden = {"0": jax.random.uniform(jax.random.key(3), (16, 8))}
    steps = run_backprop(intervention, params, hidden, 8)
    # Ages pass 3 in update 4. .8 a time is 1.6 in update 5: one; its age is 0, 7 are left.
    assert [len(chosen) for _, _, chosen, _ in steps] == [0, 0, 0, 0, 1, 1, 0, 1]
    owed = [0, 0, 0, 0.8, 0.6, 0.3, 0.9, 0.5]
    np.testing.assert_allclose([s["0"].owed for *_, s in steps], owed, atol=1e-5)
    mean = hidden["0"].mean(axis=0)
    utility = unit_utility(hidden["0"], mean, params, layers[0])
    before = steps[3][3]["0"]  # constant activations and weights: corrected averages are exact
    np.testing.assert_allclose(before.utility / (1 - 0.9**4), utility, rtol=1e-5)
    np.testing.assert_allclose(before.activation / (1 - 0.9**4), mean, rtol=1e-5)
    (worst,) = steps[4][2]
    assert worst == np.argmin(utility)
    after = steps[4][3]["0"]
    assert (after.age[worst], after.utility[worst], after.activation[worst]) == (0, 0, 0)
    assert np.delete(after.age, worst).tolist() == [5] * 7
    second = steps[5][2][0]
    assert second == np.argsort(utility)[1]
    # What the unit gave on average is in the next bias.
    old, new = steps[4][:2]
    np.testing.assert_allclose(
        new[1]["b"] - old[1]["b"], old[1]["w"][worst] * mean[worst], rtol=1e-4, atol=1e-6
    )
    fresh = init(jax.random.fold_in(KEY, 4))
    np.testing.assert_array_equal(new[0]["w"][:, worst], fresh[0]["w"][:, worst])
    np.testing.assert_array_equal(new[1]["w"][worst], 0)
    np.testing.assert_array_equal(
        np.delete(new[1]["w"], worst, 0), np.delete(old[1]["w"], worst, 0)
    )


def test_continual_backprop_keeps_outputs_of_a_constant_unit():
    """Exact to rounding: of a flattened convolution, whose channel 1 is 2 everywhere."""
    params = [{"w": jnp.full((1, 1, 1, 3), 4.0), "b": jnp.zeros(3)}, {"w": None, "b": jnp.ones(2)}]
    params[1]["w"] = jax.random.normal(KEY, (12, 2))
    init = fresh_parameters(params)
    images = jax.random.uniform(KEY, (9, 2, 2, 3)).at[..., 1].set(2.0)
    intervention = continual_backprop(init, sequential_layers(params), rate=0.2, maturity=1)
    steps = run_backprop(intervention, params, {"0": images}, 3)
    chosen = [one.tolist() for _, _, one, _ in steps]
    assert chosen == [[], [], [1]]  # no deviation from the mean: no utility

    def outputs(params, images):
        return images.reshape(9, -1) @ params[1]["w"] + params[1]["b"]

    old, new = steps[2][:2]
    np.testing.assert_allclose(outputs(new, images), outputs(old, images), rtol=1e-5, atol=1e-5)


def test_continual_backprop_in_an_optimiser_over_seeds():
    """Seeds differ in what they replace; alone and together they do the same."""

    def train(key):
        params, init = dense((3, 8, 2), seed=1)
        layers = sequential_layers(params)
        optimizer = intervene(
            optax.adam(1e-2),
            continual_backprop(init, layers, rate=0.06, maturity=2),
            every=1,
            key=key,
        )
        inputs = jax.random.normal(jax.random.fold_in(key, 1), (16, 3))

        def loss(params):
            hidden = jax.nn.relu(inputs @ params[0]["w"] + params[0]["b"])
            return jnp.mean((hidden @ params[1]["w"] + params[1]["b"] - 1) ** 2), {"0": hidden}

        def step(carry, _):
            params, state = carry
            gradient, hidden = jax.grad(loss, has_aux=True)(params)
            updates, state = optimizer.update(gradient, state, params, activations=hidden)
            return (optax.apply_updates(params, updates), state), state.intervention["0"].age

        (params, _), ages = jax.lax.scan(step, (params, optimizer.init(params)), length=12)
        return params, ages

    keys = jax.random.split(KEY, 3)
    params, ages = jax.jit(jax.vmap(train))(keys)
    alone, own = jax.jit(train)(keys[1])
    np.testing.assert_array_equal(ages[1], own)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a[1], b, atol=1e-5), params, alone)
    # Mature in update 3: .06 of 8 or 7 add up to one in updates 5, 7, 9 and 12.
    drops = np.diff(np.asarray(ages), axis=1) < 0
    np.testing.assert_array_equal(drops.sum(axis=2), [[0, 0, 0, 1, 0, 1, 0, 1, 0, 0, 1]] * 3)
    assert np.any(drops[0] != drops[1])


def put(params, every):
    recycling = redo(fresh_parameters(params), sequential_layers(params))
    return intervene(optax.sgd(1.0), recycling, every=every, key=KEY)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda p: recycle_dormant(p, p, {}, sequential_layers(p), tau=0.0), "activations"),
        (lambda p: recycle_dormant(p, p, {}, [UnitLayer("0", "9/w", None, ())], tau=0.0), "layers"),
        (
            lambda p: recycle_dormant(p, p, {}, [UnitLayer("0", "0/w", "1/b", ())], tau=0.0),
            "layers",
        ),
        (
            lambda p: recycle_dormant(p, p, {}, [UnitLayer("1", "1/w", None, ("0/w",))], tau=0.0),
            "layers",
        ),
        (lambda p: continual_backprop(fresh_parameters(p), (), decay=1.0), "decay"),
        (lambda p: continual_backprop(fresh_parameters(p), (), maturity=-1), "maturity"),
        (lambda p: sequential_layers(p, order=("0",)), "order"),
        (lambda p: sequential_layers(p, order=("1", "0")), "layers"),
        (lambda p: sequential_layers({"w": p[0]["w"], "v": p[0]["w"]}), "params"),
        (lambda p: put(p, 1).update(p, put(p, 1).init(p), p), "activations"),
        (lambda p: put(p, 1).update(p, put(p, 1).init(p)), "params"),
        (lambda p: put(p, 0), "every"),
    ],
)
def test_bad_settings_are_named(call, name):
    params, _ = dense((3, 8, 2))
    with pytest.raises(ValueError, match=f"`{name}`"):
        call(params)
