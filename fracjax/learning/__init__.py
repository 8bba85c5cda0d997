"""Closed loops and learning runs: how robust a policy is, and what learning does on its way."""

from fracjax.learning.decomposition.attributions import attributions as attributions
from fracjax.learning.decomposition.divergences import detached_product as detached_product
from fracjax.learning.decomposition.divergences import gaussian_kl as gaussian_kl
from fracjax.learning.decomposition.divergences import kullback_leibler as kullback_leibler
from fracjax.learning.decomposition.divergences import squared_error as squared_error
from fracjax.learning.decomposition.fits import Decomposition as Decomposition
from fracjax.learning.decomposition.fits import FitState as FitState
from fracjax.learning.decomposition.fits import continue_fit as continue_fit
from fracjax.learning.decomposition.fits import decompose as decompose
from fracjax.learning.decomposition.fits import start_fit as start_fit
from fracjax.learning.decomposition.matching import match_subnetworks as match_subnetworks
from fracjax.learning.decomposition.reconstruction_errors import (
    reconstruction_error as reconstruction_error,
)
from fracjax.learning.decomposition.sample_gradients import sample_gradients as sample_gradients
from fracjax.learning.decomposition.settings import FitSettings as FitSettings
from fracjax.learning.decomposition.subnetwork_interventions import (
    intervened_outputs as intervened_outputs,
)
from fracjax.learning.decomposition.subnetwork_interventions import selectivity as selectivity
from fracjax.learning.decomposition_models.return_interventions import (
    return_changes as return_changes,
)
from fracjax.learning.decomposition_models.return_interventions import (
    returns_along as returns_along,
)
from fracjax.learning.decomposition_models.selected_tensors import choose_tensors as choose_tensors
from fracjax.learning.decomposition_models.selected_tensors import (
    replace_tensors as replace_tensors,
)
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
from fracjax.learning.flossing.blocks import FlossingBlock as FlossingBlock
from fracjax.learning.flossing.blocks import FlossingLog as FlossingLog
from fracjax.learning.flossing.blocks import FlossingSchedule as FlossingSchedule
from fracjax.learning.flossing.blocks import FlossingState as FlossingState
from fracjax.learning.flossing.blocks import flossing_block as flossing_block
from fracjax.learning.flossing.cells import cell_step as cell_step
from fracjax.learning.flossing.cells import driven_tanh_step as driven_tanh_step
from fracjax.learning.flossing.cells import initial_tanh_network as initial_tanh_network
from fracjax.learning.flossing.costs import FlossingCost as FlossingCost
from fracjax.learning.flossing.costs import checkpoint_costs as checkpoint_costs
from fracjax.learning.flossing.costs import flossing_cost as flossing_cost
from fracjax.learning.flossing.jacobians import LongTermJacobian as LongTermJacobian
from fracjax.learning.flossing.jacobians import long_term_jacobian as long_term_jacobian
from fracjax.learning.flossing.losses import flossing_loss as flossing_loss
from fracjax.learning.flossing.losses import mean_flossing_loss as mean_flossing_loss
from fracjax.learning.gradient_estimates.quality import GradientQuality as GradientQuality
from fracjax.learning.gradient_estimates.quality import gradient_quality as gradient_quality
from fracjax.learning.gradient_estimates.samplers import pathwise_gradient as pathwise_gradient
from fracjax.learning.gradient_estimates.samplers import smoothed_gradient as smoothed_gradient
from fracjax.learning.gradient_estimates.score_function import (
    score_function_gradient as score_function_gradient,
)
from fracjax.learning.gravity_wells.changing_rewards import StateEscapes as StateEscapes
from fracjax.learning.gravity_wells.changing_rewards import state_escapes as state_escapes
from fracjax.learning.gravity_wells.escape_laws import corner_escape_time as corner_escape_time
from fracjax.learning.gravity_wells.escape_laws import escape_lower_bound as escape_lower_bound
from fracjax.learning.gravity_wells.escape_laws import (
    predicted_escape_time as predicted_escape_time,
)
from fracjax.learning.gravity_wells.escapes import Escape as Escape
from fracjax.learning.gravity_wells.escapes import escape_time as escape_time
from fracjax.learning.gravity_wells.initial_spread import spread_study as spread_study
from fracjax.learning.gravity_wells.run_series import run_series as run_series
from fracjax.learning.gravity_wells.survival_curves import survival_curve as survival_curve
from fracjax.learning.gravity_wells.survival_curves import survival_quantile as survival_quantile
from fracjax.learning.gravity_wells.well_diagnosis import Well as Well
from fracjax.learning.gravity_wells.well_diagnosis import WellDiagnosis as WellDiagnosis
from fracjax.learning.gravity_wells.well_diagnosis import diagnose_well as diagnose_well
from fracjax.learning.interventions.continual_backprop import (
    continual_backprop as continual_backprop,
)
from fracjax.learning.interventions.decay import l2_to_init as l2_to_init
from fracjax.learning.interventions.decay import plain_adam as plain_adam
from fracjax.learning.interventions.decay import tuned_adam as tuned_adam
from fracjax.learning.interventions.decay import weight_decay as weight_decay
from fracjax.learning.interventions.intervene import Intervention as Intervention
from fracjax.learning.interventions.intervene import intervene as intervene
from fracjax.learning.interventions.layers import UnitLayer as UnitLayer
from fracjax.learning.interventions.layers import fresh_parameters as fresh_parameters
from fracjax.learning.interventions.layers import sequential_layers as sequential_layers
from fracjax.learning.interventions.redo import recycle_dormant as recycle_dormant
from fracjax.learning.interventions.redo import redo as redo
from fracjax.learning.interventions.resets import last_layer_reset as last_layer_reset
from fracjax.learning.interventions.resets import reset_layers as reset_layers
from fracjax.learning.interventions.resets import shrink_and_perturb as shrink_and_perturb
from fracjax.learning.interventions.resets import shrinking as shrinking
from fracjax.learning.interventions.spectral_norm import normalize_kernels as normalize_kernels
from fracjax.learning.interventions.two_hot import CategoricalSupport as CategoricalSupport
from fracjax.learning.interventions.two_hot import linear_support as linear_support
from fracjax.learning.interventions.two_hot import symlog_support as symlog_support
from fracjax.learning.langevin_sampling.calibration import Calibration as Calibration
from fracjax.learning.langevin_sampling.calibration import calibration as calibration
from fracjax.learning.langevin_sampling.posterior_averages import (
    posterior_average as posterior_average,
)
from fracjax.learning.langevin_sampling.preconditioners import Preconditioner as Preconditioner
from fracjax.learning.langevin_sampling.priors import Prior as Prior
from fracjax.learning.langevin_sampling.priors import conjugate_prior as conjugate_prior
from fracjax.learning.langevin_sampling.priors import gaussian_prior as gaussian_prior
from fracjax.learning.langevin_sampling.sample_moments import SampleMoments as SampleMoments
from fracjax.learning.langevin_sampling.sample_moments import gradient_moments as gradient_moments
from fracjax.learning.langevin_sampling.schedules import (
    effective_temperature as effective_temperature,
)
from fracjax.learning.langevin_sampling.schedules import halving_schedule as halving_schedule
from fracjax.learning.langevin_sampling.schedules import inverse_root_rate as inverse_root_rate
from fracjax.learning.langevin_sampling.transformations import natural_langevin as natural_langevin
from fracjax.learning.langevin_sampling.transformations import (
    preconditioned_sgld as preconditioned_sgld,
)
from fracjax.learning.langevin_sampling.transformations import sgld as sgld
from fracjax.learning.network_metrics.aliases import find_aliases as find_aliases
from fracjax.learning.network_metrics.metrics import NetworkMetrics as NetworkMetrics
from fracjax.learning.network_metrics.metrics import average_metrics as average_metrics
from fracjax.learning.network_metrics.metrics import measure_network as measure_network
from fracjax.learning.network_metrics.ranks import effective_rank as effective_rank
from fracjax.learning.network_metrics.ranks import feature_rank as feature_rank
from fracjax.learning.network_metrics.ranks import srank as srank
from fracjax.learning.network_metrics.ranks import stable_rank as stable_rank
from fracjax.learning.network_metrics.units import dead_units as dead_units
from fracjax.learning.network_metrics.units import dormant_units as dormant_units
from fracjax.learning.optimizer_maps import TrainingMap as TrainingMap
from fracjax.learning.optimizer_maps import optimizer_map as optimizer_map
from fracjax.learning.optimizer_maps import quadratic_exponents as quadratic_exponents
from fracjax.learning.optimizer_maps import stability_threshold as stability_threshold
from fracjax.learning.optimizer_maps import training_sharpness as training_sharpness
from fracjax.learning.path_trimming.closed_form import trim_and_boost as trim_and_boost
from fracjax.learning.path_trimming.transformation import path_window as path_window
from fracjax.learning.path_trimming.transformation import pptb as pptb
from fracjax.learning.paths.buffers import PathBuffer as PathBuffer
from fracjax.learning.paths.buffers import path_buffer as path_buffer
from fracjax.learning.paths.callbacks import brax_callbacks as brax_callbacks
from fracjax.learning.paths.projections import Projection as Projection
from fracjax.learning.paths.reading import Path as Path
from fracjax.learning.paths.reading import buffered_path as buffered_path
from fracjax.learning.paths.reading import load_path as load_path
from fracjax.learning.paths.reading import path_in_memory as path_in_memory
from fracjax.learning.paths.recorders import Recorder as Recorder
from fracjax.learning.paths.recorders import open_recorder as open_recorder
from fracjax.learning.paths.series import Series as Series
from fracjax.learning.paths.series import load_series as load_series
from fracjax.learning.paths.series import open_series as open_series
from fracjax.learning.plasticity.gradient_cosines import GradientCosines as GradientCosines
from fracjax.learning.plasticity.gradient_cosines import gradient_cosines as gradient_cosines
from fracjax.learning.plasticity.gradient_cosines import probe_cosines as probe_cosines
from fracjax.learning.plasticity.probes import PlasticityLoss as PlasticityLoss
from fracjax.learning.plasticity.probes import Probe as Probe
from fracjax.learning.plasticity.probes import fresh_probe as fresh_probe
from fracjax.learning.plasticity.probes import loss_of_plasticity as loss_of_plasticity
from fracjax.learning.plasticity.probes import plasticity_probe as plasticity_probe
from fracjax.learning.plasticity.probes import probe_sines as probe_sines
from fracjax.learning.plasticity.probes import probe_targets as probe_targets
from fracjax.learning.plasticity.random_walks import displacement_matched as displacement_matched
from fracjax.learning.plasticity.random_walks import step_matched_walk as step_matched_walk
from fracjax.learning.plasticity.relabelling import train_on_relabelled as train_on_relabelled
from fracjax.learning.plasticity.run_curvature import condition_number as condition_number
from fracjax.learning.plasticity.run_curvature import geometry_probe as geometry_probe
from fracjax.learning.plasticity.run_curvature import sharpness_along_run as sharpness_along_run
from fracjax.learning.plasticity.toy_agents import train_dqn as train_dqn
from fracjax.learning.plasticity.toy_mdps import ToyMDP as ToyMDP
from fracjax.learning.plasticity.toy_mdps import digit_observations as digit_observations
from fracjax.learning.plasticity.toy_mdps import prototype_observations as prototype_observations
from fracjax.learning.plasticity.toy_mdps import toy_mdp as toy_mdp
from fracjax.learning.plasticity_monitoring.brax_policies import measure_brax as measure_brax
from fracjax.learning.plasticity_monitoring.monitor import Monitor as Monitor
from fracjax.learning.plasticity_monitoring.monitor import monitored as monitored
from fracjax.learning.plasticity_monitoring.monitor import open_monitor as open_monitor
from fracjax.learning.policy_paths.analysis import PolicyPath as PolicyPath
from fracjax.learning.policy_paths.analysis import policy_path as policy_path
from fracjax.learning.policy_paths.changes import PathChanges as PathChanges
from fracjax.learning.policy_paths.changes import detour_ratio as detour_ratio
from fracjax.learning.policy_paths.changes import path_changes as path_changes
from fracjax.learning.policy_paths.path_matrix import path_matrices as path_matrices
from fracjax.learning.policy_paths.temporal_svd import TemporalSvd as TemporalSvd
from fracjax.learning.policy_paths.temporal_svd import major_dimensionality as major_dimensionality
from fracjax.learning.policy_paths.temporal_svd import path_directions as path_directions
from fracjax.learning.policy_paths.temporal_svd import temporal_svd as temporal_svd
from fracjax.learning.policy_paths.walk_nulls import WalkNull as WalkNull
from fracjax.learning.policy_paths.walk_nulls import walk_null as walk_null
from fracjax.learning.recurrent_training.networks import RecurrentClassifier as RecurrentClassifier
from fracjax.learning.recurrent_training.networks import cell_classifier as cell_classifier
from fracjax.learning.recurrent_training.networks import tanh_classifier as tanh_classifier
from fracjax.learning.recurrent_training.runs import FlossedRuns as FlossedRuns
from fracjax.learning.recurrent_training.runs import TrainedRuns as TrainedRuns
from fracjax.learning.recurrent_training.runs import floss_runs as floss_runs
from fracjax.learning.recurrent_training.runs import train_runs as train_runs
from fracjax.learning.recurrent_training.success_rates import paired_success as paired_success
from fracjax.learning.recurrent_training.success_rates import succeeded as succeeded
from fracjax.learning.recurrent_training.success_rates import success_rate as success_rate
from fracjax.learning.recurrent_training.tasks import bit_accuracy as bit_accuracy
from fracjax.learning.recurrent_training.tasks import bit_loss as bit_loss
from fracjax.learning.recurrent_training.tasks import parity_lags as parity_lags
from fracjax.learning.recurrent_training.tasks import parity_targets as parity_targets
from fracjax.learning.recurrent_training.tasks import random_bits as random_bits
from fracjax.learning.recurrent_training.updates import TrainingSettings as TrainingSettings
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
from fracjax.learning.trainability.factorization import (
    factorization_objective as factorization_objective,
)
from fracjax.learning.trainability.factorization import (
    inside_unregularized_basin as inside_unregularized_basin,
)
from fracjax.learning.trainability.linear_regression import (
    linear_regression_converges as linear_regression_converges,
)
from fracjax.learning.trainability.linear_regression import (
    linear_regression_objective as linear_regression_objective,
)
from fracjax.learning.trainability.one_dimensional import BoundaryCounts as BoundaryCounts
from fracjax.learning.trainability.one_dimensional import boundary_counts as boundary_counts
from fracjax.learning.trainability.one_dimensional import count_dimension as count_dimension
from fracjax.learning.trainability.one_dimensional import label_change_counts as label_change_counts
from fracjax.learning.trainability.one_dimensional import rate_objective as rate_objective
from fracjax.learning.trainability.one_dimensional import roughness_threshold as roughness_threshold
from fracjax.learning.trainability.planes import hyperparameter_plane as hyperparameter_plane
from fracjax.learning.trainability.planes import learning_rates as learning_rates
from fracjax.learning.trainability.planes import trainability_objective as trainability_objective
from fracjax.learning.trainability.problems import RegressionProblem as RegressionProblem
from fracjax.learning.trainability.problems import regression_problem as regression_problem
from fracjax.learning.trainability.runs import convergence_speeds as convergence_speeds
from fracjax.learning.weight_diffusion.loss_along_path import LossChanges as LossChanges
from fracjax.learning.weight_diffusion.loss_along_path import (
    loss_changes_by_distance as loss_changes_by_distance,
)
from fracjax.learning.weight_diffusion.loss_along_path import (
    loss_exponent_along_path as loss_exponent_along_path,
)
from fracjax.learning.weight_diffusion.loss_along_path import moving_variance as moving_variance
from fracjax.learning.weight_diffusion.noise_tails import NoiseTails as NoiseTails
from fracjax.learning.weight_diffusion.noise_tails import (
    gradient_noise_tails as gradient_noise_tails,
)
from fracjax.learning.weight_diffusion.path_geometry import PathPairs as PathPairs
from fracjax.learning.weight_diffusion.path_geometry import contour_exponent as contour_exponent
from fracjax.learning.weight_diffusion.path_geometry import path_pairs as path_pairs
from fracjax.learning.weight_diffusion.path_topology import (
    persistent_homology_dimension as persistent_homology_dimension,
)
from fracjax.learning.weight_diffusion.surface_walks import walk_on_surface as walk_on_surface
from fracjax.learning.weight_diffusion.two_exponents import TwoExponents as TwoExponents
from fracjax.learning.weight_diffusion.two_exponents import null_two_exponents as null_two_exponents
from fracjax.learning.weight_diffusion.two_exponents import two_exponents as two_exponents
from fracjax.learning.weight_diffusion.two_exponents import (
    two_exponents_of_segments as two_exponents_of_segments,
)

