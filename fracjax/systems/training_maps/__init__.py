"""Gradient descent with large steps as maps whose dynamics are known.

The product map of two factors and its reductions, the balanced cubic map with its cascade, the
invariant ellipse, mini-batches, and a transformer that trains on one prompt.
"""

from fracjax.systems.training_maps import balanced_map as balanced_map
from fracjax.systems.training_maps import bifurcations as bifurcations
from fracjax.systems.training_maps import ellipse as ellipse
from fracjax.systems.training_maps import minibatches as minibatches
from fracjax.systems.training_maps import one_prompt as one_prompt
from fracjax.systems.training_maps import phases as phases
from fracjax.systems.training_maps import product_map as product_map

__all__ = [
    "balanced_map",
    "bifurcations",
    "ellipse",
    "minibatches",
    "one_prompt",
    "phases",
    "product_map",
]
