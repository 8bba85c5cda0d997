"""Training as a dynamical system: the map that an Optax optimiser makes of a loss.

    training = optimizer_map(loss, optax.sgd(0.1, momentum=0.9), data)
    state = training.start(params)
    lyapunov_spectrum(training.step, state, num_steps=4000, num_exponents=4, coordinates=parameters)

A state is parameters, what the optimiser remembers, a key and a count, so that every estimator
that takes a step takes training. Exponents are in nats per update. At a minimum they are logarithms
of multipliers (`quadratic_exponents`): one of them beyond the edge of stability is positive and
the minimum is left; along a manifold of minima they are 0. Sharpness along a run of any
optimiser is `training_sharpness`.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int

from fracjax import tangent
from fracjax._types import Key, PyTree, StepFunction
from fracjax.curvature import Descent, hessian, sharpness_tracker
from fracjax.estimators.settings import check_at_least

__all__ = [
    "DataOrder",
    "TrainingMap",
    "TrainingState",
    "optimizer_map",
    "parameters",
    "quadratic_exponents",
    "stability_threshold",
    "training_sharpness",
]

DataOrder: TypeAlias = Literal["cyclic", "shuffled", "random"]
_WARM_UP = 3  # times the first point of a run is measured before it counts


class TrainingState(NamedTuple):
    """What training carries from one update to the next.

    Attributes:
        params: Parameters.
        optimizer_state: What Optax keeps: moments and counts. Counts carry no tangents.
        key: Draws the data order; it stays the same.
        position: Updates made.
    """

    params: PyTree
    optimizer_state: PyTree
    key: Key
    position: Int[Array, ""]


class TrainingMap(NamedTuple):
    """Training as a dynamical system.

    Attributes:
        start: `params, key=None -> state`.
        step: One update.
    """

    start: Callable[..., TrainingState]
    step: StepFunction


def optimizer_map(
    loss: Callable[..., Array],
    optimizer: optax.GradientTransformation,
    data: PyTree = None,
    *,
    batch_size: int | None = None,
    order: DataOrder = "cyclic",
) -> TrainingMap:
    """Make the map of one update of an optimiser on a loss.

    The step is differentiated in forward mode through the gradient: the loss must be twice
    differentiable. Adam and its kin divide by √(second moment), whose derivative is infinite where
    a gradient has always been 0 (weights of a pixel that is always black): give them an `eps_root`
    above 0, or drop such parameters, or the tangents are `NONFINITE_TANGENT`. Their bias correction
    depends on the count and fades within some 1/(1 - β₂) updates: leave those out as a transient.

    With mini-batches the orbit has noise: with "random" order the exponents are those of a random
    dynamical system, whose batches all tangents share. With "cyclic" order the map has the period
    of an epoch. Every function call makes a new step, compiled anew: keep it.

    Args:
        loss: `loss(params)`, or `loss(params, batch)` where there are data.
        optimizer: Any Optax transformation that needs no more than gradients and parameters.
        data: Pytree of arrays with a leading axis of samples.
        batch_size: Samples of an update; all by default.
        order: How batches are made: `"cyclic"` in the order of the data, `"shuffled"` in a new
            random order every epoch, `"random"` drawn with replacement.

    Returns:
        `start` and `step`, see `TrainingMap`.

    Raises:
        ValueError: If the batch size is out of range or, without replacement, does not divide the
            number of samples, the order is unknown, or data have different lengths.

    Example:
        >>> import jax.numpy as jnp, optax
        >>> from fracjax import estimators, learning
        >>> start, move = learning.optimizer_map(lambda p: 0.5 * 0.2 * p**2, optax.sgd(1.0))
        >>> spectrum = estimators.lyapunov_spectrum(move, start(jnp.array(1.0)), num_steps=200)
        >>> f"{spectrum.value[0]:.4f}"  # ln(1 - 0.2)
        '-0.2231'
    """
    if order not in get_args(DataOrder):
        msg = f"Argument `order` must be one of {get_args(DataOrder)}, but is {order!r}."
        raise ValueError(msg)
    choose = _chooser(data, batch_size, order)

    def start(params: PyTree, key: Key | None = None) -> TrainingState:
        params = jax.tree.map(jnp.asarray, params)
        key = jax.random.key(0) if key is None else key
        return TrainingState(params, optimizer.init(params), key, jnp.zeros((), jnp.int32))

    def step(state: TrainingState) -> TrainingState:
        batch = () if data is None else (choose(state),)
        slope = jax.grad(loss)(state.params, *batch)
        change, moments = optimizer.update(slope, state.optimizer_state, state.params)
        # Optax computes some moments and counts in dtypes of its own.
        moments = jax.tree.map(
            lambda new, old: jnp.asarray(new, jnp.asarray(old).dtype),
            moments,
            state.optimizer_state,
        )
        params = optax.apply_updates(state.params, change)
        return TrainingState(params, moments, state.key, state.position + 1)

    return TrainingMap(start, step)


def _chooser(
    data: PyTree, batch_size: int | None, order: DataOrder
) -> Callable[[TrainingState], PyTree]:
    """Make what picks the batch of the next update."""
    lengths = sorted({len(leaf) for leaf in jax.tree.leaves(data)})
    if batch_size is None:
        return lambda _: data
    if len(lengths) != 1:
        msg = (
            "Argument `data` must have one leading axis of samples on every leaf to be cut into"
            f" batches, but lengths are {lengths}."
        )
        raise ValueError(msg)
    count = lengths[0]
    if not 1 <= batch_size <= count or (order != "random" and count % batch_size):
        msg = (
            f'Argument `batch_size` must lie in [1, {count}] and, unless the order is "random",'
            f" divide {count}, but is {batch_size}."
        )
        raise ValueError(msg)
    per_epoch = count // batch_size
    kept = jax.tree.map(jnp.asarray, data)

    def choose(state: TrainingState) -> PyTree:
        place = state.position % per_epoch
        if order == "random":
            own = jax.random.fold_in(state.key, state.position)
            chosen = jax.random.randint(own, (batch_size,), 0, count)
        elif order == "shuffled":
            own = jax.random.fold_in(state.key, state.position // per_epoch)
            mixed = jax.random.permutation(own, count).reshape(per_epoch, batch_size)
            chosen = mixed[place]
        else:
            chosen = place * batch_size + jnp.arange(batch_size)
        return jax.tree.map(lambda leaf: leaf[chosen], kept)

    return choose


def parameters(state: TrainingState) -> Float[Array, " n"]:
    """Coordinates of a training state: the parameters as one vector.

    Pass it as `coordinates` to measure tangents by what they do to the parameters: at most n
    exponents, the largest of those that parameters show. Adam's second moments at a minimum,
    where they do not act on parameters, do not show. Without `coordinates` all that is not a
    count or a key counts.
    """
    return ravel_pytree(tangent.partition(state.params)[0])[0]


def quadratic_exponents(
    curvatures: Float[Array | np.ndarray, " n"], learning_rate: float, momentum: float = 0.0
) -> Float[Array, " k"]:
    """Exponents of gradient descent with heavy-ball momentum at a minimum, largest first.

    Along an eigenvector of curvature h the update θ' = θ - η t', t' = β t + h θ, has the two
    multipliers r that solve r² - (1 + β - η h) r + β = 0. Both are below 1 in size for
    0 < h < (2 + 2 β)/η, see `stability_threshold`, and |r| = √β where they are complex.

    Adam at a minimum, where gradients are 0, is the same with
    η (1 - β₁)/(√eps_root + eps) for η and β₁ for β, and one exponent ln β₂ per parameter besides.

    Args:
        curvatures: Eigenvalues h of the Hessian.
        learning_rate: η.
        momentum: β in [0, 1); at 0 there is one exponent ln|1 - η h| per eigenvalue.

    Returns:
        n exponents in nats per update, or 2 n with momentum; −inf where a multiplier is 0.

    Raises:
        ValueError: If the momentum is out of range.
    """
    _check_momentum(momentum)
    trace = 1 + momentum - learning_rate * jnp.asarray(curvatures)
    if momentum == 0:
        return jnp.sort(jnp.log(jnp.abs(trace)))[::-1]
    square = trace**2 - 4 * momentum
    root = jnp.sqrt(jnp.maximum(square, 0))
    # The larger root without cancellation, the other from their product.
    larger = (jnp.abs(trace) + root) / 2
    first = jnp.where(square > 0, jnp.log(larger), jnp.log(momentum) / 2)
    return jnp.sort(jnp.concatenate([first, jnp.log(momentum) - first]))[::-1]


def stability_threshold(learning_rate: float, momentum: float = 0.0) -> float:
    """Sharpness (2 + 2 β)/η above which a quadratic diverges under heavy-ball momentum.

    With Nesterov's momentum and adaptive steps thresholds are others.

    Raises:
        ValueError: If the momentum is out of range.

    References:
        Cohen, Kaur, Li, Kolter and Talwalkar (2021), arXiv 2103.00065.
    """
    _check_momentum(momentum)
    return (2 + 2 * momentum) / learning_rate


def _check_momentum(momentum: float) -> None:
    if not 0 <= momentum < 1:
        msg = f"Argument `momentum` must lie in [0, 1), but is {momentum}."
        raise ValueError(msg)


def training_sharpness(
    loss: Callable[[PyTree, PyTree], Array],
    training: TrainingMap,
    state: TrainingState,
    data: PyTree,
    key: Key,
    *,
    threshold: float | Float[Array, ""],
    num_steps: int,
    record_every: int = 10,
    num_iterations: int = 20,
    tolerance: float = 1e-2,
) -> tuple[Descent, TrainingState]:
    """Follow the sharpness of a loss on all data along a run of any optimiser.

    For plain gradient descent this is `fracjax.curvature.descent_sharpness`, to rounding; the
    state at the end, which is returned as well, can be handed to an estimator of exponents.

    Args:
        loss: `loss(params, data)`, whose Hessian is followed.
        training: What makes the updates, see `optimizer_map`.
        state: Where to begin.
        data: All the data.
        key: Draws the starts of Lanczos.
        threshold: Kept with the result to compare with, see `stability_threshold`.
        num_steps: Updates in all.
        record_every: Updates between records; the first is made at the start.
        num_iterations: Products per record.
        tolerance: See `fracjax.curvature.sharpness`.

    Returns:
        Losses and sharpness at the records, and the state after the last.

    Raises:
        ValueError: If a setting is out of range.
    """
    check_at_least(
        record_every=(record_every, 1),
        num_steps=(num_steps, record_every),
        num_iterations=(num_iterations, 1),
    )
    hessian(loss, state.params, data)  # raises for what it refuses, before anything is traced
    num_records = num_steps // record_every + 1
    static = (loss, training.step, num_iterations, tolerance, num_records, record_every)
    losses, found, last = _follow(*static, state, data, key)
    steps = jnp.arange(num_records) * record_every
    limit = jnp.asarray(threshold, losses.dtype)
    return Descent(steps, losses, found, limit, last.params), last


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3, 4, 5))
def _follow(
    loss: Callable[[PyTree, PyTree], Array],
    step: StepFunction,
    num_iterations: int,
    tolerance: float,
    num_records: int,
    record_every: int,
    state: TrainingState,
    data: PyTree,
    key: Key,
) -> tuple[Array, Any, TrainingState]:
    tracker = sharpness_tracker(num_iterations=num_iterations, tolerance=tolerance)

    def record(carry: tuple, index: Array) -> tuple[tuple, tuple[Array, Any]]:
        state, tracked = carry
        found, tracked = tracker.update(hessian(loss, state.params, data), tracked)
        value = loss(state.params, data)
        # None while warming up.
        count = jnp.where((index >= 0) & (index < num_records - 1), record_every, 0)
        state = jax.lax.fori_loop(0, count, lambda _, at: step(at), state)
        return (state, tracked), (value, dataclasses.replace(found, vector=None))

    begin = (state, tracker.init(state.params, key))
    (state, _), (losses, found) = jax.lax.scan(record, begin, jnp.arange(-_WARM_UP, num_records))
    losses, found = jax.tree.map(lambda leaf: leaf[_WARM_UP:], (losses, found))
    return losses, found, state
