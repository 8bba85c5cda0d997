"""Robustness of a closed loop: exponents of state and reward, returns under disturbance."""

from fracjax.learning.robustness.curve_summaries import summarize_curve, tolerated_size
from fracjax.learning.robustness.finite_perturbations import PerturbedGrowth, perturbed_growth
from fracjax.learning.robustness.interquartile import interquartile_mean, trimmed_mean
from fracjax.learning.robustness.noise_curves import returns_under_noise, returns_under_push
from fracjax.learning.robustness.regimes import Regime, classify, neutral_growth
from fracjax.learning.robustness.reward_ratios import reward_ratio_exponent
from fracjax.learning.robustness.size_scans import SizeScan, size_scan
from fracjax.learning.robustness.spectra import ClosedLoopExponents, closed_loop_exponents

__all__ = [
    "ClosedLoopExponents",
    "PerturbedGrowth",
    "Regime",
    "SizeScan",
    "classify",
    "closed_loop_exponents",
    "interquartile_mean",
    "neutral_growth",
    "perturbed_growth",
    "returns_under_noise",
    "returns_under_push",
    "reward_ratio_exponent",
    "size_scan",
    "summarize_curve",
    "tolerated_size",
    "trimmed_mean",
]
