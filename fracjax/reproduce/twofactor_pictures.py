"""Pictures of the two-factor problem by scans in float64: basins, phases, bifurcations."""

import functools
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray
from jaxtyping import Array

from fracjax._types import Estimate, Key
from fracjax.landscapes import along, scan
from fracjax.landscapes.refinement.pixel_sets import boundary_dimension
from fracjax.reproduce.comparisons import about, exactly, number
from fracjax.reproduce.experiments import Part, Size
from fracjax.reproduce.rows import Findings, Row, describe
from fracjax.systems.training_maps import balanced_map, ellipse
from fracjax.systems.training_maps.bifurcations import period_doublings
from fracjax.systems.training_maps.phases import Phase, balanced_phase, orbit_phase

__all__ = ["PARTS"]

_CHUNK = 1024
_BASINS = (0.2, 0.6, 0.95, 1.1, 1.5)  # step sizes
_REACH = 4.0  # of initial states
# The middle of their grid, off the symmetries and the dyadic numbers: (4, 1/4) would be a minimum
# outside of the ellipse, on which an orbit stays however unstable it is.
_MIDDLE = np.array([math.pi, math.e]) / 1000
_START = 1.0  # x + y of the phase diagram's initial states
_CENTRE, _HALF = np.array([1.1, 2.5]), (1.08, 2.5)  # of step sizes and imbalances
_MARGIN = 1e-3  # of E, within which a start is on the boundary


class _Sizes(NamedTuple):
    """Points along an axis, and steps of an orbit behind and before the measurement."""

    points: int
    steps: int
    step_sizes: int


def _sizes(size: Size) -> _Sizes:
    return {
        "quick": _Sizes(129, 512, 600),
        "default": _Sizes(385, 1024, 2000),
        "full": _Sizes(1537, 4096, 8000),
    }[size]


def _outcome(step_size: Array, state: Array, num_steps: int) -> dict[str, Array]:
    """What an orbit did, as numbers that a scan can keep."""
    found = orbit_phase(step_size, state, num_steps=num_steps, num_transient=num_steps)
    return {
        "phase": found.phase.astype(state.dtype),
        "period": found.period.astype(state.dtype),
        "exponent": found.exponent.value,
        "sharpness": found.sharpness,
        "imbalance": found.imbalance,
        "loss": found.loss,
        "sign": jnp.sign(jnp.sum(found.end)),
    }


def _scan(objective: Any, centre: np.ndarray, span: Any, points: int, key: Key) -> xarray.Dataset:
    grid = along(np.eye(2), span=span, num_points=points)
    return scan(objective, centre, grid, key, chunk_size=_CHUNK, evaluator="plain")


def _axes_of(found: xarray.Dataset, centre: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return centre[0] + found["a"].values, centre[1] + found["b"].values


# --- basins ---------------------------------------------------------------------------------


def _basins(key: Key, size: Size) -> Findings:
    """Bounded inside the ellipse and nowhere else, and what happens there."""
    sizes = _sizes(size)
    rows: list[Row] = []
    pictures: dict[float, tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]] = {}
    with jax.enable_x64(True):
        for step_size in _BASINS:

            def objective(state: Array, _: Key, step_size: float = step_size) -> dict[str, Array]:
                return _outcome(jnp.asarray(step_size), state, sizes.steps)

            found = _scan(objective, _MIDDLE, _REACH, sizes.points, key)
            x, y = _axes_of(found, _MIDDLE)
            values = {str(name): found[name].values for name in found.data_vars}
            rows += _basin_rows(step_size, x, y, values)
            pictures[step_size] = x, y, values
    return Findings(rows, {"basins": functools.partial(_draw_basins, pictures)})


