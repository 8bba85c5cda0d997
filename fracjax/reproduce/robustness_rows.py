"""Rows that the robustness experiment is made of, and its baseline without action."""

import dataclasses
import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from fracjax._types import Estimate, Key, PyTree, Status
from fracjax.learning import Regime, interquartile_mean
from fracjax.learning.robustness.spectra import Method
from fracjax.reproduce.rows import Row, describe
from fracjax.rl.environment import Environment

__all__ = [
    "METHODS",
    "Still",
    "described",
    "estimated",
    "left_out",
    "over_runs",
    "regimes",
    "signed",
]

_interquartile = jax.jit(interquartile_mean, static_argnames=("interval", "resampling"))
METHODS: Mapping[Method, str] = {
    "tangents": "by tangents",
    "perturbations": "by the paper's recipe",
}


class Still:
    """The paper's baseline: zero action. Its parameters are not used."""

    def __init__(self, environment: Environment):
        self._size = environment.action_size

    def act(self, params: PyTree, observation: Array, key: Key | None = None) -> Array:
        """Do nothing."""
        del params, key
        return jnp.zeros(self._size, observation.dtype)


def over_runs(scores: Array | np.ndarray, key: Key, *, student: bool = False) -> Estimate:
    """Interquartile mean over runs and their columns; what is drawn anew is whole runs.

    Args:
        scores: (runs,) or (runs, states). A state without a number (a reward that saturates has
            no exponent) counts as the mean of its run; runs without any, and those that
            diverge, are left out.
        key: Draws the resamples.
        student: Student's interval, which holds for three runs, instead of the bootstrap.
    """
    table = np.asarray(scores, float)
    table = table.reshape(len(table), -1)
    table = table[~np.isinf(table).any(axis=1) & ~np.isnan(table).all(axis=1)]
    if len(table) == 0:
        table = np.full((1, 1), np.nan)
    else:
        table = np.where(np.isnan(table), np.nanmean(table, axis=1, keepdims=True), table)
    interval = "student" if student else "percentile"
    found = _interquartile(jnp.asarray(table), key, interval=interval, resampling="rows")
    return jax.tree.map(np.asarray, found)


def estimated(
    value: float, stderr: float, low: float, high: float, status: int = int(Status.OK)
) -> Estimate:
    """Make an estimate of plain numbers."""
    return Estimate(
        jnp.asarray(value),
        jnp.asarray(stderr),
        jnp.asarray(low),
        jnp.asarray(high),
        jnp.asarray(status),
    )


def described(system: str, quantity: str, estimate: Estimate) -> Row:
    """Report an estimate with its own interval."""
    row = describe(system, quantity, (float(estimate.value), float(estimate.stderr)))
    return dataclasses.replace(row, low=float(estimate.low), high=float(estimate.high))


def signed(system: str, quantity: str, estimate: Estimate, sign: int, source: str) -> Row:
    """Compare the sign of an estimate with a published one.

    The row's numbers are signs: of the value, and of the ends of the interval. It agrees only
    when all three are the published one: an interval that holds zero has no sign.
    """
    value, low, high = (
        float(np.sign(float(part))) for part in (estimate.value, estimate.low, estimate.high)
    )
    stderr = float(estimate.stderr)
    distance = float(estimate.value) / stderr if stderr > 0 else math.copysign(math.inf, value)
    return Row(
        system=system,
        quantity=(
            f"sign of the {quantity}, {float(estimate.value):.3g}"
            f" [{float(estimate.low):.3g}, {float(estimate.high):.3g}]"
        ),
        value=value,
        low=low,
        high=high,
        reference=float(sign),
        uncertainty=0.0,
        source=f"{source}; z is the distance from zero",
        z=distance,
        agrees=bool(value == low == high == sign),
    )


def regimes(system: str, codes: Array | np.ndarray, method: Method) -> list[Row]:
    """Count the agents in every regime that occurs."""
    codes = np.asarray(codes).ravel()
    return [
        describe(
            system,
            f"agents of {len(codes)} that are {regime.label}, {METHODS[method]}",
            (float((codes == regime).sum()), 0.0),
        )
        for regime in Regime
        if (codes == regime).any()
    ]


def left_out(system: str, reason: str) -> Row:
    """Say in the table what is not in it."""
    return describe(system, f"left out: {reason}", (math.nan, math.nan))
