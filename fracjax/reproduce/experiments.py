"""Registry of what can be reproduced, in parts that are computed and saved one by one."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import jax

from fracjax._types import Key
from fracjax.reproduce.rows import Findings, Row

__all__ = ["Experiment", "Part", "Size", "experiments", "in_float64", "in_one_size"]

Size = Literal["quick", "default", "full"]
Part = Callable[[Key, Size], list[Row] | Findings]


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A named set of numbers to recompute.

    Attributes:
        name: As on the command line.
        description: One line.
        parts: Name of a part to a function of a key and a size, returning rows, or rows with
            figures. "quick" is the smallest size that still means something, "default" is for a
            CPU and "full" for a GPU.
        overview: Makes the figures that are about all parts, from their rows.
    """

    name: str
    description: str
    parts: Mapping[str, Part]
    overview: Callable[[Sequence[Row]], Mapping[str, Callable[[], Any]]] | None = None


def in_one_size(
    part: Callable[[Key, bool], list[Row] | Findings], key: Key, size: Size
) -> list[Row] | Findings:
    """Run a part that knows `quick` or not: a CPU takes its full size in minutes."""
    return part(key, size == "quick")


def in_float64(part: Part, key: Key, size: Size) -> list[Row] | Findings:
    """Run a part with JAX's default of 64 bits, whatever is set around it."""
    with jax.enable_x64(True):
        return part(key, size)


@functools.cache
def experiments() -> dict[str, Experiment]:
    """Make the experiments that there are, by name."""
    from fracjax.reproduce import ladder_exact, ladder_runs
    from fracjax.reproduce.diffusion import PARTS as diffusion
    from fracjax.reproduce.flossing import PARTS as flossing
    from fracjax.reproduce.fractal import parts as fractal
    from fracjax.reproduce.gravity import PARTS as gravity
    from fracjax.reproduce.l3d import PARTS as l3d
    from fracjax.reproduce.langevin import PARTS as langevin
    from fracjax.reproduce.plasticity import PARTS as plasticity
    from fracjax.reproduce.references import parts as references
    from fracjax.reproduce.remedies import PARTS as remedies
    from fracjax.reproduce.robustness import overview
    from fracjax.reproduce.robustness import parts as robustness
    from fracjax.reproduce.trainability import PARTS as trainability
    from fracjax.reproduce.twofactor import PARTS as twofactor

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
        Experiment(
            "robustness",
            "exponents of closed loops without action, trained, and trained against chaos",
            robustness(),
            overview,
        ),
        Experiment(
            "remedies",
            "what lowers the roughness of a landscape, and what it costs",
            remedies,
        ),
        Experiment(
            "ladder",
            "paths of policies against random walks, and trimming them",
            {**ladder_exact.PARTS, **ladder_runs.PARTS},
        ),
        Experiment(
            "diffusion",
            "how the weights of a network diffuse, on known walks and in training",
            diffusion,
        ),
        Experiment(
            "langevin",
            "sampling by preconditioned Langevin dynamics, against exact posteriors and dropout",
            langevin,
        ),
        Experiment(
            "plasticity",
            "how well networks that have learned still learn, and what interventions change",
            plasticity,
        ),
        Experiment(
            "flossing",
            "exponents of recurrent networks driven to zero, and what that does for long delays",
            flossing,
        ),
        Experiment(
            "twofactor",
            "gradient descent with large steps: period doubling, chaos, and the edge of stability",
            twofactor,
        ),
        Experiment(
            "trainability",
            "the boundary between learning rates that converge and that diverge, and its dimension",
            trainability,
        ),
        Experiment(
            "l3d",
            "directions that explain the gradients of single samples: toys, networks, policies",
            l3d,
        ),
        Experiment(
            "gravity",
            "how long softmax policies stay on plateaus, and what decides it",
            gravity,
        ),
    ]
    return {experiment.name: experiment for experiment in found}