def _basin_rows(
    step_size: float, x: np.ndarray, y: np.ndarray, values: dict[str, np.ndarray]
) -> list[Row]:
    system = f"product map, μ={step_size:g}, starts in [-4, 4]²"
    p, s = x[:, None] * y, x[:, None] ** 2 + y**2
    value = s - step_size * p - (4 - step_size**2) / step_size
    clear, bounded = np.abs(value) > _MARGIN, values["phase"] != Phase.DIVERGENT
    wrong = int(np.sum((bounded != (value < 0)) & clear))
    quantity = f"starts of {x.size * y.size:,} where bounded is not E < 0"
    rows = [exactly(system, quantity, wrong, 0, "exact: the sign of E is conserved")]
    inside = bounded & clear
    minimum = (values["phase"] == Phase.MONOTONE) | (values["phase"] == Phase.CATAPULT)
    share = float(np.mean(minimum[inside]))
    if step_size < 1:
        law = (share, 0.0), 1.0, 0.01, "almost all inside the ellipse"
        rows.append(about(system, "share of bounded orbits at a minimum", *law))
        largest = float(np.max(values["sharpness"][inside & minimum])) * step_size / 2
        rows.append(
            exactly(system, "minima reached with sharpness above 2/μ", int(largest >= 1), 0,
                    "exact: they are unstable")
        )  # fmt: skip
        rows.append(describe(system, "largest sharpness reached over 2/μ", (largest, 0.0)))
    else:
        law = (share, 0.0), 0.0, 0.01, "minima are unstable"
        rows.append(about(system, "share of bounded orbits at a minimum", *law))
        balanced = float(np.mean(values["imbalance"][inside] < 1e-9))
        law = (balanced, 0.0), 1.0, 0.01, "computed for this project: all of 20 000"
        rows.append(about(system, "share of bounded orbits that become balanced", *law))
    dimension = number(boundary_dimension(bounded))
    law = dimension, 1.0, 0.03, "exact: an ellipse"
    rows.append(about(system, "box-counting dimension of the boundary", *law))
    return rows


def _draw_basins(
    pictures: Mapping[float, tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]],
) -> Any:
    from fracjax.plotting.style import new_figure, style
    from fracjax.plotting.training_maps import basin_picture

    with style():
        figure = new_figure(4.2 * 3, 3.6 * 2)
        places = figure.subplots(2, 3).ravel()
        for axes, (step_size, (x, y, values)) in zip(places, pictures.items(), strict=False):
            bounded = values["phase"] != Phase.DIVERGENT
            if step_size < 1:
                shown, label = values["sharpness"] * step_size / 2, "sharpness reached / (2/μ)"
                centre = None
            else:
                shown, label, centre = values["sign"], "sign of x + y in the end", 0.0
            shown = np.where(bounded, shown, np.nan)
            basin_picture(axes, x, y, shown, step_size=step_size, label=label, centre=centre)
            axes.set_title(f"μ = {step_size:g}")
        for axes in places[len(pictures) :]:
            axes.set_axis_off()
        figure.suptitle("Where gradient descent goes; pink diverges, the line is E = 0")
    return figure


# --- phases ---------------------------------------------------------------------------------


def _starting(point: Array) -> tuple[Array, Array]:
    """Step size and initial state of a point (μ, imbalance): x + y = 1, x - y the imbalance."""
    step_size, imbalance = point
    return step_size, jnp.stack([_START + imbalance, _START - imbalance]) / 2


