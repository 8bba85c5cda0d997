"""Intervals of shares: how sure a share of so many cases is."""

import jax.numpy as jnp
from jaxtyping import Array, Float

__all__ = ["wilson_interval"]

_NORMAL = 1.959964


def wilson_interval(
    share: Float[Array, "*batch"], cases: int | Float[Array, "*batch"]
) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"]]:
    """Give the ends of Wilson's 95 % interval of a share, inside [0, 1].

    It has a width also where the share is 0 or 1.

    Args:
        share: How much of the cases.
        cases: How many there are, independent of each other; need not be whole.

    References:
        Brown, Cai and DasGupta (2001), https://doi.org/10.1214/ss/1009213286.
    """
    square = _NORMAL**2 / cases
    middle = (share + square / 2) / (1 + square)
    margin = _NORMAL / (1 + square)
    margin = margin * jnp.sqrt(share * (1 - share) / cases + square / (4 * cases))
    return jnp.maximum(middle - margin, 0), jnp.minimum(middle + margin, 1)
