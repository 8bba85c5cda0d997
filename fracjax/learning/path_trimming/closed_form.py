"""Trimming and boosting as one weighted sum of snapshots."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fracjax.learning.policy_paths.batching import in_float64
from fracjax.learning.policy_paths.path_gram import by_columns, in_blocks
from fracjax.learning.policy_paths.path_matrix import check_path

__all__ = ["check_sizes", "snapshot_weights", "trim_and_boost"]


def trim_and_boost(
    snapshots: Float[Array | np.ndarray, "n m"],
    *,
    num_kept: int | Array = 64,
    num_boosted: int | Array = 2,
    boost: int | float | Array = 0.1,
) -> Float[Array, " m"]:
    """Trim the last snapshot to the leading directions of its path, and boost along the first.

    θ' = P_{r_t} θ_n + p_b P_{r_b} (θ_n - θ_1), P_r the projector on the first r right singular
    vectors of the snapshots, which are not centred. Equal to the algorithm of the paper, which
    works on singular vectors, to 5e-14 of the displacement; their signs do not matter. With
    r_t = n and p_b = 0 it is θ_n; with r_b = r_t = n it is θ_n + p_b (θ_n - θ_1).

    θ' is Σ_i w_i θ_i with w = U_{r_t} U_{r_t}ᵀ e_n + p_b U_{r_b} U_{r_b}ᵀ (e_n - e_1), U from
    the n × n Gram matrix in float64: one pass over the snapshots, and one for the sum.

    Args:
        snapshots: Path, one row per snapshot, the oldest first.
        num_kept: r_t, how many directions are left. All there are, if that is less.
        num_boosted: r_b, how many of them are boosted; the paper takes 2 everywhere.
        boost: p_b, how far, as a share of the way since the first snapshot.

    Returns:
        θ', in the dtype of the snapshots.

    Raises:
        ValueError: If a setting is out of range or `snapshots` is no matrix.

    References:
        Tang et al. (2024), The Ladder in Chaos, https://arxiv.org/abs/2303.01391.
    """
    check_path(snapshots)
    snapshots = jnp.asarray(snapshots)
    check_sizes(num_kept, num_boosted, boost)
    return _trimmed(
        snapshots,
        jnp.asarray(num_kept, jnp.int32),
        jnp.asarray(num_boosted, jnp.int32),
        jnp.asarray(boost, snapshots.dtype),
    )


@jax.jit
def _trimmed(path: Array, num_kept: Array, num_boosted: Array, boost: Array) -> Array:
    def compute(path: Array, num_kept: Array, num_boosted: Array, boost: Array) -> Array:
        weights = snapshot_weights(
            in_blocks(lambda block: block @ block.T, path, jnp.float64),
            first=0,
            last=path.shape[0] - 1,
            num_kept=num_kept,
            num_boosted=num_boosted,
            boost=boost,
        )
        found = by_columns(lambda block: (weights @ block)[None], path, jnp.float64)
        return found[0].astype(path.dtype)

    return in_float64(compute)(path, num_kept, num_boosted, boost)


def snapshot_weights(
    gram: Float[Array, "n n"],
    *,
    first: int | Array,
    last: int | Array,
    num_kept: int | Array,
    num_boosted: int | Array,
    boost: int | float | Array,
) -> Float[Array, " n"]:
    """Weights of the snapshots in θ', from their Gram matrix in float64.

    Rows of zeros stand for snapshots that there are not: they get weight 0.

    Args:
        gram: Inner products of the snapshots, uncentred.
        first: Index of the oldest snapshot.
        last: Index of the newest.
        num_kept: See `trim_and_boost`.
        num_boosted: See `trim_and_boost`.
        boost: See `trim_and_boost`.
    """
    vectors = jnp.linalg.eigh(gram)[1][:, ::-1]
    order = jnp.arange(gram.shape[0])
    newest = vectors[last]
    kept = jnp.where(order < num_kept, newest, 0)
    boosted = jnp.where(order < num_boosted, newest - vectors[first], 0)
    return vectors @ (kept + boost * boosted)


def check_sizes(num_kept: object, num_boosted: object, boost: object) -> None:
    """Check what is a number already, and not traced."""
    if isinstance(num_kept, int) and num_kept < 1:
        msg = f"Argument `num_kept` must be at least 1, but is {num_kept}."
        raise ValueError(msg)
    if isinstance(num_boosted, int) and num_boosted < 0:
        msg = f"Argument `num_boosted` must be at least 0, but is {num_boosted}."
        raise ValueError(msg)
    if isinstance(num_kept, int) and isinstance(num_boosted, int) and num_boosted > num_kept:
        msg = (
            f"Argument `num_boosted` must be at most `num_kept` = {num_kept}, but is {num_boosted}."
        )
        raise ValueError(msg)
    if isinstance(boost, int | float) and not (0 <= boost < jnp.inf):
        msg = f"Argument `boost` must be finite and at least 0, but is {boost}."
        raise ValueError(msg)
