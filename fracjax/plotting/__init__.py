"""Figures: functions take an Axes and return it."""

from fracjax.plotting.chaos import convergence_trace as convergence_trace
from fracjax.plotting.chaos import exponents_against_discount as exponents_against_discount
from fracjax.plotting.figures import diagnosis_figures as diagnosis_figures
from fracjax.plotting.figures import scan_figure as scan_figure
from fracjax.plotting.landscapes import line_slice as line_slice
from fracjax.plotting.landscapes import plane_slice as plane_slice
from fracjax.plotting.scaling import perturbation_variance as perturbation_variance
from fracjax.plotting.scaling import variogram as variogram

__all__ = [
    "convergence_trace",
    "diagnosis_figures",
    "exponents_against_discount",
    "line_slice",
    "perturbation_variance",
    "plane_slice",
    "scan_figure",
    "variogram",
]
