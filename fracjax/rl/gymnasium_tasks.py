"""Observations, rewards and termination of gymnasium's MuJoCo tasks, as pure functions.

Written after the documentation of gymnasium's v5 environments, with their parameters under
gymnasium's names. `dynamics_mismatch` compares them with gymnasium itself.

References:
    Towers et al., Gymnasium: A Standard Interface for Reinforcement Learning Environments,
    https://arxiv.org/abs/2407.17032; https://gymnasium.farama.org/environments/mujoco/.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from fracjax._types import Key

__all__ = ["TASKS", "Moment", "Task"]

Settings: TypeAlias = Mapping[str, Any]


class Moment(NamedTuple):
    """What a task looks at after a control step.

    Attributes:
        before: Positions before the step.
        position: Positions.
        velocity: Velocities.
        action: Physical action of the step.
        points: Places of sites and bodies in space: the first site, fingertip, target. Those
            that a model lacks are zero.
        forces: Constraint forces along the coordinates.
        dt: Seconds per control step.
    """

    before: Float[Array, " q"]
    position: Float[Array, " q"]
    velocity: Float[Array, " v"]
    action: Float[Array, " action"]
    points: Float[Array, "3 3"]
    forces: Float[Array, " v"]
    dt: float


@dataclasses.dataclass(frozen=True)
class Task:
    """One environment of gymnasium.

    Attributes:
        observe: Observation of a moment.
        reward: Reward of a step.
        terminated: Whether the episode ends.
        noise: Initial deviations of positions and velocities from those of the model.
        needs: What `observe` reads beyond coordinates: "", "points" or "forces".
    """

    observe: Callable[[Moment, Settings], Float[Array, " observation"]]
    reward: Callable[[Moment, Settings], Float[Array, ""]]
    terminated: Callable[[Moment, Settings], Bool[Array, ""]]
    noise: Callable[[Key, int, Settings, Any], tuple[Array, Array]]
    needs: str = ""


def _never(_: Moment, __: Settings) -> Array:
    return jnp.zeros((), bool)


def _forward(moment: Moment, settings: Settings) -> Array:
    """Forward speed less the cost of control."""
    speed = (moment.position[0] - moment.before[0]) / moment.dt
    cost = settings["ctrl_cost_weight"] * jnp.sum(moment.action**2)
    return settings["forward_reward_weight"] * speed - cost


def _standing(moment: Moment, settings: Settings) -> Array:
    """Forward speed less the cost of control, and a bonus while healthy."""
    bonus = settings["healthy_reward"] * _healthy(moment, settings)
    return _forward(moment, settings) + bonus


def _healthy(moment: Moment, settings: Settings) -> Array:
    height, angle = moment.position[1], moment.position[2]
    healthy = _inside(height, settings["healthy_z_range"])
    healthy &= _inside(angle, settings["healthy_angle_range"])
    if "healthy_state_range" in settings:
        rest = jnp.concatenate([moment.position[2:], moment.velocity])
        healthy &= _inside(rest, settings["healthy_state_range"]).all()
    return healthy


def _fallen(moment: Moment, settings: Settings) -> Array:
    return ~_healthy(moment, settings) & settings["terminate_when_unhealthy"]


def _inside(value: Array, bounds: tuple[float, float]) -> Array:
    return (bounds[0] < value) & (value < bounds[1])


def _joints(hidden: int, bound: float | None) -> Callable[[Moment, Settings], Array]:
    """Positions without the first ones, and velocities."""

    def observe(moment: Moment, settings: Settings) -> Array:
        skip = hidden if settings["exclude_current_positions_from_observation"] else 0
        velocity = moment.velocity if bound is None else jnp.clip(moment.velocity, -bound, bound)
        return jnp.concatenate([moment.position[skip:], velocity])

    return observe


def _uniform(key: Key, size: int, settings: Settings, dtype: Any) -> tuple[Array, Array]:
    scale = settings["reset_noise_scale"]
    drawn = jax.random.uniform(key, (2, size), dtype, -scale, scale)
    return drawn[0], drawn[1]


def _uniform_and_normal(key: Key, size: int, settings: Settings, dtype: Any) -> tuple[Array, Array]:
    scale = settings["reset_noise_scale"]
    first, second = jax.random.split(key)
    position = jax.random.uniform(first, (size,), dtype, -scale, scale)
    return position, scale * jax.random.normal(second, (size,), dtype)


def _pole_observation(moment: Moment, _: Settings) -> Array:
    return jnp.concatenate([moment.position, moment.velocity])


def _pole_fallen(moment: Moment, _: Settings) -> Array:
    finite = jnp.isfinite(moment.position).all() & jnp.isfinite(moment.velocity).all()
    return ~finite | (jnp.abs(moment.position[1]) > 0.2)


def _pole_reward(moment: Moment, settings: Settings) -> Array:
    return jnp.where(_pole_fallen(moment, settings), 0, 1).astype(moment.position.dtype)


def _poles_observation(moment: Moment, _: Settings) -> Array:
    cart, angles = moment.position[:1], moment.position[1:]
    velocity, force = jnp.clip(moment.velocity, -10, 10), jnp.clip(moment.forces[:1], -10, 10)
    return jnp.concatenate([cart, jnp.sin(angles), jnp.cos(angles), velocity, force])


def _poles_fallen(moment: Moment, _: Settings) -> Array:
    return moment.points[0, 2] <= 1


def _poles_reward(moment: Moment, settings: Settings) -> Array:
    x, _, height = moment.points[0]
    distance = 0.01 * x**2 + (height - 2) ** 2
    speed = 1e-3 * moment.velocity[1] ** 2 + 5e-3 * moment.velocity[2] ** 2
    alive = jnp.where(_poles_fallen(moment, settings), 0, settings["healthy_reward"])
    return alive - distance - speed


def _reach_observation(moment: Moment, _: Settings) -> Array:
    angles, gap = moment.position[:2], moment.points[1] - moment.points[2]
    known = [jnp.cos(angles), jnp.sin(angles), moment.position[2:], moment.velocity[:2], gap[:2]]
    return jnp.concatenate(known)


def _reach_reward(moment: Moment, settings: Settings) -> Array:
    distance = jnp.linalg.norm(moment.points[1] - moment.points[2])
    cost = jnp.sum(moment.action**2)
    return -settings["reward_dist_weight"] * distance - settings["reward_control_weight"] * cost


def _reach_noise(key: Key, size: int, _: Settings, dtype: Any) -> tuple[Array, Array]:
    """The target is uniform in a disc: by its angle and the root of a uniform number."""
    draws = jax.random.uniform(key, (2 * size,), dtype)
    radius, angle = 0.2 * jnp.sqrt(draws[0]), 2 * jnp.pi * draws[1]
    target = radius * jnp.stack([jnp.cos(angle), jnp.sin(angle)])
    position = jnp.concatenate([0.2 * draws[2:size] - 0.1, target])
    speed = jnp.concatenate([0.01 * draws[size : 2 * size - 2] - 0.005, jnp.zeros(2, dtype)])
    return position, speed


_WALKER = Task(_joints(1, 10.0), _standing, _fallen, _uniform)

TASKS: Mapping[str, Task] = {
    "HalfCheetah-v5": Task(_joints(1, None), _forward, _never, _uniform_and_normal),
    "Hopper-v5": _WALKER,
    "InvertedDoublePendulum-v5": Task(
        _poles_observation, _poles_reward, _poles_fallen, _uniform_and_normal, "forces"
    ),
    "InvertedPendulum-v5": Task(_pole_observation, _pole_reward, _pole_fallen, _uniform),
    "Reacher-v5": Task(_reach_observation, _reach_reward, _never, _reach_noise, "points"),
    "Swimmer-v5": Task(_joints(2, None), _forward, _never, _uniform),
    "Walker2d-v5": _WALKER,
}
