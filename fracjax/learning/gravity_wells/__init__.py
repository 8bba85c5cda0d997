"""Gravity wells: plateaus of softmax policies, how long they last, and whether a run was in one."""

from fracjax.learning.gravity_wells.changing_rewards import StateEscapes, state_escapes
from fracjax.learning.gravity_wells.escape_laws import (
    corner_escape_time,
    escape_lower_bound,
    predicted_escape_time,
)
from fracjax.learning.gravity_wells.escapes import Escape, escape_time
from fracjax.learning.gravity_wells.initial_spread import spread_study
from fracjax.learning.gravity_wells.run_series import run_series
from fracjax.learning.gravity_wells.survival_curves import survival_curve, survival_quantile
from fracjax.learning.gravity_wells.well_diagnosis import Well, WellDiagnosis, diagnose_well

__all__ = [
    "Escape",
    "StateEscapes",
    "Well",
    "WellDiagnosis",
    "corner_escape_time",
    "diagnose_well",
    "escape_lower_bound",
    "escape_time",
    "predicted_escape_time",
    "run_series",
    "spread_study",
    "state_escapes",
    "survival_curve",
    "survival_quantile",
]
