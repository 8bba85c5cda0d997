"""All path analyses at once, per layer and for the whole network, each beside its null."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array

from fracjax._types import Key, Leaf, PyTree
from fracjax.learning.policy_paths.changes import PathChanges, path_changes
from fracjax.learning.policy_paths.path_gram import Centering, path_gram
from fracjax.learning.policy_paths.path_matrix import WHOLE, Grouping, path_matrices
from fracjax.learning.policy_paths.temporal_svd import SHARES, TemporalSvd, temporal_svd
from fracjax.learning.policy_paths.walk_nulls import Walk, WalkNull, walk_null

__all__ = ["PolicyPath", "policy_path"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PolicyPath:
    """What one layer, or the whole network, did on its path.

    Attributes:
        changes: Change of every parameter.
        svd: Temporal singular value decomposition.
        null: Bands of a random walk for it.
        stride: Optimiser steps between snapshots.
    """

    changes: PathChanges
    svd: TemporalSvd
    null: WalkNull
    stride: Leaf


def policy_path(
    snapshots: PyTree,
    key: Key,
    *,
    group: Grouping = "layer",
    whole: bool = True,
    stride: int | float | Array = 1,
    center: Centering = "mean",
    walk: Walk = "drifting",
    num_directions: int = 8,
    shares: tuple[float, ...] = SHARES,
    num_draws: int = 39,
) -> dict[str, PolicyPath]:
    """Analyse the path of a policy: changes, temporal SVD and null, by layer.

    The paper analyses each layer and each period of a run by itself, uncentred
    (`center="none"`): give the rows of a period. It may be jitted and vmapped over seeds.

    Args:
        snapshots: A matrix (n, m), or a pytree whose leaves have a first axis of length n.
        key: Draws the walks; the same ones in number for every layer.
        group: What a layer is, see `path_matrices`; a bare matrix is one.
        whole: Whether to add the whole network, named `"network"`.
        stride: Optimiser steps between snapshots.
        center: See `temporal_svd`.
        walk: See `walk_null`.
        num_directions: See `temporal_svd`.
        shares: See `temporal_svd`.
        num_draws: See `walk_null`.

    Returns:
        A `PolicyPath` per layer, by name, and the whole network last.

    Raises:
        ValueError: If a setting is out of range or `snapshots` does not fit.

    References:
        Tang et al. (2024), The Ladder in Chaos, https://arxiv.org/abs/2303.01391.
    """
    decompose = functools.partial(
        temporal_svd, center=center, num_directions=num_directions, shares=shares
    )
    draw = functools.partial(
        walk_null,
        walk=walk,
        center=center,
        num_directions=num_directions,
        shares=shares,
        num_draws=num_draws,
    )
    matrices = path_matrices(snapshots, group=group)
    if whole and WHOLE not in matrices:
        matrices[WHOLE] = jnp.concatenate(list(matrices.values()), axis=1)
    found = {}
    for index, (name, matrix) in enumerate(matrices.items()):
        gram = path_gram(matrix, stride=stride)
        own = jax.random.fold_in(key, index)
        found[name] = PolicyPath(
            changes=path_changes(matrix, stride=stride),
            svd=decompose(gram),
            null=draw(gram, own),
            stride=gram.stride,
        )
    return found
