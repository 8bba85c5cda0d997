"""The metric set: units and ranks of every layer, norms of the whole network, in one call.

found = measure_network(activations, params, grads, updates)      # pure: jit it, vmap it
many = jax.vmap(lambda p: measure_network(hidden(p, batch), p))(stacked_params)
found.layers["hidden_0"].dormant_units, found.network.weight_norm, found.scalars()
"""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fracjax import tree
from fracjax._types import Estimate, Leaf, PyTree, Status
from fracjax.estimators.intervals import student_quantile
from fracjax.learning.network_metrics import ranks, units
from fracjax.learning.policy_paths.changes import gini_coefficient
from fracjax.sequential_lapack import after

__all__ = [
    "KernelMetrics",
    "LayerMetrics",
    "NetworkMetrics",
    "WholeMetrics",
    "average_metrics",
    "leaf_names",
    "measure_network",
]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class LayerMetrics:
    """Of the activations of one layer; `units` and `ranks` define every one.

    Attributes:
        dead_units: Share of units that are 0 on the whole batch.
        rarely_active_units: Share of units that are not 0 on less than 1 % of it.
        dormant_units: Share of τ-dormant units for every τ, (taus,).
        zero_activations: Share of activations that are 0.
        duplicate_units: Share of units that do the same as a later one.
        effective_rank: Of the features, exp of the entropy of σ.
        srank: Of the features, by σ.
        approximate_rank: Of the features, by σ².
        stable_rank: Of the features.
        participation_ratio: Of the features.
        numerical_rank: Of the features.
        feature_rank: Of the features, by an absolute threshold.
        mean_magnitude: Mean |h|.
        status: `DIVERGED` if an activation is not finite (all is NaN then), `AT_NOISE_FLOOR` if
            the layer is silent.
        taus: The thresholds τ.
    """

    dead_units: Leaf
    rarely_active_units: Leaf
    dormant_units: Leaf
    zero_activations: Leaf
    duplicate_units: Leaf
    effective_rank: Leaf
    srank: Leaf
    approximate_rank: Leaf
    stable_rank: Leaf
    participation_ratio: Leaf
    numerical_rank: Leaf
    feature_rank: Leaf
    mean_magnitude: Leaf
    status: Leaf
    taus: tuple[float, ...] = dataclasses.field(metadata={"static": True})


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class KernelMetrics:
    """Of one kernel, (..., inputs, units) laid out as a matrix with a column for every unit.

    Attributes:
        norm: ‖W‖_F.
        largest_singular_value: ‖W‖_2.
        effective_rank: exp of the entropy of σ.
        srank: By σ.
        stable_rank: ‖W‖_F²/‖W‖_2².
        status: `DIVERGED` if a weight is not finite, `AT_NOISE_FLOOR` if all are 0.
    """

    norm: Leaf
    largest_singular_value: Leaf
    effective_rank: Leaf
    srank: Leaf
    stable_rank: Leaf
    status: Leaf


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class WholeMetrics:
    """Of the whole network; None where what it is of was not given.

    Attributes:
        dormant_units: τ-dormant units among all units of all layers given, (taus,).
        weight_norm: ‖θ‖_2 over all parameters, biases among them.
        mean_weight: Mean |θ_i|.
        weight_gini: Gini coefficient of |θ_i|.
        gradient_norm: ‖g‖_2.
        update_norm: ‖Δθ‖_2 of one update, as it is added to the parameters.
        taus: The thresholds τ.
    """

    dormant_units: Leaf | None
    weight_norm: Leaf | None
    mean_weight: Leaf | None
    weight_gini: Leaf | None
    gradient_norm: Leaf | None
    update_norm: Leaf | None
    taus: tuple[float, ...] = dataclasses.field(metadata={"static": True})


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class NetworkMetrics:
    """What `measure_network` found.

    Attributes:
        layers: By the names of the activations.
        kernels: By the names of the leaves of the parameters.
        network: Of all together.
        status: `DIVERGED` if anything that was given is not finite.
    """

    layers: dict[str, LayerMetrics]
    kernels: dict[str, KernelMetrics]
    network: WholeMetrics
    status: Leaf

    def scalars(self) -> dict[str, Array]:
        """Name every number: `dead_units/hidden_0`, `dormant_units_0.025`, `weight_norm`.

        Numbers of kernels begin with `kernel_`. Axes of `vmap` stay in front.
        """
        found: dict[str, Array] = {}
        for name, layer in self.layers.items():
            found |= _numbers(layer, suffix=f"/{name}")
        for name, kernel in self.kernels.items():
            found |= _numbers(kernel, prefix="kernel_", suffix=f"/{name}")
        return found | _numbers(self.network)