__all__ = [
    "BoundaryCounts",
    "Calibration",
    "CategoricalSupport",
    "ClosedLoopExponents",
    "Decomposition",
    "Escape",
    "ExponentPenalty",
    "FitSettings",
    "FitState",
    "FlossedRuns",
    "FlossingBlock",
    "FlossingCost",
    "FlossingLog",
    "FlossingSchedule",
    "FlossingState",
    "GradientCosines",
    "GradientQuality",
    "Intervention",
    "LongTermJacobian",
    "LossChanges",
    "Monitor",
    "NetworkMetrics",
    "NoiseTails",
    "Path",
    "PathBuffer",
    "PathChanges",
    "PathPairs",
    "PerturbedGrowth",
    "PlasticityLoss",
    "PolicyPath",
    "Preconditioner",
    "Prior",
    "Probe",
    "Projection",
    "Recorder",
    "RecurrentClassifier",
    "Regime",
    "RegressionProblem",
    "ReturnDistribution",
    "SampleMoments",
    "Series",
    "SizeScan",
    "StateEscapes",
    "TemporalSvd",
    "ToyMDP",
    "TrainedRuns",
    "TrainingMap",
    "TrainingSettings",
    "TwoExponents",
    "UnitLayer",
    "WalkNull",
    "Well",
    "WellDiagnosis",
    "attributions",
    "average_metrics",
    "bit_accuracy",
    "bit_loss",
    "boundary_counts",
    "brax_callbacks",
    "buffered_path",
    "calibration",
    "cell_classifier",
    "cell_step",
    "checkpoint_costs",
    "choose_tensors",
    "classify",
    "closed_loop_exponents",
    "closed_loop_penalty",
    "condition_number",
    "conjugate_prior",
    "continual_backprop",
    "continue_fit",
    "contour_exponent",
    "convergence_speeds",
    "corner_escape_time",
    "count_dimension",
    "dead_units",
    "decompose",
    "detached_product",
    "detour_ratio",
    "diagnose_well",
    "digit_observations",
    "displacement_matched",
    "dormant_units",
    "driven_tanh_step",
    "effective_rank",
    "effective_temperature",
    "escape_lower_bound",
    "escape_time",
    "exponent_penalty",
    "factorization_objective",
    "feature_rank",
    "find_aliases",
    "fine_tune",
    "floss_runs",
    "flossing_block",
    "flossing_cost",
    "flossing_loss",
    "fresh_parameters",
    "fresh_probe",
    "gaussian_kl",
    "gaussian_prior",
    "geometry_probe",
    "gradient_cosines",
    "gradient_moments",
    "gradient_noise_tails",
    "gradient_quality",
    "halving_schedule",
    "hyperparameter_plane",
    "initial_tanh_network",
    "inside_unregularized_basin",
    "interquartile_mean",
    "intervene",
    "intervened_outputs",
    "inverse_root_rate",
    "kullback_leibler",
    "l2_to_init",
    "label_change_counts",
    "last_layer_reset",
    "learning_rates",
    "linear_regression_converges",
    "linear_regression_objective",
    "linear_support",
    "load_path",
    "load_series",
    "long_term_jacobian",
    "loss_changes_by_distance",
    "loss_exponent_along_path",
    "loss_of_plasticity",
    "major_dimensionality",
    "match_subnetworks",
    "mean_flossing_loss",
    "measure_brax",
    "measure_network",
    "monitored",
    "moving_variance",
    "natural_langevin",
    "neutral_growth",
    "normalize_kernels",
    "null_two_exponents",
    "open_monitor",
    "open_recorder",
    "open_series",
    "optimizer_map",
    "paired_success",
    "parity_lags",
    "parity_targets",
    "path_buffer",
    "path_changes",
    "path_directions",
    "path_in_memory",
    "path_matrices",
    "path_pairs",
    "path_window",
    "pathwise_gradient",
    "persistent_homology_dimension",
    "perturbed_growth",
    "plain_adam",
    "plasticity_probe",
    "policy_path",
    "post_update_returns",
    "posterior_average",
    "pptb",
    "preconditioned_sgld",
    "predicted_escape_time",
    "probe_cosines",
    "probe_sines",
    "probe_targets",
    "prototype_observations",
    "quadratic_exponents",
    "random_bits",
    "rate_objective",
    "reconstruction_error",
    "recycle_dormant",
    "redo",
    "regression_problem",
    "regularized_loss",
    "replace_tensors",
    "reset_layers",
    "return_changes",
    "return_distribution",
    "returns_along",
    "returns_under_noise",
    "returns_under_push",
    "reward_ratio_exponent",
    "roughness_threshold",
    "run_series",
    "sample_gradients",
    "score_function_gradient",
    "selectivity",
    "sequential_layers",
    "sgld",
    "sharpness_along_run",
    "shrink_and_perturb",
    "shrinking",
    "size_scan",
    "smoothed_gradient",
    "smoothed_objective",
    "spread_exponent",
    "spread_penalty",
    "spread_study",
    "squared_error",
    "srank",
    "stability_threshold",
    "stable_rank",
    "start_fit",
    "state_escapes",
    "step_matched_walk",
    "succeeded",
    "success_rate",
    "summarize_curve",
    "survival_curve",
    "survival_quantile",
    "symlog_support",
    "tanh_classifier",
    "temporal_svd",
    "tolerated_size",
    "toy_mdp",
    "train_dqn",
    "train_on_relabelled",
    "train_policies",
    "train_runs",
    "trainability_objective",
    "training_sharpness",
    "trim_and_boost",
    "trimmed_mean",
    "tuned_adam",
    "two_exponents",
    "two_exponents_of_segments",
    "walk_null",
    "walk_on_surface",
    "weight_decay",
]
