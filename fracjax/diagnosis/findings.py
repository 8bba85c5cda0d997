"""What goes into a diagnosis and what comes out."""

import dataclasses
import enum
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import xarray
from jaxtyping import Array, Bool, Float

from fracjax._types import Estimate, Objective, PyTree, StepFunction
from fracjax.estimators.roughness.jumps import Jumps
from fracjax.estimators.roughness.lines import Lines

__all__ = [
    "Chaos",
    "Diagnosis",
    "DiscountDiagnosis",
    "Prediction",
    "Problem",
    "Settings",
    "Slices",
    "Verdict",
]


class Verdict(enum.StrEnum):
    """What the landscape is, around these parameters and over the scales measured."""

    SMOOTH = "smooth"
    FRACTAL = "fractal"
    DISCONTINUOUS = "discontinuous"
    UNDECIDED = "undecided"


@dataclasses.dataclass(frozen=True)
class Problem:
    """A closed loop and its objective, as pure functions.

    Attributes:
        step: The closed loop at `params`, `state -> state`.
        states: Initial states of the objective and of the exponents, stacked.
        objective: `objective(params, key)`, returning one return per discount.
        params: The parameters to diagnose.
        discounts: Discount factors γ, the one asked for first.
        dt: Seconds per step.
        horizon: Steps of a return.
        coordinates: Physical coordinates of a state, in which tangents are measured.
        lift: State from coordinates and a template state, for physical initial tangents.
        alive: Whether a state has not terminated.
        observable: Reward of the step that led to a state.
        reference: Objective and parameters in double precision, if `objective` is not.
        step_at: The closed loop at any parameters, for maps of the exponent.
    """

    step: StepFunction
    states: PyTree
    objective: Objective
    params: PyTree
    discounts: tuple[float, ...]
    dt: float
    horizon: int
    coordinates: Callable[[PyTree], Float[Array, " n"]] | None = None
    lift: Callable[[Float[Array, " n"], PyTree], PyTree] | None = None
    alive: Callable[[PyTree], Bool[Array, ""]] | None = None
    observable: Callable[[PyTree], Float[Array, ""]] | None = None
    reference: tuple[Objective, PyTree] | None = None
    step_at: Callable[[PyTree], StepFunction] | None = None


@dataclasses.dataclass(frozen=True)
class Settings:
    """How much to compute.

    Attributes:
        num_exponents: Leading Lyapunov exponents.
        num_directions: Lines of the Hölder estimate.
        points_per_line: Points on each line and level.
        num_scales: Scales of the perturbation ("paper") estimator.
        num_samples: Perturbations per scale.
        largest_scale: Largest scale of both ladders, root mean square per parameter; a
            tenth of the parameters' root mean square by default.
        smallest_scale: Smallest scale, at most a 256th of the largest; chosen from precision and
            horizon by default.
        line_points: Points of a line slice.
        plane_points: Points along each side of a plane slice.
        span: Half-length of the outer slices, relative to the filters' norms.
        zoom: Ratio between the two zoom levels.
        chunk_size: Points evaluated together on one device.
    """

    num_exponents: int = 4
    num_directions: int = 32
    points_per_line: int = 40
    num_scales: int = 9
    num_samples: int = 64
    largest_scale: float | None = None
    smallest_scale: float | None = None
    line_points: int = 257
    plane_points: int = 61
    span: float = 0.2
    zoom: float = 16.0
    chunk_size: int | None = None


class Prediction(NamedTuple):
    """A predicted Hölder exponent and its interval.

    2 where nothing rougher than the cap of second differences is predicted. Theory promises
    no more than min(1, value): beyond 1 the exponent is what second differences see.
    """

    value: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class Chaos:
    """How the closed loop forgets.

    Attributes:
        spectrum: Leading exponents in nats per second, shape (k,).
        growth: Log growth of the leading tangent, (states, steps), nats per step.
        alive: Steps before termination, (states, steps).
        reward: Exponent of the reward sequence, nats per second.
        steps: Mean number of steps before termination.
        failed_states: Initial states whose rollout or tangent became nonfinite.
    """

    spectrum: Estimate
    growth: np.ndarray
    alive: np.ndarray
    reward: Estimate | None
    steps: float
    failed_states: int


@dataclasses.dataclass(frozen=True)
class DiscountDiagnosis:
    """The finding at one discount factor.

    Attributes:
        discount: γ.
        holder: Measured exponent (second-difference variograms).
        paper: The same by Gaussian perturbations, at one centre.
        without_jumps: Exponent with the lines that hold jumps left out, if any did.
        jumps: Jumps found along the lines.
        predictions: By name: "mean", "second moment" and "worst" finite-time exponent.
        agrees: Names of the predictions whose interval meets the measured one, both
            capped at 1.
        verdict: The verdict.
        reason: Why, in one sentence.
    """

    discount: float
    holder: Estimate
    paper: Estimate
    without_jumps: Estimate | None
    jumps: Jumps
    predictions: Mapping[str, Prediction]
    agrees: tuple[str, ...]
    verdict: Verdict
    reason: str


@dataclasses.dataclass(frozen=True)
class Slices:
    """Two lines and two planes, wide and zoomed, as datasets with one output per γ."""

    lines: tuple[xarray.Dataset, xarray.Dataset]
    planes: tuple[xarray.Dataset, xarray.Dataset]


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """Everything that was measured.

    Attributes:
        chaos: Lyapunov exponents.
        by_discount: One finding per discount, in the order asked for.
        lines: The samples behind the Hölder exponents.
        noise_variance: Measured variance of one value, per discount.
        slices: Pictures of the landscape.
        value: Return at the parameters, per discount.
        smooth_below: Scale e^{-λT} below which the finite horizon makes any return smooth.
        num_points: Parameter points evaluated.
        nonfinite_points: How many of them gave no finite return.
    """

    chaos: Chaos
    by_discount: tuple[DiscountDiagnosis, ...]
    lines: Lines
    noise_variance: np.ndarray
    slices: Slices
    value: np.ndarray
    smooth_below: float
    num_points: int
    nonfinite_points: int
