"""An acting world model as a policy without memory, in an environment that keeps it.

What a world-model agent does next depends on its belief, which it filters from observations. The
belief and the last action are put beside the physical state, in an environment whose observation
and action hold the memory as well: then everything that is written for memoryless policies
(returns, exponents by tangents or perturbations) serves this one unchanged.
"""

import dataclasses
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fracjax._types import Key, PyTree
from fracjax.rl.environment import Environment, Transition
from fracjax.rl.world_models.agent import Agent, Belief
from fracjax.rl.world_models.latents import LatentChoice

__all__ = [
    "Distances",
    "FilteringPolicy",
    "WithMemory",
    "memory_size",
    "split_memory",
    "with_memory",
]

Distances = Literal["physical", "full"]


class WithMemory(NamedTuple):
    """State of the loop.

    Attributes:
        physical: State of the environment.
        memory: Recurrent state, latent and last action, side by side.
    """

    physical: PyTree
    memory: Float[Array, " memory"]


def memory_size(agent: Agent) -> int:
    """Length of the memory: recurrent state, latent, last action."""
    return agent.settings.deterministic + agent.settings.stochastic + agent.action_size


def split_memory(
    agent: Agent, memory: Float[Array, "*batch memory"]
) -> tuple[Belief, Float[Array, "*batch action"]]:
    """Belief and last action of a memory."""
    sizes = agent.settings
    ends = (sizes.deterministic, sizes.deterministic + sizes.stochastic)
    recurrent, latent, action = jnp.split(memory, ends, axis=-1)
    return Belief(recurrent, latent), action


def with_memory(
    environment: Environment, agent: Agent, *, distances: Distances = "physical"
) -> Environment:
    """Let an environment keep the memory of an agent.

    Observations are those of the environment with the memory behind them, actions are those of
    the environment with the next memory behind them. An episode begins with a memory of zeros.

    `distances` decides what an exponent of the loop is an exponent of.

    - `"physical"`: lengths are those of physical coordinates, and a state that is built from
      coordinates keeps the memory of its template. This is the convention of Young and Pugeault,
      whose code copies the memory of the reference into every perturbed copy: so do finite
      perturbations here, at every renormalisation, which cuts the growth that passes through the
      memory for longer than a period. Tangents start with the memory at rest and then carry it.
    - `"full"`: the memory is part of the state. Its leading exponent is the asymptotic exponent of
      the whole loop, and there are as many exponents as numbers.

    Args:
        environment: The simulator.
        agent: Whose memory.
        distances: In which coordinates distances are measured.

    Raises:
        ValueError: If `distances` is neither, or the sizes of environment and agent differ.
    """
    if distances not in get_args(Distances):
        msg = f"Argument `distances` must be one of {get_args(Distances)}, but is {distances!r}."
        raise ValueError(msg)
    sizes = (environment.observation_size, environment.action_size)
    if sizes != (agent.observation_size, agent.action_size):
        msg = (
            f"Argument `agent` must have the sizes {sizes} of `{environment.name}`, but has"
            f" {(agent.observation_size, agent.action_size)}."
        )
        raise ValueError(msg)
    length, full = memory_size(agent), distances == "full"
    rebuild = environment.from_coordinates

    def reset(key: Key) -> WithMemory:
        physical = environment.reset(key)
        return WithMemory(physical, jnp.zeros(length, environment.observe(physical).dtype))

    def observe(state: WithMemory) -> Array:
        return jnp.concatenate([environment.observe(state.physical), state.memory])

    def step(state: WithMemory, action: Array) -> Transition:
        moved = environment.step(state.physical, action[: environment.action_size])
        memory = action[environment.action_size :].astype(state.memory.dtype)
        return moved._replace(state=WithMemory(moved.state, memory))

    def coordinates(state: WithMemory) -> Array:
        place = environment.coordinates(state.physical)
        return jnp.concatenate([place, state.memory]) if full else place

    def from_coordinates(values: Array, template: WithMemory) -> WithMemory:
        assert rebuild is not None
        physical = rebuild(values[: environment.state_size], template.physical)
        memory = values[environment.state_size :] if full else template.memory
        return WithMemory(physical, memory.astype(template.memory.dtype))

    return Environment(
        name=f"{environment.name} with memory",
        backend=environment.backend,
        dt=environment.dt,
        observation_size=environment.observation_size + length,
        action_size=environment.action_size + length,
        state_size=environment.state_size + (length if full else 0),
        reset=reset,
        observe=observe,
        step=step,
        coordinates=coordinates,
        from_coordinates=None if rebuild is None else from_coordinates,
    )


@dataclasses.dataclass(frozen=True)
class FilteringPolicy:
    """A world-model agent as an actor in its environment with memory.

    Without a key the action is its mean, and the latent is chosen by `choice`. With
    `"mode"`, which is what a discrete agent does when nothing is drawn, no tangent passes from
    the observation through the latent to the action: the loop is piecewise that of a fixed
    sequence of actions, its exponents by tangents are those of the *uncontrolled* motion along
    the controlled orbit, and control acts by jumps that tangents do not see. With `"mean"` the
    probabilities stand in for the draw: differentiable, and another policy. Report which one.

    Attributes:
        agent: The agent.
        choice: See `latents.choose`.
    """

    agent: Agent
    choice: LatentChoice = "mode"

    def act(self, params: PyTree, observation: Array, key: Key | None = None) -> Array:
        """Filter the observation, choose an action, and return it with the next memory.

        With a key latent and action are drawn.
        """
        agent = self.agent
        dtype = jnp.result_type(*jax.tree.leaves(params["actor"]))
        seen, memory = jnp.split(observation.astype(dtype), [agent.observation_size])
        belief, action = split_memory(agent, memory)
        uniform = normal = None
        if key is not None:
            first, second = jax.random.split(key)
            uniform = jax.random.uniform(first, (agent.settings.groups,), dtype)
            normal = jax.random.normal(second, (agent.action_size,), dtype)
        code = agent.encode(params["model"], seen)
        belief, _ = agent.filter(params["model"], belief, action, code, uniform, choice=self.choice)
        action = agent.act(params["actor"], belief.features, normal)
        return jnp.concatenate([action, *belief, action])
