"""Moments of a posterior by blackjax's NUTS, where none are known."""

import importlib
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float

from fracjax._types import Key, PyTree

__all__ = ["Moments", "nuts_moments"]

_CHAINS, _WARM_UP = 4, 1000
_WORST_SPREAD = 1.02  # of the potential scale reduction


class Moments(NamedTuple):
    """Mean and covariance of a posterior.

    Attributes:
        mean: Mean.
        covariance: Covariance.
        mean_error: Standard errors of the mean; 0 where exact.
        relative_error: Largest relative standard error of a variance; 0 where exact.
    """

    mean: Float[np.ndarray, " k"]
    covariance: Float[np.ndarray, "k k"]
    mean_error: Float[np.ndarray, " k"]
    relative_error: float


def nuts_moments(
    log_density: Callable[[PyTree], Array], start: PyTree, key: Key, *, num_draws: int
) -> Moments:
    """Sample with four chains of NUTS, window adaptation and 1000 draws of warm-up each.

    Args:
        log_density: Logarithm of the posterior density up to a constant.
        start: First point of all chains; parameters come in the order of its leaves.
        key: Draws.
        num_draws: Draws per chain that count.

    Returns:
        Moments, with errors by the effective sample size.

    Raises:
        ImportError: If blackjax is missing; the extra `sampling` brings it.
        RuntimeError: If a transition diverged or the chains disagree: then this is no reference.
    """
    try:
        blackjax = importlib.import_module("blackjax")
    except ImportError as error:
        msg = "NUTS is blackjax's: pip install 'fracjax[sampling]'."
        raise ImportError(msg) from error
    warm_up = blackjax.window_adaptation(blackjax.nuts, log_density)

    def one(key: Key) -> tuple[PyTree, Array]:
        first, second = jax.random.split(key)
        (state, settings), _ = warm_up.run(first, start, num_steps=_WARM_UP)
        kernel = blackjax.nuts(log_density, **settings).step

        def step(state: PyTree, key: Key) -> tuple[PyTree, tuple]:
            state, info = kernel(key, state)
            return state, (state.position, info.is_divergent)

        return jax.lax.scan(step, state, jax.random.split(second, num_draws))[1]

    positions, diverged = jax.jit(jax.vmap(one))(jax.random.split(key, _CHAINS))
    draws = np.concatenate(
        [
            np.asarray(leaf, float).reshape(_CHAINS, num_draws, -1)
            for leaf in jax.tree.leaves(positions)
        ],
        axis=2,
    )
    spread = float(np.max(blackjax.diagnostics.potential_scale_reduction(draws)))
    if np.any(diverged) or not spread < _WORST_SPREAD:
        msg = (
            f"NUTS gave no reference: {int(np.sum(diverged))} transitions diverged, and the"
            f" potential scale reduction is {spread:.4f}."
        )
        raise RuntimeError(msg)
    flat = draws.reshape(-1, draws.shape[2])
    sizes = np.asarray(blackjax.diagnostics.effective_sample_size(draws), float)
    squares = (draws - flat.mean(axis=0)) ** 2
    of_squares = np.asarray(blackjax.diagnostics.effective_sample_size(squares), float)
    return Moments(
        flat.mean(axis=0),
        np.cov(flat.T),
        flat.std(axis=0) / np.sqrt(sizes),
        # The variance of a variance over its square is 2/n for a normal law.
        float(np.sqrt(2 / of_squares.min())),
    )
