"""Integrators: each turns the right-hand side of an equation into a `step` of fixed length.

`rk4(lorenz63(), 0.01)` is a step; divide its exponents by the same `dt`. Tangents of a step
are the derivative of what the integrator computes, not of the flow behind it, so that volume
and symmetry are kept by exponents as well as they are kept by the integrator.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fracjax import tree
from fracjax._types import PyTree, StepFunction

__all__ = ["Force", "VectorField", "diffrax_step", "leapfrog", "rk4", "yoshida4"]

# Time derivative of a state.
VectorField = Callable[[PyTree], PyTree]
# Acceleration as a function of position.
Force = Callable[[Float[Array, " n"]], Float[Array, " n"]]

_OUTER = 1 / (2 - 2 ** (1 / 3))
_YOSHIDA = (_OUTER, 1 - 2 * _OUTER, _OUTER)


def rk4(vector_field: VectorField, dt: float) -> StepFunction:
    """Make one step of the classical fourth-order Runge–Kutta method.

    The error of an exponent is of order dt⁴: halve `dt` to see it. Not for stiff fields.

    Let the field return one stacked vector rather than separate scalars: XLA does not fuse
    across it, and would otherwise evaluate the first stage again for each use in the later
    ones.

    Args:
        vector_field: Time derivative of a state, any pytree of floating leaves.
        dt: Length of the step.
    """

    def step(state: PyTree) -> PyTree:
        first = vector_field(state)
        second = vector_field(tree.add_scaled(state, dt / 2, first))
        third = vector_field(tree.add_scaled(state, dt / 2, second))
        fourth = vector_field(tree.add_scaled(state, dt, third))
        state = tree.add_scaled(state, dt / 6, first)
        state = tree.add_scaled(state, dt / 3, second)
        state = tree.add_scaled(state, dt / 3, third)
        return tree.add_scaled(state, dt / 6, fourth)

    return step


def leapfrog(force: Force, dt: float) -> StepFunction:
    """Make one step of the Störmer–Verlet method for q̈ = force(q), of order 2.

    The state is one vector, the n positions q and then the n momenta p of the Hamiltonian
    p²/2 + V(q) with force = -∇V. The step is symplectic whatever `dt` is: exponents pair up
    as ±λ and add up to zero to rounding, and the energy error stays of order dt² instead of
    growing.

    Args:
        force: -∇V at the positions.
        dt: Length of the step.

    References:
        Hairer, Lubich and Wanner (2003), https://doi.org/10.1017/S0962492902000144.
    """
    return _compose(force, (dt,))


def yoshida4(force: Force, dt: float) -> StepFunction:
    """Make one step of Yoshida's symplectic method of order 4, three leapfrogs in a row.

    See `leapfrog` for the state and the force. The middle leapfrog goes backwards by 1.70
    steps, so that `dt` must resolve 1.70 dt; three forces a step.

    References:
        Yoshida (1990), https://doi.org/10.1016/0375-9601(90)90092-3.
    """
    return _compose(force, tuple(weight * dt for weight in _YOSHIDA))


def _compose(force: Force, lengths: tuple[float, ...]) -> StepFunction:
    """Make leapfrogs of the given lengths, drift first, as one scan over the lengths."""
    before = np.array([0.0, *lengths])
    drifts = (before[:-1] + before[1:]) / 2

    def step(state: Float[Array, " twice_n"]) -> Float[Array, " twice_n"]:
        def move(halves: Float[Array, "2 n"], times: Float[Array, "2"]) -> tuple[Array, None]:
            positions, momenta = halves
            positions = positions + times[0] * momenta
            return jnp.stack([positions, momenta + times[1] * force(positions)]), None

        times = jnp.asarray(np.stack([drifts, lengths], axis=1), state.dtype)
        halves, _ = jax.lax.scan(move, state.reshape(2, -1), times, unroll=True)
        last = jnp.asarray(lengths[-1] / 2, state.dtype)
        return halves.at[0].add(last * halves[1]).reshape(-1)

    return step


def diffrax_step(
    vector_field: VectorField,
    dt: float,
    *,
    solver: Any = None,
    rtol: float = 1e-8,
    atol: float = 1e-8,
    max_steps: int = 4096,
) -> StepFunction:
    """Make a step of length `dt` from a Diffrax solver with adaptive inner steps.

    For stiff fields, spikes, and as a check of a fixed step. Differentiable in forward mode:
    tangents are the derivative of the accepted inner steps with their lengths held fixed,
    which differs from the derivative of the flow by the tolerance. Every step begins with a
    fresh choice of the first inner step, so that `dt` should span a few of them.

    An orbit whose inner steps reach `max_steps` becomes NaN, which estimators report as
    `DIVERGED`. Under `vmap` all members take as many inner steps as the slowest. Needs
    float64 for tolerances below some 1e-6.

    Args:
        vector_field: Time derivative of a state, any pytree of floating leaves.
        dt: Length of the step.
        solver: A Diffrax solver that estimates its error; `diffrax.Tsit5()` by default, and
            `diffrax.Kvaerno5()` for stiff fields.
        rtol: Relative tolerance of an inner step.
        atol: Absolute tolerance of an inner step.
        max_steps: The most inner steps, accepted or rejected, per step.

    Raises:
        ImportError: If Diffrax is not installed.

    References:
        Kidger (2021), arXiv 2202.02435.
    """
    try:
        import diffrax
    except ImportError as error:
        msg = "`diffrax_step` needs Diffrax: pip install 'fracjax[diffrax]'."
        raise ImportError(msg) from error
    term = diffrax.ODETerm(lambda _time, state, _args: vector_field(state))
    solver = diffrax.Tsit5() if solver is None else solver
    controller = diffrax.PIDController(rtol=rtol, atol=atol)

    def step(state: PyTree) -> PyTree:
        solution = diffrax.diffeqsolve(
            term,
            solver,
            t0=0.0,
            t1=dt,
            dt0=None,
            y0=state,
            saveat=diffrax.SaveAt(t1=True),
            stepsize_controller=controller,
            adjoint=diffrax.ForwardMode(),
            max_steps=max_steps,
            throw=False,
        )
        finished = solution.result == diffrax.RESULTS.successful
        return jax.tree.map(lambda leaf: jnp.where(finished, leaf[0], jnp.nan), solution.ys)

    return step
