"""Shares of units that do nothing, little, or the same as another, on a batch of inputs.

Activations are those after the activation function, (samples, ..., units): a unit of a
convolution is a channel, and its places in the image count like further samples. All shares are
statements about the batch they were measured on: more samples can only turn fewer units out as
dead. Nonfinite activations give NaN.
"""

from typing import Literal, get_args

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

__all__ = [
    "Saturation",
    "SoftDeath",
    "dead_units",
    "dormant_scores",
    "dormant_units",
    "duplicate_units",
    "rarely_active_units",
    "saturated_activations",
    "soft_dead_units",
    "unit_samples",
    "zero_activations",
]

SoftDeath = Literal["dohare_2024", "joudaki_2025"]
Saturation = Literal["tanh", "sigmoid"]
# Magnitude above which a unit counts as active, and the share of samples it must exceed.
_SOFT = {"dohare_2024": (0.0, 0.01), "joudaki_2025": (1e-7, 0.05)}
_EDGE = 0.01  # of a saturating function's range


def unit_samples(activations: Float[Array | np.ndarray, "..."]) -> Float[Array, "samples units"]:
    """Lay all samples and places of every unit below one another.

    Raises:
        ValueError: If there are fewer than two axes.
    """
    if np.ndim(activations) < 2:
        msg = (
            "Argument `activations` must have axes (samples, ..., units), but has shape"
            f" {np.shape(activations)}."
        )
        raise ValueError(msg)
    found = jnp.asarray(activations)
    return found.reshape(-1, found.shape[-1])


def dead_units(
    activations: Float[Array | np.ndarray, "..."], *, threshold: float = 0.0
) -> Float[Array, ""]:
    """Share of units with |h| ≤ threshold on every sample: dead in the strict sense.

    Args:
        activations: Of one layer, (samples, ..., units).
        threshold: Largest magnitude of a dead unit; 0 suits ReLU only. A unit of tanh or swish is
            hardly ever dead by this measure, and `dormant_units` is the one to use.

    References:
        Dohare et al. (2024), https://doi.org/10.1038/s41586-024-07711-7, whose code for permuted
        images sums |h| over 2000 inputs.
    """
    samples = unit_samples(activations)
    return _share(jnp.all(jnp.abs(samples) <= threshold, axis=0), samples)


def rarely_active_units(
    activations: Float[Array | np.ndarray, "..."], *, threshold: float = 0.0, share: float = 0.01
) -> Float[Array, ""]:
    """Share of units with |h| > threshold on less than a share of the samples: softly dead.

    Args:
        activations: Of one layer, (samples, ..., units).
        threshold: Largest magnitude that counts as inactive.
        share: Share of the samples that an active unit reaches.
    """
    samples = unit_samples(activations)
    active = jnp.mean(jnp.abs(samples) > threshold, axis=0, dtype=samples.dtype)
    return _share(active < share, samples)


def soft_dead_units(
    activations: Float[Array | np.ndarray, "..."], definition: SoftDeath
) -> Float[Array, ""]:
    """Share of softly dead units by a published threshold.

    `"dohare_2024"`: h ≠ 0 on less than 1 % of the samples. `"joudaki_2025"`: |h| < 1e-7 on more
    than 95 % of them.

    Args:
        activations: Of one layer, (samples, ..., units).
        definition: Whose.

    Raises:
        ValueError: If the definition is not one of the two.
    """
    if definition not in get_args(SoftDeath):
        msg = f"Argument `definition` must be one of {get_args(SoftDeath)}, but is {definition!r}."
        raise ValueError(msg)
    threshold, share = _SOFT[definition]
    return rarely_active_units(activations, threshold=threshold, share=share)


def zero_activations(activations: Float[Array | np.ndarray, "..."]) -> Float[Array, ""]:
    """Share of activations that are exactly 0. About one half for a fresh ReLU: no unit is meant.

    References:
        Juliani and Ash (2024), https://arxiv.org/abs/2405.19153.
    """
    samples = unit_samples(activations)
    return _share(samples == 0, samples)


