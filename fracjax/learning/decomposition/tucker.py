"""Directions in parameter space as low-rank Tucker products, one set of factors per tensor.

A subnetwork is one direction: for every tensor of shape (I_1, ..., I_N) a core of shape
(r_1, ..., r_N) and a matrix (I_n, r_n) for every mode. All factors of a subnetwork lie in one row
of a matrix (subnetworks, factor numbers), which a layout cuts into pieces.
"""

import dataclasses
import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fracjax._types import PyTree
from fracjax.estimators.settings import check_at_least

__all__ = ["TuckerLayout", "tucker_layout"]

# Numbers of one tensor of all directions up to which outer products by broadcasting beat products
# of matrices on a CPU: the latter take 25 µs instead of 14 in a step of the toy model 5-2, the
# former 1.9 ms instead of .33 in one of 40-10.
_SMALL = 2**12


@dataclasses.dataclass(frozen=True)
class TuckerLayout:
    """Which numbers of a row belong to which factor; hashable.

    Attributes:
        shapes: Shapes of the tensors, in the order of `jax.tree.leaves`.
        ranks: Ranks of their modes.
        structure: Of the pytree of parameters.
    """

    shapes: tuple[tuple[int, ...], ...]
    ranks: tuple[tuple[int, ...], ...]
    structure: PyTree

    @property
    def num_parameters(self) -> int:
        """Length of a dense direction."""
        return sum(math.prod(shape) for shape in self.shapes)

    @property
    def num_factors(self) -> int:
        """Length of a row of factors."""
        return sum(map(math.prod, itertools.chain.from_iterable(self._pieces)))

    @property
    def _pieces(self) -> list[list[tuple[int, ...]]]:
        return [
            [ranks, *zip(shape, ranks, strict=True)]
            for shape, ranks in zip(self.shapes, self.ranks, strict=True)
        ]

    def powers(self) -> np.ndarray:
        """For every factor number, one over the number of factors of its tensor, (num_factors,).

        Dividing factors by ‖v‖ to these powers divides every tensor, and so v, by ‖v‖.
        """
        return np.concatenate(
            [np.full(sum(map(math.prod, pieces)), 1 / len(pieces)) for pieces in self._pieces]
        )

    def cut(self, rows: Float[Array, "n factors"]) -> list[list[Float[Array, "n ..."]]]:
        """Core and mode matrices of every tensor, each with a leading axis."""
        tensors, used = [], 0
        for pieces in self._pieces:
            parts = []
            for shape in pieces:
                end = used + math.prod(shape)
                parts.append(rows[:, used:end].reshape(len(rows), *shape))
                used = end
            tensors.append(parts)
        return tensors

    def dense(self, rows: Float[Array, "n factors"]) -> list[Float[Array, "n ..."]]:
        """Multiply out: the tensors of every direction, in the order of leaves."""
        return [_multiply_out(*parts) for parts in self.cut(rows)]

    def matrix(self, rows: Float[Array, "n factors"]) -> Float[Array, "n parameters"]:
        """Multiply out to one row per direction."""
        tensors = self.dense(rows)
        return jnp.concatenate([tensor.reshape(len(rows), -1) for tensor in tensors], axis=1)

    def tree(self, rows: Float[Array, "n factors"]) -> PyTree:
        """Multiply out to the structure of the parameters, with a leading axis."""
        return jax.tree.unflatten(self.structure, self.dense(rows))

    def products(
        self, rows: Float[Array, "n factors"], gradients: list[Float[Array, "samples ..."]]
    ) -> Float[Array, "samples n"]:
        """Inner products with gradients, mode by mode, without multiplying out.

        Args:
            rows: Factors of n directions.
            gradients: Leaves (samples, *shape).
        """
        terms = [
            _contract(gradient, *parts)
            for gradient, parts in zip(gradients, self.cut(rows), strict=True)
        ]
        return sum(terms[1:], terms[0])

    def gram(self, rows: Float[Array, "n factors"]) -> Float[Array, "n n"]:
        """Inner products between directions, without multiplying out."""
        terms = [_gram(*parts) for parts in self.cut(rows)]
        return sum(terms[1:], terms[0])

    def tensor_norms(self, rows: Float[Array, "n factors"]) -> Float[Array, "tensors n"]:
        """Euclidean norm of every tensor of every direction."""
        return jnp.stack(
            [
                jnp.sqrt(jnp.sum(tensor.reshape(len(rows), -1) ** 2, axis=1))
                for tensor in self.dense(rows)
            ]
        )


