"""Registry of what can be reproduced, in parts that are computed and saved one by one."""

import dataclasses
import functools
from collections.abc import Callable, Mapping

from fracjax._types import Key
from fracjax.reproduce.rows import Findings, Row

__all__ = ["Experiment", "experiments"]

Part = Callable[[Key, bool], list[Row] | Findings]


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A named set of numbers to recompute.

    Attributes:
        name: As on the command line.
        description: One line.
        parts: Name of a part to a function of a key and whether to be quick, returning rows, or
            rows with figures.
    """

    name: str
    description: str
    parts: Mapping[str, Part]


@functools.cache
def experiments() -> dict[str, Experiment]:
    """Make the experiments that there are, by name."""
    from fracjax.reproduce.fractal import parts as fractal
    from fracjax.reproduce.references import parts as references

    found = [
        Experiment(
            "references",
            "exact, certified and published exponents and dimensions",
            references(),
        ),
        Experiment(
            "fractal",
            "roughness of discounted returns from chaos, on loops with known exponents",
            fractal(),
        ),
    ]
    return {experiment.name: experiment for experiment in found}
