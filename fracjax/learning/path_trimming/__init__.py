"""Optimisers that trim the path of the parameters and boost what is left of it."""

from fracjax.learning.path_trimming.closed_form import trim_and_boost
from fracjax.learning.path_trimming.transformation import path_window, pptb

__all__ = ["path_window", "pptb", "trim_and_boost"]
