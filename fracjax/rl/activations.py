"""Activations of any Flax (linen) module by layer, for metrics and for what recycles units.

hidden = capture_activations(module, variables, inputs, activation=jax.nn.relu)
measure_network(hidden, variables["params"])
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, get_args

import jax
import numpy as np
from flax import linen
from jaxtyping import Array, Float

from fracjax._types import PyTree
from fracjax.rl.networks import ACTIVATIONS, Normalizer, PolicyNetwork

__all__ = ["ActivationSource", "capture_activations", "policy_activations"]

# Where activations are taken from; see `capture_activations`.
ActivationSource = Literal["outputs", "inputs", "sown"]
_KINDS = (linen.Dense, linen.Conv, linen.ConvTranspose, linen.ConvLocal, linen.DenseGeneral)
_COLLECTION = "intermediates"


def capture_activations(
    module: linen.Module,
    variables: PyTree,
    *inputs: Any,
    source: ActivationSource = "outputs",
    activation: Callable[[Array], Array] | Mapping[str, Callable[[Array], Array]] | None = None,
    layers: Sequence[str] | None = None,
    **settings: Any,
) -> dict[str, Array]:
    """Run a module and keep what its layers put out, by their names (`encoder/Conv_0`).

    - `"outputs"`: what dense and convolutional layers return (`capture_intermediates`). In Flax
      that is before the activation function, which is no module: give it as `activation`, or
      dead units will be looked for where there are none. A norm between the two is not seen.
    - `"inputs"`: what dense and convolutional layers are given, after whatever stands between
      them (activation, norm, pooling), by the name of the layer that reads it. Right for any
      network in which layers read each other, except that a flattened convolution has a unit for
      every place and channel. Not inside `nn.scan`, `nn.vmap` and `nn.remat`.
    - `"sown"`: what the module itself puts into the collection `intermediates` by `self.sow`.

    What the module takes in and what it returns as it is are left out: the output layer is no
    hidden layer. Works under `jit` and `vmap`. Of a layer that is called several times all calls
    are kept, the later ones as `name@1`, `name@2`, ….

    Args:
        module: The module.
        variables: Its variables, parameters in `params`.
        *inputs: Of the module.
        source: Where activations are taken.
        activation: Applied to the outputs of layers, one for all or one for each name; only with
            `"outputs"`, where it is required (`lambda h: h` for none).
        layers: Names to keep, in this order; all by default.
        **settings: Further arguments of `module.apply` (`rngs`, `train=False`).

    Returns:
        Activations by layer, (samples, ..., units).

    Raises:
        ValueError: If a setting is wrong, a name is not there, or nothing was found.
    """
    if source not in get_args(ActivationSource):
        choices = get_args(ActivationSource)
        msg = f"Argument `source` must be one of {choices}, but is {source!r}."
        raise ValueError(msg)
    if (activation is None) == (source == "outputs"):
        msg = (
            "Argument `activation` must be given with `source` 'outputs' and with no other, but is"
            f" {activation} with {source!r}: layers return what is before the function."
        )
        raise ValueError(msg)
    if source == "inputs":
        seen, outputs = _read_inputs(module, variables, inputs, settings)
    else:
        seen, outputs = _read_intermediates(module, variables, inputs, settings, source)
    ends = [id(leaf) for leaf in jax.tree.leaves((inputs, outputs))]
    seen = {name: value for name, value in seen.items() if id(value) not in ends}
    if layers is not None:
        missing = [name for name in layers if name not in seen]
        if missing:
            msg = f"Argument `layers` must name some of {list(seen)}, but has {missing[0]!r}."
            raise ValueError(msg)
        seen = {name: seen[name] for name in layers}
    if not seen:
        msg = (
            f"Argument `module` must have hidden layers, but none was found by {source!r}: sow"
            " what is to be measured."
        )
        raise ValueError(msg)
    if activation is None:
        return seen
    functions = activation if isinstance(activation, Mapping) else dict.fromkeys(seen, activation)
    lacking = [name for name in seen if name not in functions]
    if lacking:
        msg = f"Argument `activation` must have a function for {lacking[0]!r}, but has none."
        raise ValueError(msg)
    return {name: functions[name](value) for name, value in seen.items()}


def policy_activations(
    network: PolicyNetwork,
    params: PyTree,
    normalizer: Normalizer | None,
    observations: Float[Array | np.ndarray, "samples observation"],
) -> dict[str, Float[Array, "samples units"]]:
    """Hidden activations `hidden_0`, … of a policy, after the activation function.

    Where the network has layer norms they follow the function, and are not seen.

    Args:
        network: Its static part.
        params: Its parameters.
        normalizer: Of the observations, if there is one.
        observations: A batch, as the environment gives them.
    """
    inputs = network.inputs(params, normalizer, observations)
    function = ACTIVATIONS[network.activation]
    return capture_activations(network.module, params, inputs, activation=function)


def _read_intermediates(
    module: linen.Module,
    variables: PyTree,
    inputs: tuple,
    settings: Mapping[str, Any],
    source: ActivationSource,
) -> tuple[dict[str, Array], Any]:
    def is_layer(one: linen.Module, method: str) -> bool:
        return isinstance(one, _KINDS) and method == "__call__"

    outputs, state = module.apply(
        variables,
        *inputs,
        capture_intermediates=is_layer if source == "outputs" else False,
        mutable=[_COLLECTION],
        **settings,
    )
    found: dict[str, Array] = {}
    for path, value in jax.tree_util.tree_leaves_with_path(state.get(_COLLECTION, {})):
        *names, call = (getattr(part, "key", getattr(part, "idx", None)) for part in path)
        captured = names and names[-1] == "__call__"
        if captured == (source == "outputs"):
            name = "/".join(map(str, names[:-1] if captured else names))
            found[name if call == 0 else f"{name}@{call}"] = value
    return found, outputs


def _read_inputs(
    module: linen.Module, variables: PyTree, inputs: tuple, settings: Mapping[str, Any]
) -> tuple[dict[str, Array], Any]:
    found: dict[str, Array] = {}

    def keep(following: Callable, arguments: tuple, named: dict, context: Any) -> Any:
        if isinstance(context.module, _KINDS) and context.method_name == "__call__":
            name = "/".join(context.module.path)
            calls = sum(one.split("@")[0] == name for one in found)
            found[name if calls == 0 else f"{name}@{calls}"] = arguments[0]
        return following(*arguments, **named)

    with linen.intercept_methods(keep):
        outputs = module.apply(variables, *inputs, **settings)
    return found, outputs
