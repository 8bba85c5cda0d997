"""Networks of realistic kinds to decompose: a transformer, a convolutional network, policies."""

from fracjax.learning.decomposition_models.return_interventions import return_changes, returns_along
from fracjax.learning.decomposition_models.selected_tensors import choose_tensors, replace_tensors

__all__ = ["choose_tensors", "replace_tensors", "return_changes", "returns_along"]
