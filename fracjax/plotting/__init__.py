"""Figures: functions take an Axes and return it."""

from fracjax.plotting.chaos import convergence_trace as convergence_trace
from fracjax.plotting.chaos import exponents_against_discount as exponents_against_discount
from fracjax.plotting.curvature import eigenvalues as eigenvalues
from fracjax.plotting.curvature import sharpness_and_threshold as sharpness_and_threshold
from fracjax.plotting.curvature import spectral_densities as spectral_densities
from fracjax.plotting.curvature import trace_convergence as trace_convergence
from fracjax.plotting.decomposition import activation_frequencies as activation_frequencies
from fracjax.plotting.decomposition import coefficient_scatter as coefficient_scatter
from fracjax.plotting.decomposition import intervention_curves as intervention_curves
from fracjax.plotting.decomposition import owner_matrix as owner_matrix
from fracjax.plotting.decomposition import return_curves as return_curves
from fracjax.plotting.decomposition import top_outputs as top_outputs
from fracjax.plotting.diffusion import displacements as mean_squared_displacements
from fracjax.plotting.diffusion import exponents as diffusion_exponents
from fracjax.plotting.figures import diagnosis_figures as diagnosis_figures
from fracjax.plotting.flossing import condition_growth as condition_growth
from fracjax.plotting.flossing import exponents_along_training as exponents_along_training
from fracjax.plotting.flossing import runs_along_training as runs_along_training
from fracjax.plotting.flossing import spectra_of_networks as spectra_of_networks
from fracjax.plotting.flossing import success_against_delay as success_against_delay
from fracjax.plotting.gradient_quality import against_smoothing as against_smoothing
from fracjax.plotting.gradient_quality import cosines_between_scales as cosines_between_scales
from fracjax.plotting.gravity_wells import escape_times as escape_times
from fracjax.plotting.gravity_wells import survival_by_spread as survival_by_spread
from fracjax.plotting.landscapes import line_slice as line_slice
from fracjax.plotting.landscapes import plane_slice as plane_slice
from fracjax.plotting.landscapes import surface as surface
from fracjax.plotting.langevin import reliability_diagram as reliability_diagram
from fracjax.plotting.movies import colour_picture as colour_picture
from fracjax.plotting.movies import write_movie as write_movie
from fracjax.plotting.movies import zoom_pictures as zoom_pictures
from fracjax.plotting.network_metrics import layer_curves as layer_curves
from fracjax.plotting.network_metrics import metrics_figure as metrics_figure
from fracjax.plotting.paths import path_on_plane as path_on_plane
from fracjax.plotting.plasticity import estimates_along_runs as estimates_along_runs
from fracjax.plotting.policy_paths import detours_by_direction as detours_by_direction
from fracjax.plotting.policy_paths import dimensionality_curve as dimensionality_curve
from fracjax.plotting.policy_paths import time_courses as time_courses
from fracjax.plotting.return_distributions import return_histogram as return_histogram
from fracjax.plotting.return_distributions import spread_against_size as spread_against_size
from fracjax.plotting.robustness import exponent_bars as exponent_bars
from fracjax.plotting.robustness import exponents_against_size as exponents_against_size
from fracjax.plotting.robustness import push_band as push_band
from fracjax.plotting.robustness import return_curve as return_curve
from fracjax.plotting.robustness import tolerance_against_exponent as tolerance_against_exponent
from fracjax.plotting.scaling import perturbation_variance as perturbation_variance
from fracjax.plotting.scaling import variogram as variogram
from fracjax.plotting.scans import fractality_figure as fractality_figure
from fracjax.plotting.scans import mark_cliffs as mark_cliffs
from fracjax.plotting.scans import scan_figure as scan_figure
from fracjax.plotting.surfaces import surface_html as surface_html
from fracjax.plotting.theory import estimator_errors as estimator_errors
from fracjax.plotting.theory import exponents_and_laws as exponents_and_laws
from fracjax.plotting.theory import mollified_increments as mollified_increments
from fracjax.plotting.theory import slopes_and_discounts as slopes_and_discounts
from fracjax.plotting.theory import slopes_and_exponents as slopes_and_exponents
from fracjax.plotting.trainability import box_counts as box_counts
from fracjax.plotting.trainability import label_changes as label_changes
from fracjax.plotting.trainability import ranked_speeds as ranked_speeds
from fracjax.plotting.trainability import trainability_frames as trainability_frames
from fracjax.plotting.trainability import trainability_plane as trainability_plane
from fracjax.plotting.training_maps import basin_picture as basin_picture
from fracjax.plotting.training_maps import bifurcation_diagram as bifurcation_diagram
from fracjax.plotting.training_maps import ellipse_and_orbit as ellipse_and_orbit
from fracjax.plotting.training_maps import exponents_over_step_size as exponents_over_step_size
from fracjax.plotting.training_maps import phase_diagram as phase_diagram
from fracjax.plotting.training_maps import sharpness_over_threshold as sharpness_over_threshold
from fracjax.plotting.training_stretches import contingency as contingency
from fracjax.plotting.training_stretches import null_counts as null_counts
from fracjax.plotting.training_stretches import returns_and_stretches as returns_and_stretches
from fracjax.plotting.training_stretches import variance_and_laws as variance_and_laws
from fracjax.plotting.training_stretches import zoomed_line as zoomed_line
from fracjax.plotting.watching import watch_figure as watch_figure
from fracjax.plotting.zooms import zoom_figure as zoom_figure

__all__ = [
    "activation_frequencies",
    "against_smoothing",
    "basin_picture",
    "bifurcation_diagram",
    "box_counts",
    "coefficient_scatter",
    "colour_picture",
    "condition_growth",
    "contingency",
    "convergence_trace",
    "cosines_between_scales",
    "detours_by_direction",
    "diagnosis_figures",
    "diffusion_exponents",
    "dimensionality_curve",
    "eigenvalues",
    "ellipse_and_orbit",
    "escape_times",
    "estimates_along_runs",
    "estimator_errors",
    "exponent_bars",
    "exponents_against_discount",
    "exponents_against_size",
    "exponents_along_training",
    "exponents_and_laws",
    "exponents_over_step_size",
    "fractality_figure",
    "intervention_curves",
    "label_changes",
    "layer_curves",
    "line_slice",
    "mark_cliffs",
    "mean_squared_displacements",
    "metrics_figure",
    "mollified_increments",
    "null_counts",
    "owner_matrix",
    "path_on_plane",
    "perturbation_variance",
    "phase_diagram",
    "plane_slice",
    "push_band",
    "ranked_speeds",
    "reliability_diagram",
    "return_curve",
    "return_curves",
    "return_histogram",
    "returns_and_stretches",
    "runs_along_training",
    "scan_figure",
    "sharpness_and_threshold",
    "sharpness_over_threshold",
    "slopes_and_discounts",
    "slopes_and_exponents",
    "spectra_of_networks",
    "spectral_densities",
    "spread_against_size",
    "success_against_delay",
    "surface",
    "surface_html",
    "survival_by_spread",
    "time_courses",
    "tolerance_against_exponent",
    "top_outputs",
    "trace_convergence",
    "trainability_frames",
    "trainability_plane",
    "variance_and_laws",
    "variogram",
    "watch_figure",
    "write_movie",
    "zoom_figure",
    "zoom_pictures",
    "zoomed_line",
]
