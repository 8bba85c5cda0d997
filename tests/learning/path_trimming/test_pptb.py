"""Path trimming and boosting: identities, the algorithm of the paper, and life inside Optax."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fracjax.learning.path_trimming.closed_form import trim_and_boost
from fracjax.learning.path_trimming.transformation import path_window, pptb

KEY = jax.random.key(0)


def by_singular_vectors(path, num_kept, num_boosted, boost, signs=None):
    """The algorithm as the paper writes it."""
    left, values, right = np.linalg.svd(np.asarray(path, float), full_matrices=False)
    if signs is not None:
        left, right = left * signs, right * signs[:, None]
    last = left[-1].copy()
    last[:num_boosted] += boost * (left[-1, :num_boosted] - left[0, :num_boosted])
    return (last[:num_kept] * values[:num_kept]) @ right[:num_kept]


def test_the_closed_form_is_the_algorithm(x64):
    """To 1e-12 of the norm, and the identities that follow from it."""
    path = 5 + jnp.cumsum(jax.random.normal(KEY, (20, 300)), axis=0)
    signs = np.where(np.arange(20) % 3 == 0, -1.0, 1.0)
    size = float(jnp.linalg.norm(path[-1]))
    for kept, boosted, boost in ((8, 2, 0.1), (8, 0, 1.0), (3, 3, 0.5), (20, 2, 1.0)):
        found = trim_and_boost(path, num_kept=kept, num_boosted=boosted, boost=boost)
        for flips in (None, signs):
            expected = by_singular_vectors(path, kept, boosted, boost, flips)
            np.testing.assert_allclose(found, expected, atol=1e-12 * size)
    whole = functools.partial(trim_and_boost, path, num_kept=20)
    np.testing.assert_allclose(whole(boost=0.0), path[-1], atol=1e-12 * size)
    further = path[-1] + 0.5 * (path[-1] - path[0])
    np.testing.assert_allclose(whole(num_boosted=20, boost=0.5), further, atol=1e-12 * size)
    trim = functools.partial(trim_and_boost, num_kept=6, boost=0.0)
    # Trimming lies in the span that is kept: the trimmed path has the same directions.
    left, values, right = np.linalg.svd(np.asarray(path), full_matrices=False)
    once = jnp.asarray(left[:, :6] * values[:6] @ right[:6])
    np.testing.assert_allclose(trim(once), once[-1], atol=1e-12 * size)
    np.testing.assert_allclose(trim(path), once[-1], atol=1e-12 * size)


def test_float32_snapshots_are_trimmed_in_float64():
    """Far from the origin with many directions kept: the error is that of float32 parameters.

    A float32 Gram matrix errs by 3.5e-3 of the displacement there (numbers of this project).
    """
    path = np.cumsum(np.random.default_rng(0).standard_normal((200, 3000)) / np.sqrt(3000), axis=0)
    path = jnp.asarray(path + 200 / np.sqrt(3000), jnp.float32)
    moved = np.linalg.norm(np.asarray(path[-1] - path[0]))
    for kept in (8, 64):
        found = trim_and_boost(path, num_kept=kept, boost=0.0)
        error = np.linalg.norm(np.asarray(found) - by_singular_vectors(path, kept, 0, 0.0))
        assert found.dtype == jnp.float32
        assert error < 2e-5 * moved  # rounding of parameters of norm 200: 200 · 2^-25 / 14


def run(optimizer, params, key, num_updates, record=None):
    """Train with random gradients; returns what each step landed on."""

    def step(carry, key):
        params, state = carry
        gradients = jax.tree.map(
            lambda leaf: jax.random.normal(key, leaf.shape, leaf.dtype) + leaf, params
        )
        updates, state = optimizer.update(gradients, state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), (params, gradients)

    carry = (params, optimizer.init(params))
    (params, state), seen = jax.lax.scan(step, carry, jax.random.split(key, num_updates))
    return params, state, seen


PARAMS = {"a": {"w": jnp.linspace(0, 1, 12).reshape(3, 4), "b": jnp.ones(4)}, "c": jnp.ones((2, 3))}
SETTINGS = {
    "num_kept": 3,
    "num_boosted": 2,
    "boost": 0.5,
    "sample_every": 2,
    "trim_every": 6,
    "window": 5,
}


def flat(tree, names=("a", "c")):
    leaves = jax.tree.leaves([tree[name] for name in names])
    return np.concatenate([np.ravel(leaf) for leaf in leaves])


def imitate(seen, gradients, names, rate):
    """Keep the window in Python, and give what the path should be, update by update."""
    history = [flat(PARAMS, names)]
    before, expected = history[0], []
    for count in range(1, len(seen) + 1):
        raw = before - rate * gradients[count - 1]
        if count % 2 == 0:
            history = [*history, raw][-5:]
        expected.append(by_singular_vectors(history, 3, 2, 0.5) if count % 6 == 0 else raw)
        before = seen[count - 1]
    return np.stack(expected), history


@pytest.mark.parametrize("group", ["network", "layer"])
def test_it_lands_on_the_trimmed_parameters(x64, group):
    """Forty updates, past the point where the ring wraps: against a list kept in Python."""
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), PARAMS)
    optimizer = optax.chain(optax.sgd(0.1), pptb(**SETTINGS, group=group))
    _, state, (path, gradients) = jax.jit(functools.partial(run, optimizer, num_updates=40))(
        params, KEY
    )
    groups = [("a", "c")] if group == "network" else [("a",), ("c",)]
    window = path_window(state[1], sample_every=2)
    for names, found in zip(groups, window.values(), strict=True):
        rows = [
            np.stack([flat(jax.tree.map(lambda leaf, i=i: leaf[i], one), names) for i in range(40)])
            for one in (path, gradients)
        ]
        expected, history = imitate(*rows, names, 0.1)
        np.testing.assert_allclose(rows[0], expected, atol=1e-11)
        np.testing.assert_allclose(found, np.stack(history), atol=1e-12)
    assert jax.tree.structure(path) == jax.tree.structure(params)


def test_between_trimmings_nothing_changes():
    """To the bit: with and without, until the first trimming; the optimiser's state for ever."""
    plain = optax.adam(0.1)
    chained = optax.chain(plain, pptb(**SETTINGS))
    gradients = jax.tree.map(jnp.ones_like, PARAMS)
    state, other, params = chained.init(PARAMS), plain.init(PARAMS), PARAMS
    step, plain_step = jax.jit(chained.update), jax.jit(plain.update)
    for count in range(1, 8):
        updates, state = step(gradients, state, params)
        expected, other = plain_step(gradients, other, params)
        same = [
            bool((a == b).all())
            for a, b in zip(jax.tree.leaves(updates), jax.tree.leaves(expected), strict=True)
        ]
        assert all(same) == (count != 6)
        params = optax.apply_updates(params, updates)
        for mine, theirs in zip(jax.tree.leaves(state[0]), jax.tree.leaves(other), strict=True):
            np.testing.assert_array_equal(mine, theirs)


