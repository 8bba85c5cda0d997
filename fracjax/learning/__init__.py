"""Closed loops and learning runs: how robust a policy is, and what learning does on its way."""

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
