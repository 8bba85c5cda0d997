"""Checks of settings that many estimators share; a `ValueError` says what to do."""

import math
from collections.abc import Iterable
from typing import Any

from fracjax import tangent
from fracjax._types import PyTree
from fracjax.tangent import Coordinates

__all__ = [
    "check_at_least",
    "check_choice",
    "check_multiple",
    "check_num_coordinates",
    "check_time_step",
]


def check_at_least(**settings: tuple[int | None, int]) -> None:
    """Check `name=(value, smallest)`; a value of None was left out."""
    for name, (value, smallest) in settings.items():
        if value is not None and value < smallest:
            msg = f"Argument `{name}` must be at least {smallest}, but is {value}."
            raise ValueError(msg)


def check_choice(name: str, value: str, choices: Iterable[str]) -> None:
    """Check that a setting is one of those that exist."""
    choices = tuple(choices)
    if value not in choices:
        msg = f"Argument `{name}` must be one of {', '.join(map(repr, choices))}, but is {value!r}."
        raise ValueError(msg)


def check_num_coordinates(
    name: str,
    count: int | None,
    state: PyTree,
    coordinates: Coordinates | None,
    *,
    smallest: int = 1,
) -> int:
    """Check how many directions are asked for; None stands for all there are."""
    available = tangent.num_coordinates(state, coordinates)
    if available == 0:
        msg = "Argument `state` must have a floating leaf, but has none."
        raise ValueError(msg)
    if count is None:
        count = available
    if not smallest <= count <= available:
        msg = (
            f"Argument `{name}` must be between {smallest} and {available}, the number of"
            f" coordinates, but is {count}."
        )
        raise ValueError(msg)
    return count


def check_multiple(num_steps: int, qr_every: int) -> None:
    """Check that steps fill whole intervals between orthonormalisations."""
    check_at_least(qr_every=(qr_every, 1))
    if num_steps < 1 or num_steps % qr_every:
        msg = (
            f"Argument `num_steps` must be a positive multiple of `qr_every` = {qr_every},"
            f" but is {num_steps}."
        )
        raise ValueError(msg)


def check_time_step(dt: Any) -> None:
    """Check a time per step, unless it is traced."""
    if isinstance(dt, int | float) and not 0 < dt < math.inf:
        msg = f"Argument `dt` must be positive and finite, but is {dt}."
        raise ValueError(msg)
