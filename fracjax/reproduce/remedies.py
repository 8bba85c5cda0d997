"""What is recommended to who finds a fractal landscape, each remedy before and after.

Lower γ, a shorter horizon, smoother actions, averaging over parameters, and a penalty on the
Lyapunov exponent. Rows that compare are claims of the theory; the rest describes, the cost of
the remedy included. A placebo stands beside every remedy: the same measurement where nothing
should change.
"""

import functools

from fracjax.reproduce import remedies_double_pendulum, remedies_exact
from fracjax.reproduce.experiments import Part, in_float64

__all__ = ["PARTS"]

PARTS: dict[str, Part] = {
    name: functools.partial(in_float64, part)
    for module in (remedies_exact, remedies_double_pendulum)
    for name, part in module.PARTS.items()
}
