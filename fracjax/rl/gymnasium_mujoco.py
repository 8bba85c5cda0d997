"""gymnasium's MuJoCo environments simulated by MJX, from the same model files.

A policy that was trained in gymnasium was trained on MuJoCo itself, in C and float64. Here the
same MJCF is stepped by MJX, which has forward-mode derivatives. The two are not one system:
MJX has its own collision functions and solver, and they go apart. How far, `dynamics_mismatch`
measures; run it before a number from here is said to be one of gymnasium's.

Three more things differ. The constraint solver starts afresh at every evaluation, where MuJoCo
starts from its last solution: then coordinates are all of a state, and tangents are right also
at rest, where the last solution is the next one and a solver that has nothing to do would pass
on the tangent of the last. Where a task looks at places in space (the tip of the double pendulum,
the fingertip of the reacher), gymnasium reads what MuJoCo left from its last evaluation, here
they belong to the end of the step: 2.4 mm apart at most for the reacher under a random policy.
And an episode has no time limit here.

Reverse mode fails in MJX's solver, which holds a loop of unknown length.
"""

import copy
import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from fracjax._types import Key
from fracjax.rl.brax_envs import cast_like, quiet_brax
from fracjax.rl.environment import Environment, Transition
from fracjax.rl.gymnasium_tasks import TASKS, Moment, Settings, Task

if TYPE_CHECKING:
    import gymnasium
    import mujoco

__all__ = [
    "BROKEN",
    "GymnasiumReference",
    "State",
    "create",
    "from_model",
    "make_gymnasium",
]

BROKEN: Mapping[str, str] = {
    "Ant-v5": "it turns freely, and the four numbers of a quaternion are no coordinates",
    "Humanoid-v5": "it turns freely, and the four numbers of a quaternion are no coordinates",
    "HumanoidStandup-v5": "it turns freely, and four numbers of a quaternion are no coordinates",
    "Pusher-v5": "nobody has compared its observations and rewards with gymnasium's",
}


class State(NamedTuple):
    """A state of the simulation.

    Attributes:
        position: Generalised positions.
        velocity: Generalised velocities.
        observation: What the policy sees.
    """

    position: Float[Array, " q"]
    velocity: Float[Array, " v"]
    observation: Float[Array, " observation"]


def make_gymnasium(name: str, **options: Any) -> "gymnasium.Env":
    """Make gymnasium's own environment, without wrappers.

    Raises:
        ValueError: If it is not offered here, or gymnasium is not installed.
    """
    if name not in TASKS:
        reason = f": {BROKEN[name]}" if name in BROKEN else ""
        msg = f"Argument `name` must be one of {', '.join(TASKS)}, but is {name!r}{reason}."
        raise ValueError(msg)
    try:
        with quiet_brax():
            import gymnasium

            return gymnasium.make(name, **options).unwrapped
    except ImportError as error:
        missing = error.name or "gymnasium"
        msg = (
            f"Environment `{name}` needs `{missing}`: install it with"
            " `pip install 'fracjax[gymnasium]'`."
        )
        raise ValueError(msg) from error


def create(name: str, *, dtype: DTypeLike = "float32", **options: Any) -> Environment:
    """Build an environment of gymnasium on MJX.

    Args:
        name: gymnasium's name, such as `"Hopper-v5"`.
        dtype: `"float32"`, or `"float64"` where `jax_enable_x64` is on, which is what
            gymnasium computes in.
        **options: Arguments of gymnasium's environment, such as `ctrl_cost_weight`.

    Raises:
        ValueError: If it is not offered here, or gymnasium is not installed.
    """
    made: Any = make_gymnasium(name, **options)
    return from_model(
        made.model,
        name,
        TASKS[name],
        settings=_settings(made, options),
        frame_skip=made.frame_skip,
        action_bounds=(made.action_space.low, made.action_space.high),
        dtype=dtype,
    )


class GymnasiumReference:
    """gymnasium's own environment as a reference of `dynamics_mismatch`.

    Time limits are not applied. Actions in [-1, 1] are mapped to the box, as by `create`.

    Args:
        name: gymnasium's name.
        **options: Arguments of gymnasium's environment.
    """

    def __init__(self, name: str, **options: Any) -> None:
        self.made: Any = make_gymnasium(name, **options)
        space: Any = self.made.action_space
        self.low, self.high = space.low.astype(float), space.high.astype(float)

    def place(self, coordinates: np.ndarray) -> np.ndarray:
        """Begin at these coordinates, and return the observation."""
        self.made.reset(seed=0)
        size = self.made.model.nq
        self.made.set_state(coordinates[:size], coordinates[size:])
        return self.made._get_obs()

    def step(self, action: np.ndarray) -> tuple[np.ndarray, np.ndarray, float, bool]:
        """Take a step; return coordinates, observation, reward and whether it terminated."""
        physical = self.low + (self.high - self.low) * (action + 1) / 2
        observation, reward, done, _, _ = self.made.step(physical)
        coordinates = np.concatenate([self.made.data.qpos, self.made.data.qvel])
        return coordinates, observation, float(reward), bool(done)


