"""What is recommended to who finds a fractal landscape, each remedy before and after.

Lower γ, a shorter horizon, smoother actions, averaging over parameters, and a penalty on the
Lyapunov exponent. Rows that compare are claims of the theory; the rest describes, the cost of
the remedy included. A placebo stands beside every remedy: the same measurement where nothing
should change.
"""

import functools
from collections.abc import Callable

import jax

from fracjax._types import Key
from fracjax.reproduce import remedies_double_pendulum, remedies_exact
from fracjax.reproduce.experiments import Size
from fracjax.reproduce.rows import Findings, Row

__all__ = ["PARTS"]


def _in_float64(
    part: Callable[[Key, Size], list[Row] | Findings], key: Key, size: Size
) -> list[Row] | Findings:
    with jax.enable_x64(True):
        return part(key, size)


PARTS: dict[str, Callable[[Key, Size], list[Row] | Findings]] = {
    name: functools.partial(_in_float64, part)
    for module in (remedies_exact, remedies_double_pendulum)
    for name, part in module.PARTS.items()
}
