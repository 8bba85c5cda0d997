"""Langevin samplers as Optax transformations.

    langevin = natural_langevin(1e-2, num_data=n, key=key, prior=gaussian_prior())
    state = langevin.init(params)
    loss, gradient, moments = gradient_moments(losses, params, batch)     # mean loss of the batch
    updates, state = langevin.update(gradient, state, params, moments=moments)
    params = optax.apply_updates(params, updates)

One step, with L the mean loss over the N data (each loss a negative log-likelihood), π the prior,
T the temperature and ξ standard normal:

    θ <- θ - η C (∇L - ∇ln π/N) + (η T/N) Γ + √(2 η T/N) C^{1/2} ξ

As η goes to 0 its law goes to π^{1/T} e^{-N L/T}, the posterior at T = 1, if C is constant or the
drift Γ_i = Σ_j ∂C_ij/∂θ_j is kept. In terms of Welling and Teh's step ε: η = ε N/2.
"""

import math
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from fracjax import tree
from fracjax._types import Key, PyTree
from fracjax.estimators.settings import check_at_least
from fracjax.learning.langevin_sampling.outer_products import outer_product
from fracjax.learning.langevin_sampling.preconditioners import (
    Observation,
    Preconditioner,
    identity,
    rmsprop,
)
from fracjax.learning.langevin_sampling.priors import Prior
from fracjax.learning.langevin_sampling.sample_moments import SampleMoments
from fracjax.learning.langevin_sampling.schedules import inverse_root_rate

__all__ = ["LangevinState", "MetricName", "natural_langevin", "preconditioned_sgld", "sgld"]

MetricName = Literal["euclidean", "rmsprop", "dop", "qdop"]
_REGULARIZATION = 1e-7  # the code of natural Langevin dynamics


class LangevinState(NamedTuple):
    """State of a sampler.

    Attributes:
        step: Steps made.
        key: The sampler's key; step t draws from `fold_in(key, t)`.
        metric: State of the preconditioner.
    """

    step: Int[Array, ""]
    key: Key
    metric: Any


