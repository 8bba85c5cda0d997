"""One run of a task, as functions to be vmapped: its updates, its flossing, and looks at it."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from fracjax import tree
from fracjax._types import Key, PyTree, Status
from fracjax.estimators.settings import check_at_least
from fracjax.learning.exponent_regularization.penalties import ExponentPenalty
from fracjax.learning.flossing.blocks import FlossingLog, FlossingState, flossing_block
from fracjax.learning.flossing.jacobians import long_term_jacobian
from fracjax.learning.flossing.losses import flossing_loss
from fracjax.learning.recurrent_training.networks import FLOSSED, RecurrentClassifier
from fracjax.learning.recurrent_training.tasks import (
    bit_accuracy,
    bit_loss,
    defined_steps,
    parity_targets,
    random_bits,
)

__all__ = ["Learner", "Look", "RunFunctions", "TrainingSettings", "run_functions", "task_loss"]

_BATCHES, _LOOKS, _FLOSSING = 1, 2, 3  # what a run's key is for
_FRAME = 0  # seed of the first frame: one for all, so that no noise comes from it


@dataclasses.dataclass(frozen=True)
class TrainingSettings:
    """How to train, how to floss, and what to look at. Defaults are those of the author's code.

    Attributes:
        num_steps: T, bits of a sequence.
        batch_size: Sequences per update, drawn afresh.
        learning_rate: Of the task's Adam.
        clip: Largest norm of the task's gradient, of all parameters together. (Flux, which the
            author uses, clips every array by itself.) None for no limit.
        train_network: Whether the task trains the recurrent network. Without it only the readout
            and the initial state learn: the control in which no gradient through time matters.
        num_exponents: k, exponents that are flossed and recorded, and singular values of the
            condition number.
        window: Steps of the orbit along which exponents are taken.
        discard: Steps of the window that do not count.
        flossing_rate: Learning rate of flossing's own Adam, without clipping.
        target: Where the exponents are pushed, nats per step.
        jacobian_steps: Steps of the long-term Jacobian that is recorded.
        evaluation_size: Fresh sequences that loss and accuracy are taken on at a look.
    """

    num_steps: int = 300
    batch_size: int = 16
    learning_rate: float = 1e-3
    clip: float | None = 0.03
    train_network: bool = True
    num_exponents: int = 75
    window: int = 55
    discard: int = 16
    flossing_rate: float = 1e-3
    target: float = 0.0
    jacobian_steps: int = 30
    evaluation_size: int = 64

    def __post_init__(self) -> None:
        check_at_least(
            num_steps=(self.num_steps, 2),
            batch_size=(self.batch_size, 1),
            num_exponents=(self.num_exponents, 1),
            discard=(self.discard, 0),
            window=(self.window, self.discard + 1),
            jacobian_steps=(self.jacobian_steps, 1),
            evaluation_size=(self.evaluation_size, 1),
        )
        rates = (("learning_rate", self.learning_rate), ("flossing_rate", self.flossing_rate))
        for name, value in (*rates, ("clip", self.clip)):
            if value is not None and not value > 0:
                msg = f"Argument `{name}` must be positive, but is {value}."
                raise ValueError(msg)


class Learner(NamedTuple):
    """All that a run needs to go on: arrays without keys, so that any format can hold them.

    Attributes:
        params: See `RecurrentClassifier`.
        moments: State of the task's optimiser, over all parameters.
        flossing: State of flossing's, over the network's parameters alone.
        updates: Task updates so far.
    """

    params: PyTree
    moments: PyTree
    flossing: FlossingState
    updates: Array


class Look(NamedTuple):
    """What is recorded of a run.

    Attributes:
        updates: Task updates before it.
        loss: On fresh sequences, nats per bit.
        accuracy: Share of right bits on them; NaN once a run has diverged.
        training_loss: Mean over the batches since the last look; NaN at the first.
        gradient_norm: Norm of the task's gradient before clipping, geometric mean over the same;
            NaN at the first.
        exponents: (k,), nats per step, over the window, on one fresh sequence.
        log10_condition: log10(σ_1/σ_k) of the long-term Jacobian along it.
        status: `DIVERGED` where loss or parameters are not finite.
        tangent_status: Worst status of the exponents and of the Jacobian.
    """

    updates: Array
    loss: Array
    accuracy: Array
    training_loss: Array
    gradient_norm: Array
    exponents: Array
    log10_condition: Array
    status: Array
    tangent_status: Array


class RunFunctions(NamedTuple):
    """Pure functions of one run; `key` is the run's, the same in all calls.

    Attributes:
        begin: `key -> Learner`.
        train: `(learner, key, lags, num_updates) -> (learner, stretch)`, with the mean loss of
            the stretch and the geometric mean of its gradient norms.
        look: `(learner, key, lags, stretch) -> Look`.
        floss: `(learner, key, num_updates) -> (learner, FlossingLog)`.
    """

    begin: Callable[[Key], Learner]
    train: Callable[..., tuple[Learner, tuple[Array, Array]]]
    look: Callable[..., Look]
    floss: Callable[..., tuple[Learner, FlossingLog]]


def task_loss(
    network: RecurrentClassifier, params: PyTree, bits: Float[Array, "batch steps"], lags: Array
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Loss in nats per bit, and accuracy, on some sequences."""
    logits = jax.vmap(lambda one: network.logits(params, one))(bits)
    targets, counted = parity_targets(bits, lags), defined_steps(bits.shape[1], lags)
    return bit_loss(logits, targets, counted), bit_accuracy(logits, targets, counted)


