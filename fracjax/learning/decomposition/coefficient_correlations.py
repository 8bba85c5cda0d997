"""How well subnetworks tell the coefficients that a network was trained on."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from fracjax._types import Leaf, PyTree
from fracjax.learning.decomposition.feature_owners import owned_features

__all__ = ["CoefficientCorrelations", "coefficient_correlations", "correlation"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class CoefficientCorrelations:
    """Correlations r with coefficients; squares are not given the same name.

    Attributes:
        pooled: Pearson's r over all subnetworks and outputs, whose scales differ.
        pooled_squared: r². The paper prints .92 for r² and the published notebook computes r:
            the points of its figure have r = .916 and r² = .839 (digitised by us).
        each: r of every subnetwork over the outputs, (subnetworks,). Scales do not matter here.
        ceiling: r between W_in W_out of the network itself and the coefficients: what a
            decomposition of this network can be expected to reach, pooled.
        ceiling_each: The same for the input that every subnetwork owns, (subnetworks,).
        owned: The input that every subnetwork owns.
    """

    pooled: Leaf
    pooled_squared: Leaf
    each: Leaf
    ceiling: Leaf
    ceiling_each: Leaf
    owned: Leaf


def correlation(
    left: Float[Array, " n"], right: Float[Array, " n"], keep: Bool[Array, " n"] | None = None
) -> Float[Array, ""]:
    """Pearson's r over the kept entries; NaN where one side is constant."""
    keep = jnp.ones(left.shape, bool) if keep is None else keep
    count = jnp.sum(keep)
    left, right = (
        jnp.where(keep, side - jnp.sum(jnp.where(keep, side, 0)) / count, 0)
        for side in (left, right)
    )
    return jnp.sum(left * right) / jnp.sqrt(jnp.sum(left**2) * jnp.sum(right**2))


def coefficient_correlations(
    params: PyTree,
    subnetworks: PyTree,
    coefficients: Float[Array, "inputs outputs"],
    *,
    alive: Bool[Array, " subnetworks"] | None = None,
) -> CoefficientCorrelations:
    """Compare encoder times decoder of every subnetwork with the coefficients of its input.

    The input is the row of `encoder @ decoder` of largest norm, as in the published notebook. The
    product has an arbitrary scale per subnetwork, and no arbitrary sign.

    Args:
        params: Of the network, with `encoder` (inputs, hidden) and `decoder` (hidden, outputs).
        subnetworks: The same with a leading axis of subnetworks.
        coefficients: A of the task x → x A.
        alive: Subnetworks that are pooled; all by default.
    """
    products = subnetworks["encoder"] @ subnetworks["decoder"]
    owned = owned_features(products)
    rows = jax.vmap(lambda product, place: product[place])(products, owned)
    truth = coefficients[owned]
    own = params["encoder"] @ params["decoder"]
    alive = jnp.ones(len(owned), bool) if alive is None else alive
    keep = jnp.repeat(alive, truth.shape[1])
    pooled = correlation(rows.ravel(), truth.ravel(), keep)
    return CoefficientCorrelations(
        pooled,
        pooled**2,
        jax.vmap(correlation)(rows, truth),
        correlation(own.ravel(), coefficients.ravel()),
        jax.vmap(correlation)(own[owned], truth),
        owned,
    )
