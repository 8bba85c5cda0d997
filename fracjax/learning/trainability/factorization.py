"""Gradient descent on a product of two numbers: where it converges, with a fractal border."""

import math
from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from fracjax._types import Key, Objective, PyTree

__all__ = ["FactorizationCoordinates", "factorization_objective", "inside_unregularized_basin"]

FactorizationCoordinates = Literal["factors", "quotient"]
_NAMES = {"factors": ("u", "v"), "quotient": ("product", "squares")}
_ESCAPED = 1e6
_ARRIVED = 1e-12


def factorization_objective(
    coordinates: FactorizationCoordinates = "factors",
    *,
    target: float | int = 0.5,
    penalty: float | int = 0.2,
    rate: float | int = 1.0,
    num_steps: int = 150,
) -> Objective:
    """Make `objective(start, key)`: when descent from a start escapes, or arrives.

    The loss is ½ (uv - y)² + ½ λ (u² + v²), y = `target` and λ = `penalty`, and the
    point descent from (u, v) with one learning rate η. The number is the steps until
    |u| or |v| exceeds 10⁶, positive; where that does not happen, minus the steps until the
    last one moves by 10⁻¹² or less, -`num_steps` if it never does. Its sign says on which side of
    the boundary the start is: use `level=0`.

    Without a penalty the boundary is an ellipse, see `inside_unregularized_basin`. With
    0 < λ ≤ min(1/η - |y|, 1/(2η)) it is self-similar of degree 3.

    In the `"quotient"` z = uv, w = u² + v², the same descent is

        z' = (a² + η²r²) z - aηr w,    w' = (a² + η²r²) w - 4aηr z,    r = z - y,  a = 1 - ηλ,

    also for vectors u and v; starts with w < 2|z| belong to no (u, v).

    Args:
        coordinates: `"factors"`, a dict of `u` and `v`, or `"quotient"`, of `product` and
            `squares`, in which |z| or |w| exceeds 10⁶.
        target: y.
        penalty: λ.
        rate: η.
        num_steps: Steps at most.

    Raises:
        ValueError: If a setting is out of range.

    References:
        Liang and Montúfar (2025), arXiv 2509.25351, whose estimate of the box-counting dimension
        with the default settings is 1.249 in the quotient.
    """
    if coordinates not in get_args(FactorizationCoordinates):
        msg = (
            f"Argument `coordinates` must be one of {get_args(FactorizationCoordinates)},"
            f" but is {coordinates!r}."
        )
        raise ValueError(msg)
    if num_steps < 1 or not rate > 0 or not penalty >= 0:
        msg = (
            "Arguments `num_steps`, `rate` and `penalty` must be positive, positive and not"
            f" negative, but are {num_steps}, {rate} and {penalty}."
        )
        raise ValueError(msg)
    kept = 1 - rate * penalty

    def of_factors(u: Array, v: Array) -> tuple[Array, Array]:
        pull = rate * (u * v - target)
        return kept * u - pull * v, kept * v - pull * u

    def of_quotient(z: Array, w: Array) -> tuple[Array, Array]:
        pull = rate * (z - target)
        scale = kept**2 + pull**2
        return scale * z - kept * pull * w, scale * w - 4 * kept * pull * z

    advance = of_factors if coordinates == "factors" else of_quotient
    names = _NAMES[coordinates]

    def objective(start: PyTree, key: Key) -> Array:
        del key
        first, second = (jnp.asarray(start[name]) for name in names)

        def step(carry: tuple) -> tuple:
            index, place, _ = carry
            moved = advance(*place)
            size = jnp.maximum(jnp.abs(moved[0]), jnp.abs(moved[1]))
            change = jnp.maximum(jnp.abs(moved[0] - place[0]), jnp.abs(moved[1] - place[1]))
            # NaN has escaped.
            stays = jnp.where(change <= _ARRIVED, -1, 0)
            outcome = jnp.where(size <= _ESCAPED, stays, 1)
            return index + 1, moved, outcome.astype(jnp.int32)

        def going(carry: tuple) -> Array:
            return (carry[0] < num_steps) & (carry[2] == 0)

        nothing = jnp.zeros((), jnp.int32)
        index, _, outcome = jax.lax.while_loop(going, step, (nothing, (first, second), nothing))
        return jnp.where(outcome == 1, index, -index).astype(first.dtype)

    return objective


def inside_unregularized_basin(
    u: Array | np.ndarray,
    v: Array | np.ndarray,
    *,
    target: float | int = 0.5,
    rate: float | int = 1.0,
) -> Array | np.ndarray:
    """Say whether unregularised descent stays bounded from (u, v): inside an ellipse it does.

    With μ = η|y| < 2 and (x, s) = (u, ±v) / √|y|, the bounded starts are those with
    x² + s² - μ x s < (4 - μ²) / μ. The boundary has dimension 1.

    Args:
        u: First factor.
        v: Second factor.
        target: y, not 0.
        rate: η.

    Raises:
        ValueError: If η|y| is not inside (0, 2).

    References:
        Liang and Montúfar (2025), arXiv 2509.25351, theorem 1.
    """
    strength = rate * abs(target)
    if not 0 < strength < 2:
        msg = f"Arguments `rate` and `target` must have 0 < η|y| < 2, but it is {strength}."
        raise ValueError(msg)
    squares = (u**2 + v**2) / abs(target)
    product = math.copysign(1.0, target) * u * v / abs(target)
    return squares - strength * product < (4 - strength**2) / strength
