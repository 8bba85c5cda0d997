"""The flossing loss: how far the leading exponents of a recurrent network are from a target."""

from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fracjax import tangent
from fracjax._types import Key, PyTree
from fracjax.estimators.chaos.frames import frame_rows
from fracjax.estimators.settings import check_at_least, check_num_coordinates
from fracjax.learning.exponent_regularization.penalties import (
    ExponentPenalty,
    Reduce,
    exponent_penalty,
    penalize_growth,
)
from fracjax.learning.flossing.adjoints import frame_growth
from fracjax.learning.flossing.cells import RecurrentStep

__all__ = ["Derivative", "flossing_loss", "mean_flossing_loss"]

Derivative = Literal["adjoint", "automatic"]


def flossing_loss(
    step: RecurrentStep,
    params: PyTree,
    state: PyTree,
    inputs: PyTree | None,
    *,
    num_exponents: int,
    window: int = 55,
    discard: int = 16,
    target: float | Float[Array, "*k"] = 0.0,
    one_sided: bool = False,
    reduce: Reduce = "mean",
    renormalize_every: int = 1,
    key: Key,
    checkpoint_every: int | None = None,
    through_state: bool = True,
    derivative: Derivative = "adjoint",
) -> ExponentPenalty:
    """Measure how far the leading exponents are from their targets, differentiably.

        loss = (1/k) Σ_i (λ_i − target_i)²,     λ_i = (1/(window − discard)) Σ_t ln R_t,ii

    with R_t the triangular factor of a frame of k tangents that is pushed along the driven
    orbit. The mean over i is what the author's code takes, the abstract's formula is the sum:
    `reduce="sum"`. It is `exponent_penalty` for a step with parameters and inputs, with the same
    values and gradients; read there about finite times, gradients along chaotic orbits and
    `through_state`.

    The frame's first orientation comes from `key` alone. The published code keeps it the same
    in all updates, as a fixed key does: the loss is then a deterministic function of
    parameters, state and inputs, and its gradient less noisy.

    A positive one-sided loss forbids exponents above the target and leaves those below alone.
    That is a remedy against explosion only: small gradients come from exponents below 0.

    Args:
        step: `(params, state, input) -> state`, see `cells`.
        params: Parameters.
        state: Where the window starts. For an LSTM the pair (c, h).
        inputs: Pytree with a leading axis of `window`, or None for a network without input.
        num_exponents: k, how many of the leading exponents. What is not flossed may collapse: with
            k = 1 the others fall further behind than without.
        window: Steps made, those that are discarded included.
        discard: Steps made first with the frame and not counted.
        target: Number, or one per exponent in descending order, in nats per step.
        one_sided: Whether only exponents above their target count.
        reduce: `"mean"` or `"sum"` over exponents.
        renormalize_every: Steps between orthonormalisations. It divides `discard` and
            `window`. Beyond 1 the loss is the same but for rounding, and cheaper, as
            long as exponents spread by less than −ln ε over the interval.
        key: Draws the first frame.
        checkpoint_every: Orthonormalisations between states and frames that reverse mode stores;
            the rest is computed twice. It divides their number; `costs` says what is stored.
        through_state: See `exponent_penalty`.
        derivative: `"adjoint"` takes the reverse rule of `adjoints`, `"automatic"` lets JAX
            differentiate every operation, which is slower and stores more, and also knows
            forward mode.

    Returns:
        `value` to be differentiated, `exponents`, `status` per exponent, `state` at the end.

    Raises:
        ValueError: If a setting is out of range.

    References:
        Engelken (2023), Gradient flossing, https://arxiv.org/abs/2312.17306.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from fracjax import learning
        >>> network = learning.initial_tanh_network(jax.random.key(0), 8, 1)
        >>> def loss(network):
        ...     found = learning.flossing_loss(
        ...         learning.driven_tanh_step,
        ...         network,
        ...         jnp.zeros(8),
        ...         jnp.ones((55, 1)),
        ...         num_exponents=2,
        ...         key=jax.random.key(1),
        ...     )
        ...     return found.value, found.exponents
        >>> (value, exponents), gradient = jax.value_and_grad(loss, has_aux=True)(network)
        >>> bool(jnp.isclose(value, (exponents**2).mean()))
        True
        >>> jax.tree.map(jnp.shape, gradient)
        {'bias': (8,), 'input': (8, 1), 'recurrent': (8, 8)}
    """
    if derivative not in get_args(Derivative):
        msg = f"Argument `derivative` must be one of {get_args(Derivative)}, but is {derivative!r}."
        raise ValueError(msg)
    _check(window, discard, renormalize_every, checkpoint_every, inputs)
    if derivative == "automatic":

        def advance(at: PyTree, given: PyTree = None) -> PyTree:
            return step(params, at, given)

        return exponent_penalty(
            advance,
            state,
            num_steps=window - discard,
            num_transient=discard,
            num_exponents=num_exponents,
            target=target,
            one_sided=one_sided,
            reduce=reduce,
            renormalize_every=renormalize_every,
            key=key,
            inputs=inputs,
            through_state=through_state,
            checkpoint_every=checkpoint_every,
        )
    count = check_num_coordinates("num_exponents", num_exponents, state, None)
    frame = tangent.random_frame(key, state, count)
    growth, last = frame_growth(
        step,
        params,
        state,
        inputs,
        frame_rows(state, frame),
        num_intervals=window // renormalize_every,
        interval=renormalize_every,
        skipped=discard // renormalize_every,
        checkpoint_every=checkpoint_every,
        through_state=through_state,
    )
    counted = jnp.full(1, window - discard)
    return penalize_growth(last, growth[None], counted, target, one_sided, reduce)


