"""Samplers of negative pairs by distance, as a learned sampling policy starts with them.

ASR (2208.08056, of which only the opening page was available) starts its policy from "normal
high" and "normal low". That these are the presets of that name of the public code of PADS (Roth,
Milbich and Ommer, 2020, Confusezius/CVPR2020_PADS) is inferred here from task, actions and option
names; ASR's own settings were not seen. In PADS's code high and low are the *mean* distance, 1.6
and .5, with spreads .04 and .05 that hardly differ; ASR's explanation by the variance needs both
axes, `pair_sampler(mean, spread)`.

The sampler's weights are multiplied by .8, 1 or 1.25 per bin and update, so that it is a softmax
over accumulated logarithms: how far the useful bins are below the favoured one, in nats, is the
depth of its well.
"""

import math
from typing import Literal, NamedTuple, get_args

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

__all__ = [
    "MULTIPLIERS",
    "NUM_BINS",
    "Climb",
    "Preset",
    "bin_centres",
    "effective_bins",
    "pair_sampler",
    "preset_sampler",
    "updates_to_climb",
    "well_depth",
]

Preset = Literal["normal_low", "normal_avg", "normal_high", "uniform"]
# Mean and spread in distance, of PADS's public code; "uniform" is every bin alike.
_PRESETS: dict[str, tuple[float, float]] = {
    "normal_low": (0.5, 0.05),
    "normal_avg": (1.1, 0.04),
    "normal_high": (1.6, 0.04),
}
MULTIPLIERS = (0.8, 1.0, 1.25)
NUM_BINS = 29
_RANGE = (0.1, 1.4)
_SMALLEST = 1e-15
_SHIFT = 2 / (NUM_BINS + 1)  # the code reads the density there, right of a bin's left edge


class Climb(NamedTuple):
    """Updates until the useful bins weigh as much as the favoured one.

    Attributes:
        coordinated: Raising them while all others are lowered, the least there can be.
        raising: Raising them alone.
    """

    coordinated: int
    raising: int


def bin_centres() -> Float[np.ndarray, " bins"]:
    """Distances in the middle of the 29 bins on [.1, 1.4]."""
    edges = np.linspace(*_RANGE, NUM_BINS + 1)
    return (edges[1:] + edges[:-1]) / 2


def pair_sampler(
    mean: float | Float[Array, ""], spread: float | Float[Array, ""]
) -> Float[Array, " bins"]:
    """Probabilities of the 29 bins for a normal start, by PADS's rule.

    exp(-(x - m)²/(2 σ²))/√(2 π σ) at .067 right of every left edge (one and a half bins), clipped
    to [1e-15, 1] and divided by the sum. The prefactor is that of the code; with the clipping it
    decides how deep the floor lies.

    Args:
        mean: m.
        spread: σ.
    """
    places = jnp.asarray(np.linspace(*_RANGE, NUM_BINS + 1)[:-1] + _SHIFT, jnp.result_type(float))
    density = jnp.exp(-((places - mean) ** 2) / (2 * jnp.asarray(spread) ** 2))
    weights = jnp.clip(density / jnp.sqrt(2 * jnp.pi * spread), _SMALLEST, 1.0)
    return weights / jnp.sum(weights)


def preset_sampler(preset: Preset) -> Float[Array, " bins"]:
    """Probabilities of the bins of a named start.

    Raises:
        ValueError: If there is no such preset.
    """
    if preset not in get_args(Preset):
        msg = f"Argument `preset` must be one of {get_args(Preset)}, but is {preset!r}."
        raise ValueError(msg)
    if preset == "uniform":
        return jnp.full(NUM_BINS, 1 / NUM_BINS)
    return pair_sampler(*_PRESETS[preset])


def effective_bins(probabilities: Float[Array, "*batch bins"]) -> Float[Array, "*batch"]:
    """Exponential of the entropy: how many bins are in use."""
    logs = jnp.log(jnp.maximum(probabilities, jnp.finfo(probabilities.dtype).tiny))
    return jnp.exp(-jnp.sum(probabilities * logs, axis=-1))


def well_depth(
    probabilities: Float[Array, "*batch bins"], useful: Bool[Array | np.ndarray, " bins"]
) -> Float[Array, "*batch"]:
    """Nats from the best of the useful bins up to the favoured bin; 0 where that is useful.

    Args:
        probabilities: Of the bins.
        useful: Which bins would help.
    """
    wanted = jnp.max(jnp.where(jnp.asarray(useful), probabilities, 0), axis=-1)
    return jnp.log(jnp.max(probabilities, axis=-1)) - jnp.log(wanted)


def updates_to_climb(depth: float, multipliers: tuple[float, float, float] = MULTIPLIERS) -> Climb:
    """Fewest updates that climb a well of this depth when every one of them is right.

    Args:
        depth: In nats, see `well_depth`.
        multipliers: Of a bin's weight: down, stay, up.

    Raises:
        ValueError: If the multipliers do not go down and up.
    """
    down, _, up = multipliers
    if not 0 < down < 1 < up:
        msg = f"Argument `multipliers` must be below, at and above 1, but is {multipliers}."
        raise ValueError(msg)
    return Climb(math.ceil(depth / math.log(up / down)), math.ceil(depth / math.log(up)))
