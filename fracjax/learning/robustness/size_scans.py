"""Where finite perturbations leave the linear regime, and where they sink into rounding."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fracjax._types import Estimate, Key, Leaf, PyTree
from fracjax.estimators.intervals import student_mean
from fracjax.learning.robustness.spectra import ClosedLoopExponents, closed_loop_exponents
from fracjax.rl.environment import Environment
from fracjax.rl.rollouts import Actor

__all__ = ["SizeScan", "size_scan"]

_Scan: TypeAlias = Callable[[PyTree, PyTree, Key], "SizeScan"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class SizeScan:
    """Exponents of one closed loop by finite perturbations of several sizes, and by tangents.

    Attributes:
        sizes: Sizes of the perturbations, (sizes,).
        perturbations: Exponents by perturbations; every array has a leading axis of sizes.
        tangents: Exponents by tangents.
        difference: Spectrum by perturbations minus by tangents, paired by initial state,
            (sizes, k).
        total_difference: The same for the sum of exponents, (sizes,).
    """

    sizes: Leaf
    perturbations: ClosedLoopExponents
    tangents: ClosedLoopExponents
    difference: Estimate
    total_difference: Estimate


def size_scan(
    environment: Environment,
    policy: Actor,
    *,
    sizes: Sequence[float] = (1e-6, 1e-5, 1e-4, 1e-3),
    **settings: Any,
) -> _Scan:
    """Make `(params, states, key) -> SizeScan`.

    In the linear regime the difference from the tangents does not depend on the size. It grows
    in proportion to the size where the curvature of the dynamics is seen, trailing exponents
    first, and with the inverse of the size where rounding is. `perturbations.control` is the
    distance that nothing at all grew to within a period; sizes near it measure the machine.

    A chaotic orbit forgets how it was rounded after some 35/λ steps in float64 and 15/λ in
    float32: from there on the two methods follow different orbits of one ensemble, and the
    difference holds their sampling noise, which its interval covers.

    Args:
        environment: See `closed_loop_exponents`.
        policy: See `closed_loop_exponents`.
        sizes: Sizes to try, each at least zero; 1e-4 is the paper's.
        **settings: Further settings of `closed_loop_exponents` but `method` and `size`.

    Raises:
        ValueError: If a size is negative or there is none.
    """
    if not len(sizes) or not all(0 <= size < float("inf") for size in sizes):
        msg = f"Argument `sizes` must hold lengths, zero or more, but is {tuple(sizes)}."
        raise ValueError(msg)
    by_tangents = closed_loop_exponents(environment, policy, method="tangents", **settings)

    def scan(params: PyTree, states: PyTree, key: Key) -> SizeScan:
        def of_size(size: Array) -> ClosedLoopExponents:
            measure = closed_loop_exponents(
                environment, policy, method="perturbations", size=size, **settings
            )
            return measure(params, states, key)

        tangents = by_tangents(params, states, key)
        values = jnp.asarray(np.asarray(sizes), tangents.largest.value.dtype)
        found = jax.vmap(of_size)(values)
        return SizeScan(
            sizes=values,
            perturbations=found,
            tangents=tangents,
            difference=jax.vmap(jax.vmap(_paired), (0, None))(
                found.spectrum.details["per_state"], tangents.spectrum.details["per_state"]
            ),
            total_difference=jax.vmap(_paired, (0, None))(
                found.total.details["per_state"], tangents.total.details["per_state"]
            ),
        )

    return scan


def _paired(first: Float[Array, " states"], second: Float[Array, " states"]) -> Estimate:
    """Mean difference over states, with Student's interval."""
    gap = first - second
    return student_mean(gap, jnp.isfinite(gap))