def mean_flossing_loss(
    step: RecurrentStep,
    params: PyTree,
    states: PyTree,
    inputs: PyTree | None,
    **settings: Any,
) -> ExponentPenalty:
    """Average the flossing loss over samples, all of them with the same first frame.

    The mean of the losses, which is at least the loss of the mean exponents; `exponents` are
    means, `steps` a sum, `status` the worst of all samples, and `state` holds all last states.

    Args:
        step: See `flossing_loss`.
        params: Shared by the samples.
        states: Pytree with a leading axis of samples.
        inputs: Pytree of (samples, window, ...), or None.
        **settings: Those of `flossing_loss`.
    """

    def one(state: PyTree, given: PyTree | None) -> ExponentPenalty:
        return flossing_loss(step, params, state, given, **settings)

    found = jax.vmap(one, in_axes=(0, None if inputs is None else 0))(states, inputs)
    return ExponentPenalty(
        value=jnp.mean(found.value),
        exponents=jnp.mean(found.exponents, axis=0),
        steps=jnp.sum(found.steps),
        status=jnp.max(found.status, axis=0),
        state=found.state,
    )


def _check(
    window: int, discard: int, every: int, checkpoint_every: int | None, inputs: PyTree | None
) -> None:
    check_at_least(
        discard=(discard, 0),
        window=(window, discard + 1),
        renormalize_every=(every, 1),
        checkpoint_every=(checkpoint_every, 1),
    )
    for name, value, divisor in (
        ("discard", discard, every),
        ("window", window, every),
        ("window", window, every * (checkpoint_every or 1)),
    ):
        if value % divisor:
            msg = (
                f"Argument `{name}` must be a multiple of {divisor} with this `renormalize_every`"
                f" and `checkpoint_every`, but is {value}."
            )
            raise ValueError(msg)
    lengths = {len(leaf) for leaf in jax.tree.leaves(inputs)}
    if lengths - {window}:
        msg = f"Argument `inputs` must have {window} slices, but has {sorted(lengths)}."
        raise ValueError(msg)
