"""Classic control problems as equations: they need JAX and nothing else.

All of them share these conventions.

* The state is one flat vector: positions first, velocities after them. Angles are in radians
  and are never wrapped, so that differences of states are meaningful; policies see angles
  through their cosine and sine. Lengths are in metres, masses in kilograms, torques in N m.
* One control step lasts `dt` seconds: the action is held while the classical fourth-order
  Runge-Kutta method takes `substeps` equal steps.
* Actions in [-1, 1] are scaled to the torque or force limit. Values outside are not clipped:
  a clip has a kink, and what acts on an environment bounds its own actions.
* The reward of a step is a smooth function r(s, a) of the state that the step starts from and
  of the action, and no velocity is ever clipped. These are the differences from Gymnasium,
  whose clips, wraps and constant rewards make an objective rough for reasons of their own.
* Arithmetic follows the dtype of the state; `reset` draws in `dtype`, JAX's default if `None`.
* `damping` is a viscous coefficient at every joint, zero unless asked for, so that energy is
  conserved without action: with the default steps it drifts in 50 s by less than 1e-3 of
  its spread between moderate swings. Without damping a motor can pump energy for as long
  as it runs: most policies that swing the acrobot up spin it at 50 to 120 rad/s after 50 s,
  which 0.05 s steps do not resolve; with a damping of 0.2 and two substeps speeds stay below
  30 rad/s, and as many policies are chaotic (14 of 32 instead of 19).
"""

import math
from typing import TypeAlias

import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from fracjax.rl.environment import Environment
from fracjax.rl.equations import from_equations
from fracjax.rl.two_links import two_links

__all__ = ["acrobot", "cartpole_swingup", "double_pendulum", "pendulum"]

_Scalar: TypeAlias = Float[Array, ""]


def pendulum(
    *,
    torque_limit: float = 2.0,
    gravity: float = 10.0,
    mass: float = 1.0,
    length: float = 1.0,
    damping: float = 0.0,
    dt: float = 0.05,
    substeps: int = 1,
    dtype: DTypeLike | None = None,
) -> Environment:
    """Swing a uniform rod up against gravity and balance it.

        θ̈ = 3g/(2l) sin θ + 3/(m l²) (u − b θ̇),    θ = 0 upright

    Two state variables and a smooth policy cannot be chaotic: this is the control case, whose
    objective is smooth but for separatrix crossings.

    State: (θ, θ̇) in rad and rad/s. Observation: (cos θ, sin θ, θ̇). Action: torque.
    Reset: θ − π and θ̇ uniform in [-0.1, 0.1], near the hanging rest.
    Reward: −(2(1 − cos θ) + 0.1 θ̇² + 0.001 u²), Gymnasium's with the wrapped θ² replaced by the
    smooth function of the same curvature. Episodes never terminate.

    Args:
        torque_limit: Torque of action 1, in N m.
        gravity: Acceleration in m/s².
        mass: Mass of the rod in kg.
        length: Length of the rod in m.
        damping: Viscous friction in N m s.
        dt: Control step in s.
        substeps: Integration steps per control step.
        dtype: Floating dtype of `reset`.

    References:
        Gymnasium `Pendulum-v1`, https://gymnasium.farama.org/environments/classic_control/pendulum.
    """
    inertia = mass * length**2 / 3
    weight = mass * gravity * length / 2

    def derivative(state: Array, torques: Array) -> Array:
        theta, omega = state
        torque = torques[0] - damping * omega
        return jnp.stack([omega, (weight * jnp.sin(theta) + torque) / inertia])

    def observe(state: Array) -> Array:
        theta, omega = state
        return jnp.stack([jnp.cos(theta), jnp.sin(theta), omega])

    def reward(state: Array, torques: Array) -> _Scalar:
        theta, omega = state
        return -(2 * (1 - jnp.cos(theta)) + 0.1 * omega**2 + 0.001 * torques[0] ** 2)

    def energy(state: Array) -> _Scalar:
        theta, omega = state
        return 0.5 * inertia * omega**2 + weight * jnp.cos(theta)

    return from_equations(
        "pendulum",
        derivative=derivative,
        observe=observe,
        reward=reward,
        energy=energy,
        rest=(math.pi, 0.0),
        scale=torque_limit,
        dt=dt,
        substeps=substeps,
        dtype=dtype,
    )