def _phases(key: Key, size: Size) -> Findings:
    """Phases over step size and imbalance, against E = 0 and μ = 1."""
    sizes = _sizes(size)

    def objective(point: Array, _: Key) -> dict[str, Array]:
        return _outcome(*_starting(point), sizes.steps)

    with jax.enable_x64(True):
        found = _scan(objective, _CENTRE, _HALF, sizes.points, key)
    x, y = _axes_of(found, _CENTRE)
    values = {str(name): found[name].values for name in found.data_vars}
    phase = values["phase"]
    q, d = _START, y[None, :]
    mu = x[:, None]
    value = (q**2 + d**2) / 2 - mu * (q**2 - d**2) / 4 - (4 - mu**2) / mu
    bounded = (mu < 2) & (value < 0)
    clear = (np.abs(value) > _MARGIN) & (np.abs(mu - 2) > 1e-3)
    diverges = phase == Phase.DIVERGENT
    settled = (phase == Phase.MONOTONE) | (phase == Phase.CATAPULT)
    away = bounded & clear & (np.abs(mu - 1) > 0.02)
    chaotic = phase == Phase.CHAOTIC
    system = "product map, step size × imbalance"
    source = "exact: outside the ellipse, or μ > 2"
    wrong = int(np.sum((diverges == bounded) & clear))
    rows = [
        exactly(system, "points whose divergence is not predicted", wrong, 0, source),
        about(system, "share at a minimum, inside, μ < .98",
              (float(np.mean(settled[away & (mu < 1)])), 0.0), 1.0, 0.01, "stable minima exist"),
        about(system, "share at a minimum, inside, μ > 1.02",
              (float(np.mean(settled[away & (mu > 1)])), 0.0), 0.0, 0.01, "none is stable"),
        about(system, "share chaotic, inside, 1.02 < μ < 1.30",
              (float(np.mean(chaotic[away & (mu > 1) & (mu < 1.30)])), 0.0), 0.0, 0.01,
              "exact: the cascade ends at 1.302283"),
        describe(system, "share chaotic, inside, μ > 1.31",
                 (float(np.mean(chaotic[away & (mu > 1.31)])), 0.0)),
        describe(system, "share undecided, inside", (float(np.mean(phase[bounded] == 0)), 0.0)),
        about(system, "box-counting dimension of the boundary of divergence",
              number(boundary_dimension(diverges)), 1.0, 0.03, "exact: a smooth curve"),
    ]  # fmt: skip
    return Findings(rows, {"phases": functools.partial(_draw_phases, x, y, phase)})


def _draw_phases(x: np.ndarray, y: np.ndarray, phase: np.ndarray) -> Any:
    from fracjax.plotting.style import new_figure, style
    from fracjax.plotting.training_maps import phase_diagram

    mu = np.linspace(0.05, 2.0, 400)
    edge = np.sqrt((2 - mu) * (4 / mu - _START**2 / (2 + mu)))
    shown = edge < y[-1]
    with style():
        figure = new_figure(7.0, 4.8)
        phase_diagram(
            figure.subplots(),
            x,
            y,
            phase,
            boundaries={
                "E = 0": (mu[shown], edge[shown]),
                "μ = 1": (np.ones(2), np.array([0.0, y[-1]])),
            },
            labels=("effective step size μ", f"imbalance x - y at the start (x + y = {_START:g})"),
        )
    return figure


# --- bifurcations ---------------------------------------------------------------------------


def _bifurcations(_: Key, size: Size) -> Findings:
    """The balanced map over its step size: orbits, phases and exponents."""
    sizes = _sizes(size)
    cascade = period_doublings()
    with jax.enable_x64(True):
        step_sizes = jnp.linspace(0.7, 2.0, sizes.step_sizes)

        def orbit(step_size: Array) -> Array:
            step = balanced_map.balanced_map(step_size)
            settled = jax.lax.fori_loop(0, 2000, lambda _, x: step(x), jnp.asarray(0.3))
            return jax.lax.scan(lambda x, _: (step(x), x), settled, length=200)[1]

        orbits = np.asarray(jax.jit(jax.vmap(orbit))(step_sizes))
        start = jnp.asarray([0.3, 0.3])
        steps = 4 * sizes.steps
        found = jax.vmap(lambda m: orbit_phase(m, start, num_steps=steps, num_transient=steps))(
            step_sizes
        )
        expected = np.asarray(balanced_phase(step_sizes))
    mu, phase = np.asarray(step_sizes), np.asarray(found.phase)
    # Near the first two thresholds orbits settle like powers of time, and at later ones cycles
    # are longer than what is looked for.
    places = np.array([1.0, balanced_map.SECOND_DOUBLING, *cascade.doublings[2:]])
    clear = np.min(np.abs(mu[:, None] - places), axis=1) > 0.004
    below = (mu < cascade.accumulation) & clear
    catapult = (phase == Phase.MONOTONE) & (expected == Phase.CATAPULT)  # by its start
    agree = (phase == expected) | catapult
    chaotic = (mu > cascade.accumulation) & clear
    system = "balanced map"
    periods = np.where(mu < places[1], 2, np.where(mu < cascade.doublings[2], 4, 8))
    doubled = (mu > 1) & (mu < cascade.doublings[3]) & clear
    rows = [
        exactly(system, "step sizes below the accumulation with another phase",
                int(np.sum(below & ~agree)), 0, "exact: thresholds"),
        exactly(system, "step sizes with another period than 2, 4, 8",
                int(np.sum(doubled & (np.asarray(found.period) != periods))), 0,
                "exact: doublings"),
        describe(system, "share of windows above the accumulation",
                 (float(np.mean(phase[chaotic] == Phase.PERIODIC)), 0.0)),
        describe(system, "share undecided", (float(np.mean(phase == Phase.UNDECIDED)), 0.0)),
    ]  # fmt: skip
    one_band = mu > balanced_map.BAND_MERGING + 0.004
    signs = np.min(orbits, axis=1) < 0
    wrong = int(np.sum(signs & (mu < balanced_map.BAND_MERGING)))
    rows.append(
        exactly(system, "orbits that change sign below 3√3/2 - 1", wrong, 0, "exact: two bands")
    )
    joined = float(np.mean(signs[one_band & (phase == Phase.CHAOTIC)]))
    law = (joined, 0.0), 1.0, 0.02, "they merge"
    rows.append(about(system, "share of chaotic orbits that do above", *law))
    return Findings(
        rows, {"bifurcations": functools.partial(_draw_bifurcations, mu, orbits, found.exponent)}
    )


