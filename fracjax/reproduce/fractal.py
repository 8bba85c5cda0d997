"""Roughness of discounted returns, from chaos: every step of the argument as numbers.

References marked "computed for this project" are regression anchors of our own, measured once
with an independent program or an earlier run; they are no published results.
"""

import functools

from fracjax.reproduce import (
    fractal_control,
    fractal_estimators,
    fractal_gradients,
    fractal_laws,
    fractal_logistic,
    fractal_maps,
    fractal_noise,
    fractal_slices,
    fractal_training,
    fractal_updates,
)
from fracjax.reproduce.experiments import Part, in_float64, in_one_size

__all__ = ["parts"]

_IN_ONE_SIZE = (
    fractal_estimators,
    fractal_laws,
    fractal_maps,
    fractal_logistic,
    fractal_noise,
    fractal_control,
)
_IN_THREE_SIZES = (fractal_slices, fractal_training, fractal_gradients, fractal_updates)


def parts() -> dict[str, Part]:
    """One part per claim. All run in float64; training is in float32 inside them."""
    named: dict[str, Part] = {}
    for module in _IN_ONE_SIZE:
        named |= {name: functools.partial(in_one_size, part) for name, part in module.PARTS.items()}
    for module in _IN_THREE_SIZES:
        named |= module.PARTS
    return {name: functools.partial(in_float64, part) for name, part in named.items()}
