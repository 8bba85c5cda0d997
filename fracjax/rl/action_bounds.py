"""Physical units of actions: the box of a foreign policy against our [-1, 1].

Environments here take actions in [-1, 1], to which they give a physical meaning. Policies that
end in a tanh are trained in [-1, 1], too. Others, as those of PPO in Stable-Baselines3 and
CleanRL, give actions in physical units, which are clipped to a box [low, high]. Clipping
commutes with the map of the box to [-1, 1], and that map is part of the last layer here:

    u = 2 (a - low) / (high - low) - 1
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from fracjax.rl.environment import Environment
from fracjax.rl.policies import PolicyFileError

__all__ = ["Bounds", "agree", "as_bounds", "into_unit_box"]

Bounds: TypeAlias = tuple[tuple[float, ...], tuple[float, ...]]

_TOLERANCE = 1e-6


def as_bounds(low: Any, high: Any, size: int) -> Bounds:
    """Make bounds of numbers or sequences, one entry per action.

    Raises:
        PolicyFileError: If they do not fit `size`, are not finite or not ordered.
    """
    try:
        ends = [np.broadcast_to(np.asarray(end, float), (size,)) for end in (low, high)]
    except ValueError as error:
        msg = f"has {size} actions, which the action bounds {low}, {high} do not fit"
        raise PolicyFileError(msg) from error
    if not (np.isfinite(ends).all() and (ends[0] < ends[1]).all()):
        msg = f"needs finite action bounds with low < high, but they are {low}, {high}"
        raise PolicyFileError(msg)
    first, second = (tuple(end.tolist()) for end in ends)
    return first, second


def agree(
    size: int,
    stated: Sequence[Any] | None,
    asked: Sequence[Any] | np.ndarray | None,
    environment: Environment | None,
) -> Bounds | None:
    """Find the bounds of a policy's actions from its file, the caller and the environment.

    Raises:
        PolicyFileError: If two of them differ: the same number would be another torque.
    """
    known: dict[str, Bounds] = {}
    sources: dict[str, Any] = {"its file": stated, "`action_bounds`": asked}
    if environment is not None:
        sources[f"`{environment.name}`"] = environment.action_bounds
    for source, ends in sources.items():
        if ends is not None:
            low, high = ends
            known[source] = as_bounds(low, high, size)
    named = list(known.items())
    for source, bounds in named[1:]:
        gap = np.abs(np.subtract(bounds, named[0][1])).max()
        if gap > _TOLERANCE * np.abs(named[0][1]).max():
            msg = (
                f"acts between {_short(named[0][1])} by {named[0][0]}, but between"
                f" {_short(bounds)} by {source}"
            )
            raise PolicyFileError(msg)
    return named[0][1] if named else None


def into_unit_box(arrays: Mapping[str, np.ndarray], bounds: Bounds) -> dict[str, np.ndarray]:
    """Change the last layer so that its outputs are in the unit box in place of `bounds`."""
    last = max(int(name[6:-7]) for name in arrays if name.endswith("/kernel"))
    low, high = (np.asarray(end) for end in bounds)
    kernel, bias = (arrays[f"layer_{last}/{part}"] for part in ("kernel", "bias"))
    scale = 2 / (high - low)
    return {
        **arrays,
        f"layer_{last}/kernel": (kernel * scale).astype(kernel.dtype),
        f"layer_{last}/bias": ((bias - low) * scale - 1).astype(bias.dtype),
    }


def _short(bounds: Bounds) -> str:
    ends = [f"{end[0]:g}" if len(set(end)) == 1 else str(list(end)) for end in bounds]
    return " and ".join(ends)