def acrobot(
    *,
    torque_limit: float = 5.0,
    gravity: float = 9.8,
    damping: float = 0.0,
    dt: float = 0.05,
    substeps: int = 1,
    dtype: DTypeLike | None = None,
) -> Environment:
    """Swing up a two-link arm with a motor at its elbow only.

    Two links of length 1 m and mass 1 kg with the centre of mass halfway and a moment of
    inertia of 1 kg m² ("book" dynamics), moved by a continuous torque on the second joint;
    `fracjax.rl.two_links` has the equations. With 5 N m about half of all random policies give a
    chaotic closed loop; with 1 N m, Gymnasium's value, motion is mostly regular.

    State: (θ₁, θ₂, θ̇₁, θ̇₂); θ₁ = 0 hangs, θ₂ is relative to the first link.
    Observation: (cos θ₁, sin θ₁, cos θ₂, sin θ₂, θ̇₁, θ̇₂). Action: torque at the elbow.
    Reset: all four uniform in [-0.1, 0.1].
    Reward: height of the tip over its greatest value, −(cos θ₁ + cos(θ₁ + θ₂))/2, in [-1, 1].
    Episodes never terminate (Gymnasium's end above a height of 1 m).

    Args:
        torque_limit: Torque of action 1, in N m.
        gravity: Acceleration in m/s².
        damping: Viscous friction at both joints in N m s.
        dt: Control step in s (Gymnasium's is 0.2).
        substeps: Integration steps per control step.
        dtype: Floating dtype of `reset`.

    References:
        Sutton and Barto (1998), Reinforcement Learning, section 11.3; Spong (1995), The swing
        up control problem for the acrobot, https://doi.org/10.1109/37.341864.
    """
    return two_links(
        "acrobot",
        masses=(1.0, 1.0),
        lengths=(1.0, 1.0),
        centres=(0.5, 0.5),
        inertias=(1.0, 1.0),
        gravity=gravity,
        damping=damping,
        gains=((0.0, torque_limit),),
        dt=dt,
        substeps=substeps,
        dtype=dtype,
    )


def double_pendulum(
    *,
    actuated: str = "both",
    torque_limit: float = 5.0,
    gravity: float = 9.81,
    masses: tuple[float, float] = (1.0, 1.0),
    lengths: tuple[float, float] = (1.0, 1.0),
    damping: float = 0.0,
    dt: float = 0.05,
    substeps: int = 4,
    dtype: DTypeLike | None = None,
) -> Environment:
    """Swing up two point masses on massless rods, the textbook chaotic pendulum.

    Torques act on both joints, or on the first alone (the "pendubot");
    `fracjax.rl.two_links` has the equations.

    State: (θ₁, θ₂, θ̇₁, θ̇₂); θ₁ = 0 hangs, θ₂ is relative to the first rod.
    Observation: (cos θ₁, sin θ₁, cos θ₂, sin θ₂, θ̇₁, θ̇₂). Action: one torque per motor.
    Reset: all four uniform in [-0.1, 0.1].
    Reward: height of the second mass over its greatest value, in [-1, 1].
    Episodes never terminate.

    Args:
        actuated: Which joints have a motor: `"both"` or `"first"`.
        torque_limit: Torque of action 1 at each motor, in N m.
        gravity: Acceleration in m/s².
        masses: The two masses in kg.
        lengths: The two rods in m.
        damping: Viscous friction at both joints in N m s.
        dt: Control step in s.
        substeps: Integration steps per control step.
        dtype: Floating dtype of `reset`.

    Raises:
        ValueError: If `actuated` is neither.

    References:
        Strogatz (2015), Nonlinear Dynamics and Chaos, chapter 9; Spong and Block (1995), The
        pendubot, https://doi.org/10.1109/CDC.1995.478951.
    """
    gains = {
        "both": ((torque_limit, 0.0), (0.0, torque_limit)),
        "first": ((torque_limit, 0.0),),
    }
    if actuated not in gains:
        msg = f"Argument `actuated` must be one of {sorted(gains)}, but is {actuated!r}."
        raise ValueError(msg)
    return two_links(
        "double_pendulum",
        masses=masses,
        lengths=lengths,
        centres=lengths,
        inertias=(0.0, 0.0),
        gravity=gravity,
        damping=damping,
        gains=gains[actuated],
        dt=dt,
        substeps=substeps,
        dtype=dtype,
    )


