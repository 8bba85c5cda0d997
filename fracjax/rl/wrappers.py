"""Environments whose actions pass through something first: a low-pass filter, a hold.

    environment = smoothed_actions(classic.acrobot(), 0.2)

A wrapped environment is an environment: exponents, returns and landscapes are those of the
loop that the wrapper is part of.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fracjax._types import Key, PyTree
from fracjax.rl.environment import Environment, Transition

__all__ = ["Smoothed", "repeated_actions", "smoothed_actions"]


class Smoothed(NamedTuple):
    """State of an environment with a filter in front.

    Attributes:
        state: State of the environment.
        action: Action that was applied last.
    """

    state: PyTree
    action: Float[Array, " action"]


def smoothed_actions(
    environment: Environment, coefficient: float | Float[Array, ""], *, observed: bool = False
) -> Environment:
    """Put a first-order low-pass filter between policy and environment.

        a_t = (1 − c) a_{t−1} + c u_t,    a_{−1} = 0

    with u the policy's action. An action is forgotten with a time constant of −1/ln(1 − c)
    steps. The filter's memory is part of the state: coordinates are those of the environment,
    then the action, so that exponents are those of the whole loop, and without feedback as many
    of them as there are actions equal ln(1 − c). With c = 1 nothing is changed but that the
    memory of a vanishes in every step, an exponent of −∞.

    It bounds how fast actions change, by c per step times the range of u. It does not
    make a loop less chaotic in general: a filter adds a lag, which destabilises a controller
    that was tuned without it. Measure λ before and after.

    Args:
        environment: What the filter stands in front of.
        coefficient: c in (0, 1]; may be traced.
        observed: Whether the policy also sees a_{t−1}, after the other observations. Only then
            is the process Markov to the policy; a policy trained without the filter does not
            expect it.

    Raises:
        ValueError: If the coefficient is out of range.
    """
    if isinstance(coefficient, int | float) and not 0 < coefficient <= 1:
        msg = f"Argument `coefficient` must lie in (0, 1], but is {coefficient}."
        raise ValueError(msg)
    size = environment.action_size

    def reset(key: Key) -> Smoothed:
        state = environment.reset(key)
        return Smoothed(state, jnp.zeros(size, environment.coordinates(state).dtype))

    def observe(smoothed: Smoothed) -> Array:
        seen = environment.observe(smoothed.state)
        return jnp.concatenate([seen, smoothed.action.astype(seen.dtype)]) if observed else seen

    def step(smoothed: Smoothed, action: Array) -> Transition:
        share = jnp.asarray(coefficient, smoothed.action.dtype)
        applied = (1 - share) * smoothed.action + share * action.astype(share.dtype)
        moved = environment.step(smoothed.state, applied)
        return moved._replace(state=Smoothed(moved.state, applied))

    def coordinates(smoothed: Smoothed) -> Array:
        place = environment.coordinates(smoothed.state)
        return jnp.concatenate([place, smoothed.action.astype(place.dtype)])

    rebuild, energy = environment.from_coordinates, environment.energy
    inner = environment.state_size

    def from_coordinates(place: Array, template: Smoothed) -> Smoothed:
        assert rebuild is not None
        state = rebuild(place[:inner], template.state)
        return Smoothed(state, place[inner:].astype(template.action.dtype))

    return dataclasses.replace(
        environment,
        name=f"{environment.name} with smoothed actions",
        observation_size=environment.observation_size + (size if observed else 0),
        state_size=inner + size,
        reset=reset,
        observe=observe,
        step=step,
        coordinates=coordinates,
        energy=None if energy is None else lambda smoothed: energy(smoothed.state),
        from_coordinates=None if rebuild is None else from_coordinates,
    )


def repeated_actions(environment: Environment, repeats: int) -> Environment:
    """Hold every action for several steps of an environment.

    One step of the result lasts `repeats` steps: exponents per step are those of so many,
    exponents per second compare directly. Its reward is the sum of the rewards, none of them
    paid after the step that terminates, and it has terminated when one of them has. A discount
    γ per held step is γ^{1/repeats} per step of the environment.

    Args:
        environment: What is stepped.
        repeats: Steps per action.

    Raises:
        ValueError: If `repeats` is not positive.
    """
    if repeats < 1:
        msg = f"Argument `repeats` must be positive, but is {repeats}."
        raise ValueError(msg)

    def step(state: PyTree, action: Array) -> Transition:
        def one(carry: Transition, _: None) -> tuple[Transition, None]:
            moved = environment.step(carry.state, action)
            reward = carry.reward + jnp.where(carry.done, 0, moved.reward)
            return Transition(moved.state, reward, carry.done | moved.done), None

        shape = jax.eval_shape(environment.step, state, action)
        start = Transition(state, jnp.zeros((), shape.reward.dtype), jnp.zeros((), bool))
        return jax.lax.scan(one, start, length=repeats)[0]

    return dataclasses.replace(
        environment,
        name=f"{environment.name} with actions held for {repeats} steps",
        dt=environment.dt * repeats,
        step=step,
    )