def sgld(
    step_size: float | Float[Array, ""] | optax.Schedule,
    *,
    num_data: int,
    key: Key,
    temperature: float | Float[Array, ""] | optax.Schedule = 1.0,
    prior: Prior | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Make stochastic-gradient Langevin dynamics, C = 1: `preconditioned_sgld` says the rest.

    Its stationary variance along a direction of curvature h of the mean loss is
    (T + η h N/(2B))/(N h (1 - η h/2)), B the batch: see `effective_temperature`.

    References:
        Welling and Teh (2011), ICML, "Bayesian learning via stochastic gradient Langevin dynamics".
    """
    return preconditioned_sgld(
        step_size, "euclidean", num_data=num_data, key=key, temperature=temperature, prior=prior
    )


def natural_langevin(
    step_size: float | Float[Array, ""] | optax.Schedule,
    *,
    num_data: int,
    key: Key,
    metric: Literal["dop", "qdop"] = "qdop",
    temperature: float | Float[Array, ""] | optax.Schedule = 1.0,
    prior: Prior | None = None,
    metric_rate: float | Float[Array, ""] | optax.Schedule | None = None,
    regularization: float | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Make natural Langevin dynamics: a sampler with the (quasi-)diagonal outer-product metric.

    Steps are in units of the posterior's own widths: η near 1 forgets the start of a direction in
    one step, and η = 0.1 in about ten. `update` takes the moments of per-sample gradients,
    `update(gradient, state, params, moments=moments)`, which `gradient_moments` computes with the
    gradient. With batches the law is wider than the posterior by `effective_temperature`: to
    sample it, η N/(2B) must be small, which the settings of the paper's code (η = 1, N/B = 100)
    are far from.

    Γ is left out, as in the paper's code. The metric is a moving average whose rate goes to zero,
    so that C tends to a constant, for which Γ = 0; with a constant `metric_rate` C keeps following
    the parameters and the law is that of no known density. Measured on a logistic posterior of two
    parameters and 60 data (full gradients, η = .05, 10 000 chains): variances 3.7 to 4.3 % too wide
    after 1600 steps, 2.6 % of it the finite step, and 10 to 13 % with a constant rate of ½.
    `preconditioned_sgld` with a `diagonal` metric keeps Γ.

    Neither metric knows that inputs are correlated. A step is stable below 2 over the largest
    eigenvalue of C^{1/2} H C^{1/2}, which d equal inputs raise to d. With QDOP a 64-50-50-10
    network on digits broke down at η = .3, and did not at .1.

    Args:
        step_size: η, a number or a schedule of the step's number; the paper's code takes
            `halving_schedule(1.0)`.
        num_data: N, the number of data that the mean loss is over.
        key: Draws the noise.
        metric: `"qdop"`, quasi-diagonal, or `"dop"`, diagonal.
        temperature: T; at 0 (a number) this is natural gradient descent, and nothing is drawn.
        prior: Prior; flat if not given.
        metric_rate: Rate γ of the moving averages; `inverse_root_rate()` if not given.
        regularization: Added to the diagonal of the metric. If not given, the prior's precision
            over N, its share of the posterior's curvature, where there is a prior, else the 1e-7
            of the paper's code. With that and a prior, a parameter that no gradient reaches (the
            weights of a pixel that is always black) has C = 1e7 and diverges.

    Raises:
        ValueError: If a setting is out of range.

    References:
        Marceau-Caron and Ollivier (2017), https://arxiv.org/abs/1712.01076. Its tables were not
        at hand: no number of theirs is claimed.

    Example:
        >>> import jax, jax.numpy as jnp, optax
        >>> from fracjax import learning
        >>> from fracjax.learning import apply_dense
        >>> inputs = jax.random.normal(jax.random.key(0), (100, 2))
        >>> targets = inputs @ jnp.array([[1.0], [-1.0]])
        >>> def losses(params, batch):  # a negative log-likelihood for every sample
        ...     predictions = apply_dense(params, batch[0])
        ...     return 0.5 * ((predictions - batch[1]) ** 2).sum(axis=1)
        >>> langevin = learning.natural_langevin(0.1, num_data=100, key=jax.random.key(1))
        >>> params = {"kernel": jnp.zeros((2, 1)), "bias": jnp.zeros(1)}
        >>> @jax.jit
        ... def sample(params, state):
        ...     _, gradient, moments = learning.gradient_moments(losses, params, (inputs, targets))
        ...     updates, state = langevin.update(gradient, state, params, moments=moments)
        ...     return optax.apply_updates(params, updates), state
        >>> state = langevin.init(params)
        >>> for _ in range(200):
        ...     params, state = sample(params, state)
        >>> print(params["kernel"].ravel().round(0))  # around 1 and -1, by about 1/√100
        [ 1. -1.]
    """
    if metric not in ("dop", "qdop"):
        msg = f"Argument `metric` must be 'dop' or 'qdop', but is {metric!r}."
        raise ValueError(msg)
    return preconditioned_sgld(
        step_size,
        metric,
        num_data=num_data,
        key=key,
        temperature=temperature,
        prior=prior,
        metric_rate=metric_rate,
        regularization=regularization,
    )


def preconditioned_sgld(
    step_size: float | Float[Array, ""] | optax.Schedule,
    metric: MetricName | Preconditioner = "rmsprop",
    *,
    num_data: int,
    key: Key,
    temperature: float | Float[Array, ""] | optax.Schedule = 1.0,
    prior: Prior | None = None,
    metric_rate: float | Float[Array, ""] | optax.Schedule | None = None,
    regularization: float | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Make a Langevin sampler with any of the preconditioners; the module has the equation.

    The transformation is pure and fixed in shape: it runs under `jit`, in `scan`, and under `vmap`
    over seeds when it is made inside (`vmap(lambda key: run(sgld(..., key=key)))`). The metric is
    updated by a batch before it is applied to that batch's gradient, as in the paper's code, so
    that the two are correlated: with a rate γ a share of order γ of the drift's own size is wrong,
    which fades with γ.

    Args:
        step_size: η, see `natural_langevin`. The scale that works differs between metrics.
        metric: A name, or a `Preconditioner`.
        num_data: N.
        key: Draws the noise.
        temperature: T, a number or a schedule.
        prior: Prior; flat if not given.
        metric_rate: Rate γ_t of moving averages; `inverse_root_rate()` if not given.
        regularization: Added to the metric's diagonal: if not given, 1e-7, or for metrics in units
            of curvature the prior's precision over N.

    Returns:
        A transformation. `update(gradient, state, params, moments=None)` takes the gradient of the
        batch's mean loss, without the prior, and returns the change of the parameters.

    Raises:
        ValueError: If a setting is out of range, or `update` is called without parameters or
            moments that the metric or the prior need.

    References:
        Li et al. (2016), https://arxiv.org/abs/1512.07666, for preconditioning by RMSprop;
        Girolami and Calderhead (2011), https://doi.org/10.1111/j.1467-9868.2010.00765.x, for Γ.
    """
    chosen = _preconditioner(metric)
    check_at_least(num_data=(num_data, 1))
    _check_range("step_size", step_size, positive=True)
    _check_range("temperature", temperature, positive=False)
    _check_range("regularization", regularization, positive=False)
    rates = inverse_root_rate() if metric_rate is None else metric_rate
    cold = isinstance(temperature, int | float) and temperature == 0

    def init(params: PyTree) -> LangevinState:
        return LangevinState(jnp.zeros((), jnp.int32), key, chosen.init(params))

    def update(
        gradient: PyTree,
        state: LangevinState,
        params: PyTree | None = None,
        *,
        moments: SampleMoments | None = None,
        **_: Any,
    ) -> tuple[PyTree, LangevinState]:
        if params is None:
            msg = "Argument `params` must be given to `update`, but is None."
            raise ValueError(msg)
        if chosen.needs_moments and moments is None:
            msg = (
                f"Argument `moments` must be given to `update` for the metric {chosen.name!r}, but"
                " is None; `gradient_moments` computes them with the gradient."
            )
            raise ValueError(msg)
        eta, heat, rate = (
            jnp.asarray(setting(state.step) if callable(setting) else setting)
            for setting in (step_size, temperature, rates)
        )
        step_key = jax.random.fold_in(state.key, state.step)
        added = _added(params)
        seen = Observation(params, gradient, moments, rate, added, jax.random.fold_in(step_key, 1))
        inner = chosen.update(state.metric, seen)

        slope = gradient
        if prior is not None:
            slope = tree.add_scaled(slope, -1 / num_data, prior.score(params))
        change = tree.scale(-eta, chosen.apply(inner, slope))
        if not cold:
            noise = chosen.root(inner, tree.random_normal(step_key, params))
            change = tree.add_scaled(change, jnp.sqrt(2 * eta * heat / num_data), noise)
        if chosen.drift is not None:
            change = tree.add_scaled(change, eta * heat / num_data, chosen.drift(inner))
        return change, LangevinState(optax.safe_increment(state.step), state.key, inner)

    def _added(params: PyTree) -> PyTree:
        if regularization is None and prior is not None and chosen.in_curvature:
            return tree.scale(1 / num_data, prior.precision(params))
        value = _REGULARIZATION if regularization is None else regularization
        return jax.tree.map(lambda leaf: jnp.asarray(value, leaf.dtype), params)

    return optax.GradientTransformationExtraArgs(init, update)


def _preconditioner(metric: MetricName | Preconditioner) -> Preconditioner:
    if isinstance(metric, Preconditioner):
        return metric
    if metric == "euclidean":
        return identity()
    if metric == "rmsprop":
        return rmsprop()
    if metric in ("dop", "qdop"):
        return outer_product(quasi_diagonal=metric == "qdop")
    msg = (
        f"Argument `metric` must be one of {get_args(MetricName)} or a Preconditioner, but is"
        f" {metric!r}."
    )
    raise ValueError(msg)


def _check_range(name: str, value: Any, *, positive: bool) -> None:
    """Check a number; schedules and arrays are the caller's."""
    if not isinstance(value, int | float):
        return
    if not math.isfinite(value) or value < 0 or (positive and value == 0):
        kind = "positive" if positive else "not negative"
        msg = f"Argument `{name}` must be {kind} and finite, but is {value}."
        raise ValueError(msg)
