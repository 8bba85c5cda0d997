"""Error of a mean over a sequence with short memory: a circular block bootstrap in closed form."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.special import stdtr

__all__ = ["block_variance", "degrees_of_freedom", "student_tail"]

# Sum of the squared lag weights (1, 1, 1, ½ and their mirror images) of blocks of 4 and 2.
_EFFECTIVE_LAGS = 5.5


def block_variance(sequence: Float[Array, "cells ..."]) -> Float[Array, "..."]:
    """Estimate the variance of the mean over a stationary sequence.

    The variance that a circular block bootstrap gives to a mean needs no resampling: over
    infinitely many resamples of blocks of b cells it is b/n times the mean square of the n
    circular block means, V(b). It is too small by a share proportional to memory / b, which
    2 V(4) - V(2) removes; where that comes out below V(2) by chance, V(2) is taken. Cells
    must be about as long as the memory, or longer.

    Args:
        sequence: Cells in order of time, at least 8, along the leading axis.

    Returns:
        Variance of the mean over cells. Intervals: Student's t with
        `degrees_of_freedom(cells)`.

    References:
        Politis and Romano (1992) for circular blocks; Politis and Romano (1995),
        https://doi.org/10.1111/j.1467-9892.1995.tb00223.x, for the combination of lengths.
    """
    cells = sequence.shape[0]
    centred = sequence - sequence.mean(axis=0)
    pairs = centred + jnp.roll(centred, -1, axis=0)
    fours = pairs + jnp.roll(pairs, -2, axis=0)
    short = (pairs**2).mean(axis=0) / (2 * (cells - 2))
    long = (fours**2).mean(axis=0) / (4 * (cells - 4))
    return jnp.maximum(2 * long - short, short)


def degrees_of_freedom(cells: int) -> float:
    """Degrees of freedom of `block_variance` for so many cells."""
    return cells / _EFFECTIVE_LAGS - 1


def student_tail(statistic: Float[Array, "*n"], freedom: float) -> Float[Array, "*n"]:
    """Two-sided p-values of Student's t, from a table: an incomplete beta compiles for long."""
    grid = np.linspace(0, 12, 481)
    table = np.log(2 * stdtr(freedom, -np.sinh(grid)))
    dtype = statistic.dtype
    position = jnp.arcsinh(jnp.abs(statistic))
    return jnp.exp(jnp.interp(position, jnp.asarray(grid, dtype), jnp.asarray(table, dtype)))
