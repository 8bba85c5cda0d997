"""Summaries over runs and regimes of closed loops, and the baseline without action."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from fracjax._types import Estimate, Key, PyTree
from fracjax.learning import Regime, interquartile_mean
from fracjax.learning.robustness.spectra import Method
from fracjax.reproduce.rows import Row, describe
from fracjax.rl.environment import Environment

__all__ = ["METHODS", "Still", "over_runs", "regimes"]

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
