"""How good a gradient estimator is: its variance, its bias, and the samples it needs."""

from fracjax.learning.gradient_estimates.quality import GradientQuality, gradient_quality
from fracjax.learning.gradient_estimates.samplers import pathwise_gradient, smoothed_gradient
from fracjax.learning.gradient_estimates.score_function import score_function_gradient

__all__ = [
    "GradientQuality",
    "gradient_quality",
    "pathwise_gradient",
    "score_function_gradient",
    "smoothed_gradient",
]
