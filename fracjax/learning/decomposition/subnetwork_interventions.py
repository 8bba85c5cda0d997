"""What outputs do when parameters move along one subnetwork: f(x, W0 + δ v)."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fracjax import tree
from fracjax._types import Leaf, PyTree
from fracjax.learning.decomposition.sample_gradients import Apply

__all__ = [
    "Selectivity",
    "intervened_outputs",
    "median_changes",
    "output_velocities",
    "selectivity",
]


def intervened_outputs(
    apply: Apply,
    params: PyTree,
    inputs: PyTree,
    subnetworks: PyTree,
    sizes: Float[Array, " sizes"],
) -> PyTree:
    """Evaluate f(x, W0 + δ v_k) for all subnetworks k, sizes δ and samples x.

    Args:
        apply: `(params, x) -> output` of one sample.
        params: W0.
        inputs: Samples, leaves (samples, ...).
        subnetworks: Directions, leaves (subnetworks, ...).
        sizes: δ, both signs: the sign of a direction is arbitrary.

    Returns:
        Outputs, leaves (subnetworks, sizes, samples, ...).
    """

    def along(direction: PyTree, size: Array) -> PyTree:
        moved = tree.add_scaled(params, size, direction)
        return jax.vmap(apply, in_axes=(None, 0))(moved, inputs)

    over_sizes = jax.vmap(along, in_axes=(None, 0))
    return jax.vmap(over_sizes, in_axes=(0, None))(subnetworks, sizes)


def median_changes(
    before: Float[Array, "samples outputs"], after: Float[Array, "... samples outputs"]
) -> Float[Array, "... outputs"]:
    """Median over samples of the change of every output, without pairs that are 0 and stay 0.

    As the published notebook has it: a ReLU that is off before and after says nothing. For
    outputs of another kind no pair is 0, and it is the plain median. A median hides what a minority
    of the samples does.

    Args:
        before: Outputs at W0, (samples, outputs).
        after: Outputs of `intervened_outputs`, (subnetworks, sizes, samples, outputs), or any
            leading axes.

    Returns:
        Changes in the unit of the outputs, the axis of samples gone: what `selectivity` and
        `plotting.intervention_curves` take. NaN where no sample is left.

    References:
        Chrisman, Bushnaq and Sharkey (2025), https://arxiv.org/abs/2504.00194.
    """
    silent = (before == 0) & (after == 0)
    return jnp.nanmedian(jnp.where(silent, jnp.nan, after - before), axis=-2)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Selectivity:
    """How far one subnetwork moves its own output, next to all others.

    Attributes:
        own: Change of the own output at the largest size, in the amplifying sign, (subnetworks,).
        other: Largest |change| of another output there.
        ratio: `own / other`.
        slope: `own` over the size.
        floor: Change of the own output at the largest size in the other sign, where a ReLU has
            switched it off.
        output: Index of the own output: the one that changes most.
    """

    own: Leaf
    other: Leaf
    ratio: Leaf
    slope: Leaf
    floor: Leaf
    output: Leaf


def selectivity(
    changes: Float[Array, "subnetworks sizes outputs"], sizes: Float[Array, " sizes"]
) -> Selectivity:
    """Read curves of `median_changes` at their two ends.

    Args:
        changes: Median changes; NaN counts as none.
        sizes: Ascending, from -δ to δ.
    """
    ends = jnp.nan_to_num(changes[:, jnp.array([0, -1])])  # (subnetworks, 2, outputs)
    best = jnp.argmax(ends.reshape(len(ends), -1), axis=1)
    sign, output = best // ends.shape[2], best % ends.shape[2]
    subnetwork = jnp.arange(len(ends))
    amplified = ends[subnetwork, sign]
    own = amplified[subnetwork, output]
    others = jnp.where(jnp.arange(ends.shape[2]) == output[:, None], 0, jnp.abs(amplified))
    other = jnp.max(others, axis=1)
    size = jnp.abs(sizes[jnp.array([0, -1])])[sign]
    floor = changes[subnetwork, jnp.where(sign == 0, -1, 0), output]
    return Selectivity(own, other, own / other, own / size, floor, output)


def output_velocities(apply: Apply, params: PyTree, inputs: PyTree, subnetworks: PyTree) -> PyTree:
    """Differentiate f(x, W0 + δ v_k) with respect to δ at 0, in forward mode.

    The largest |entries| name the outputs that a subnetwork concerns.

    Args:
        apply: `(params, x) -> output` of one sample.
        params: W0.
        inputs: Samples, leaves (samples, ...).
        subnetworks: Directions, leaves (subnetworks, ...).

    Returns:
        Velocities, leaves (subnetworks, samples, ...).
    """

    def along(direction: PyTree) -> PyTree:
        outputs = jax.vmap(apply, in_axes=(None, 0))
        return jax.jvp(lambda moved: outputs(moved, inputs), (params,), (direction,))[1]

    return jax.vmap(along)(subnetworks)
