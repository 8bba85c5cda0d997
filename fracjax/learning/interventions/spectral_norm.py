"""Spectral normalisation of kernels by power iteration, for plain parameters.

    vectors = spectral_vectors(params, ("0/w",), key)
    def loss(params, vectors):
        normed, vectors = normalize_kernels(params, vectors)
        ...
        return value, vectors                       # jax.grad(..., has_aux=True), keep the vectors

For a Flax module `flax.linen.SpectralNorm` does the same; `fracjax.rl.feature_networks` has it.
"""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fracjax._types import Key, PyTree
from fracjax.estimators.settings import check_at_least
from fracjax.learning.interventions.layers import named_leaves, replace_leaves

__all__ = ["normalize_kernels", "power_iteration", "spectral_vectors"]

_SMALLEST = 1e-12  # length below which a vector is not normalised


def power_iteration(
    kernel: Float[Array, "..."], vector: Float[Array, " units"], *, num_iterations: int = 1
) -> tuple[Float[Array, ""], Float[Array, " units"]]:
    """Estimate the largest singular value of a kernel and its right vector.

    σ = vᵀ W u with v and u held fixed, so that its gradient with respect to W is v uᵀ. The
    estimate is too low until the vector has settled; one iteration per update is in use, with the
    vector kept between them. A convolution is taken as the matrix (height · width · inputs,
    units), whose norm is not that of the convolution as a map but within a factor of √places.

    Args:
        kernel: W, (..., inputs, units).
        vector: u, the start.
        num_iterations: Iterations.

    Returns:
        σ and the new u.

    References:
        Miyato et al. (2018), https://arxiv.org/abs/1802.05957.
    """
    check_at_least(num_iterations=(num_iterations, 1))
    matrix = kernel.reshape(-1, kernel.shape[-1])
    fixed = jax.lax.stop_gradient(matrix)

    def iterate(pair: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], None]:
        left = _unit(fixed @ pair[1])
        return (left, _unit(left @ fixed)), None

    begin = jnp.zeros(matrix.shape[0], matrix.dtype), jax.lax.stop_gradient(vector)
    (left, vector), _ = jax.lax.scan(iterate, begin, None, length=num_iterations)
    return left @ matrix @ vector, vector


def spectral_vectors(
    params: PyTree, names: Sequence[str], key: Key
) -> dict[str, Float[Array, " units"]]:
    """Draw the vectors that power iterations start from.

    Args:
        params: Parameters.
        names: Leaves that are to be normalised, `params/Dense_0/kernel`; Lyle et al. normalise
            the first layer.
        key: Draws them.

    Raises:
        ValueError: If a name is of no kernel.
    """
    leaves = named_leaves(params)
    for name in names:
        if name not in leaves or jnp.ndim(leaves[name]) < 2:
            msg = f"Argument `names` must be kernels of {sorted(leaves)}, but has {name!r}."
            raise ValueError(msg)
    return {
        name: _unit(
            jax.random.normal(
                jax.random.fold_in(key, index), leaves[name].shape[-1:], leaves[name].dtype
            )
        )
        for index, name in enumerate(names)
    }


def normalize_kernels(
    params: PyTree,
    vectors: Mapping[str, Float[Array, " units"]],
    *,
    num_iterations: int = 1,
    limit: float | None = None,
) -> tuple[PyTree, dict[str, Float[Array, " units"]]]:
    """Divide kernels by their largest singular value, inside the loss: differentiable.

    Args:
        params: Parameters.
        vectors: See `spectral_vectors`.
        num_iterations: Power iterations.
        limit: With a number, kernels are only divided as far as to bring their norm down to it
            (W / max(1, σ/limit)); by default their norm is 1 always, as in Miyato et al.

    Returns:
        The parameters with normalised kernels, and the new vectors.
    """
    leaves = named_leaves(params)
    found, after = {}, {}
    for name, vector in vectors.items():
        sigma, after[name] = power_iteration(leaves[name], vector, num_iterations=num_iterations)
        by = sigma if limit is None else jnp.maximum(sigma / limit, 1)
        found[name] = leaves[name] / jnp.where(sigma == 0, 1, by)
    return replace_leaves(params, found), after


def _unit(vector: Float[Array, " n"]) -> Float[Array, " n"]:
    return vector / jnp.maximum(jnp.linalg.norm(vector), _SMALLEST)