def _settings(made: Any, options: Settings) -> dict[str, Any]:
    """Find the parameters of a task: the defaults of its constructor, and what is given."""
    parameters = inspect.signature(type(made).__init__).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
    return {**defaults, **options}


def from_model(
    model: "mujoco.MjModel",
    name: str,
    task: Task,
    *,
    settings: Settings,
    frame_skip: int,
    action_bounds: tuple[Any, Any],
    dtype: DTypeLike = "float32",
) -> Environment:
    """Build an environment of a compiled MuJoCo model.

    Args:
        model: The model; its joints must be hinges and slides.
        name: Name to report.
        task: What is observed and paid.
        settings: Parameters of the task, under gymnasium's names.
        frame_skip: Steps of the simulation per control step.
        action_bounds: Physical actions (low, high) that -1 and 1 stand for.
        dtype: Dtype of the simulation.

    Raises:
        ValueError: If positions and velocities are not equal in number.
    """
    if model.nq != model.nv:
        msg = f"Argument `model` must have as many velocities as positions, but `{name}` has not."
        raise ValueError(msg)
    wide = jnp.dtype(dtype) == jnp.float64
    with quiet_brax(), jax.enable_x64(wide):
        import mujoco
        from mujoco import mjx

        cold = copy.copy(model)
        cold.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_WARMSTART
        device_model = mjx.put_model(cold)
        blank = mjx.make_data(device_model)
    low, high = (np.asarray(end, dtype) for end in action_bounds)
    dt = float(model.opt.timestep * frame_skip)
    locate = _locator(model)

    def moment(data: Any, before: Array, action: Array) -> Moment:
        if task.needs:
            data = mjx.kinematics(device_model, data)
            points = locate(data)
        else:
            points = jnp.zeros((3, 3), dtype)
        return Moment(before, data.qpos, data.qvel, action, points, data.qfrc_constraint, dt)

    def place(position: Array, velocity: Array) -> State:
        with jax.enable_x64(wide):
            data = blank.replace(qpos=position, qvel=velocity)
            if task.needs == "forces":
                data = mjx.forward(device_model, data)
            now = moment(data, position, jnp.zeros(model.nu, dtype))
            observation = task.observe(now, settings)
        return _cast(State(position, velocity, observation), dtype)

    def reset(key: Key) -> State:
        with jax.enable_x64(wide):
            position, velocity = task.noise(key, model.nq, settings, jnp.dtype(dtype))
            return place(jnp.asarray(model.qpos0, dtype) + position, velocity)

    def step(state: State, action: Array) -> Transition:
        with jax.enable_x64(wide):
            physical = low + (high - low) * (jnp.asarray(action, dtype) + 1) / 2
            data = blank.replace(qpos=state.position, qvel=state.velocity, ctrl=physical)

            def substep(data: Any, _: None) -> tuple[Any, None]:
                return cast_like(mjx.step(device_model, data), data), None

            data, _ = jax.lax.scan(substep, data, None, frame_skip)
            now = moment(data, state.position, physical)
            following = State(data.qpos, data.qvel, task.observe(now, settings))
            reward = jnp.asarray(task.reward(now, settings), dtype)
            return Transition(_cast(following, dtype), reward, task.terminated(now, settings))

    def coordinates(state: State) -> Array:
        return jnp.concatenate([state.position, state.velocity])

    def from_coordinates(coordinates: Array, _: State) -> State:
        vector = jnp.asarray(coordinates, dtype)
        return place(vector[: model.nq], vector[model.nq :])

    with jax.enable_x64(wide):
        shape = jax.eval_shape(reset, jax.random.PRNGKey(0))
    return Environment(
        name=name,
        backend="mjx",
        dt=dt,
        observation_size=shape.observation.shape[0],
        action_size=int(model.nu),
        state_size=int(model.nq + model.nv),
        reset=reset,
        observe=lambda state: state.observation,
        step=step,
        coordinates=coordinates,
        from_coordinates=from_coordinates,
        action_bounds=(tuple(map(float, low)), tuple(map(float, high))),
    )


def _locator(model: "mujoco.MjModel") -> Callable[[Any], Array]:
    """Make a function that finds the points of `Moment` in simulated data."""
    import mujoco

    bodies = [
        mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_BODY, body) for body in ("fingertip", "target")
    ]

    def locate(data: Any) -> Array:
        nowhere = jnp.zeros(3, data.qpos.dtype)
        site = data.site_xpos[0] if model.nsite else nowhere
        return jnp.stack([site, *(data.xpos[i] if i >= 0 else nowhere for i in bodies)])

    return locate


def _cast(state: State, dtype: DTypeLike) -> State:
    return State(*(jnp.asarray(leaf, dtype) for leaf in state))
