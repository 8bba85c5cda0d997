"""Mean gradient of a batch together with second moments of its per-sample gradients.

    def losses(params, batch):                        # one number per sample
        hidden = jax.nn.relu(apply_dense(params["first"], batch["x"]))
        logits = apply_dense(params["last"], hidden)
        return optax.softmax_cross_entropy_with_integer_labels(logits, batch["y"])

    loss, gradient, moments = gradient_moments(losses, params, batch)
    updates, state = langevin.update(gradient, state, params, moments=moments)

A dense layer a = W x + b has the per-sample gradients δ_k x_j and δ_k, with δ = ∂loss/∂a, so that
their second moments over a batch are matrix products of δ² with x² and with x. `apply_dense`
computes them in the backward pass that makes the gradient: two products more per layer, nothing per
sample is stored, and the numbers are exact.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple, TypeAlias, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fracjax._types import PyTree
from fracjax.learning.langevin_sampling.layers import find_layers

__all__ = ["SampleMoments", "apply_dense", "gradient_moments"]

Losses: TypeAlias = Callable[[PyTree, PyTree], Float[Array, " batch"]]
Route = Literal["dense", "samples"]


class SampleMoments(NamedTuple):
    """Second moments of per-sample gradients, averaged over a batch.

    Both fields are shaped like the parameters.

    Attributes:
        squares: Mean of the squared gradient: E[δ_k² x_j²] for kernels, E[δ_k²] for biases.
        crosses: Mean product of a kernel's gradient with that of its unit's bias, E[δ_k² x_j];
            zero in all other leaves.
    """

    squares: PyTree
    crosses: PyTree


class _Probed:
    """A layer with arguments whose cotangents are the moments; only `apply_dense` looks inside."""

    def __init__(self, name: str, layer: tuple[Array, Array | None], probes: tuple) -> None:
        self.name = name
        self.kernel, self.bias = layer
        self.probes = probes
        self.used = False


def apply_dense(
    layer: PyTree, inputs: Float[Array, "*batch inputs"]
) -> Float[Array, "*batch units"]:
    """Apply a dense layer, `inputs @ kernel + bias`, so that `gradient_moments` sees through it.

    Build the layers of a network of it, and its losses take the dense route of `gradient_moments`,
    where the backward pass makes the moments of this layer beside its gradient. Anywhere else it is
    the plain product, in prediction for instance. Convolutions, sequences and shared weights take
    `route="samples"`, which needs no layer of a special kind.

    Args:
        layer: A dictionary with `kernel` (inputs, units) and, if it has one, `bias` (units,).
        inputs: Inputs, the batch first; (batch, inputs) for moments.

    Returns:
        Outputs before any activation.

    Raises:
        ValueError: In `gradient_moments`, if the inputs are not (batch, inputs) or the layer is
            used a second time: then a sample's gradient is a sum, and the moments of the sum are
            not sums of moments.

    Example:
        >>> import jax.numpy as jnp
        >>> from fracjax.learning import apply_dense, gradient_moments
        >>> def losses(params, batch):  # one number per sample
        ...     hidden = jnp.tanh(apply_dense(params["hidden"], batch["x"]))
        ...     return (apply_dense(params["out"], hidden)[:, 0] - batch["y"]) ** 2
        >>> hidden = {"kernel": jnp.ones((2, 3)), "bias": jnp.zeros(3)}
        >>> params = {"hidden": hidden, "out": {"kernel": jnp.ones((3, 1))}}
        >>> batch = {"x": jnp.eye(2), "y": jnp.zeros(2)}
        >>> _, gradient, moments = gradient_moments(losses, params, batch)
        >>> moments.squares["hidden"]["kernel"].shape  # as the kernel
        (2, 3)
    """
    if not isinstance(layer, _Probed):
        product = inputs @ layer["kernel"]
        return product + layer["bias"] if "bias" in layer else product
    if inputs.ndim != 2:
        msg = (
            "Argument `inputs` must be (batch, inputs) for moments along the dense route, but"
            f" has shape {inputs.shape}; use route='samples'."
        )
        raise ValueError(msg)
    if layer.used:
        msg = (
            "Argument `losses` must use every layer once for moments along the dense route, but"
            f" uses {layer.name} again; use route='samples'."
        )
        raise ValueError(msg)
    layer.used = True
    if layer.bias is None:
        return _product(layer.kernel, layer.probes[0], inputs)
    return _affine(layer.kernel, layer.bias, layer.probes, inputs)


def gradient_moments(
    losses: Losses, params: PyTree, batch: PyTree, *, route: Route = "dense"
) -> tuple[Float[Array, ""], PyTree, SampleMoments]:
    """Differentiate a batch's mean loss; return it, its gradient and the per-sample moments.

    Args:
        losses: `losses(params, batch) -> (batch,)`, one loss per sample, each of its own sample
            alone (no batch normalisation). For the dense route its layers are applied by
            `apply_dense`, each once, to inputs (batch, inputs).
        params: Parameters. For the dense route all leaves are `kernel` (inputs, units) or `bias`
            (units,) of nodes that hold nothing else, in a tree of any shape.
        batch: Pytree of arrays with the samples along the leading axis.
        route: `"dense"` takes one backward pass with two more matrix products per layer; the one
            for `crosses` goes away under `jit` where it is not used. `"samples"` takes any network
            and stores the gradients of all samples of the batch at once.

    Returns:
        The mean loss, its gradient (shaped like `params`), and the moments. The two routes agree
        to rounding.

    Raises:
        ValueError: If the dense route cannot serve these parameters; the message names the leaf.
    """
    if route not in get_args(Route):
        msg = f"Argument `route` must be one of {get_args(Route)}, but is {route!r}."
        raise ValueError(msg)
    if route == "samples":
        return _by_samples(losses, params, batch)
    size = len(jax.tree.leaves(batch)[0])
    zeros = jax.tree.map(jnp.zeros_like, params)

    def total(params: PyTree, probes: tuple[PyTree, PyTree]) -> Float[Array, ""]:
        return jnp.sum(losses(_with_probes(params, *probes), batch))

    value, (gradient, (squares, crosses)) = jax.value_and_grad(total, argnums=(0, 1))(
        params, (zeros, zeros)
    )
    mean, squares, crosses = jax.tree.map(lambda leaf: leaf / size, (gradient, squares, crosses))
    return value / size, mean, SampleMoments(squares, crosses)


def _by_samples(
    losses: Losses, params: PyTree, batch: PyTree
) -> tuple[Float[Array, ""], PyTree, SampleMoments]:
    """Differentiate every sample on its own."""
    layers = find_layers(params)

    def one(sample: PyTree) -> tuple[Array, PyTree]:
        single = jax.tree.map(lambda leaf: leaf[None], sample)
        return jax.value_and_grad(lambda params: jnp.sum(losses(params, single)))(params)

    values, gradients = jax.vmap(one)(batch)
    leaves, structure = jax.tree.flatten(gradients)
    crosses = [jnp.zeros_like(leaf[0]) for leaf in leaves]
    for kernel, bias in layers:
        if bias is not None:
            missing = leaves[kernel].ndim - leaves[bias].ndim
            units = jnp.expand_dims(leaves[bias], range(1, 1 + missing))
            crosses[kernel] = jnp.mean(leaves[kernel] * units, axis=0)
    moments = SampleMoments(
        jax.tree.map(lambda leaf: jnp.mean(leaf**2, axis=0), gradients),
        jax.tree.unflatten(structure, crosses),
    )
    return jnp.mean(values), jax.tree.map(lambda leaf: leaf.mean(axis=0), gradients), moments


def _with_probes(params: PyTree, squares: PyTree, crosses: PyTree) -> PyTree:
    """Replace every layer by one that `apply_dense` collects moments from."""
    keyed = jax.tree_util.tree_flatten_with_path(params, is_leaf=_is_layer)[0]
    for path, node in keyed:
        if not _is_layer(node) or jnp.ndim(node["kernel"]) != 2:
            msg = (
                "Argument `params` must hold dense layers {kernel, bias} alone for the dense"
                f" route, but has {jax.tree_util.keystr(path)}; use route='samples'."
            )
            raise ValueError(msg)
    names = iter([jax.tree_util.keystr(path) for path, _ in keyed])

    def probe(layer: dict, square: dict, cross: dict) -> _Probed:
        bias = layer.get("bias")
        probes = (square["kernel"], square.get("bias"), cross["kernel"])
        return _Probed(next(names), (layer["kernel"], bias), probes)

    return jax.tree.map(probe, params, squares, crosses, is_leaf=_is_layer)


def _is_layer(node: object) -> bool:
    return isinstance(node, dict) and set(node) in ({"kernel"}, {"kernel", "bias"})


@jax.custom_vjp
def _affine(kernel: Array, bias: Array, probes: tuple, inputs: Array) -> Array:
    del probes
    return inputs @ kernel + bias


def _affine_forward(kernel: Array, bias: Array, probes: tuple, inputs: Array) -> tuple:
    return _affine(kernel, bias, probes, inputs), (kernel, inputs)


def _affine_backward(residuals: tuple, signal: Array) -> tuple:
    kernel, inputs = residuals
    power = signal**2
    probes = ((inputs**2).T @ power, power.sum(axis=0), inputs.T @ power)
    return inputs.T @ signal, signal.sum(axis=0), probes, signal @ kernel.T


_affine.defvjp(_affine_forward, _affine_backward)


@jax.custom_vjp
def _product(kernel: Array, probe: Array, inputs: Array) -> Array:
    del probe
    return inputs @ kernel


def _product_forward(kernel: Array, probe: Array, inputs: Array) -> tuple:
    return _product(kernel, probe, inputs), (kernel, inputs)


def _product_backward(residuals: tuple, signal: Array) -> tuple:
    kernel, inputs = residuals
    return inputs.T @ signal, (inputs**2).T @ signal**2, signal @ kernel.T


_product.defvjp(_product_forward, _product_backward)
