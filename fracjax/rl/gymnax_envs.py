"""Environments of gymnax as fracjax sees them.

gymnax (1.0 and later) cuts the derivative of every transition by `stop_gradient`, so that a
tangent pushed through its steps is exactly zero. Some of its environments can be told not to;
for the others the traced step is interpreted here without the cut. Nothing else is changed:
states, observations and rewards are gymnax's own, bit for bit.

What gymnax does that makes an objective rough for reasons of its own: speeds are clipped,
mountain cars hit a wall, the acrobot's angles are wrapped, rewards count steps, and Euler steps
are long. Episodes end by `done` only: time limits are the horizon's business, and nothing
resets by itself.

A discrete choice among n actions is made of n numbers by an argmax (the first of equal ones
wins): a policy's outputs in [-1, 1]^n are preferences. The closed loop is then smooth only
between switches, its returns jump where a perturbation changes a choice, and tangents follow
the choices that were made: an exponent by tangents does not see the jumps. Actions that are
all zero choose action 0, which pushes to one side in all of them.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jax.extend import core
from jax.typing import DTypeLike
from jaxtyping import Array

from fracjax import tree
from fracjax._types import Key, PyTree
from fracjax.rl.environment import Environment, Transition

if TYPE_CHECKING:
    from gymnax.environments.environment import Environment as Gymnax

__all__ = ["COORDINATES", "create", "from_gymnax"]

# Fields of the state that are physical coordinates, positions before velocities. Everything
# else in these states is a counter, or the last action, which only a picture needs.
COORDINATES = {
    "Acrobot-v1": ("joint_angle1", "joint_angle2", "velocity_1", "velocity_2"),
    "CartPole-v1": ("x", "theta", "x_dot", "theta_dot"),
    "MountainCar-v0": ("position", "velocity"),
    "MountainCarContinuous-v0": ("position", "velocity"),
    "Pendulum-v1": ("theta", "theta_dot"),
    "Reacher-misc": ("angles", "goal_xy", "angle_vels"),
}
_SECONDS = ("dt", "tau")  # names of the control step among an environment's parameters


def create(name: str, *, dtype: DTypeLike = "float32", **options: Any) -> Environment:
    """Build an environment by its name in gymnax.

    Args:
        name: A name in `COORDINATES`.
        dtype: `"float32"`, or `"float64"` where `jax_enable_x64` is on.
        **options: Entries of gymnax's `EnvParams`, such as `max_torque`.

    Raises:
        ValueError: If there is no such environment or option, or gymnax is not installed.
    """
    if name not in COORDINATES:
        msg = f"Argument `name` must be one of {', '.join(sorted(COORDINATES))}, but is {name!r}."
        raise ValueError(msg)
    try:
        import gymnax
    except ModuleNotFoundError as error:
        msg = (
            f"Environment `{name}` needs `{error.name}`: install it with"
            " `pip install 'fracjax[gymnax]'`."
        )
        raise ValueError(msg) from error
    with jax.enable_x64(jnp.dtype(dtype) == jnp.float64):
        env, params = gymnax.make(name)
        try:
            params = params.replace(**options)
        except TypeError as error:
            msg = f"Arguments of `{name}` must be fields of its `EnvParams`: {error}."
            raise ValueError(msg) from error
    return from_gymnax(env, params, name, COORDINATES[name], dtype=dtype)


def from_gymnax(
    env: "Gymnax",
    params: Any,
    name: str,
    fields: tuple[str, ...],
    *,
    dtype: DTypeLike = "float32",
) -> Environment:
    """Adapt an environment of gymnax whose transitions do not depend on the random key.

    Args:
        env: The environment, with a box or a discrete set of actions.
        params: Its parameters.
        name: Name to report.
        fields: Fields of its state that are the physical coordinates.
        dtype: Dtype that `params` were made in (see `create`).
    """
    wide = jnp.dtype(dtype) == jnp.float64
    with jax.enable_x64(wide):
        space = env.action_space(params)
    choices = int(getattr(space, "n", 0))
    action_size = choices or int(space.shape[0])
    if env.supports_transition_gradients:
        move = env.with_transition_gradients().step_env
    else:
        move = _without_cuts(env.step_env)

    def native(action: Array) -> Array:
        """Translate an action in [-1, 1] into one of gymnax's."""
        if choices:
            return jnp.argmax(action)
        low, high = jnp.asarray(space.low, dtype), jnp.asarray(space.high, dtype)
        return low + (high - low) * (jnp.asarray(action, dtype) + 1) / 2

    def reset(key: Key) -> PyTree:
        with jax.enable_x64(wide):
            state = jax.tree.map(jnp.asarray, env.reset_env(key, params)[1])
            return tree.astype(state, jnp.dtype(dtype))

    def step(state: PyTree, action: Array) -> Transition:
        with jax.enable_x64(wide):
            key = jax.random.PRNGKey(0)
            _, following, reward, done, _ = move(key, state, native(action), params)
            following = jax.tree.map(
                lambda leaf, old: jnp.asarray(leaf, old.dtype).reshape(old.shape), following, state
            )
            return Transition(following, jnp.asarray(reward, dtype), jnp.asarray(done))

    def observe(state: PyTree) -> Array:
        with jax.enable_x64(wide):
            observation = env.observe(jax.random.PRNGKey(0), state, None, params)
            return jnp.asarray(observation, dtype)

    def coordinates(state: PyTree) -> Array:
        return jnp.concatenate([jnp.ravel(getattr(state, field)) for field in fields])

    def from_coordinates(coordinates: Array, template: PyTree) -> PyTree:
        changed, start = {}, 0
        for field in fields:
            old = getattr(template, field)
            part = coordinates[start : start + old.size]
            changed[field] = jnp.asarray(part, old.dtype).reshape(old.shape)
            start += old.size
        return template.replace(**changed)

    shape = jax.eval_shape(reset, jax.random.PRNGKey(0))
    seconds = [float(getattr(params, field)) for field in _SECONDS if hasattr(params, field)]
    return Environment(
        name=name,
        backend="gymnax",
        dt=seconds[0] if seconds else 1.0,
        observation_size=jax.eval_shape(observe, shape).shape[0],
        action_size=action_size,
        state_size=jax.eval_shape(coordinates, shape).shape[0],
        reset=reset,
        observe=observe,
        step=step,
        coordinates=coordinates,
        from_coordinates=from_coordinates,
    )


def _without_cuts(function: Callable) -> Callable:
    """Make a function that lets derivatives through where `function` has a `stop_gradient`.

    Those inside inner programs (loops, branches) stay; what is offered is tested against finite
    differences.
    """

    def uncut(*arguments: Any) -> Any:
        closed, shape = jax.make_jaxpr(function, return_shape=True)(*arguments)
        jaxpr = closed.jaxpr
        values: dict[Any, Any] = dict(zip(jaxpr.constvars, closed.consts, strict=True))
        values.update(zip(jaxpr.invars, jax.tree.leaves(arguments), strict=True))

        def read(atom: Any) -> Any:
            return atom.val if isinstance(atom, core.Literal) else values[atom]

        for equation in jaxpr.eqns:
            found = [read(atom) for atom in equation.invars]
            if equation.primitive.name != "stop_gradient":
                found = equation.primitive.bind(*found, **equation.params)
                found = found if equation.primitive.multiple_results else [found]
            values.update(zip(equation.outvars, found, strict=True))
        leaves = [read(atom) for atom in jaxpr.outvars]
        return jax.tree.unflatten(jax.tree.structure(shape), leaves)

    return uncut
