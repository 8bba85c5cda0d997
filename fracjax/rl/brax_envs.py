"""Brax's environments as fracjax sees them, and ours as Brax sees them.

The state of an adapted environment is Brax's whole `State`, so that a trajectory is bit for
bit the one that `env.step` gives: the physics keeps redundant copies of the coordinates
(positions of bodies beside joint angles), and rebuilding them at every step would be another
system. For the same reason a tangent on `pipeline_state.q` alone is zero on the spring and
mjx backends; tangents of initial states come through `Environment.from_coordinates`.

Only forward mode is offered: Brax's mjx backend holds loops of unknown length.
"""

import contextlib
import io
import sys
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array

from fracjax._types import Key, PyTree
from fracjax.rl.environment import Environment, Transition

if TYPE_CHECKING:
    from brax.envs import Env, State

__all__ = ["as_brax", "cast_like", "create", "from_brax", "quiet_brax"]


@contextlib.contextmanager
def quiet_brax() -> Iterator[None]:
    """Import and build Brax environments without the noise.

    Inside the block, lines about the missing `warp` are not printed, deprecations in Brax and
    in its dependencies are not shown, and warnings of MuJoCo's compiler become Python warnings
    where they would otherwise go to a file `MUJOCO_LOG.TXT` in the working directory. What
    else is printed goes to stderr when the block ends, and exceptions pass through.
    """
    printed = io.StringIO()
    complaints: list[str] = []
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(printed):
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.filterwarnings("ignore", "Brax System", UserWarning)
            import mujoco
            from brax import envs  # noqa: F401 (imported here for the first time)

            previous = mujoco.get_mju_user_warning()
            # Collected, as an exception inside MuJoCo (warnings as errors) aborts the process.
            mujoco.set_mju_user_warning(complaints.append)
            try:
                yield
            finally:
                mujoco.set_mju_user_warning(previous)
    finally:
        for line in printed.getvalue().splitlines():
            if not line.startswith("Failed to import"):
                print(line, file=sys.stderr)
        for complaint in complaints:
            if "is deprecated" not in complaint:  # of Brax's model files
                warnings.warn(f"MuJoCo: {complaint}", RuntimeWarning, stacklevel=3)


def create(name: str, *, backend: str, dtype: DTypeLike = "float32", **options: Any) -> Environment:
    """Build a Brax environment by its name.

    Whether JAX defaults to float64 decides the dtype of everything that Brax computes, so the
    environment is built and traced with `jax_enable_x64` as `dtype` needs it.

    Args:
        name: Name in Brax's registry.
        backend: Physics backend.
        dtype: `"float32"`, or `"float64"` where `jax_enable_x64` is on.
        **options: Passed to the environment.

    Raises:
        ValueError: If Brax or one of its dependencies is not installed.
    """
    try:
        with quiet_brax(), jax.enable_x64(jnp.dtype(dtype) == jnp.float64):
            from brax import envs

            env = envs.get_environment(name, backend=backend, **options)
    except ModuleNotFoundError as error:
        msg = f"Environment `{name}` needs `{error.name}`: install it with `pip install brax`."
        raise ValueError(msg) from error
    return from_brax(env, name, backend, dtype=dtype)


def from_brax(env: "Env", name: str, backend: str, *, dtype: DTypeLike = "float32") -> Environment:
    """Adapt a Brax environment.

    Rewards, observations and termination are Brax's. `metrics` and `info` stay in the state,
    as some environments read them again.

    Args:
        env: An unwrapped Brax environment with a vector observation.
        name: Name to report.
        backend: Backend to report.
        dtype: Dtype that `env` was built in (see `create`).
    """
    wide = jnp.dtype(dtype) == jnp.float64

    def reset(key: Key) -> "State":
        with jax.enable_x64(wide):
            return jax.tree.map(jnp.asarray, env.reset(key))

    def step(state: "State", action: Array) -> Transition:
        with jax.enable_x64(wide):
            # A copy, because Brax's environments write into the dictionaries of their input.
            copy = jax.tree.map(jnp.asarray, state)
            following = cast_like(env.step(copy, jnp.asarray(action, dtype)), state)
        return Transition(following, following.reward, following.done > 0)

    def observe(state: "State") -> Array:
        return state.obs

    def coordinates(state: "State") -> Array:
        return jnp.concatenate([state.pipeline_state.q, state.pipeline_state.qd])

    def from_coordinates(coordinates: Array, template: "State") -> "State":
        size = template.pipeline_state.q.size
        with jax.enable_x64(wide):
            inner = env.pipeline_init(coordinates[:size], coordinates[size:])
            inner = cast_like(inner, template.pipeline_state)
            # Brax offers no public way from a pipeline state to its observation.
            observation = env._get_obs(inner)
        return template.replace(pipeline_state=inner, obs=observation)

    shape = jax.eval_shape(reset, jax.random.PRNGKey(0))
    return Environment(
        name=name,
        backend=backend,
        dt=float(env.dt),
        observation_size=shape.obs.shape[0],
        action_size=env.action_size,
        state_size=shape.pipeline_state.q.size + shape.pipeline_state.qd.size,
        reset=reset,
        observe=observe,
        step=step,
        coordinates=coordinates,
        from_coordinates=from_coordinates,
    )


def cast_like(tree: PyTree, template: PyTree) -> PyTree:
    """Give every leaf the dtype it has in `template`: simulators mix in Python numbers."""
    return jax.tree.map(lambda leaf, like: jnp.asarray(leaf, like.dtype), tree, template)


def as_brax(environment: Environment) -> "Env":
    """Make an environment that Brax's training code accepts.

    Actions are clipped to [-1, 1], as Brax's own physics does to its controls. The state of
    `environment` travels as `pipeline_state`.
    """
    with quiet_brax():
        from brax.envs import Env, State

    class Adapted(Env):
        """An environment of fracjax behind Brax's interface."""

        def reset(self, rng: Key) -> State:
            state = environment.reset(rng)
            observation = environment.observe(state)
            zero = jnp.zeros((), observation.dtype)
            return State(state, observation, zero, zero)

        def step(self, state: State, action: Array) -> State:
            transition = environment.step(state.pipeline_state, jnp.clip(action, -1.0, 1.0))
            return state.replace(
                pipeline_state=transition.state,
                obs=environment.observe(transition.state),
                reward=jnp.asarray(transition.reward, state.reward.dtype),
                done=jnp.asarray(transition.done, state.done.dtype),
            )

        @property
        def observation_size(self) -> int:
            return environment.observation_size

        @property
        def action_size(self) -> int:
            return environment.action_size

        @property
        def backend(self) -> str:
            return environment.backend

        @property
        def dt(self) -> float:
            return environment.dt

    return Adapted()
