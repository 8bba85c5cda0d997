"""Exponents of a recorded chain of small Jacobians, in parallel over time.

A volume spanned by k tangents grows as the k-th exterior power of the product of Jacobians,
whose rate is λ_1 + … + λ_k. Products of exterior powers are associative, so a block of the
chain reduces as a tree, without any QR in the loop.
"""

import dataclasses
import functools
import itertools
from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fracjax._types import Estimate, Label
from fracjax.estimators.chaos.orbit_average import FEWEST_RATES, average_blocks
from fracjax.estimators.settings import check_time_step
from fracjax.orthonormal import orthonormalize

__all__ = ["spectrum_of_jacobians"]

ChainMethod = Literal["auto", "exterior", "qr"]
_LARGEST = 4  # dimension up to which exterior powers stay small (6 × 6 for k = 2 of 4)
_dot = functools.partial(jnp.matmul, precision="highest")


def spectrum_of_jacobians(
    jacobians: Float[Array | np.ndarray, "steps n n"],
    *,
    dt: float | Float[Array, ""] = 1.0,
    num_transient: int = 0,
    num_blocks: int = 128,
    method: ChainMethod = "auto",
) -> Estimate:
    """Estimate all Lyapunov exponents of a recorded chain of Jacobians.

    `"exterior"`: every block is reduced as a tree of products of exterior powers, each
    with its own logarithmic scale, in ⌈log2(steps / blocks)⌉ rounds of batched products; then one
    vector per power is pushed through the blocks. Work O(steps · n³), memory a few copies of the
    chain. `"qr"`: a frame is pushed step by step. Use `lyapunov_spectrum` where the step itself
    can be called: it stores nothing and needs no Jacobian.

    Args:
        jacobians: Derivatives of the steps, in time order; entry (i, j) is ∂x'_i/∂x_j.
        dt: Time per step.
        num_transient: At least so many steps at the start only turn the frame.
        num_blocks: At least so many blocks of equal length stand behind the standard error, if
            there are as many steps, and fewer than twice as many: what they leave of the steps
            is added to the transient.
        method: `"auto"` takes `"exterior"` up to 4 dimensions, `"qr"` beyond.

    Returns:
        Exponents (n,), nats per unit of time, as `lyapunov_spectrum` reports them. A Jacobian
        that is not finite gives status `DIVERGED`. Details: `blocks`, `num_steps`, `method`.

    Raises:
        ValueError: If the shape or a setting is out of range.

    Example:
        >>> import jax.numpy as jnp
        >>> from fracjax import estimators
        >>> jacobians = jnp.broadcast_to(jnp.array([[2.0, 1.0], [0.0, 0.5]]), (2000, 2, 2))
        >>> print(estimators.spectrum_of_jacobians(jacobians).value.round(2))  # ±ln 2
        [ 0.69 -0.69]
    """
    jacobians = jnp.asarray(jacobians)
    if jacobians.ndim != 3 or jacobians.shape[1] != jacobians.shape[2]:
        msg = f"Argument `jacobians` must have shape (steps, n, n), but has {jacobians.shape}."
        raise ValueError(msg)
    if not jnp.issubdtype(jacobians.dtype, jnp.floating):
        msg = f"Argument `jacobians` must be floating, but is {jacobians.dtype}."
        raise ValueError(msg)
    steps, size, _ = jacobians.shape
    if method not in get_args(ChainMethod):
        msg = f"Argument `method` must be one of {get_args(ChainMethod)}, but is {method!r}."
        raise ValueError(msg)
    if method == "exterior" and size > _LARGEST:
        msg = f"Argument `method` must be 'qr' beyond {_LARGEST} dimensions, but there are {size}."
        raise ValueError(msg)
    if num_blocks < 2 or not 0 <= num_transient < steps:
        msg = (
            "Arguments `num_blocks` and `num_transient` must be at least 2, and between 0 and"
            f" {steps - 1}, but are {num_blocks} and {num_transient}."
        )
        raise ValueError(msg)
    check_time_step(dt)
    length = max((steps - num_transient) // num_blocks, 1)
    blocks = (steps - num_transient) // length
    skipped = steps - blocks * length  # at least the transient
    if method == "auto":
        method = "exterior" if size <= _LARGEST else "qr"
    return _run(jacobians, dt, method, blocks, length, skipped)


@functools.partial(jax.jit, static_argnums=(2, 3, 4, 5))
def _run(
    jacobians: Array,
    dt: float | Float[Array, ""],
    method: str,
    blocks: int,
    length: int,
    skipped: int,
) -> Estimate:
    finite = jnp.isfinite(jacobians).all()
    chain = jnp.where(finite, jacobians, 0)
    growth = (_by_exterior_powers if method == "exterior" else _by_frames)(
        chain, blocks, length, skipped
    )
    enough = blocks * length >= FEWEST_RATES
    average = average_blocks(growth / (length * dt), finite=finite, enough=enough)
    details = {
        **average.details,
        "num_steps": jnp.asarray(blocks * length),
        "method": Label(method),
    }
    return dataclasses.replace(average, details=details)


def _by_frames(
    chain: Float[Array, "steps n n"], blocks: int, length: int, skipped: int
) -> Float[Array, "blocks n"]:
    size = chain.shape[1]

    def push(frame: Array, jacobian: Array) -> tuple[Array, Array]:
        frame, lower = orthonormalize(_dot(frame, jacobian.T))
        return frame, jnp.log(jnp.diagonal(lower))

    _, growth = jax.lax.scan(push, _start(size, chain.dtype), chain)
    return growth[skipped:].reshape(blocks, length, size).sum(axis=1)


def _start(size: int, dtype: jnp.dtype) -> Float[Array, "n n"]:
    """Make a fixed frame in general position, and so are its first rows' exterior products."""
    draws = np.random.default_rng(0).normal(size=(size, size))
    return jnp.asarray(np.linalg.qr(draws)[0], dtype)


def _by_exterior_powers(
    chain: Float[Array, "steps n n"], blocks: int, length: int, skipped: int
) -> Float[Array, "blocks n"]:
    """Growth of λ_1 + … + λ_k per block for every k; its differences are the exponents."""
    size = chain.shape[1]
    frame = _start(size, chain.dtype)
    sums = []

    def push(vector: Array, product: Array) -> tuple[Array, Array]:
        vector = _dot(product, vector)
        norm = jnp.sqrt(jnp.sum(vector**2))
        return vector / jnp.where(norm > 0, norm, 1), jnp.log(norm)

    for order in range(1, size):
        vector = _exterior_power(frame, order)[0]
        if skipped:
            head = _exterior_power(chain[:skipped], order)
            product, _ = _reduce(head[None])
            vector, _ = push(vector, product[0])
        powers = _exterior_power(chain[skipped:], order)
        width = powers.shape[-1]
        products, scales = _reduce(powers.reshape(blocks, length, width, width))
        _, growth = jax.lax.scan(push, vector, products)
        sums.append(growth + scales)
    volumes = jnp.log(jnp.abs(_determinant(chain[skipped:]))).reshape(blocks, length).sum(axis=1)
    totals = jnp.stack([jnp.zeros_like(volumes), *sums, volumes])
    # Of a volume that has vanished nothing is left for the directions after it.
    return jnp.where(jnp.isneginf(totals[:-1]), -jnp.inf, jnp.diff(totals, axis=0)).T


def _exterior_power(matrices: Float[Array, "... n n"], order: int) -> Float[Array, "... m m"]:
    """Minors of a given order, rows and columns in the order of `itertools.combinations`."""
    size = matrices.shape[-1]
    if order == 1:
        return matrices
    subsets = np.array(list(itertools.combinations(range(size), order)))
    rows, columns = subsets[:, None, :, None], subsets[None, :, None, :]
    return _determinant(matrices[..., rows, columns])


def _determinant(matrices: Float[Array, "... n n"]) -> Float[Array, "..."]:
    """Expand along the first row: exact for the sizes met here, and it fuses."""
    size = matrices.shape[-1]
    if size == 1:
        return matrices[..., 0, 0]
    if size > _LARGEST:
        return jnp.linalg.det(matrices)
    total = jnp.zeros(matrices.shape[:-2], matrices.dtype)
    for column in range(size):
        rest = [other for other in range(size) if other != column]
        minor = _determinant(matrices[..., 1:, :][..., rest])
        total = total + (-1) ** column * matrices[..., 0, column] * minor
    return total


def _reduce(
    chain: Float[Array, "b length m m"],
) -> tuple[Float[Array, "b m m"], Float[Array, " b"]]:
    """Multiply every block, latest on the left, as (matrix, logarithm of its scale)."""
    blocks, _, width, _ = chain.shape
    scale = jnp.zeros(blocks, chain.dtype)
    while chain.shape[1] > 1:
        if chain.shape[1] % 2:
            identity = jnp.broadcast_to(
                jnp.eye(width, dtype=chain.dtype), (blocks, 1, width, width)
            )
            chain = jnp.concatenate([chain, identity], axis=1)
        chain = _product(chain[:, 1::2], chain[:, 0::2])
        largest = jnp.abs(chain).max(axis=(2, 3))
        safe = jnp.where(largest > 0, largest, 1)
        chain = chain / safe[..., None, None]
        scale = scale + jnp.log(jnp.where(largest > 0, largest, 0)).sum(axis=1)
    return chain[:, 0], scale


def _product(left: Array, right: Array) -> Array:
    """Multiply tiny matrices as sums of products, which fuse; batched library calls do not."""
    return jnp.sum(left[..., :, :, None] * right[..., None, :, :], axis=-2)