def cartpole_swingup(
    *,
    force_limit: float = 10.0,
    track_limit: float = 2.4,
    gravity: float = 9.8,
    cart_mass: float = 1.0,
    pole_mass: float = 0.1,
    half_length: float = 0.5,
    damping: float = 0.0,
    dt: float = 0.05,
    substeps: int = 1,
    dtype: DTypeLike | None = None,
) -> Environment:
    """Swing a pole up by pushing the cart it hangs from along a short track.

    The frictionless equations of Barto, Sutton and Anderson as corrected by Florian, with
    M the total mass, m the mass and l the half length of the pole, θ = 0 upright:

        p = (F + m l θ̇² sin θ) / M
        θ̈ = (g sin θ − p cos θ) / (l (4/3 − m cos² θ / M))
        ẍ = p − m l θ̈ cos θ / M

    State: (x, θ, ẋ, θ̇) in m, rad, m/s, rad/s.
    Observation: (x, cos θ, sin θ, ẋ, θ̇). Action: force on the cart.
    Reset: x, θ − π, ẋ and θ̇ uniform in [-0.1, 0.1], hanging at the centre.
    Reward: (1 + cos θ)/2, in [0, 1], so that leaving the track early never pays.
    Terminates when |x| exceeds the track limit: a jump in the objective, which policies that
    move far run into.

    Args:
        force_limit: Force of action 1, in N.
        track_limit: Largest |x| in m; infinity for a track without ends.
        gravity: Acceleration in m/s².
        cart_mass: Mass of the cart in kg.
        pole_mass: Mass of the pole in kg.
        half_length: Half of the pole's length in m.
        damping: Viscous friction in N s/m on the cart and N m s on the pole's joint.
        dt: Control step in s.
        substeps: Integration steps per control step.
        dtype: Floating dtype of `reset`.

    References:
        Barto, Sutton and Anderson (1983), https://doi.org/10.1109/TSMC.1983.6313077;
        Florian (2007), Correct equations for the dynamics of the cart-pole system,
        https://coneural.org/florian/papers/05_cart_pole.pdf.
    """
    total = cart_mass + pole_mass
    moment = pole_mass * half_length

    def derivative(state: Array, forces: Array) -> Array:
        _, theta, velocity, omega = state
        sine, cosine = jnp.sin(theta), jnp.cos(theta)
        force = forces[0] - damping * velocity
        push = (force + moment * omega**2 * sine) / total
        turning = gravity * sine - push * cosine - damping * omega / moment
        alpha = turning / (half_length * (4 / 3 - pole_mass / total * cosine**2))
        acceleration = push - moment / total * alpha * cosine
        return jnp.stack([velocity, omega, acceleration, alpha])

    def observe(state: Array) -> Array:
        position, theta, velocity, omega = state
        return jnp.stack([position, jnp.cos(theta), jnp.sin(theta), velocity, omega])

    def reward(state: Array, _: Array) -> _Scalar:
        return 0.5 + 0.5 * jnp.cos(state[1])

    def energy(state: Array) -> _Scalar:
        _, theta, velocity, omega = state
        sliding = 0.5 * total * velocity**2 + moment * velocity * omega * jnp.cos(theta)
        turning = 0.5 * (4 / 3) * moment * half_length * omega**2
        return sliding + turning + moment * gravity * jnp.cos(theta)

    return from_equations(
        "cartpole_swingup",
        derivative=derivative,
        observe=observe,
        reward=reward,
        energy=energy,
        outside=lambda state: jnp.abs(state[0]) > track_limit,
        rest=(0.0, math.pi, 0.0, 0.0),
        scale=force_limit,
        dt=dt,
        substeps=substeps,
        dtype=dtype,
    )
