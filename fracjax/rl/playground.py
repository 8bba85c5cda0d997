"""DM Control tasks of MuJoCo Playground as fracjax sees them.

Playground's models come with its wheel; only its robots are downloaded, and none is offered
here. By default it simulates with Warp, which has no derivatives: here it is told to use MJX's
own implementation, in which forward mode works and reverse mode does not. The models are tuned
for speed (one to four solver iterations, explicit damping), so that numbers differ from those
of `dm_control` on the CPU.

A state is Playground's whole `State`, so that a trajectory is the one that `env.step` gives. It
knows more than positions and velocities: observations are made of what was computed at the
start of the last simulation step and lag by one, and the constraint solver starts from its
last solution. Tangents follow all of that; `from_coordinates` does what a reset does, and
forgets it.
"""

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array

from fracjax import tree
from fracjax._types import Key
from fracjax.rl.brax_envs import cast_like, quiet_brax
from fracjax.rl.environment import Environment, Transition

if TYPE_CHECKING:
    from mujoco_playground import MjxEnv, State

__all__ = ["TASKS", "create", "from_playground"]

# Tasks whose tangents were compared with finite differences in float64.
TASKS = {
    "dmc_cartpole_balance": "CartpoleBalance",
    "dmc_cartpole_swingup": "CartpoleSwingup",
    "dmc_cheetah_run": "CheetahRun",
    "dmc_point_mass": "PointMass",
    "dmc_walker_run": "WalkerRun",
    "dmc_walker_stand": "WalkerStand",
    "dmc_walker_walk": "WalkerWalk",
}


def create(name: str, *, dtype: DTypeLike = "float32", **overrides: Any) -> Environment:
    """Build a task by its name in `TASKS`.

    Args:
        name: Name of the task.
        dtype: `"float32"`, or `"float64"` where `jax_enable_x64` is on. Whether it is on decides
            the dtype of the simulation, so it is built and traced as `dtype` needs it.
        **overrides: Entries of the task's configuration, such as `ctrl_dt`.

    Raises:
        ValueError: If there is no such task, or Playground is not installed.
    """
    if name not in TASKS:
        msg = f"Argument `name` must be one of {', '.join(sorted(TASKS))}, but is {name!r}."
        raise ValueError(msg)
    try:
        with quiet_brax(), jax.enable_x64(jnp.dtype(dtype) == jnp.float64):
            from mujoco_playground import dm_control_suite

            env = dm_control_suite.load(TASKS[name], config_overrides={"impl": "jax", **overrides})
    except ModuleNotFoundError as error:
        msg = (
            f"Environment `{name}` needs `{error.name}`: install it with"
            " `pip install 'fracjax[playground]'`."
        )
        raise ValueError(msg) from error
    return from_playground(env, name, dtype=dtype)


def from_playground(env: "MjxEnv", name: str, *, dtype: DTypeLike = "float32") -> Environment:
    """Adapt an environment of Playground with a vector observation.

    Args:
        env: An unwrapped environment on MJX's own implementation, without quaternions.
        name: Name to report.
        dtype: Dtype that `env` was built in (see `create`).

    Raises:
        ValueError: If positions and velocities are not equal in number.
    """
    model = env.mjx_model
    if model.nq != model.nv:
        msg = f"Argument `env` must have as many velocities as positions, but `{name}` has not."
        raise ValueError(msg)
    wide = jnp.dtype(dtype) == jnp.float64

    def reset(key: Key) -> "State":
        if jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
            key = jax.random.key_data(key)  # a key stays in the state, and has to be an array
        with jax.enable_x64(wide):
            state = jax.tree.map(jnp.asarray, env.reset(key))
            return tree.astype(state, jnp.dtype(dtype))  # Playground puts a float32 among float64

    def step(state: "State", action: Array) -> Transition:
        with jax.enable_x64(wide):
            # A copy, because the tasks write into the dictionaries of their input.
            copy = jax.tree.map(jnp.asarray, state)
            following = cast_like(env.step(copy, jnp.asarray(action, dtype)), state)
        return Transition(following, following.reward, following.done > 0)

    def observe(state: "State") -> Array:
        return state.obs

    def coordinates(state: "State") -> Array:
        return jnp.concatenate([state.data.qpos, state.data.qvel])

    def from_coordinates(coordinates: Array, template: "State") -> "State":
        from mujoco import mjx

        place = jnp.asarray(coordinates, dtype)
        with jax.enable_x64(wide):
            old = template.data
            data = old.replace(
                qpos=place[: model.nq],
                qvel=place[model.nq :],
                ctrl=jnp.zeros_like(old.ctrl),
                qacc_warmstart=jnp.zeros_like(old.qacc_warmstart),
            )
            data = cast_like(mjx.forward(model, data), old)
            # Playground offers no public way from physics to its observation.
            observation = jnp.asarray(env._get_obs(data, dict(template.info)), dtype)
        return template.replace(data=data, obs=observation)

    with jax.enable_x64(wide):
        shape = jax.eval_shape(reset, jax.random.PRNGKey(0))
    return Environment(
        name=name,
        backend="mjx",
        dt=float(env.dt),
        observation_size=shape.obs.shape[0],
        action_size=env.action_size,
        state_size=model.nq + model.nv,
        reset=reset,
        observe=observe,
        step=step,
        coordinates=coordinates,
        from_coordinates=from_coordinates,
    )