def test_the_optimiser_may_begin_anew():
    optimizer = pptb(**SETTINGS, optimizer=optax.adam(0.1), reset_optimizer=True)
    step = jax.jit(optimizer.update)
    state, params = optimizer.init(PARAMS), PARAMS
    counts = []
    for _ in range(7):
        updates, state = step(jax.tree.map(jnp.ones_like, params), state, params)
        params = optax.apply_updates(params, updates)
        counts.append(int(state.optimizer[0].count))
    assert counts == [1, 2, 3, 4, 5, 0, 1]
    with pytest.raises(ValueError, match="`optimizer` must be given"):
        pptb(reset_optimizer=True)


@pytest.mark.slow
def test_seeds_and_settings_are_batched_and_share_one_branch():
    """Seeds in and out of step, settings traced: as one by one, and the branch stays a branch."""

    def train(params, key, boost, ahead):
        optimizer = optax.chain(optax.sgd(0.1), pptb(**{**SETTINGS, "boost": boost}))
        state = optimizer.init(params)
        state = (state[0], state[1]._replace(updates=ahead))

        def step(carry, key):
            params, state = carry
            gradients = jax.tree.map(lambda leaf: jax.random.normal(key, leaf.shape), params)
            updates, state = optimizer.update(gradients, state, params)
            return (optax.apply_updates(params, updates), state), None

        return jax.lax.scan(step, (params, state), jax.random.split(key, 15))[0][0]

    keys = jax.random.split(KEY, 3)
    boosts, ahead = jnp.array([0.1, 0.5, 1.0]), jnp.array([0, 0, 1])
    batch = jax.jit(jax.vmap(train, (None, 0, 0, 0)))
    found = batch(PARAMS, keys, boosts, ahead)
    single = jax.jit(train)
    for index in range(3):
        one = single(PARAMS, keys[index], boosts[index], ahead[index])
        for mine, many in zip(jax.tree.leaves(one), jax.tree.leaves(found), strict=True):
            np.testing.assert_allclose(many[index], mine, rtol=1e-4, atol=1e-4)
    text = batch.lower(PARAMS, keys, boosts, ahead).as_text()
    assert "stablehlo.case" in text


def test_only_a_part_may_be_trimmed():
    """A critic in the same optimiser is left alone by `optax.masked`."""
    mask = {"a": True, "c": False}
    masked = optax.masked(pptb(**SETTINGS), mask)
    optimizer = optax.chain(optax.sgd(0.1), masked)
    plain = optax.sgd(0.1)
    step, state, other = jax.jit(optimizer.update), optimizer.init(PARAMS), plain.init(PARAMS)
    for count in range(1, 7):
        gradients = jax.tree.map(lambda leaf, c=count: jnp.sin(leaf * c), PARAMS)
        updates, state = step(gradients, state, PARAMS)
        expected, other = plain.update(gradients, other, PARAMS)
    np.testing.assert_array_equal(updates["c"], expected["c"])
    assert not np.allclose(updates["a"]["w"], expected["a"]["w"])


def test_a_window_that_is_not_finite_is_left_alone():
    optimizer = pptb(**SETTINGS)
    state, params = optimizer.init(PARAMS), PARAMS
    state = state._replace(snapshots={"network": state.snapshots["network"].at[0, 0].set(jnp.nan)})
    zero = jax.tree.map(jnp.zeros_like, params)
    step = jax.jit(optimizer.update)
    for _ in range(6):
        updates, state = step(zero, state, params)
    np.testing.assert_array_equal(updates["c"], zero["c"])


def test_settings_are_checked():
    for settings, match in (
        ({"num_kept": 0}, "`num_kept` must be at least 1"),
        ({"num_kept": 8, "num_boosted": 9}, "`num_boosted` must be at most `num_kept`"),
        ({"num_boosted": -1}, "`num_boosted` must be at least 0"),
        ({"boost": -0.1}, "`boost` must be finite and at least 0"),
        ({"sample_every": 0}, "`sample_every` must be at least 1"),
        ({"trim_every": 30}, "`trim_every` must be a multiple"),
        ({"window": 1}, "`window` must be at least 2"),
        ({"window": 20}, "`num_kept` must be at most `window`"),
    ):
        with pytest.raises(ValueError, match=match):
            pptb(**settings)
    transformation = pptb()
    state = jax.eval_shape(transformation.init, PARAMS)
    with pytest.raises(ValueError, match="`params` must be given"):
        transformation.update(PARAMS, state)
