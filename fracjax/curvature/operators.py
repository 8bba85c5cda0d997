"""Curvature of losses as linear operators: Hessian, Gauss-Newton matrix, empirical Fisher matrix.

operator = hessian(loss, params, data)              # or gauss_newton, empirical_fisher
operator(direction)                                 # a product, a pytree like params
spectral_density(operator, key); trace(operator, key); top_eigenpairs(operator, key)
jax.vmap(lambda p, k: trace(hessian(loss, p, data), k))(checkpoints, keys)
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array

from fracjax import tree
from fracjax._types import Label, PyTree
from fracjax.curvature.batches import Batches, first_batch, over_batches
from fracjax.curvature.blocks import Mask, combine, partition
from fracjax.curvature.gradients import differentiate, resolve
from fracjax.curvature.hessian_products import (
    HessianMethod,
    Operator,
    check_hessian_settings,
    flattened,
    hessian_operator,
    where_finite,
)

__all__ = [
    "CurvatureOperator",
    "Loss",
    "Model",
    "OutputLoss",
    "empirical_fisher",
    "flat_operator",
    "gauss_newton",
    "hessian",
    "symmetric_operator",
]

Loss: TypeAlias = Callable[[PyTree, PyTree], Array]
Model: TypeAlias = Callable[[PyTree, PyTree], PyTree]
OutputLoss: TypeAlias = Callable[[PyTree, PyTree], Array]


class _Rule(Protocol):
    """How a product is made; hashable, so that programs are compiled once per rule."""

    @property
    def linearize(self) -> bool: ...

    def on_batch(self, params: PyTree, frozen: PyTree, batch: PyTree) -> Operator:
        """Make the operator of one batch at these parameters."""
        ...


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class CurvatureOperator:
    """A symmetric matrix on parameters that is only ever multiplied with directions.

    A pytree: it may be passed to `jax.jit` and batched by `jax.vmap`.

    Attributes:
        params: Where the matrix is taken; with a mask, None in place of the leaves left out.
            Directions have this structure.
        frozen: The leaves left out, or None without a mask.
        batches: Data, or `Batches` that are summed over.
        rule: How products are made.
    """

    params: PyTree
    frozen: PyTree
    batches: PyTree
    rule: Any = dataclasses.field(metadata={"static": True})

    @property
    def size(self) -> int:
        """Number of rows."""
        return tree.size(self.params)

    def __call__(self, direction: PyTree) -> PyTree:
        """Multiply with a direction."""
        return self.linear_map(linearize=False)(direction)

    def linear_map(self, *, linearize: bool | None = None) -> Operator:
        """Make `direction -> product` for many products inside one compiled program.

        Args:
            linearize: Whether to do all work that does not depend on the direction once, at
                the price of keeping it. By default if the data are one batch and the rule
                says so.
        """
        if isinstance(self.batches, Batches):
            return lambda direction: over_batches(
                lambda batch: self._on_batch(batch)(direction), self.batches
            )
        product = self._on_batch(self.batches)
        if linearize is None:
            linearize = self.rule.linearize
        if not linearize:
            return product
        origin = jax.tree.map(jnp.zeros_like, self.params)
        marker, linear = jax.linearize(product, origin)  # NaN where the loss is, else zero
        return lambda direction: jax.tree.map(jnp.add, marker, linear(direction))

    def _on_batch(self, batch: PyTree) -> Operator:
        return self.rule.on_batch(self.params, self.frozen, batch)


def flat_operator(operator: CurvatureOperator) -> tuple[Callable[[Array], Array], Array, Callable]:
    """The operator on vectors, the parameters as one, and what makes a pytree of a vector."""
    return flattened(operator.linear_map(), operator.params)


def hessian(
    loss: Loss,
    params: PyTree,
    batches: PyTree,
    *,
    mask: Mask | None = None,
    method: HessianMethod = "auto",
    step: float | None = None,
    chunk_size: int | None = None,
    linearize: bool = False,
) -> CurvatureOperator:
    """The Hessian of `loss(params, batch)` by the parameters.

    With `Batches` the Hessian of the weighted sum of the batches' losses, which for a mean over
    samples is that of all samples at once; one batch is in memory at a time.

    Where the loss has no reverse mode (a return through Brax's mjx), `method` decides as for
    `hessian_vector_product`: by default differences of forward-mode gradients, and
    `"forward over forward"` for exact products from Jacobian-vector products alone.

    Do not use it where the loss is rough (see the package's note), nor read a spectrum of a ReLU
    network as if the kinks were not there: derivatives do not see them.

    Args:
        loss: Pure function of parameters and a batch returning one number; hashable, and the
            same object in every call, as each is compiled anew.
        params: Pytree of floating arrays.
        batches: The data, or `Batches` of them (`in_batches`).
        mask: Which leaves the matrix is of, see `partition`; all if not given.
        method: See `hessian_vector_product`.
        step: Of differences, see there.
        chunk_size: Of forward-mode gradients, see `gradient`.
        linearize: Compute the part of a product that does not depend on the direction once for
            many products of one batch, and keep it: about as much memory as a gradient takes
            again. Never done by differences. Measure before: on a CPU a network of 10⁶
            parameters and batches of 32 took 50 times longer with it.

    Raises:
        ValueError: If the loss does not return one number, the parameters are not floating, or
            a setting is out of range.

    Example:
        >>> import jax.numpy as jnp
        >>> from fracjax import curvature
        >>> def loss(params, batch):  # a mean over samples
        ...     return 0.5 * ((batch @ params) ** 2).mean()
        >>> data = jnp.diag(jnp.array([2.0, 1.0, 0.5]))
        >>> operator = curvature.hessian(loss, jnp.zeros(3), data)
        >>> print(3 * operator(jnp.ones(3)))  # the Hessian is diagonal here
        [4.   1.   0.25]
    """
    part, frozen = _checked_parts(loss, params, batches, mask, chunk_size, method, step)
    rule = _HessianRule(loss, method, step, chunk_size, linearize and method != "differences")
    if rule.linearize and method == "auto":
        _, label = rule.resolve(part, frozen, first_batch(batches))
        rule = dataclasses.replace(rule, linearize=not label.startswith("differences"))
    return CurvatureOperator(part, frozen, batches, rule)


def gauss_newton(
    model: Model,
    loss: OutputLoss,
    params: PyTree,
    batches: PyTree,
    *,
    mask: Mask | None = None,
    linearize: bool = False,
    chunk_size: int | None = None,
) -> CurvatureOperator:
    """The generalised Gauss-Newton matrix Jᵀ (∂²loss/∂outputs²) J of a model under a loss.

    J is the derivative of the outputs by the parameters. The matrix is the Hessian of the loss
    with the model replaced by its linearisation: positive semidefinite where the loss is convex
    in the outputs, and equal to the Hessian where the model is linear in its parameters. For a
    negative log likelihood of an exponential family it is the Fisher matrix (not the empirical
    one).

    Args:
        model: Pure function of parameters and inputs returning outputs, any pytree.
        loss: Function of outputs and targets returning one number.
        params: Pytree of floating arrays.
        batches: A pair (inputs, targets), or `Batches` of pairs.
        mask: See `hessian`.
        linearize: See `hessian`.
        chunk_size: Of forward mode, for models without reverse mode; see `gradient`.

    Raises:
        ValueError: As `hessian`; also if the data are not a pair.

    References:
        Schraudolph (2002), Neural Computation 14, 1723. Martens (2020), JMLR 21, 146.
    """
    sample = first_batch(batches)
    if not isinstance(sample, tuple | list) or len(sample) != 2:
        msg = "Argument `batches` must hold pairs of inputs and targets, but does not."
        raise ValueError(msg)

    def whole(params: PyTree, batch: PyTree) -> Array:
        return loss(model(params, batch[0]), batch[1])

    part, frozen = _checked_parts(whole, params, batches, mask, chunk_size)
    rule = _GaussNewtonRule(model, loss, linearize, chunk_size)
    return CurvatureOperator(part, frozen, batches, rule)


def empirical_fisher(
    loss: Loss,
    params: PyTree,
    batches: PyTree,
    *,
    mask: Mask | None = None,
    linearize: bool = False,
    chunk_size: int | None = None,
) -> CurvatureOperator:
    """The empirical Fisher matrix (1/n) Σ g_i g_iᵀ of the gradients g_i of single samples.

    Not centred, and taken at the labels of the data: at a minimum with small residuals it tends
    to zero while Hessian and Fisher matrix do not. Do not use it as curvature (Kunstner et al.,
    2019); it says how gradients vary between samples.

    Args:
        loss: `loss(params, batch)`, either one number per sample, (n,), or one number, which is
            then taken of every sample alone in a batch of one: wrong where samples interact, as
            under batch normalisation.
        params: Pytree of floating arrays.
        batches: The data with a leading axis of samples, or `Batches` of them. A weighted sum
            over batches of averages: that of all samples for the weights of a mean.
        mask: See `hessian`.
        linearize: See `hessian`.
        chunk_size: Of forward mode, for losses without reverse mode; see `gradient`.

    Raises:
        ValueError: As `hessian`.

    References:
        Kunstner, Balles and Hennig (2019), arXiv 1905.12558.
    """

    def average(params: PyTree, batch: PyTree) -> Array:
        return _losses(loss, params, batch).mean()

    part, frozen = _checked_parts(average, params, batches, mask, chunk_size)
    rule = _FisherRule(loss, linearize, chunk_size)
    return CurvatureOperator(part, frozen, batches, rule)


def symmetric_operator(
    apply: Callable[[PyTree, PyTree], PyTree], like: PyTree, data: PyTree = None
) -> CurvatureOperator:
    """Take any symmetric matrix, given by `apply(direction, data)`, for an operator.

    Args:
        apply: Linear in the direction; hashable, and the same object in every call.
        like: Pytree with the shapes and dtypes of a direction.
        data: Arrays that the product needs.
    """
    return CurvatureOperator(like, None, (data,), _GivenRule(apply))


def _checked_parts(
    loss: Loss,
    params: PyTree,
    batches: PyTree,
    mask: Mask | None,
    chunk_size: int | None,
    method: HessianMethod = "auto",
    step: float | None = None,
) -> tuple[PyTree, PyTree]:
    """Cut the parameters by the mask; raise ValueError for what no operator takes."""
    part, frozen = (params, None) if mask is None else partition(params, mask)
    objective = _objective(loss, frozen, first_batch(batches))
    check_hessian_settings(objective, part, _no_key(), method, step, chunk_size)
    return part, frozen


def _no_key() -> Array:
    return jnp.zeros((), jnp.uint32)


def _objective(loss: Loss, frozen: PyTree, batch: PyTree) -> Callable[[PyTree, Any], Array]:
    """The loss as a function of the masked parameters, and of a key that is not used."""

    def objective(part: PyTree, key: Any) -> Array:
        del key
        return loss(_whole(part, frozen), batch)

    return objective


def _whole(part: PyTree, frozen: PyTree) -> PyTree:
    return part if frozen is None else combine(part, frozen)


@dataclasses.dataclass(frozen=True)
class _HessianRule:
    loss: Loss
    method: HessianMethod
    step: float | None
    chunk_size: int | None
    linearize: bool

    def resolve(self, params: PyTree, frozen: PyTree, batch: PyTree) -> tuple[Operator, Label]:
        """Make the operator of one batch, and name the method that it uses."""
        objective = _objective(self.loss, frozen, batch)
        operator, label, _ = hessian_operator(
            objective, params, _no_key(), self.method, self.step, self.chunk_size
        )
        return operator, label

    def on_batch(self, params: PyTree, frozen: PyTree, batch: PyTree) -> Operator:
        return self.resolve(params, frozen, batch)[0]


@dataclasses.dataclass(frozen=True)
class _GaussNewtonRule:
    model: Model
    loss: OutputLoss
    linearize: bool
    chunk_size: int | None

    def on_batch(self, params: PyTree, frozen: PyTree, batch: PyTree) -> Operator:
        inputs, targets = batch

        def outputs_of(part: PyTree) -> PyTree:
            return self.model(_whole(part, frozen), inputs)

        def product(direction: PyTree) -> PyTree:
            outputs, tangent = jax.jvp(outputs_of, (params,), (direction,))
            slope = jax.value_and_grad(lambda outputs: self.loss(outputs, targets))
            (value, _), (_, pulled) = jax.jvp(slope, (outputs,), (tangent,))
            found = _pull_back(outputs_of, params, pulled, self.chunk_size)
            return where_finite(value, found)

        return product


@dataclasses.dataclass(frozen=True)
class _FisherRule:
    loss: Loss
    linearize: bool
    chunk_size: int | None

    def on_batch(self, params: PyTree, frozen: PyTree, batch: PyTree) -> Operator:
        def losses_of(part: PyTree) -> Array:
            return _losses(self.loss, _whole(part, frozen), batch)

        def product(direction: PyTree) -> PyTree:
            losses, slopes = jax.jvp(losses_of, (params,), (direction,))
            found = _pull_back(losses_of, params, slopes / len(losses), self.chunk_size)
            return where_finite(losses.sum(), found)

        return product


@dataclasses.dataclass(frozen=True)
class _GivenRule:
    apply: Callable[[PyTree, PyTree], PyTree]
    linearize: bool = False

    def on_batch(self, params: PyTree, frozen: PyTree, batch: PyTree) -> Operator:
        del params, frozen
        return lambda direction: self.apply(direction, batch[0])


def _losses(loss: Loss, params: PyTree, batch: PyTree) -> Array:
    """One loss per sample."""
    if jax.eval_shape(loss, params, batch).shape:
        return loss(params, batch)
    alone = jax.tree.map(lambda leaf: jnp.asarray(leaf)[:, None], batch)
    return jax.vmap(loss, (None, 0))(params, alone)


def _pull_back(
    function: Callable[[PyTree], PyTree], params: PyTree, weights: PyTree, chunk_size: int | None
) -> PyTree:
    """Multiply weights of outputs with the transposed derivative, in reverse mode if it exists."""

    def weighted(part: PyTree) -> Array:
        return tree.dot(weights, function(part))

    return differentiate(resolve("auto", weighted, params), weighted, params, chunk_size)[1]
