"""Tangents through pytrees: against finite differences, and measured in coordinates."""

import chex
import jax
import jax.numpy as jnp
import pytest

from fracjax import estimators, orthonormal, tangent

KEY = jax.random.key(0)


def mixed_step(state):
    """A step whose state has two floating leaves, a counter and a key."""
    position, velocity = state["q"], state["v"]
    return {
        "q": position + 0.1 * velocity,
        "v": velocity - 0.1 * jnp.sin(position) * state["count"],
        "count": state["count"] + 1,
        "key": jax.random.split(state["key"])[0],
    }


def mixed_state():
    return {
        "q": jnp.array([0.3, -0.4]),
        "v": jnp.array([1.0, 0.2]),
        "count": jnp.array(2),
        "key": jax.random.key(1),
    }


def test_push_matches_the_jacobian_and_carries_the_other_leaves(x64):
    state = mixed_state()
    frame = tangent.random_frame(KEY, state, 3)
    assert frame["count"] is None
    assert frame["key"] is None
    after, pushed = tangent.push(mixed_step, state, frame)
    chex.assert_trees_all_close(after["q"], mixed_step(state)["q"])
    assert after["count"] == 3
    jacobian = jax.jacfwd(lambda q: mixed_step({**state, "q": q})["v"])(state["q"])
    expected = frame["v"] + frame["q"] @ jacobian.T
    chex.assert_trees_all_close(pushed["v"], expected, rtol=1e-12)


def test_jvp_error_is_small_for_a_smooth_step_and_large_for_a_wrong_derivative(x64):
    @jax.custom_jvp
    def wrong(x):
        return jnp.sin(x)

    wrong.defjvp(lambda primals, tangents: (jnp.sin(primals[0]), 1.1 * tangents[0]))
    assert tangent.jvp_error(mixed_step, mixed_state(), KEY) < 1e-8
    assert tangent.jvp_error(wrong, jnp.array([0.3, 0.4]), KEY) > 0.05


@pytest.mark.parametrize("count", [2, pytest.param(10, marks=pytest.mark.slow)])
def test_coordinates_measure_the_same_growth_in_a_redundant_state(count, x64):
    """A state that stores its coordinates twice, scaled, grows like the plain one."""
    size = 12
    matrix = jax.random.normal(KEY, (size, size))

    def redundant(state):
        moved = matrix @ state["x"]
        return {"x": moved, "copy": 100.0 * moved, "constant": state["constant"]}

    plain = jax.random.normal(jax.random.key(3), (count, size))
    state = {"x": jnp.ones(size), "copy": jnp.zeros(size), "constant": jnp.ones(4)}
    frame = {"x": plain, "copy": jnp.zeros((count, size)), "constant": jnp.zeros((count, 4))}
    _, pushed = tangent.push(redundant, state, frame)
    frame, growth = tangent.orthonormalize_frame(state, pushed, lambda s: s["x"])
    _, lower = orthonormal.orthonormalize(plain @ matrix.T)
    chex.assert_trees_all_close(growth, jnp.log(jnp.diagonal(lower)), rtol=1e-10)
    chex.assert_trees_all_close(frame["x"] @ frame["x"].T, jnp.eye(count), atol=1e-8)
    chex.assert_trees_all_close(frame["copy"], 100.0 * frame["x"], rtol=1e-8)


def test_the_state_is_advanced_once_not_once_per_tangent():
    calls = []

    def step(x):
        jax.debug.callback(lambda: calls.append(1))
        return jnp.sin(x)

    frame = tangent.random_frame(KEY, jnp.ones(5), 5)
    jax.block_until_ready(jax.jit(lambda x, f: tangent.push(step, x, f))(jnp.ones(5), frame))
    jax.effects_barrier()
    assert len(calls) == 1


def test_lifted_tangents_leave_constants_alone():
    """A constant leaf that the state obeys would otherwise hide the loop's contraction."""

    def step(state):
        return {"x": 0.5 * state["x"] + state["offset"], "offset": state["offset"]}

    state = {"x": jnp.ones(2), "offset": jnp.ones(2)}

    def growth(lift):
        frame = tangent.random_frame(jax.random.key(0), state, 1, lambda s: s["x"], lift)
        _, pushed = tangent.push(lambda s: step(step(step(s))), state, frame)
        return tangent.orthonormalize_frame(state, pushed, lambda s: s["x"])[1][0]

    lifted = growth(lambda vector, template: {**template, "x": vector})
    assert jnp.isclose(lifted, 3 * jnp.log(0.5), atol=1e-5)
    assert growth(None) > lifted + 1.0


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (lambda state: {**state, "v": state["v"][:1]}, r"returns float64\[1\] at `\['v'\]`"),
        (lambda state: {**state, "q": state["q"].astype("float32")}, r"returns float32\[2\] at"),
        (lambda state: (state["q"], state["v"]), "the structure that it takes"),
    ],
)
def test_a_step_that_returns_another_kind_of_state_is_named(step, words, x64):
    state = mixed_state()
    frame = tangent.random_frame(KEY, state, 2)
    with pytest.raises(ValueError, match=r"^Argument `step` must return a state of .*" + words):
        tangent.push(step, state, frame)


def test_estimators_name_such_a_step():
    for estimate in (estimators.lyapunov_spectrum, estimators.finite_time_growth):
        with pytest.raises(
            ValueError, match=r"takes float(32|64)\[3\] and returns float(32|64)\[2\]"
        ):
            estimate(lambda state: state[:2], jnp.ones(3), num_steps=40)


def test_a_counter_that_begins_as_a_python_number_is_taken_as_before():
    """Loops turn such a number into the dtype that the step returns."""
    state = {"x": jnp.array([0.3]), "count": jnp.asarray(0)}

    def step(state):
        return {"x": 0.5 * state["x"], "count": (state["count"] + 1).astype("uint8")}

    found = estimators.lyapunov_spectrum(step, state, num_steps=40)
    assert jnp.isclose(found.value[0], jnp.log(0.5), rtol=1e-5)