def saturated_activations(
    activations: Float[Array | np.ndarray, "..."], function: Saturation
) -> Float[Array, ""]:
    """Share of activations at the ends of a bounded function, what `zero_activations` is to ReLU.

    |h| > 0.99 for tanh, h < 0.01 or h > 0.99 for the logistic function.

    Args:
        activations: Of one layer, (samples, ..., units).
        function: Which one.

    Raises:
        ValueError: If it is neither of the two.

    References:
        Juliani and Ash (2024), https://arxiv.org/abs/2405.19153.
    """
    if function not in get_args(Saturation):
        msg = f"Argument `function` must be one of {get_args(Saturation)}, but is {function!r}."
        raise ValueError(msg)
    samples = unit_samples(activations)
    low = -1 + _EDGE if function == "tanh" else _EDGE
    return _share((samples < low) | (samples > 1 - _EDGE), samples)


def dormant_scores(activations: Float[Array | np.ndarray, "..."]) -> Float[Array, " units"]:
    """Mean |h| of every unit over the mean of that over the layer: 1 on average.

    The paper's text says that the scores of a layer add up to 1; its code divides by the mean,
    as here, and the thresholds in use belong to that. A layer that is silent altogether has
    scores 0. Dopamine adds 1e-9 to the mean, which changes nothing else.

    Args:
        activations: Of one layer, (samples, ..., units).

    References:
        Sokar et al. (2023), https://arxiv.org/abs/2302.12902; Dopamine's issue 209.
    """
    strength = jnp.mean(jnp.abs(unit_samples(activations)), axis=0)
    mean = jnp.mean(strength)
    silent = mean == 0
    return jnp.where(silent, 0, strength / jnp.where(silent, 1, mean))


def dormant_units(
    activations: Float[Array | np.ndarray, "..."], tau: float = 0.025
) -> Float[Array, ""]:
    """Share of τ-dormant units of a layer: `dormant_scores` of at most τ.

    Args:
        activations: Of one layer, (samples, ..., units).
        tau: Threshold τ. 0 is `dead_units`; the paper takes .1, and .025 at the default replay
            ratio (Dopamine's issue 226).

    References:
        Sokar et al. (2023), https://arxiv.org/abs/2302.12902.
    """
    samples = unit_samples(activations)
    return _share(dormant_scores(samples) <= tau, samples)


def duplicate_units(
    activations: Float[Array | np.ndarray, "..."], *, cosine: float = 0.95
) -> Float[Array, ""]:
    """Share of units that do the same as a later one: cosine of their activations above a bound.

    Of a group of equal units all but one are counted, so that the rest is what is left without
    them. Dead units are no duplicates. ReLU units without centring have cosines of .3 and more
    by chance, and the measure of few samples means nothing.

    Args:
        activations: Of one layer, (samples, ..., units).
        cosine: The bound.

    References:
        Joudaki et al. (2025), code of https://github.com/ajoudaki/loss-of-plasticity.
    """
    samples = unit_samples(activations)
    # By the largest entry first: squares of tiny activations would vanish.
    largest = jnp.max(jnp.abs(samples), axis=0)
    scaled = samples / jnp.where(largest == 0, 1, largest)
    norm = jnp.linalg.norm(scaled, axis=0)
    unit = scaled / jnp.where(norm == 0, 1, norm)
    similar = jnp.triu(unit.T @ unit > cosine, k=1)
    return _share(similar.any(axis=1), samples)


def _share(flags: Bool[Array, "..."], samples: Float[Array, "samples units"]) -> Float[Array, ""]:
    """Mean of flags; NaN where what they were read from is not finite."""
    share = jnp.mean(flags, dtype=samples.dtype)
    return jnp.where(jnp.isfinite(samples).all(), share, jnp.nan)