def measure_network(
    activations: Mapping[str, Array | np.ndarray],
    params: PyTree | None = None,
    grads: PyTree | None = None,
    updates: PyTree | None = None,
    *,
    taus: tuple[float, ...] = (0.0, 0.025, 0.1),
    delta: float = 0.01,
    share: float = 0.99,
    feature_threshold: float = 0.01,
    duplicate_cosine: float = 0.95,
    kernels: bool = True,
) -> NetworkMetrics:
    """Measure the units, ranks and norms that people watch for a loss of plasticity.

    Pure and fixed in shape: `jit` it, and `vmap` it over checkpoints or seeds. The numbers are
    exact for the batch and the weights given; how they vary between batches or seeds is told by
    `average_metrics`. Counts of units depend on the number of samples (fewer samples, more dead
    units), so compare checkpoints on one fixed batch.

    None of them is plasticity. They move with it in some networks and against it in others, and
    the correlations that Lyle et al. found change sign between architectures and observations;
    the probe measures the thing itself. Ranks of features say little about trainability for
    batches with fewer samples than units.

    A layer costs one singular value decomposition of its (samples, units), a kernel another. For
    convolutions samples are multiplied by places: a few images are enough.

    Args:
        activations: After the activation function, (samples, ..., units) by layer, hidden layers
            only; `fracjax.rl.activations` takes them from Flax modules.
        params: Parameters of the network.
        grads: Their gradient.
        updates: What an update adds to them.
        taus: Thresholds of dormant units; 0, .025 and .1 are Sokar et al.'s.
        delta: δ of `srank`.
        share: Share of σ² of `approximate_rank`.
        feature_threshold: Threshold of `feature_rank`.
        duplicate_cosine: Bound of `duplicate_units`.
        kernels: Whether to decompose the kernels too, leaves of two axes or more.

    Raises:
        ValueError: If activations have fewer than two axes, or a setting is out of range.

    References:
        `units` and `ranks` have them; Lyle et al. (2023), https://arxiv.org/abs/2303.01486.

    Example:
        >>> import jax.numpy as jnp
        >>> from fracjax import learning
        >>> hidden = jnp.array([[1.0, 0.0, 2.0], [0.5, 0.0, 1.0], [2.0, 0.0, 0.0]])
        >>> metrics = learning.measure_network({"hidden": hidden}).scalars()
        >>> f"{metrics['dead_units/hidden']:.2f}"  # one unit of three
        '0.33'
    """
    _check_settings(taus, delta=delta, share=share, duplicate_cosine=duplicate_cosine)
    layers: dict[str, LayerMetrics] = {}
    matrices: dict[str, KernelMetrics] = {}
    earlier = jnp.zeros(())  # singular values of one matrix after those of the other
    for name, layer in activations.items():
        layers[name] = _layer(
            after(units.unit_samples(layer), earlier),
            taus,
            delta=delta,
            share=share,
            feature_threshold=feature_threshold,
            duplicate_cosine=duplicate_cosine,
        )
        earlier = layers[name].stable_rank
    if params is not None and kernels:
        for name, leaf in zip(leaf_names(params), jax.tree.leaves(params), strict=True):
            if jnp.ndim(leaf) >= 2:
                matrices[name] = _kernel(after(leaf, earlier), delta)
                earlier = matrices[name].stable_rank
    network = _whole(activations, params, grads, updates, taus)
    whole = tree.all_finite((params, grads, updates))
    for measured in layers.values():
        whole &= measured.status != Status.DIVERGED
    return NetworkMetrics(layers, matrices, network, jnp.where(whole, Status.OK, Status.DIVERGED))


def average_metrics(scalars: Mapping[str, Array | np.ndarray]) -> dict[str, Estimate]:
    """Average metrics over seeds or probe batches, with Student intervals of the mean.

    An interval of no length says that the repeats agree, not that the next one must.

    Args:
        scalars: Such as `NetworkMetrics.scalars()` under `vmap`: repeats along the leading axis.

    Returns:
        For every name an estimate: `TOO_FEW_POINTS` with one repeat, `DIVERGED` where one is not
        finite. Its details hold `num_repeats`.
    """
    return {name: _average(jnp.asarray(values)) for name, values in scalars.items()}


def leaf_names(params: PyTree) -> list[str]:
    """Name the leaves of a pytree by their keys, joined by slashes: `params/Dense_0/kernel`."""
    paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    return [jax.tree_util.keystr(path, simple=True, separator="/") for path in paths]


