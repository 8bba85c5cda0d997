"""Mode connectivity: curves between two points that go around the barrier on the line."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
import xarray
from jaxtyping import Array

from fracjax import tree
from fracjax._types import Key, Objective, PyTree, Status
from fracjax.landscapes.connectivity.barriers import (
    barrier_along,
    check_counts,
    check_points,
    values_on_curve,
)
from fracjax.landscapes.connectivity.curves import (
    CurveKind,
    bends_on_line,
    curve_length,
    point_on_curve,
    stack_points,
)

__all__ = ["ConnectingCurve", "connecting_curve"]

_PROBES = (0.137, 0.382, 0.731)  # nothing is symmetric about these
_MOST_NONFINITE = 0.1
_MARK = 0.8  # where in training the curve is compared with the last one
_NOTICEABLE = 0.01  # of all that was gained
_TRACE = 512  # entries of the training curve that are kept


@dataclasses.dataclass(frozen=True)
class ConnectingCurve:
    """A curve between two points and the objective along it.

    Attributes:
        data: Dataset over `t`; see `connecting_curve`.
        bends: Control points stacked along a leading axis, the two given ones included.
        kind: `"bezier"` or `"polyline"`.
    """

    data: xarray.Dataset
    bends: PyTree
    kind: CurveKind

    def at(self, t: float | Array) -> PyTree:
        """Parameters at t, 0 at the first point and 1 at the second."""
        return point_on_curve(self.bends, t, kind=self.kind)


def connecting_curve(
    objective: Objective,
    first: PyTree,
    second: PyTree,
    key: Key,
    *,
    kind: CurveKind = "bezier",
    num_bends: int = 3,
    optimiser: Any = None,
    num_steps: int = 1000,
    learning_rate: float = 0.03,
    samples_per_step: int = 1,
    initial_spread: float = 0.01,
    num_points: int = 61,
    num_replicates: int = 1,
    maximize: bool = False,
    chunk_size: int | None = None,
) -> ConnectingCurve:
    """Train a curve between two points along which the objective stays good.

    Minimises E_{t ~ U(0, 1)} f(θ(t)) over the inner control points, the ends fixed: every
    step draws `samples_per_step` numbers t and a fresh key for the objective, and takes one
    step of the optimiser. The control points start evenly on the straight line, moved by
    `initial_spread` of its length in a random direction: the line may be a ridge from which the
    gradient does not lead off by itself. The expectation is over t, not over length, so that a
    curve may pass quickly over a barrier that it cannot avoid: look at `barrier`, not at the
    loss of training. A barrier that is left shows that this training found no path, not that
    there is none.

    Args:
        objective: Pure function of parameters and key returning a scalar, differentiable in
            reverse mode. Its gradient must mean something: where the objective is rough
            (`holder_exponent` below 1) the curve follows noise.
        first: Parameters at t = 0.
        second: Parameters at t = 1, of the same structure and shapes.
        key: Seeds t, the start, and the objective's keys in training; line and curve are
            evaluated with it as in `linear_barrier`.
        kind: `"bezier"` or `"polyline"`.
        num_bends: Control points, the two ends included as in the authors' code: 3 trains
            one.
        optimiser: Optax gradient transformation; Adam if not given.
        num_steps: Steps of the optimiser, at least 20.
        learning_rate: Of Adam, if no optimiser is given.
        samples_per_step: Points on the curve per step.
        initial_spread: Root-mean-square distance of the inner control points from the line
            at the start, as a share of its length.
        num_points: Points at which line and curve are evaluated, odd and at least 5.
        num_replicates: Keys that the evaluation averages over.
        maximize: Whether the objective is a return (larger is better).
        chunk_size: Points evaluated together on one device.

    Returns:
        Curve with `data` over `t`: `value`, `value_stderr`, `excess` along the curve and
        `line_value`, `line_excess` along the line; scalars as of `linear_barrier` for the curve
        (`barrier` is against the same straight interpolation of the ends' values) and
        `line_barrier`; `length_ratio` (of the curve to the line); `training` over `step` (mean
        objective over equal stretches of training); `num_nonfinite` (steps that were left out,
        as their gradient was not finite). `status`: DIVERGED if a value on the curve is not
        finite, NONFINITE_TANGENT if more than a tenth of the steps were left out,
        NOT_CONVERGED if the mean objective along the curve still improved over the last fifth of
        training by more than a hundredth of what it gained over the line.

    Raises:
        ValueError: If the objective has no gradient (what to do instead is said), the points
            differ in structure or shape, or a setting is out of range.

    References:
        Garipov et al. (2018), Loss surfaces, mode connectivity, and fast ensembling of DNNs,
        arXiv 1802.10026. Draxler et al. (2018), arXiv 1803.00885.
    """
    check_points(objective, first, second, key)
    check_counts(num_points, num_replicates)
    _check_training(kind, num_bends, num_steps, samples_per_step)
    ends = stack_points([first, second])
    start_key, train_key = jax.random.split(key)
    t = np.linspace(0, 1, num_points)
    along = functools.partial(
        values_on_curve, t=t, key=key, num_replicates=num_replicates, chunk_size=chunk_size
    )
    straight = along(objective, ends, "polyline")
    line = barrier_along(t, straight, maximize=maximize)

    start = bends_on_line(ends, num_bends, initial_spread, start_key)
    sign = -1.0 if maximize else 1.0
    if optimiser is None:
        optimiser = _adam(float(learning_rate))
    _check_gradient(objective, start, train_key, kind, varies=bool(np.ptp(straight) > 0))
    run = _trainer(objective, optimiser, kind, num_steps, samples_per_step, sign)
    bends, earlier, losses, finite = run(start, train_key)
    values = along(objective, bends, kind)
    data = barrier_along(t, values, maximize=maximize)

    losses, finite = np.asarray(losses, np.float64), np.asarray(finite)
    status = int(data["status"])
    if status == Status.OK and (~finite).mean() > _MOST_NONFINITE:
        status = int(Status.NONFINITE_TANGENT)
    elif status == Status.OK:
        # At the same points and keys, so that what is drawn in training plays no part.
        means = [sign * part.mean() for part in (straight, along(objective, earlier, kind), values)]
        if means[1] - means[2] > max(_NOTICEABLE * (means[0] - means[2]), 0.0):
            status = int(Status.NOT_CONVERGED)
    stretches = np.array_split(sign * losses, min(num_steps, _TRACE))
    data = data.assign(
        line_value=line["value"],
        line_excess=line["excess"],
        line_barrier=line["barrier"],
        length_ratio=curve_length(bends, t, kind) / max(curve_length(ends, t, "polyline"), 1e-300),
        training=("step", np.array([stretch.mean() for stretch in stretches])),
        num_nonfinite=int((~finite).sum()),
        status=status,
    )
    data = data.assign_attrs(kind=kind, num_bends=num_bends, num_steps=num_steps)
    return ConnectingCurve(data, bends, kind)


# --- training ---------------------------------------------------------------------------------


@functools.lru_cache(maxsize=8)
def _adam(learning_rate: float) -> optax.GradientTransformation:
    return optax.adam(learning_rate)


@functools.lru_cache(maxsize=8)
def _trainer(
    objective: Objective,
    optimiser: Any,
    kind: CurveKind,
    num_steps: int,
    samples: int,
    sign: float,
) -> Callable:
    """One compiled scan over all steps."""

    def loss(inner: PyTree, ends: PyTree, t: Array, key: Key) -> Array:
        bends = _with_ends(inner, ends)
        points = jax.vmap(lambda s: objective(point_on_curve(bends, s, kind=kind), key))
        return sign * points(t).mean()

    @jax.jit
    def train(start: PyTree, key: Key) -> tuple[PyTree, PyTree, Array, Array]:
        inner = jax.tree.map(lambda leaf: leaf[1:-1], start)
        ends = jax.tree.map(lambda leaf: leaf[jnp.array([0, -1])], start)
        dtype = jnp.result_type(*jax.tree.leaves(start))
        draw_key, step_key = jax.random.split(key)
        places = jax.random.uniform(draw_key, (num_steps, samples), dtype)

        def step(carry: PyTree, entry: tuple[Array, Array]) -> tuple[PyTree, tuple[Array, Array]]:
            inner, state, earlier = carry
            index, t = entry
            value, gradient = jax.value_and_grad(loss)(
                inner, ends, t, jax.random.fold_in(step_key, index)
            )
            good = jnp.isfinite(value) & jnp.isfinite(tree.norm(gradient))
            updates, moved = optimiser.update(gradient, state, inner)
            new = optax.apply_updates(inner, updates)
            new, moved = tree.select(good, (new, moved), (inner, state))
            marked = index == int(_MARK * num_steps)
            earlier = tree.select(marked, inner, earlier)
            return (new, moved, earlier), (value, good)

        first = (inner, optimiser.init(inner), inner)
        entries = (jnp.arange(num_steps), places)
        (inner, _, earlier), (values, good) = jax.lax.scan(step, first, entries)
        return _with_ends(inner, ends), _with_ends(earlier, ends), values, good

    return train


def _with_ends(inner: PyTree, ends: PyTree) -> PyTree:
    return jax.tree.map(lambda i, e: jnp.concatenate([e[:1], i, e[1:]]), inner, ends)


def _check_training(kind: str, num_bends: int, num_steps: int, samples: int) -> None:
    if kind not in get_args(CurveKind):
        msg = f"Argument `kind` must be one of {get_args(CurveKind)}, but is {kind!r}."
        raise ValueError(msg)
    if num_bends < 3 or num_steps < 20 or samples < 1:
        msg = (
            "Arguments `num_bends`, `num_steps` and `samples_per_step` must be at least 3, 20"
            f" and 1, but are {num_bends}, {num_steps} and {samples}."
        )
        raise ValueError(msg)


def _check_gradient(
    objective: Objective, bends: PyTree, key: Key, kind: CurveKind, *, varies: bool
) -> None:
    """Refuse an objective without a gradient before anything long is run."""
    instead = (
        " Measure the straight line with `linear_barrier`, or train on a smoothed objective,"
        " such as its mean over Gaussian perturbations with a score-function gradient."
    )

    def value(point: PyTree) -> Array:
        return objective(point, key)

    @jax.jit
    def sizes(bends: PyTree) -> Array:
        def size(t: Array) -> Array:
            return tree.norm(jax.grad(value)(point_on_curve(bends, t, kind=kind)))

        return jax.lax.map(size, jnp.asarray(_PROBES))

    try:
        found = np.asarray(sizes(bends))
    except (TypeError, ValueError, NotImplementedError) as error:
        msg = (
            "Argument `objective` must be differentiable in reverse mode, but is not"
            f" ({type(error).__name__} when differentiated).{instead}"
        )
        raise ValueError(msg) from error
    if varies and (found == 0).all():
        msg = (
            "Argument `objective` must have a gradient, but it is exactly zero at"
            f" {len(_PROBES)} points between `first` and `second`, where the values vary"
            f" (steps, rounding or a stopped gradient).{instead}"
        )
        raise ValueError(msg)
