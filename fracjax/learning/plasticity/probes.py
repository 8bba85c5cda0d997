"""The plasticity probe: how far a copy of a network gets with targets it has never seen."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from fracjax._types import Estimate, Key, PyTree, Status
from fracjax.estimators.intervals import student_quantile
from fracjax.estimators.settings import check_at_least
from fracjax.learning.plasticity.fits import check_iterations, fit

__all__ = [
    "Apply",
    "PlasticityLoss",
    "Probe",
    "fresh_probe",
    "loss_of_plasticity",
    "over_targets",
    "plasticity_probe",
    "probe_sines",
    "probe_targets",
]

Apply = Callable[[PyTree, Array], Array]
FitLoss = Callable[[PyTree, Array, Array], Array]
Reduction = Literal["mean", "sum"]


class Probe(NamedTuple):
    """What fitting new targets gave, over targets.

    Attributes:
        plasticity: P = b - final loss: *larger is more plastic*.
        final_loss: Loss after the budget: *smaller is more plastic*.
        initial_loss: Loss before the first step. Always look at it: a network whose outputs are
            far off begins far off, and differences of final losses then mean something else.
        curve: Loss after each of `iterations`, (k,).
        iterations: Steps at which it was taken, (k,).
        baseline: b of every target, (targets,).
        losses: Loss by target and iteration, (targets, k).
    """

    plasticity: Estimate
    final_loss: Estimate
    initial_loss: Estimate
    curve: Estimate
    iterations: Array
    baseline: Array
    losses: Array


class PlasticityLoss(NamedTuple):
    """Loss of plasticity in both signs that are in use.

    Attributes:
        formula: P(later) - P(earlier), the definition in the text of Lyle et al.: *negative*
            where plasticity was lost.
        plotted: Final probe loss later minus earlier, what their figures and tables show:
            *positive* where plasticity was lost.
    """

    formula: Estimate
    plotted: Estimate


def probe_sines(
    apply: Apply,
    init: Callable[[Key], PyTree],
    inputs: Array,
    key: Key,
    *,
    num_targets: int = 10,
    frequency: float = 1e5,
) -> Float[Array, "targets n outputs"]:
    """Draw the part of the targets that is the same for every network: sin(10⁵ f(x; ω)).

    ω are fresh initialisations of the architecture. The phase is of the order of 10⁴ radians, so
    that sines are uniform phases' (variance ½ each) and unrelated between inputs. Compute them
    once, keep the array, and use it for every network that is to be compared: a relative
    difference of 1e-7 between machines or batch sizes moves a phase by 1e-2 or so.

    Args:
        apply: `apply(params, inputs)`, (n, outputs).
        init: `init(key)`, draws parameters.
        inputs: Any batch that `apply` takes.
        key: Randomness of ω.
        num_targets: How many; the paper takes 10.
        frequency: 10⁵ in the paper.

    Raises:
        ValueError: If there are no targets.

    References:
        Lyle et al. (2023), https://arxiv.org/abs/2303.01486, section 3.1 and appendix.
    """
    check_at_least(num_targets=(num_targets, 1))

    def one(own: Key) -> Array:
        return jnp.sin(frequency * apply(init(own), inputs))

    return jnp.asarray(jax.lax.map(one, jax.random.split(key, num_targets)))


def probe_targets(
    apply: Apply, params: PyTree, inputs: Array, sines: Float[Array, "targets n outputs"]
) -> Float[Array, "targets n outputs"]:
    """Centre the sines on the network: a + sin, a its mean prediction, output by output.

    Args:
        apply: `apply(params, inputs)`, (n, outputs).
        params: Of the network that is to be probed.
        inputs: The inputs that the sines are of.
        sines: From `probe_sines`.
    """
    return apply(params, inputs).mean(axis=0) + sines


def plasticity_probe(
    apply: Apply,
    params: PyTree,
    inputs: Array,
    sines: Float[Array, "targets n outputs"],
    optimizer: optax.GradientTransformation,
    *,
    iterations: tuple[int, ...] = (0, 2000),
    opt_state: PyTree | None = None,
    batch_size: int | None = None,
    key: Key | None = None,
    reduction: Reduction = "mean",
    baseline: float | None = None,
    fit_loss: FitLoss | None = None,
    targets_at_once: int | None = None,
) -> Probe:
    """Measure P(θ) = b - E ℓ(θ*): ℓ the loss on new targets, θ* after a fixed budget of steps.

    Every target begins from its own copy of the parameters (and of the optimiser's state);
    nothing is written back. Jit it, with `apply`, `optimizer` and the settings static; vmap it
    over seeds or snapshots.

    P depends on the budget: within few steps it measures how fast a network starts, after very
    many how much it can hold. Lyle et al. see slower learning rather than a higher plateau; look
    at the curve. Compare numbers of one architecture, one set of inputs and one budget only, and
    beside a fresh network's (`fresh_probe`).

    The interval is Student's over targets: it says how well this network's P is known, not how
    much P varies between training runs. Measured coverage of the nominal 95 % with 10 targets:
    96 ± 1 % (2-16-2 perceptron, 1000 groups).

    Args:
        apply: `apply(params, inputs)`, (n, outputs): the predictions that are to be fitted.
        params: Where to start.
        inputs: The states of a replay buffer, for example.
        sines: From `probe_sines`, the same for all networks that are compared.
        optimizer: The agent's own, in the paper.
        iterations: Steps after which the loss is taken, ascending; the last is the budget.
        opt_state: Where the optimiser starts; by default as new.
        batch_size: Inputs per step, drawn with replacement; all by default.
        key: Draws batches.
        reduction: Over outputs: `"mean"`, or `"sum"` as a public reproduction does. Over inputs
            it is always the mean.
        baseline: b; by default the variance of the target over inputs, averaged (or summed) over
            outputs: the loss of the best constant.
        fit_loss: `fit_loss(params, inputs, targets)`, minimised instead of the squared error, for
            heads that are trained by something else; losses reported are squared errors still.
        targets_at_once: How many targets run side by side; all by default.

    Returns:
        See `Probe`. `DIVERGED` (NaN) where any target's loss is not finite; `TOO_FEW_POINTS`
        (no interval) with one target.

    Raises:
        ValueError: If a setting is out of range, or batches are to be drawn without a key.

    References:
        Lyle et al. (2023), https://arxiv.org/abs/2303.01486, section 3.1: 2000 steps, 10 targets.
    """
    _check(reduction, iterations, batch_size, key)
    key = jax.random.key(0) if key is None else key
    number = len(sines)
    targets = probe_targets(apply, params, inputs, sines)
    start = optimizer.init(params) if opt_state is None else opt_state

    def one(row: tuple[Array, Key]) -> Array:
        own = (apply, optimizer, iterations, batch_size, reduction, fit_loss)
        return _fit(own, params, start, inputs, *row)

    rows = (targets, jax.random.split(key, number))
    losses = jax.lax.map(one, rows, batch_size=min(number, targets_at_once or number))
    return _summary(losses, targets, iterations, reduction, baseline)


def fresh_probe(
    apply: Apply,
    init: Callable[[Key], PyTree],
    inputs: Array,
    sines: Float[Array, "targets n outputs"],
    optimizer: optax.GradientTransformation,
    key: Key,
    *,
    iterations: tuple[int, ...] = (0, 2000),
    batch_size: int | None = None,
    reduction: Reduction = "mean",
    baseline: float | None = None,
    fit_loss: FitLoss | None = None,
    targets_at_once: int | None = None,
) -> Probe:
    """Probe freshly initialised networks, one per target, with the same budget.

    The reference that a trained network is to be compared with. Its interval holds the variation
    between initialisations, as well as between targets.

    Args:
        apply: See `plasticity_probe`; so are the settings.
        init: `init(key)`, draws parameters.
        inputs: See `plasticity_probe`.
        sines: See `plasticity_probe`.
        optimizer: See `plasticity_probe`.
        key: Draws the networks, and batches.
        iterations: See `plasticity_probe`.
        batch_size: See `plasticity_probe`.
        reduction: See `plasticity_probe`.
        baseline: See `plasticity_probe`.
        fit_loss: See `plasticity_probe`.
        targets_at_once: See `plasticity_probe`.

    Raises:
        ValueError: If a setting is out of range.
    """
    _check(reduction, iterations, batch_size, key)
    number = len(sines)

    def one(row: tuple[Array, Key]) -> tuple[Array, Array]:
        sine, own = row
        params = init(jax.random.fold_in(own, 0))
        target = probe_targets(apply, params, inputs, sine[None])[0]
        static = (apply, optimizer, iterations, batch_size, reduction, fit_loss)
        start = optimizer.init(params)
        return _fit(static, params, start, inputs, target, jax.random.fold_in(own, 1)), target

    rows = (sines, jax.random.split(key, number))
    at_once = min(number, targets_at_once or number)
    losses, targets = jax.lax.map(one, rows, batch_size=at_once)
    return _summary(losses, targets, iterations, reduction, baseline)


def loss_of_plasticity(later: Probe, earlier: Probe, *, paired: bool = True) -> PlasticityLoss:
    """Compare two probes, in both signs.

    Args:
        later: Of the trained network.
        earlier: Of the network before training, or of fresh ones.
        paired: Whether both used the same sines: differences are then taken target by target.

    Raises:
        ValueError: If paired probes have different numbers of targets.
    """
    after, before = later.losses[:, -1], earlier.losses[:, -1]
    if paired and after.shape != before.shape:
        msg = (
            "Argument `paired` must be false for probes of different numbers of targets, but"
            f" there are {len(after)} and {len(before)}."
        )
        raise ValueError(msg)
    moved = later.baseline - after, earlier.baseline - before
    if paired:
        return PlasticityLoss(over_targets(moved[0] - moved[1]), over_targets(after - before))
    return PlasticityLoss(_apart(*moved), _apart(after, before))


def over_targets(values: Float[Array, "targets ..."]) -> Estimate:
    """Average over the leading axis, with Student's interval; NaN where any is not finite."""
    number = len(values)
    finite = jnp.isfinite(values).all(axis=0)
    mean = values.mean(axis=0)
    stderr = jnp.sqrt(jnp.sum((values - mean) ** 2, axis=0) / (number * max(number - 1, 1)))
    stderr = jnp.where(number > 1, stderr, jnp.nan)
    blank = jnp.where(finite, 0, jnp.nan).astype(values.dtype)
    margin = student_quantile(number - 1, number).astype(values.dtype) * stderr
    enough = Status.OK if number > 1 else Status.TOO_FEW_POINTS
    return Estimate(
        value=mean + blank,
        stderr=stderr + blank,
        low=mean - margin + blank,
        high=mean + margin + blank,
        status=jnp.where(finite, int(enough), int(Status.DIVERGED)),
        details={"num_targets": jnp.asarray(number)},
    )


def _apart(first: Array, second: Array) -> Estimate:
    """Difference of two independent means; degrees of freedom of the smaller sample."""
    one, two = over_targets(first), over_targets(second)
    value, stderr = one.value - two.value, jnp.hypot(one.stderr, two.stderr)
    degrees = min(len(first), len(second)) - 1
    margin = student_quantile(degrees, degrees + 1).astype(value.dtype) * stderr
    status = jnp.maximum(one.status, two.status)
    number = jnp.asarray(degrees + 1)
    details = {"num_targets": number}
    return Estimate(value, stderr, value - margin, value + margin, status, details)


def _fit(
    static: tuple[Any, ...],
    params: PyTree,
    opt_state: PyTree,
    inputs: Array,
    target: Float[Array, "n outputs"],
    key: Key,
) -> Float[Array, " k"]:
    apply, optimizer, iterations, batch_size, reduction, fit_loss = static

    def squared(params: PyTree, inputs: Array, target: Array) -> Array:
        return _reduced((apply(params, inputs) - target) ** 2, reduction).mean()

    minimised = squared if fit_loss is None else fit_loss

    def loss(params: PyTree, index: Array) -> Array:
        if batch_size is None:
            return minimised(params, inputs, target)
        chosen = jax.random.randint(jax.random.fold_in(key, index), (batch_size,), 0, len(inputs))
        return minimised(params, inputs[chosen], target[chosen])

    return fit(
        loss,
        params,
        optimizer,
        opt_state,
        iterations=iterations,
        observe=lambda params: squared(params, inputs, target),
    )


def _reduced(errors: Array, reduction: Reduction) -> Array:
    return errors.sum(axis=-1) if reduction == "sum" else errors.mean(axis=-1)


def _summary(
    losses: Array,
    targets: Array,
    iterations: tuple[int, ...],
    reduction: Reduction,
    baseline: float | None,
) -> Probe:
    spread = _reduced(jnp.var(targets, axis=1), reduction)
    bases = spread if baseline is None else jnp.full_like(spread, baseline)
    curve = over_targets(losses)
    return Probe(
        plasticity=over_targets(bases - losses[:, -1]),
        final_loss=jax.tree.map(lambda leaf: leaf[-1] if jnp.ndim(leaf) else leaf, curve),
        initial_loss=over_targets(losses[:, 0]),
        curve=curve,
        iterations=jnp.asarray(iterations),
        baseline=bases,
        losses=losses,
    )


def _check(
    reduction: str, iterations: tuple[int, ...], batch_size: int | None, key: Key | None
) -> None:
    if reduction not in get_args(Reduction):
        msg = f"Argument `reduction` must be one of {get_args(Reduction)}, but is {reduction!r}."
        raise ValueError(msg)
    check_iterations(iterations)
    check_at_least(batch_size=(batch_size, 1))
    if batch_size is not None and key is None:
        msg = "Argument `key` must be given to draw batches, but is None."
        raise ValueError(msg)
    if iterations[0] != 0:
        msg = f"Argument `iterations` must begin with 0, the loss before, but is {iterations}."
        raise ValueError(msg)