def run_functions(network: RecurrentClassifier, settings: TrainingSettings) -> RunFunctions:
    """Make the functions that a run of a task consists of.

    Batch u of a run is a function of its key and of u alone: runs of one key that are flossed
    differently, or have other lags, see the same bits.

    Args:
        network: What is trained.
        settings: How.
    """
    clipping = [] if settings.clip is None else [optax.clip_by_global_norm(settings.clip)]
    optimizer = optax.chain(*clipping, optax.adamw(settings.learning_rate, weight_decay=0.0))

    def flossing(params: PyTree, key: Key) -> ExponentPenalty:
        return _exponents(network, settings, params, random_bits(key, settings.window))

    # The mask is why the pytree of all parameters can be handed on.
    block = flossing_block(
        flossing, optax.adamw(settings.flossing_rate, weight_decay=0.0), mask=FLOSSED
    )

    def begin(key: Key) -> Learner:
        params = network.init(key)
        zero = jnp.zeros((), jnp.int32)
        return Learner(params, optimizer.init(params), block.init(params), zero)

    def update(learner: Learner, key: Key, lags: Array) -> tuple[Learner, tuple[Array, Array]]:
        bits = random_bits(
            jax.random.fold_in(key, learner.updates), settings.num_steps, settings.batch_size
        )
        loss, gradient = jax.value_and_grad(
            lambda params: task_loss(network, params, bits, lags)[0]
        )(learner.params)
        norm = tree.norm(gradient)
        if not settings.train_network:
            still = {name: jax.tree.map(jnp.zeros_like, gradient[name]) for name in FLOSSED}
            gradient = {**gradient, **still}
        change, moments = optimizer.update(gradient, learner.moments, learner.params)
        params = optax.apply_updates(learner.params, change)
        return Learner(params, moments, learner.flossing, learner.updates + 1), (loss, norm)

    def train(
        learner: Learner, key: Key, lags: Array, num_updates: int
    ) -> tuple[Learner, tuple[Array, Array]]:
        own = jax.random.fold_in(key, _BATCHES)

        def one(learner: Learner, _: None) -> tuple[Learner, tuple[Array, Array]]:
            return update(learner, own, lags)

        learner, (losses, norms) = jax.lax.scan(one, learner, length=num_updates)
        return learner, (losses.mean(), jnp.exp(jnp.log(norms).mean()))

    def look(learner: Learner, key: Key, lags: Array, stretch: tuple[Array, Array]) -> Look:
        fresh = jax.random.fold_in(jax.random.fold_in(key, _LOOKS), learner.updates)
        bits = random_bits(fresh, settings.num_steps, settings.evaluation_size)
        loss, accuracy = task_loss(network, learner.params, bits, lags)
        along = random_bits(
            jax.random.fold_in(fresh, 0), max(settings.window, settings.jacobian_steps)
        )
        found = _exponents(network, settings, learner.params, along)
        jacobian = long_term_jacobian(
            network.step,
            learner.params["network"],
            learner.params["initial"],
            along[: settings.jacobian_steps, None],
            settings.num_exponents,
        )
        finite = jnp.isfinite(loss) & tree.all_finite(learner.params)
        return Look(
            updates=learner.updates,
            loss=loss,
            accuracy=jnp.where(finite, accuracy, jnp.nan),
            training_loss=stretch[0],
            gradient_norm=stretch[1],
            exponents=found.exponents,
            log10_condition=jacobian.log10_condition,
            status=jnp.where(finite, int(Status.OK), int(Status.DIVERGED)),
            tangent_status=jnp.maximum(jnp.max(found.status), jacobian.status),
        )

    def floss(learner: Learner, key: Key, num_updates: int) -> tuple[Learner, FlossingLog]:
        own = jax.random.fold_in(key, _FLOSSING)
        params, state, log = block.run(
            learner.params, learner.flossing, own, num_updates=num_updates
        )
        return learner._replace(params=params, flossing=state), log

    return RunFunctions(begin, train, look, floss)


def _exponents(
    network: RecurrentClassifier,
    settings: TrainingSettings,
    params: PyTree,
    bits: Float[Array, " steps"],
) -> ExponentPenalty:
    """Exponents along the first steps of a sequence, and the flossing loss."""
    return flossing_loss(
        network.step,
        params["network"],
        params["initial"],
        bits[: settings.window, None],
        num_exponents=settings.num_exponents,
        window=settings.window,
        discard=settings.discard,
        target=settings.target,
        key=jax.random.key(_FRAME),
    )
