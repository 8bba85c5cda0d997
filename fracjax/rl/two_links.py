"""The planar two-link arm, of which the acrobot and the double pendulum are cases."""

from typing import TypeAlias

import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from fracjax.rl.environment import Environment
from fracjax.rl.equations import from_equations

__all__ = ["two_links"]

_Scalar: TypeAlias = Float[Array, ""]


def two_links(
    name: str,
    *,
    masses: tuple[float, float],
    lengths: tuple[float, float],
    centres: tuple[float, float],
    inertias: tuple[float, float],
    gravity: float,
    damping: float,
    gains: tuple[tuple[float, float], ...],
    dt: float,
    substeps: int,
    dtype: DTypeLike | None,
) -> Environment:
    """Build an environment that moves a planar two-link arm.

    With c the distances of the centres of mass from the joints, θ₂ relative to the first link
    and k = m₂ l₁ c₂:

        d₁₁ = m₁c₁² + I₁ + m₂(l₁² + c₂²) + I₂ + 2k cos θ₂      φ₂ = m₂ c₂ g sin(θ₁ + θ₂)
        d₁₂ = m₂c₂² + I₂ + k cos θ₂                            φ₁ = (m₁c₁ + m₂l₁) g sin θ₁ + φ₂
        d₂₂ = m₂c₂² + I₂
        d₁₁ θ̈₁ + d₁₂ θ̈₂ = τ₁ − b θ̇₁ + k sin θ₂ (2 θ̇₁ θ̇₂ + θ̇₂²) − φ₁
        d₁₂ θ̈₁ + d₂₂ θ̈₂ = τ₂ − b θ̇₂ − k sin θ₂ θ̇₁² − φ₂

    Sums of angles are expanded, so that a state costs four trigonometric functions, which XLA
    shares between the observation, the reward and the first Runge-Kutta stage.

    State: (θ₁, θ₂, θ̇₁, θ̇₂). Observation: (cos θ₁, sin θ₁, cos θ₂, sin θ₂, θ̇₁, θ̇₂).
    Reward: height of the tip over its greatest value, −(l₁ cos θ₁ + l₂ cos(θ₁ + θ₂))/(l₁ + l₂).
    Conventions are those of `classic`.

    Args:
        name: Name to report.
        masses: Of the links, m, in kg.
        lengths: Of the links, l, in m.
        centres: Distances of the centres of mass from the joints, c, in m.
        inertias: Moments of inertia about the centres of mass, I, in kg m².
        gravity: g in m/s².
        damping: Viscous friction b at both joints in N m s.
        gains: For each action, the torques on the first and second joint at action 1, in N m.
        dt: Control step in s.
        substeps: Integration steps per control step.
        dtype: Floating dtype of `reset`.
    """
    coupling = masses[1] * lengths[0] * centres[1]
    outer = masses[1] * centres[1] ** 2 + inertias[1]
    inner = masses[0] * centres[0] ** 2 + inertias[0] + masses[1] * lengths[0] ** 2 + outer
    weights = (
        (masses[0] * centres[0] + masses[1] * lengths[0]) * gravity,
        masses[1] * centres[1] * gravity,
    )
    reach = lengths[0] + lengths[1]

    def derivative(state: Array, actions: Array) -> Array:
        first, second, omega1, omega2 = state
        sine1, cosine1 = jnp.sin(first), jnp.cos(first)
        sine2, cosine2 = jnp.sin(second), jnp.cos(second)
        torque1 = sum(gain[0] * actions[i] for i, gain in enumerate(gains))
        torque2 = sum(gain[1] * actions[i] for i, gain in enumerate(gains))
        d11 = inner + 2 * coupling * cosine2
        d12 = outer + coupling * cosine2
        phi2 = weights[1] * (sine1 * cosine2 + cosine1 * sine2)
        phi1 = weights[0] * sine1 + phi2
        turn = coupling * sine2
        force1 = torque1 - damping * omega1 + turn * (2 * omega1 + omega2) * omega2 - phi1
        force2 = torque2 - damping * omega2 - turn * omega1**2 - phi2
        scale = 1 / (d11 * outer - d12 * d12)
        alpha1 = (outer * force1 - d12 * force2) * scale
        alpha2 = (d11 * force2 - d12 * force1) * scale
        return jnp.stack([omega1, omega2, alpha1, alpha2])

    def observe(state: Array) -> Array:
        first, second, omega1, omega2 = state
        cosines_sines = [jnp.cos(first), jnp.sin(first), jnp.cos(second), jnp.sin(second)]
        return jnp.stack([*cosines_sines, omega1, omega2])

    def cosine_of_sum(first: _Scalar, second: _Scalar) -> _Scalar:
        return jnp.cos(first) * jnp.cos(second) - jnp.sin(first) * jnp.sin(second)

    def reward(state: Array, _: Array) -> _Scalar:
        first, second = state[:2]
        height = lengths[0] * jnp.cos(first) + lengths[1] * cosine_of_sum(first, second)
        return -height / reach

    def energy(state: Array) -> _Scalar:
        first, second, omega1, omega2 = state
        cosine2 = jnp.cos(second)
        kinetic = (
            0.5 * (inner + 2 * coupling * cosine2) * omega1**2
            + (outer + coupling * cosine2) * omega1 * omega2
            + 0.5 * outer * omega2**2
        )
        height = -weights[0] * jnp.cos(first) - weights[1] * cosine_of_sum(first, second)
        return kinetic + height

    return from_equations(
        name,
        derivative=derivative,
        observe=observe,
        reward=reward,
        energy=energy,
        rest=(0.0, 0.0, 0.0, 0.0),
        action_size=len(gains),
        dt=dt,
        substeps=substeps,
        dtype=dtype,
    )