def tucker_layout(params: PyTree, ranks: int | PyTree = 1) -> TuckerLayout:
    """Lay out the factors for the tensors of a pytree.

    Args:
        params: The parameters; scalars count as vectors of one.
        ranks: One rank for all modes, cut off at their sizes, or a pytree of the structure of
            `params` with a rank, or one rank per mode, for every tensor. Vectors have rank 1,
            whatever is asked for: more would not add a direction.

    Raises:
        ValueError: If a tensor has no rank for one of its modes, or one below 1.
    """
    leaves, structure = jax.tree.flatten(params)
    if not leaves:
        msg = "Argument `params` must have a tensor, but has none."
        raise ValueError(msg)
    shapes = tuple(jnp.shape(leaf) or (1,) for leaf in leaves)
    asked = _per_tensor(structure, ranks)
    chosen = []
    for shape, rank in zip(shapes, asked, strict=True):
        modes = (rank,) * len(shape) if isinstance(rank, int) else tuple(rank)
        if len(modes) != len(shape):
            msg = f"Argument `ranks` must have one rank per mode of {shape}, but has {modes}."
            raise ValueError(msg)
        check_at_least(ranks=(min(modes), 1))
        modes = tuple(min(rank, size) for rank, size in zip(modes, shape, strict=True))
        chosen.append((1,) if len(shape) == 1 else modes)
    return TuckerLayout(shapes, tuple(chosen), structure)


def _per_tensor(structure: Any, ranks: int | PyTree) -> list:
    if isinstance(ranks, int):
        return [ranks] * structure.num_leaves
    return structure.flatten_up_to(ranks)


def _multiply_out(core: Array, *modes: Array) -> Array:
    """(n, r_1, ..., r_N) and (n, I_m, r_m) to (n, I_1, ..., I_N)."""
    tensor, count = core, len(core)
    for axis, mode in enumerate(modes, start=1):
        before, after = tensor.shape[1:axis], tensor.shape[axis + 1 :]
        folded = tensor.reshape(count, math.prod(before), mode.shape[2], math.prod(after))
        if mode.shape[2] == 1 and folded.size * mode.shape[1] <= _SMALL:
            folded = folded * mode.reshape(count, 1, -1, 1)
        else:
            folded = jnp.einsum("narb,nir->naib", folded, mode)
        tensor = folded.reshape(count, *before, mode.shape[1], *after)
    return tensor


def _contract(gradient: Array, core: Array, *modes: Array) -> Array:
    """(s, I_1, ..., I_N) with (n, I_m, r_m) for all m and a core to (s, n)."""
    samples, count = len(gradient), len(core)
    first = modes[0]
    rest = gradient.reshape(samples, first.shape[1], -1)
    found = jnp.einsum("sij,nir->snrj", rest, first)
    for mode in modes[1:]:
        found = found.reshape(samples, count, -1, mode.shape[1], found.shape[-1] // mode.shape[1])
        found = jnp.einsum("snaij,nir->snarj", found, mode)
        found = found.reshape(samples, count, -1, found.shape[-1])
    return jnp.einsum("sna,na->sn", found.reshape(samples, count, -1), core.reshape(count, -1))


def _gram(core: Array, *modes: Array) -> Array:
    """Inner products of n Tucker tensors: cores, with the mode matrices' products between."""
    count = len(core)
    found = jnp.broadcast_to(core, (count, *core.shape))  # [k, l]: core of l, modes of k to come
    for axis, mode in enumerate(modes, start=2):
        between = jnp.einsum("kia,lib->klab", mode, mode)
        moved = jnp.moveaxis(found, axis, -1)
        found = jnp.moveaxis(jnp.einsum("kl...b,klab->kl...a", moved, between), -1, axis)
    return jnp.einsum("kla,ka->kl", found.reshape(count, count, -1), core.reshape(count, -1))
