"""A few directions of the parameters, in which gradients can be sampled.

By evolution strategies a gradient of d parameters takes more than d samples even where the
objective is smooth; of a policy's thousand parameters nothing is left over to see bias. In k
random directions it takes k, and roughness is the same in almost all of them.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fracjax import directions, tree
from fracjax._types import Key, Objective, PyTree
from fracjax.learning.gradient_estimates.samplers import GradientSampler

__all__ = ["Subspace", "random_subspace"]


@dataclasses.dataclass(frozen=True, eq=False)
class Subspace:
    """Directions through a point; coordinates (k,) are zero at the point itself.

    Attributes:
        params: The point.
        directions: Stacked directions, k along the leading axis of every leaf.
    """

    params: PyTree
    directions: PyTree

    @property
    def origin(self) -> Float[Array, " k"]:
        """Coordinates of the point."""
        count = len(jax.tree.leaves(self.directions)[0])
        return jnp.zeros(count, jnp.result_type(*jax.tree.leaves(self.params)))

    def at(self, coordinates: Float[Array, " k"]) -> PyTree:
        """Parameters at coordinates."""

        def move(leaf: Array, stacked: Array) -> Array:
            return leaf + jnp.tensordot(coordinates, stacked, axes=1).astype(leaf.dtype)

        return jax.tree.map(move, self.params, self.directions)

    def objective(self, objective: Objective) -> Objective:
        """An objective of parameters as one of coordinates."""
        return lambda coordinates, key: objective(self.at(coordinates), key)

    def sampler(self, sampler: GradientSampler) -> GradientSampler:
        """A gradient by parameters as one by coordinates: its components along the directions."""

        def sample(coordinates: Float[Array, " k"], key: Key) -> Float[Array, " k"]:
            params, pull_back = jax.vjp(self.at, coordinates)
            return pull_back(sampler(params, key))[0]

        return sample


def random_subspace(params: PyTree, key: Key, count: int) -> Subspace:
    """Take orthonormal random directions, scaled so that noise keeps its size.

    Coordinates drawn from N(0, σ²) each move the parameters by σ in root mean square, whatever
    `count` is: the directions have root mean square 1/√count.

    Args:
        params: The point.
        key: Draws the directions.
        count: How many directions, at most the number of parameters.

    Raises:
        ValueError: If there are more directions than parameters.
    """
    drawn = directions.draw("orthonormal", key, params, count)
    return Subspace(params, tree.scale(count**-0.5, drawn))
