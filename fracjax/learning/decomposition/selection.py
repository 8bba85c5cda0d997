"""The entries of largest magnitude over a whole batch, exactly as many as asked for."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

__all__ = ["batch_top_k", "selected_count"]


def selected_count(size: int, fraction: float) -> int:
    """How many of `size` entries a fraction is: rounded, at least 1.

    The published code cuts at the entry of index ⌊fraction · size⌋ and keeps it, one more: 17 of
    160 entries at the toy models' settings, which lowers their errors by about .01. To compare
    with its numbers give (⌊fraction · size⌋ + 1)/size.
    """
    return max(1, round(size * fraction))


def batch_top_k(
    values: Float[Array, "samples subnetworks"], count: int | Int[Array, ""]
) -> Bool[Array, "samples subnetworks"]:
    """Mark the `count` entries of largest magnitude of a whole batch.

    A sample may get many and another none. Among equal magnitudes the first in memory order win,
    so that the number is exact. NaN is never marked.

    Magnitudes are bit patterns in order, so that the cut is found by bisection, one bit per pass
    over the entries: on a CPU it costs a twelfth of `jax.lax.top_k` on 3200 entries, and a sixth
    on 8 × 160 under vmap, and the count may be traced.

    Args:
        values: Any floating array.
        count: How many entries.
    """
    flat = jnp.abs(values).ravel()
    if flat.dtype.itemsize < 4:
        flat = flat.astype(jnp.float32)
    integer = jnp.int64 if flat.dtype.itemsize == 8 else jnp.int32
    bits = jax.lax.bitcast_convert_type(flat, integer)
    bits = jnp.where(jnp.isnan(flat), -1, bits)
    cut = _bisect(
        lambda trial: jnp.sum(bits >= trial) >= count, 8 * bits.dtype.itemsize - 1, bits.dtype
    )
    above, equal = bits > cut, bits == cut
    left, place = count - jnp.sum(above), jnp.arange(flat.size)
    end = _bisect(
        lambda trial: jnp.sum(equal & (place < trial)) <= left, flat.size.bit_length(), place.dtype
    )
    return (above | (equal & (place < end))).reshape(values.shape)


def _bisect(holds: Callable[[Array], Array], num_bits: int, dtype: jnp.dtype) -> Array:
    """Find the largest integer of so many bits for which a falling condition holds; 0 if none."""

    def body(done: Array, found: Array) -> Array:
        trial = found | (jnp.ones((), dtype) << (num_bits - 1 - done).astype(dtype))
        return jnp.where(holds(trial), trial, found)

    return jax.lax.fori_loop(0, num_bits, body, jnp.zeros((), dtype))
