"""Cosines between the gradients of single samples: interference, and collinear gradients."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from fracjax import tree
from fracjax._types import Key, PyTree
from fracjax.learning.plasticity.fits import check_iterations, fit
from fracjax.learning.plasticity.probes import Apply

__all__ = [
    "GradientCosines",
    "ProbeNoise",
    "cluster_order",
    "gradient_cosines",
    "probe_cosines",
    "probe_noise",
]

ProbeNoise = Literal["shared", "independent"]
_ROUNDING = 32.0  # a cosine below this many roundings has no sign


class GradientCosines(NamedTuple):
    """The matrix C_k, and what is read off it.

    Attributes:
        matrix: ⟨g_i, g_j⟩ / (|g_i| |g_j|), (k, k); NaN in rows and columns of zero gradients.
        fraction_negative: Share of pairs i < j whose cosine is negative: interference.
        mean_off_diagonal: Mean cosine of pairs i < j; near 1 where gradients are collinear.
        num_silent: Samples whose gradient is zero or not finite, left out of both.
        mean_loss: Mean loss of the samples.
    """

    matrix: Array
    fraction_negative: Array
    mean_off_diagonal: Array
    num_silent: Array
    mean_loss: Array


def gradient_cosines(
    sample_loss: Callable[[PyTree, Any], Array], params: PyTree, samples: PyTree
) -> GradientCosines:
    """Compare the gradients of single samples, pair by pair.

    All k gradients are held in memory, k times the number of parameters. Lyle et al. call the
    matrix a covariance; it is one of cosines, without a mean taken off.

    Args:
        sample_loss: `sample_loss(params, sample)`, one number.
        params: Where.
        samples: Pytree with a leading axis of k samples.

    References:
        Lyle et al. (2023), https://arxiv.org/abs/2303.01486, section 4 (k = 512).
    """
    losses, slopes = jax.vmap(jax.value_and_grad(sample_loss), (None, 0))(params, samples)
    leaves = [leaf.reshape(len(leaf), -1) for leaf in jax.tree.leaves(slopes)]
    # Scaled before squares are taken: gradients of 1e-20 have directions, too.
    peak = jnp.stack([jnp.abs(leaf).max(axis=1) for leaf in leaves]).max(axis=0)
    alive = jnp.isfinite(peak) & (peak > 0)
    scale = jnp.where(alive, peak, 1)[:, None]
    leaves = [jnp.where(alive[:, None], leaf / scale, 0) for leaf in leaves]
    products = sum(jnp.matmul(leaf, leaf.T, precision="highest") for leaf in leaves)
    lengths = jnp.sqrt(jnp.diagonal(products))
    cosines = products / jnp.where(alive, lengths, 1)[:, None] / jnp.where(alive, lengths, 1)
    size = len(cosines)
    pairs = jnp.triu(alive[:, None] & alive, 1)
    count = pairs.sum()
    negative = cosines < -_ROUNDING * jnp.finfo(cosines.dtype).eps
    return GradientCosines(
        matrix=jnp.where(alive[:, None] & alive, cosines, jnp.nan),
        fraction_negative=(negative & pairs).sum() / count,
        mean_off_diagonal=jnp.where(pairs, cosines, 0).sum() / count,
        num_silent=size - alive.sum(),
        mean_loss=losses.mean(),
    )


def probe_noise(key: Key, outputs: Float[Array, "n outputs"], noise: ProbeNoise) -> Array:
    """Draw ε ~ N(0, 1) for the geometry probe: one vector for all inputs, or one for each.

    Raises:
        ValueError: If there is no such noise.
    """
    if noise not in get_args(ProbeNoise):
        msg = f"Argument `noise` must be one of {get_args(ProbeNoise)}, but is {noise!r}."
        raise ValueError(msg)
    shape = outputs.shape if noise == "independent" else outputs.shape[1:]
    return jnp.broadcast_to(jax.random.normal(key, shape, outputs.dtype), outputs.shape)


def probe_cosines(
    apply: Apply,
    params: PyTree,
    inputs: Array,
    key: Key,
    *,
    optimizer: optax.GradientTransformation,
    iterations: tuple[int, ...] = (0, 1, 20, 50),
    noise: ProbeNoise = "shared",
) -> GradientCosines:
    """Measure C_k while the probe |f(x) - (f_0(x) + ε)|² is fitted, f_0 the network as given.

    The loss is summed over outputs and averaged over inputs; it is never the training loss. What
    the paper calls iterations only makes sense as steps of this fit.

    With independent noise the matrix carries no signal about the network: at the start the
    residuals are the noise, cosines have the sign of its products, half of them negative and the
    mean 0, whatever the network. With shared noise none is negative at the start for a network
    whose gradients of each output agree between inputs, and they come as the fit goes: once the
    common shift is learned, the residuals that are left have both signs. So the share of negative
    pairs first of all says how far the fit has got. Compare networks at equal `mean_loss` as well
    as at equal steps: after descent a perceptron learns the shift in 50 steps at a rate of 1e-3
    that a fresh one needs 1000 for, and both have negative pairs then.

    Args:
        apply: `apply(params, inputs)`, (k, outputs).
        params: The network to look at.
        inputs: k inputs.
        key: Draws ε.
        optimizer: Fits the probe.
        iterations: Steps of the fit after which to look, ascending.
        noise: `"shared"` by all inputs, or `"independent"`.

    Returns:
        A `GradientCosines` whose leading axis is that of `iterations`.

    Raises:
        ValueError: If a setting is out of range.
    """
    check_iterations(iterations)
    start = apply(params, inputs)
    targets = start + probe_noise(key, start, noise)

    def sample_loss(params: PyTree, sample: tuple[Array, Array]) -> Array:
        one, target = sample
        return jnp.sum((apply(params, one[None])[0] - target) ** 2)

    return fit(
        lambda params, _: jnp.sum((apply(params, inputs) - targets) ** 2, axis=-1).mean(),
        tree.astype(params, start.dtype),
        optimizer,
        iterations=iterations,
        observe=lambda params: gradient_cosines(sample_loss, params, (inputs, targets)),
    )


def cluster_order(
    matrix: Float[Array | np.ndarray, "k k"], *, num_clusters: int = 10, seed: int = 0
) -> Int[np.ndarray, " k"]:
    """Order rows by k-means clusters, for pictures of C_k; the largest cluster comes first.

    Not traceable. Rows that are not finite come last.

    Args:
        matrix: C_k.
        num_clusters: 10 in the paper.
        seed: Of the first centres.
    """
    table = np.asarray(matrix, float)
    alive = np.flatnonzero(np.isfinite(table).any(axis=1))
    silent = np.setdiff1d(np.arange(len(table)), alive)
    if len(alive) <= num_clusters:
        return np.concatenate([alive, silent])
    labels = _clusters(np.nan_to_num(table[np.ix_(alive, alive)]), num_clusters, seed)
    sizes = np.bincount(labels, minlength=num_clusters)
    return np.concatenate([alive[np.lexsort((labels, -sizes[labels]))], silent])


def _clusters(rows: np.ndarray, number: int, seed: int) -> np.ndarray:
    """Lloyd's k-means, its centres begun far apart; labels of the rows."""
    draws = np.random.default_rng(seed)
    centres = rows[[draws.integers(len(rows))]]
    for _ in range(number - 1):
        gaps = ((rows[:, None] - centres) ** 2).sum(axis=2).min(axis=1)
        share = gaps / gaps.sum() if gaps.sum() > 0 else None
        centres = np.concatenate([centres, rows[[draws.choice(len(rows), p=share)]]])
    labels = np.zeros(len(rows), int)
    for _ in range(100):
        before = labels
        labels = ((rows[:, None] - centres) ** 2).sum(axis=2).argmin(axis=1)
        for each in np.unique(labels):  # a centre without rows stays
            centres[each] = rows[labels == each].mean(axis=0)
        if (labels == before).all():
            break
    return labels
