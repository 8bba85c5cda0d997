"""Growth of finite perturbations of a state, the way simulators without derivatives are studied.

Copies of a state, each displaced by a small distance along one direction of a frame, are moved
beside it; every few steps their displacements are orthonormalised, the growth is recorded and
the copies are set back to the small distance. Tangents (`finite_time_growth`) measure the same
without choosing a distance; prefer them wherever the step can be differentiated.
"""

import dataclasses
from collections.abc import Callable
from typing import Literal, get_args

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float

from fracjax import tangent
from fracjax._types import Key, Leaf, PyTree, StepFunction
from fracjax.estimators.settings import check_at_least, check_num_coordinates
from fracjax.orthonormal import choose_method, orthonormalize
from fracjax.tangent import Coordinates, Lift

__all__ = ["Frame", "PerturbedGrowth", "perturbed_growth"]

Frame = Literal["orthant", "gaussian"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PerturbedGrowth:
    """Record of the perturbed copies of one orbit, period by period.

    Attributes:
        growth: Logarithms of growth per period of the k displacements, (periods, k), in nats;
            −inf where a displacement vanished.
        alive: Whether no step of the period began after termination, (periods,).
        separation: Length of the first displacement at the end of the period, (periods,).
        control: Distance at the end of the period between the orbit and a copy displaced by
            nothing, (periods,). Zero, unless the compiled program rounds equal lanes of a
            batch differently: then nothing below it can be told from rounding.
        resolution: Rounding unit of the largest coordinate at the end of the period, (periods,):
            no shorter displacement exists, whatever the control says.
        observable: Observable along the orbit after each step, (periods, steps), or `None`.
        observable_gap: Observable of the first copy minus that of the orbit, after each step,
            (periods, steps), or `None`.
    """

    growth: Leaf
    alive: Leaf
    separation: Leaf
    control: Leaf
    resolution: Leaf
    observable: Leaf | None
    observable_gap: Leaf | None


def perturbed_growth(
    step: StepFunction,
    state: PyTree,
    *,
    num_steps: int = 1000,
    renormalize_every: int = 10,
    size: float | Float[Array, ""] = 1e-4,
    num_perturbations: int | None = None,
    initial: Frame = "orthant",
    num_transient: int = 0,
    key: Key | None = None,
    coordinates: Coordinates | None = None,
    lift: Lift | None = None,
    alive: Callable[[PyTree], Bool[Array, ""]] | None = None,
    observable: Callable[[PyTree], Float[Array, ""]] | None = None,
) -> PerturbedGrowth:
    """Record the growth of finite perturbations along one orbit.

    The defaults are those of Young and Pugeault: one perturbation per coordinate at a distance
    of 1e-4, 1000 steps, Gram–Schmidt every 10 of them. Their code makes one period less
    (`num_steps=990`) and starts from directions drawn uniformly in the positive orthant.

    At the start of every period all copies, the undisturbed one included, are rebuilt by `lift`
    from their coordinates and the orbit's own state, so that whatever is no coordinate (a
    counter, a solver's warm start, a policy's memory) is the same in all of them. The orbit is
    therefore the one of a simulator that is set to its coordinates at every period.

    What a finite distance can see (d the distance, T the steps of a period, u the rounding unit
    relative to the size of the coordinates):

    - Leading growth: off by terms of order d·e^{λT} times the curvature of the dynamics.
    - Trailing growth: displacements that should lose more than a factor 1/d against the leading
      one within a period keep a share of order d from the curvature, so that exponents below
      λ_1 + max(λ_1, 0) + ln(d)/T (0.9 per step under a neutral λ_1 at the defaults) are not
      measured: they read too high, and so does their sum. On the Hénon map (.419, -1.623) the
      defaults give .418 and -.325; with 5 steps per period -1.398, with 2 or 1 the truth to
      1e-4.
    - Displacements that shrink below u are rounding: exponents below ln(u/d)/T read as that or
      as −inf. In float32 u/d is already 1e-3 for coordinates of 1: use float64.

    Args:
        step: One step of the system, for a single unbatched state.
        state: Initial state.
        num_steps: Steps to record; whole periods are made, a remainder is left out.
        renormalize_every: Steps per period.
        size: Distance of the copies, in the units of the coordinates. With 0 every growth is
            −inf and every separation exactly zero, unless equal lanes round differently.
        num_perturbations: Number k of copies; by default as many as there are coordinates.
        initial: How the first frame is drawn: `"orthant"` (components uniform in [0, 1), the
            authors' code) or `"gaussian"` (no preferred directions). The difference is gone
            after a few periods, unless an invariant subspace separates the orthants.
        num_transient: Steps made first, with the copies, unrecorded; whole periods.
        key: Draws the first frame; a fixed key by default.
        coordinates: Maps a state to the vector that is displaced; by default all floating
            leaves. Coordinates of different units are mixed as they are, in the paper too.
        lift: Makes a state from coordinates and a template, `(coordinates, state) -> state`.
        alive: Whether a state has not terminated; by default none has.
        observable: A scalar of the state, such as the reward of the step that led to it.

    Returns:
        The record. Memory: `num_steps` times a few numbers.

    Raises:
        ValueError: If a setting is out of range, or only one of `coordinates` and `lift` given.

    References:
        Benettin, Galgani, Giorgilli and Strelcyn (1980), https://doi.org/10.1007/BF02128236;
        Young and Pugeault (2024), https://arxiv.org/abs/2410.10674.
    """
    count = check_num_coordinates("num_perturbations", num_perturbations, state, coordinates)
    _check(num_steps, renormalize_every, num_transient, size, initial)
    if (coordinates is None) != (lift is None):
        msg = "Arguments `coordinates` and `lift` must be given together, or neither of them."
        raise ValueError(msg)
    state = jax.tree.map(jnp.asarray, state)
    if coordinates is None or lift is None:
        coordinates, lift = _all_floating(state)
    start = coordinates(state)
    key = jax.random.key(0) if key is None else key
    draw = jax.random.uniform if initial == "orthant" else jax.random.normal
    method = choose_method("auto", count, start.size)
    basis, _ = orthonormalize(draw(key, (count, start.size), start.dtype), method)
    size = jnp.asarray(size, start.dtype)
    scale = jnp.where(size > 0, size, 1)
    run = _Lanes(step, observable, alive)

    def period(carry: tuple, _: None) -> tuple[tuple, PerturbedGrowth]:
        state, basis, living = carry
        still = jnp.zeros_like(basis[:1])
        # The orbit first and its undisturbed copy last: different lanes of the batch.
        shifts = size * jnp.concatenate([still, basis, still])
        lanes = jax.vmap(lift, (0, None))(coordinates(state) + shifts, state)
        lanes, (living, values, gaps) = run(lanes, living, renormalize_every)
        points = jax.vmap(coordinates)(lanes)
        gap = points[1:] - points[0]
        basis, lower = orthonormalize(gap[:-1] / scale, method)
        lengths = jnp.sqrt(jnp.sum(gap**2, axis=1))
        record = PerturbedGrowth(
            growth=jnp.log(jnp.diagonal(lower)),
            alive=living[-2],
            separation=lengths[0],
            control=lengths[-1],
            resolution=jnp.finfo(start.dtype).eps * jnp.max(jnp.abs(points[0])),
            observable=values,
            observable_gap=gaps,
        )
        return (jax.tree.map(lambda leaf: leaf[0], lanes), basis, living[-1]), record

    living = jnp.asarray(True if alive is None else alive(state))
    skipped = -(-num_transient // renormalize_every)
    periods = skipped + num_steps // renormalize_every
    _, record = jax.lax.scan(period, (state, basis, living), length=periods)
    return jax.tree.map(lambda leaf: leaf[skipped:], record)


@dataclasses.dataclass(frozen=True)
class _Lanes:
    """Move the copies of a state side by side."""

    step: StepFunction
    observable: Callable | None
    alive: Callable | None

    def __call__(self, lanes: PyTree, living: Array, length: int) -> tuple[PyTree, tuple]:
        """Make `length` steps; also return before and after which of them the orbit lives."""

        def advance(carry: tuple, _: None) -> tuple[tuple, tuple]:
            lanes, living = carry
            lanes = jax.vmap(self.step)(lanes)
            first, second = (jax.tree.map(lambda leaf, i=i: leaf[i], lanes) for i in (0, 1))
            still = living if self.alive is None else living & self.alive(first)
            value = gap = None
            if self.observable is not None:
                value = self.observable(first)
                gap = self.observable(second) - value
            return (lanes, still), (still, value, gap)

        (lanes, _), (after, values, gaps) = jax.lax.scan(advance, (lanes, living), length=length)
        return lanes, (jnp.concatenate([living[None], after]), values, gaps)


def _all_floating(state: PyTree) -> tuple[Coordinates, Lift]:
    """Take every floating leaf as coordinates."""
    moving, _ = tangent.partition(state)
    _, unravel = ravel_pytree(moving)

    def coordinates(state: PyTree) -> Array:
        return ravel_pytree(tangent.partition(state)[0])[0]

    def lift(vector: Array, template: PyTree) -> PyTree:
        return tangent.combine(unravel(vector), tangent.partition(template)[1])

    return coordinates, lift


def _check(
    num_steps: int,
    renormalize_every: int,
    num_transient: int,
    size: float | Float[Array, ""],
    initial: str,
) -> None:
    check_at_least(
        renormalize_every=(renormalize_every, 1),
        num_steps=(num_steps, renormalize_every),
        num_transient=(num_transient, 0),
    )
    if isinstance(size, int | float) and not 0 <= size < float("inf"):
        msg = f"Argument `size` must be a length, zero or more, but is {size}."
        raise ValueError(msg)
    if initial not in get_args(Frame):
        msg = f"Argument `initial` must be one of {get_args(Frame)}, but is {initial!r}."
        raise ValueError(msg)
