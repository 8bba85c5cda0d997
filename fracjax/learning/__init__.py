"""Closed loops and learning runs: how robust a policy is, and what learning does on its way."""

from fracjax.learning.exponent_regularization.closed_loops import (
    closed_loop_penalty as closed_loop_penalty,
)
from fracjax.learning.exponent_regularization.closed_loops import (
    regularized_loss as regularized_loss,
)
from fracjax.learning.exponent_regularization.parameter_smoothing import (
    smoothed_objective as smoothed_objective,
)
from fracjax.learning.exponent_regularization.penalties import ExponentPenalty as ExponentPenalty
from fracjax.learning.exponent_regularization.penalties import exponent_penalty as exponent_penalty
from fracjax.learning.exponent_regularization.penalties import spread_penalty as spread_penalty
from fracjax.learning.exponent_regularization.runs import fine_tune as fine_tune
from fracjax.learning.exponent_regularization.runs import train_policies as train_policies
from fracjax.learning.gradient_estimates.quality import GradientQuality as GradientQuality
from fracjax.learning.gradient_estimates.quality import gradient_quality as gradient_quality
from fracjax.learning.gradient_estimates.samplers import pathwise_gradient as pathwise_gradient
from fracjax.learning.gradient_estimates.samplers import smoothed_gradient as smoothed_gradient
from fracjax.learning.gradient_estimates.score_function import (
    score_function_gradient as score_function_gradient,
)
from fracjax.learning.return_distributions.distribution import (
    ReturnDistribution as ReturnDistribution,
)
from fracjax.learning.return_distributions.distribution import (
    return_distribution as return_distribution,
)
from fracjax.learning.return_distributions.sampling import (
    post_update_returns as post_update_returns,
)
from fracjax.learning.return_distributions.spread_laws import spread_exponent as spread_exponent
from fracjax.learning.robustness.curve_summaries import summarize_curve as summarize_curve
from fracjax.learning.robustness.curve_summaries import tolerated_size as tolerated_size
from fracjax.learning.robustness.finite_perturbations import PerturbedGrowth as PerturbedGrowth
from fracjax.learning.robustness.finite_perturbations import perturbed_growth as perturbed_growth
from fracjax.learning.robustness.interquartile import interquartile_mean as interquartile_mean
from fracjax.learning.robustness.interquartile import trimmed_mean as trimmed_mean
from fracjax.learning.robustness.noise_curves import returns_under_noise as returns_under_noise
from fracjax.learning.robustness.noise_curves import returns_under_push as returns_under_push
from fracjax.learning.robustness.regimes import Regime as Regime
from fracjax.learning.robustness.regimes import classify as classify
from fracjax.learning.robustness.regimes import neutral_growth as neutral_growth
from fracjax.learning.robustness.reward_ratios import reward_ratio_exponent as reward_ratio_exponent
from fracjax.learning.robustness.size_scans import SizeScan as SizeScan
from fracjax.learning.robustness.size_scans import size_scan as size_scan
from fracjax.learning.robustness.spectra import ClosedLoopExponents as ClosedLoopExponents
from fracjax.learning.robustness.spectra import closed_loop_exponents as closed_loop_exponents

__all__ = [
    "ClosedLoopExponents",
    "ExponentPenalty",
    "GradientQuality",
    "PerturbedGrowth",
    "Regime",
    "ReturnDistribution",
    "SizeScan",
    "classify",
    "closed_loop_exponents",
    "closed_loop_penalty",
    "exponent_penalty",
    "fine_tune",
    "gradient_quality",
    "interquartile_mean",
    "neutral_growth",
    "pathwise_gradient",
    "perturbed_growth",
    "post_update_returns",
    "regularized_loss",
    "return_distribution",
    "returns_under_noise",
    "returns_under_push",
    "reward_ratio_exponent",
    "score_function_gradient",
    "size_scan",
    "smoothed_gradient",
    "smoothed_objective",
    "spread_exponent",
    "spread_penalty",
    "summarize_curve",
    "tolerated_size",
    "train_policies",
    "trimmed_mean",
]
