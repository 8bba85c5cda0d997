"""Metrics of the natural gradient from per-sample gradients: diagonal, quasi-diagonal."""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array

from fracjax._types import PyTree
from fracjax.learning.langevin_sampling.layers import find_layers
from fracjax.learning.langevin_sampling.preconditioners import (
    Observation,
    Preconditioner,
    moving_average,
)

__all__ = ["outer_product"]

_Combine: TypeAlias = Callable[[Array, Array, Array, Array], Array]
_Each: TypeAlias = Callable[[Array, Array], Array]
_SMALLEST = 1e-12  # of a Schur complement where nothing regularises it; the paper's code


class _Averages(NamedTuple):
    """Moving averages of products of per-sample gradients, and what bounds the eliminated ones."""

    squares: PyTree
    crosses: PyTree
    floor: PyTree


def outer_product(*, quasi_diagonal: bool = True) -> Preconditioner:
    """Make the natural gradient's metric: second moments of per-sample gradients, sparse.

    Diagonal (dop), C = 1/M with M_kj = E[δ_k² x_j²]. Quasi-diagonal (qdop), also the products of
    every weight with the bias of its unit are kept, M_{k0j} = E[δ_k² x_j], and for the gradient
    (G_kj; g_k) of a unit's weights and bias

        W_kj = (G_kj M_k00 - M_k0j g_k)/(M_kj M_k00 - M_k0j²),   b_k = (g_k - Σ_j M_k0j W_kj)/M_k00.

    This C is positive definite whatever the averages are, exact for one input, and commutes with
    an affine change of every input, x_j -> a_j x_j + b_j, up to regularisation: data that are
    shifted, or ReLUs with a mean, are handled as if centred. Leaves that are in no layer with a
    bias are treated diagonally.

    In float32 the Schur complement M_kj - M_k0j²/M_k00 of an input that hardly varies is mostly
    rounding; it is kept at or above its regularisation, which exact arithmetic would do.

    References:
        Marceau-Caron and Ollivier (2017), https://arxiv.org/abs/1712.01076; Ollivier (2015),
        https://arxiv.org/abs/1303.0818, for quasi-diagonal metrics.
    """

    def init(params: PyTree) -> _Averages:
        find_layers(params)  # a layout that does not fit is named before the first step
        return _Averages(
            jax.tree.map(jnp.ones_like, params),
            jax.tree.map(jnp.zeros_like, params) if quasi_diagonal else (),
            jax.tree.map(lambda leaf: jnp.full((), _SMALLEST, leaf.dtype), params),
        )

    def update(averages: _Averages, seen: Observation) -> _Averages:
        assert seen.moments is not None
        new, added = seen.moments, seen.regularization
        squares = moving_average(
            averages.squares, jax.tree.map(jnp.add, new.squares, added), seen.rate
        )
        crosses = averages.crosses
        if quasi_diagonal:
            crosses = moving_average(crosses, new.crosses, seen.rate)
        floor = jax.tree.map(lambda number: jnp.clip(number, _SMALLEST, 1), added)
        return _Averages(squares, crosses, floor)

    def through(combine: _Combine, each: _Each) -> Callable[[_Averages, PyTree], PyTree]:
        def product(averages: _Averages, vector: PyTree) -> PyTree:
            leaves, structure = jax.tree.flatten(vector)
            squares = jax.tree.leaves(averages.squares)
            found = [each(leaf, power) for leaf, power in zip(leaves, squares, strict=True)]
            if quasi_diagonal:
                crosses, floors = map(jax.tree.leaves, (averages.crosses, averages.floor))
                for kernel, bias in find_layers(vector):
                    if bias is not None:  # eliminated from the equations of its unit
                        ratio = crosses[kernel] / squares[bias]
                        rest = squares[kernel] - ratio * crosses[kernel]
                        rest = jnp.maximum(rest, floors[kernel])
                        found[kernel] = combine(leaves[kernel], leaves[bias], ratio, rest)
                        summed = (ratio * found[kernel]).sum(
                            axis=tuple(range(rest.ndim - leaves[bias].ndim))
                        )
                        found[bias] = found[bias] - summed
            return jax.tree.unflatten(structure, found)

        return product

    return Preconditioner(
        "qdop" if quasi_diagonal else "dop",
        init=init,
        update=update,
        apply=through(
            lambda weights, bias, ratio, rest: (weights - ratio * bias) / rest,
            lambda leaf, power: leaf / power,
        ),
        root=through(
            lambda weights, _, __, rest: weights * jax.lax.rsqrt(rest),
            lambda leaf, power: leaf * jax.lax.rsqrt(power),
        ),
        needs_moments=True,
        in_curvature=True,
    )
