"""The diagnosis of wells on runs whose answer is known, with and without noise.

Six arms, Δ = .2, η = 1, 200 records: from a corner with π₁ = 1e-3 (escape after 2502 updates), from
the middle, from the optimum, and a run that bounces without getting anywhere.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from fracjax._types import Key, Status
from fracjax.learning.gravity_wells.escapes import start_params
from fracjax.learning.gravity_wells.traces import AscentTrace, ascent_trace
from fracjax.learning.gravity_wells.well_diagnosis import Well, WellDiagnosis, diagnose_well
from fracjax.reproduce.comparisons import about, mean_of
from fracjax.reproduce.experiments import Part, Size
from fracjax.reproduce.gravity_laws import equal_rewards
from fracjax.reproduce.rows import Row, compare, describe

__all__ = ["PARTS"]

_GAP = 0.2
_ESCAPE = 2502
_RECORDS = 200
_NOISES = (0.0, 3e-5, 1e-3, 1e-2)


def _trace(start: Array, every: int, step_size: float = 1.0) -> AscentTrace:
    run = functools.partial(ascent_trace, num_records=_RECORDS, every=every, step_size=step_size)
    return jax.jit(run)(start, equal_rewards(_GAP))


def _known(key: Key, size: Size) -> list[Row]:
    """Share of right verdicts over noise, and forecasts of the escape; in float64."""
    seeds = {"quick": 50, "default": 200, "full": 2000}[size]
    keys = jax.random.split(key, seeds)
    with jax.enable_x64(True):
        deep = start_params(jnp.asarray(1e-3), num_arms=6, corner=True)
        runs = {
            "in a well, left": (_trace(deep, 40), 1.0, Well.ESCAPED),
            "in a well, cut off at 1990": (_trace(deep, 10), 1.0, Well.INSIDE),
            "from the middle, cut off": (_trace(jnp.zeros(6), 1, 0.2), 0.2, Well.NEVER),
            "from the middle, to the end": (_trace(jnp.zeros(6), 10), 1.0, Well.CONVERGED),
            "from the optimum": (
                _trace(jnp.zeros(6).at[0].set(5.0), 10),
                1.0,
                Well.CONVERGED,
            ),
        }
        rows: list[Row] = []
        for name, (trace, step_size, verdict) in runs.items():
            found = {
                noise: _over_seeds(trace, keys, jnp.asarray(noise), jnp.asarray(step_size))
                for noise in _NOISES
            }
            rows += _verdicts(name, verdict, found)
        rows += _bouncing(keys)
        return rows


def _noisy(trace: AscentTrace, key: Key, noise: Array) -> tuple[Array, Array]:
    """Norm of the gradient plus isotropic noise of this root mean square length; noisy gaps."""
    drawn = jax.random.normal(key, (len(trace.steps), 7))
    along = trace.gradient_norms[:, None] * jnp.eye(6)[0]
    norms = jnp.linalg.norm(along + noise / 6**0.5 * drawn[:, :6], axis=1)
    return norms, trace.gaps + 0.005 * drawn[:, 6]


@jax.jit
def _over_seeds(trace: AscentTrace, keys: Array, noise: Array, step_size: Array) -> WellDiagnosis:
    """Diagnose the run under many draws of the noise, whose size is told."""

    def one(key: Key) -> WellDiagnosis:
        norms, gaps = _noisy(trace, key, noise)
        return diagnose_well(
            trace.steps,
            norms,
            gaps,
            best_probabilities=trace.probabilities[:, 0],
            step_size=step_size,
            reference_gap=_GAP,
            gradient_noise=noise,
            smoothing=5,
        )

    return jax.vmap(one)(keys)


def _verdicts(name: str, verdict: Well, results: dict[float, WellDiagnosis]) -> list[Row]:
    rows = []
    for noise, found in results.items():
        right = np.asarray(found.verdict) == int(verdict)
        text = (
            f"share of {len(found.verdict)} runs called {verdict.label}, gradient noise {noise:g}"
        )
        pair = (float(right.mean()), 0.0)
        if noise < 1e-2:
            rows.append(compare(name, text, pair, (1.0, 0.005, "known by construction")))
        else:
            undecided = float(np.mean(np.asarray(found.verdict) == int(Well.UNDECIDED)))
            rows.append(describe(name, f"{text} ({undecided:.2f} undecided)", pair))
        if verdict not in (Well.ESCAPED, Well.INSIDE) or noise > 3e-5:
            continue
        told = np.asarray(found.forecast.status == int(Status.OK))
        value = np.asarray(found.forecast.value)[told]
        source = "2502 updates; 1/g reaches 0 at most 1 % later"
        text = f"mean forecast of the escape from gradient norms, noise {noise:g}"
        rows.append(about(name, text, mean_of(value), _ESCAPE, 0.04 * _ESCAPE, source))
        if noise:
            low, high = np.asarray(found.forecast.low), np.asarray(found.forecast.high)
            covered = float(np.mean((low <= _ESCAPE) & (_ESCAPE <= high)))
            text = f"share of forecasts whose 95 % interval holds {_ESCAPE}"
            rows.append(describe(name, text, (covered, 0.0)))
        law = found.law
        if law is not None and not noise:
            inside = bool((law.low[0] <= _ESCAPE) & (_ESCAPE <= law.high[0]))
            text = f"whether [{law.low[0]:.0f}, {law.high[0]:.0f}] by the softmax law holds it"
            rows.append(compare(name, text, (inside, 0.0), (1.0, 0.0, "law: c in [1/2, 1]")))
    return rows


def _bouncing(keys: Array) -> list[Row]:
    """A gap that stays while the gradient is long: not a well."""

    @jax.jit
    @jax.vmap
    def one(key: Key) -> Array:
        drawn = jax.random.normal(key, (2, 200))
        norms, gaps = 0.3 + 0.05 * drawn[0], 0.2 + 0.002 * drawn[1]
        return diagnose_well(
            jnp.arange(200), norms, gaps, step_size=1.0, reference_gap=_GAP, smoothing=5
        ).verdict

    share = float(np.mean(np.asarray(one(keys)) == int(Well.STALLED)))
    text = f"share of {len(keys)} runs called stalled"
    source = "known by construction"
    return [compare("bouncing at a long gradient", text, (share, 0.0), (1.0, 0.005, source))]


PARTS: dict[str, Part] = {"diagnosis": _known}
