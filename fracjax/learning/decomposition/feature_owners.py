"""Which subnetwork owns which feature, and how parallel it is to the network's own weights."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from fracjax._types import PyTree

__all__ = ["distinct_owners", "feature_energy", "max_cosines", "mean_max_cosine", "owned_features"]


def feature_energy(
    tensors: Float[Array, "subnetworks ..."], axis: int = 0
) -> Float[Array, "subnetworks features"]:
    """Share of every subnetwork's squared norm in one tensor that lies at each index of a mode.

    Args:
        tensors: One tensor of all subnetworks, (subnetworks, *shape).
        axis: The mode of `shape` that counts features: 0 of an encoder (features, hidden), 1 of a
            decoder (hidden, features), 0 of a bias.

    Returns:
        Rows that add up to 1; NaN for a subnetwork that is zero there.
    """
    others = tuple(a for a in range(1, tensors.ndim) if a != axis + 1)
    energy = jnp.sum(tensors**2, axis=others)
    return energy / jnp.sum(energy, axis=1, keepdims=True)


def owned_features(
    tensors: Float[Array, "subnetworks ..."], axis: int = 0
) -> Int[Array, " subnetworks"]:
    """The feature with the largest energy in every subnetwork, see `feature_energy`."""
    return jnp.argmax(feature_energy(tensors, axis), axis=1)


def distinct_owners(
    subnetworks: PyTree, *, alive: Bool[Array, " subnetworks"] | None = None
) -> Int[Array, ""]:
    """Count features that some subnetwork owns in encoder, decoder and bias alike.

    A subnetwork owns the feature that holds most of its squared norm, in each of the three
    tensors. The number of owners of a `ToyModel` with as many subnetworks as features is perfect
    when it equals the number of features.

    Only for networks whose rows are features, where the right answer is known. It counts, and does
    not say how parallel a subnetwork is to the network's own weights.

    Args:
        subnetworks: Tensors `encoder` (subnetworks, features, hidden), `decoder` (subnetworks,
            hidden, features) and `bias` (subnetworks, features).
        alive: Subnetworks that count, such as those that some sample uses; all by default.

    Returns:
        A whole number between 0 and the number of features. Jit it, vmap it over fits.

    Raises:
        KeyError: If one of the tensors is missing.
    """
    encoder, decoder, bias = (subnetworks[name] for name in ("encoder", "decoder", "bias"))
    owned = owned_features(encoder)
    agree = (owned == owned_features(decoder, 1)) & (owned == owned_features(bias))
    if alive is not None:
        agree &= alive
    features = jnp.arange(bias.shape[1])
    return jnp.sum(jnp.any((owned[:, None] == features) & agree[:, None], axis=0))


def max_cosines(
    weights: Float[Array, "features width"], tensors: Float[Array, "subnetworks features width"]
) -> Float[Array, " features"]:
    """For every feature, the largest |cos| between its weights and those of a subnetwork.

    Signs of subnetworks are arbitrary, hence |cos|. A subnetwork that does not own the feature
    may win with a tiny row of the right direction: look at `distinct_owners` too.

    Args:
        weights: One row per feature, e.g. the encoder, or the decoder transposed.
        tensors: The same rows of every subnetwork.
    """
    products = jnp.abs(jnp.einsum("fw,kfw->kf", weights, tensors))
    norms = jnp.linalg.norm(weights, axis=1) * jnp.linalg.norm(tensors, axis=2)
    cosines = jnp.where(norms > 0, products / jnp.where(norms > 0, norms, 1), 0)
    return jnp.max(cosines, axis=0)


def mean_max_cosine(
    weights: Float[Array, "features width"], tensors: Float[Array, "subnetworks features width"]
) -> Float[Array, ""]:
    """Average `max_cosines` over features, "MMCS", with |cos|.

    1 when every feature's weights are parallel to those of some subnetwork. The companion ML2R
    of the literature compares lengths and has no meaning for unit directions.

    References:
        Braun et al. (2025), https://arxiv.org/abs/2501.14926 (with cos, of signed components);
        Bushnaq, Braun and Sharkey (2025), https://arxiv.org/abs/2506.20790.
    """
    return jnp.mean(max_cosines(weights, tensors))