def _layer(
    samples: Float[Array, "samples units"],
    taus: tuple[float, ...],
    *,
    delta: float,
    share: float,
    feature_threshold: float,
    duplicate_cosine: float,
) -> LayerMetrics:
    values = ranks.singular_values(samples)
    magnitude = jnp.mean(jnp.abs(samples))
    return LayerMetrics(
        dead_units=units.dead_units(samples),
        rarely_active_units=units.soft_dead_units(samples, "dohare_2024"),
        dormant_units=_dormant(units.dormant_scores(samples), taus),
        zero_activations=units.zero_activations(samples),
        duplicate_units=units.duplicate_units(samples, cosine=duplicate_cosine),
        effective_rank=ranks.effective_rank(values),
        srank=ranks.srank(values, delta),
        approximate_rank=ranks.approximate_rank(values, share),
        stable_rank=ranks.stable_rank(values),
        participation_ratio=ranks.participation_ratio(values),
        numerical_rank=ranks.numerical_rank(values, samples.shape),
        feature_rank=ranks.feature_rank(values, samples.shape[0], feature_threshold),
        mean_magnitude=magnitude,
        status=_status(magnitude),
        taus=taus,
    )


def _kernel(kernel: Array | np.ndarray, delta: float) -> KernelMetrics:
    matrix = units.unit_samples(kernel)
    values = ranks.singular_values(matrix)
    norm = jnp.linalg.norm(matrix)
    return KernelMetrics(
        norm=norm,
        largest_singular_value=jnp.max(values),
        effective_rank=ranks.effective_rank(values),
        srank=ranks.srank(values, delta),
        stable_rank=ranks.stable_rank(values),
        status=_status(norm),
    )


def _whole(
    activations: Mapping[str, Array | np.ndarray],
    params: PyTree | None,
    grads: PyTree | None,
    updates: PyTree | None,
    taus: tuple[float, ...],
) -> WholeMetrics:
    dormant = mean = gini = None
    if activations:
        scores = [units.dormant_scores(layer) for layer in activations.values()]
        dormant = _dormant(jnp.concatenate(scores), taus)
    if params is not None:
        sizes = jnp.concatenate([jnp.abs(jnp.ravel(leaf)) for leaf in jax.tree.leaves(params)])
        mean, gini = jnp.mean(sizes), gini_coefficient(sizes)
    weight, gradient, update = (
        None if one is None else tree.norm(one) for one in (params, grads, updates)
    )
    return WholeMetrics(dormant, weight, mean, gini, gradient, update, taus)


def _dormant(scores: Float[Array, " units"], taus: tuple[float, ...]) -> Float[Array, " taus"]:
    below = scores[:, None] <= jnp.asarray(taus, scores.dtype)
    shares = jnp.mean(below, axis=0, dtype=scores.dtype)
    return jnp.where(jnp.isfinite(scores).all(), shares, jnp.nan)


def _status(size: Float[Array, ""]) -> Array:
    found = jnp.where(size > 0, Status.OK, Status.AT_NOISE_FLOOR)
    return jnp.where(jnp.isfinite(size), found, Status.DIVERGED)


def _numbers(
    metrics: LayerMetrics | KernelMetrics | WholeMetrics, *, prefix: str = "", suffix: str = ""
) -> dict[str, Array]:
    found: dict[str, Array] = {}
    taus = getattr(metrics, "taus", ())
    for field in dataclasses.fields(metrics):
        value = getattr(metrics, field.name)
        if field.name in ("status", "taus") or value is None:
            continue
        if field.name == "dormant_units":
            for index, tau in enumerate(taus):
                found[f"{prefix}dormant_units_{tau:g}{suffix}"] = value[..., index]
        else:
            found[f"{prefix}{field.name}{suffix}"] = value
    return found


def _average(values: Float[Array, "n ..."]) -> Estimate:
    count = values.shape[0]
    mean = jnp.mean(values, axis=0)
    finite = jnp.isfinite(mean)
    error = jnp.std(values, axis=0, ddof=1) / np.sqrt(count) if count > 1 else mean * jnp.nan
    reach = student_quantile(count - 1, max(count - 1, 1)).astype(values.dtype) * error
    few = Status.OK if count > 1 else Status.TOO_FEW_POINTS
    return Estimate(
        value=jnp.where(finite, mean, jnp.nan),
        stderr=error,
        low=mean - reach,
        high=mean + reach,
        status=jnp.where(finite, few, Status.DIVERGED),
        details={"num_repeats": count},
    )


def _check_settings(taus: tuple[float, ...], **shares: float) -> None:
    if any(not tau >= 0 for tau in taus):
        msg = f"Argument `taus` must be at least 0, but is {taus}."
        raise ValueError(msg)
    for name, value in shares.items():
        if not 0 <= value <= 1:
            msg = f"Argument `{name}` must lie in [0, 1], but is {value}."
            raise ValueError(msg)
