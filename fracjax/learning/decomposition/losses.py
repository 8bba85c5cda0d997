"""What a batch of gradients leaves unexplained, by directions in Tucker form."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from fracjax import tree
from fracjax._types import PyTree
from fracjax.learning.decomposition.sample_gradients import flat_samples
from fracjax.learning.decomposition.selection import batch_top_k
from fracjax.learning.decomposition.settings import Contraction, FitSettings
from fracjax.learning.decomposition.tucker import TuckerLayout

__all__ = ["chosen_contraction", "encode", "reconstruction_loss"]

_MOST_NUMBERS = 2**26  # of a dense matrix of directions: 256 MB in float32
_MOST_OF_RANK_ONE = 2**17
_TINY = 1e-10  # of the published code: gradients that are all zero have no error


def chosen_contraction(layout: TuckerLayout, settings: FitSettings) -> Contraction:
    """Resolve `"auto"`: multiply out, unless it takes too much time or memory.

    Contracting with factors of rank r costs r times the operations of a dense product. Measured
    on one CPU core, value and slope of a batch of 32: dense takes 14 µs and factored 55 in the
    toy model 5-2, .33 and .62 ms in 40-10; with 100 subnetworks of two 64 × 64 matrices 12 and
    176 ms at rank 8, but factored 6 ms at rank 1. So: factored above 2^17 dense numbers if all
    ranks are 1, and for the sake of memory above 2^26 in any case. The bounds lie between sizes
    that were measured; they are not fitted.
    """
    if settings.contraction != "auto":
        return settings.contraction
    numbers = settings.num_subnetworks * layout.num_parameters
    rank_one = all(rank == 1 for ranks in layout.ranks for rank in ranks)
    return "factored" if numbers > (_MOST_OF_RANK_ONE if rank_one else _MOST_NUMBERS) else "dense"


def encode(
    layout: TuckerLayout,
    rows: Float[Array, "n factors"],
    gradients: PyTree,
    *,
    contraction: Contraction = "dense",
) -> Float[Array, "samples n"]:
    """Inner products of gradients with directions.

    Args:
        layout: Of the factors.
        rows: Their factors.
        gradients: Of the structure of the parameters, leaves (samples, ...).
        contraction: `"dense"` or `"factored"`.
    """
    if contraction == "factored":
        leaves = [
            leaf.reshape(len(leaf), *shape)
            for leaf, shape in zip(jax.tree.leaves(gradients), layout.shapes, strict=True)
        ]
        return layout.products(rows, leaves)
    return flat_samples(gradients) @ layout.matrix(rows).T


def reconstruction_loss(
    layout: TuckerLayout,
    factors: Float[Array, "2 n factors"],
    gradients: PyTree,
    count: int | Int[Array, ""],
    settings: FitSettings,
) -> tuple[Float[Array, ""], Float[Array, " n"]]:
    """Share of the squared norm of gradients that the largest projections do not explain.

    With z = V_in g, the mask m of the `count` largest |z| of the batch and ĝ = V_out (m z):
    Σ‖g - ĝ‖²/Σ‖g‖² over the batch, or its square root. The factored way takes
    ‖g - ĝ‖² = ‖g‖² - 2 (m z)·(V_out g) + (m z)·V_out V_outᵀ (m z), which rounds at about
    1e-6 in float32, and needs neither V nor ĝ.

    Args:
        layout: Of the factors.
        factors: Of encoder and decoder.
        gradients: Of the structure of the parameters, leaves (samples, ...).
        count: How many projections of the batch are kept.
        settings: `ratio` and `contraction`.

    Returns:
        The loss, and the share of samples in which each subnetwork was kept.
    """
    contraction = chosen_contraction(layout, settings)
    products = encode(layout, factors[0], gradients, contraction=contraction)
    keep = jax.lax.stop_gradient(batch_top_k(products, count))
    kept = jnp.where(keep, products, 0)
    if contraction == "dense":
        flat = flat_samples(gradients)
        left = jnp.sum((flat - kept @ layout.matrix(factors[1])) ** 2)
        total = jnp.sum(flat**2)
    else:
        across = encode(layout, factors[1], gradients, contraction=contraction)
        total = tree.dot(gradients, gradients)
        explained = jnp.sum(kept * (2 * across - kept @ layout.gram(factors[1])))
        left = total - explained
    loss = left / (total + _TINY)
    if settings.ratio == "norm":
        loss = jnp.sqrt(loss)
    return loss, jnp.mean(keep, axis=0, dtype=loss.dtype)