def _draw_bifurcations(mu: np.ndarray, orbits: np.ndarray, exponent: Estimate) -> Any:
    from fracjax.plotting.style import new_figure, style
    from fracjax.plotting.training_maps import bifurcation_diagram, exponents_over_step_size

    thresholds = {
        "2√2 - 2": balanced_map.MONOTONE_LIMIT,
        "1": balanced_map.FIRST_DOUBLING,
        "√5 - 1": balanced_map.SECOND_DOUBLING,
        "accumulation": period_doublings().accumulation,
        "bands merge": balanced_map.BAND_MERGING,
    }
    with style():
        figure = new_figure(8.0, 6.4)
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
        bifurcation_diagram(above, mu, orbits, thresholds=thresholds)
        above.set_xlabel("")
        mark = {"product map": exponent}
        exponents_over_step_size(below, mu, mark, thresholds=thresholds)
        below.axhline(math.log(3), color="0.6", lw=0.8, ls=":")
    return figure


# --- critical step size ---------------------------------------------------------------------


def _critical(key: Key, size: Size) -> list[Row]:
    """η* of Liang and Montúfar for vectors, against gradient descent just below and above it."""
    count = 500 if size == "quick" else 5000
    with jax.enable_x64(True):
        first, second = jax.random.split(key)
        factors = 1.5 * jax.random.normal(first, (count, 2, 3))
        target = jax.random.uniform(second, (count,), minval=0.3, maxval=2.0)

        def run(factors: Array, target: Array, share: Array) -> tuple[Array, Array]:
            u, v = factors
            rate = share * ellipse.critical_step_size(u, v, target)

            def step(_: Array, state: Array) -> Array:
                move = rate * (target - jnp.sum(state[0] * state[1]))
                return state + move * state[::-1]

            end = jax.lax.fori_loop(0, 20_000, step, factors)
            return jnp.abs(jnp.sum(end[0] * end[1]) - target) < 1e-6, rate * target

        grid = jax.jit(jax.vmap(jax.vmap(run, (0, 0, None)), (None, None, 0)))
        converged, step_size = map(np.asarray, grid(factors, target, jnp.asarray([0.97, 1.03])))
    system = "½(u·v - y)², u and v of 3 numbers"
    source = "Liang and Montúfar (2025), Theorem 1"
    below, above = converged.mean(axis=1)
    inside = f"share of {count} starts that converge at .97 η*"
    rows = [
        about(system, inside, (float(below), 0.0), 1.0, 0.01, source),
        about(system, "and at 1.03 η*", (float(above), 0.0), 0.0, 0.01, source),
    ]
    rows.append(describe(system, "share with η* = 1/y", (float(np.mean(step_size[0] > 0.9699)), 0)))
    return rows


PARTS: dict[str, Part] = {
    "pictures: basins": _basins,
    "pictures: phases": _phases,
    "pictures: bifurcations": _bifurcations,
    "critical step size": _critical,
}
