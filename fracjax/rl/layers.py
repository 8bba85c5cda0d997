"""A policy as named arrays and settings, checked against each other.

Every file format is turned into the arrays that `checkpoints` documents before it becomes
a policy, so there is one place where shapes, sizes and values are checked.
"""

import dataclasses
import itertools
import re
import typing
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from fracjax.rl.environment import Environment
from fracjax.rl.networks import ACTIVATIONS, Head, Normalizer, PolicyNetwork, Squash
from fracjax.rl.policies import Policy, PolicyFileError, PolicyInfo

__all__ = ["FLOATS", "FORMAT", "VERSION", "Arrays", "assemble", "merge", "metadata", "to_arrays"]

FORMAT = "fracjax-policy"
VERSION = 1
FLOATS = ("float16", "float32", "float64")

Arrays = dict[str, np.ndarray]


def merge(settings: dict[str, Any], asked: Mapping[str, Any]) -> None:
    """Add what the caller says, unless the file says otherwise."""
    for name, value in asked.items():
        if settings.setdefault(name, value) != value:
            msg = f"has `{name}` {settings[name]!r} by its own account, not {value!r}"
            raise PolicyFileError(msg)


def assemble(arrays: Arrays, settings: dict[str, Any], environment: Environment | None) -> Policy:
    """Check arrays and settings against each other and against the environment."""
    for name, array in arrays.items():
        if array.dtype.name not in FLOATS:
            msg = f"has type {array.dtype} in `{name}`, but only floats are parameters"
            raise PolicyFileError(msg)
    normalize = settings.get("normalize", "normalizer/mean" in arrays)
    if not normalize:
        arrays = {name: a for name, a in arrays.items() if not name.startswith("normalizer/")}
    num_layers = len([name for name in arrays if re.fullmatch(r"layer_\d+/kernel", name)])
    widths = _chain(arrays, num_layers)
    num_norms = len([name for name in arrays if re.fullmatch(r"norm_\d+/scale", name)])
    expected = _expected_shapes(widths, num_norms > 0, normalize)
    for name in sorted(expected.keys() ^ arrays.keys()):
        msg = f"has {'an unknown' if name in arrays else 'no'} array `{name}`"
        raise PolicyFileError(msg)
    for name, shape in expected.items():
        if arrays[name].shape != shape:
            msg = f"has shape {arrays[name].shape} in `{name}`, but {shape} fits the other layers"
            raise PolicyFileError(msg)

    head, action_size = _head(widths[-1], settings, environment)
    _check_sizes(widths[0], action_size, settings, environment)
    _check_values(arrays)
    activation = settings.get("activation", settings.get("activation_default", "tanh"))
    network = PolicyNetwork(
        observation_size=widths[0],
        action_size=action_size,
        hidden=tuple(widths[1:-1]),
        activation=_known("activation", activation, tuple(ACTIVATIONS)),
        head=head,
        squash=_known("squash", settings.get("squash", "tanh"), typing.get_args(Squash)),
        layer_norm=num_norms > 0,
        observation_clip=settings.get("observation_clip"),
    )
    info = PolicyInfo(
        environment=settings.get("environment"),
        backend=settings.get("backend"),
        origin=settings["origin"],
        training=dict(settings.get("training", {})),
    )
    return Policy(network, *_from_arrays(arrays, num_layers, num_norms), info)


def _chain(arrays: Arrays, num_layers: int) -> list[int]:
    """Widths from observation to outputs, if each layer takes what the last one gives."""
    kernels = [arrays.get(f"layer_{index}/kernel") for index in range(num_layers)]
    if not kernels or any(kernel is None or kernel.ndim != 2 for kernel in kernels):
        msg = "must hold matrices `layer_0/kernel`, `layer_1/kernel`, … without a gap"
        raise PolicyFileError(msg)
    shapes = [kernel.shape for kernel in kernels if kernel is not None]
    for index in range(1, num_layers):
        if shapes[index][0] != shapes[index - 1][1]:
            msg = (
                f"does not chain: `layer_{index}` takes {shapes[index][0]} inputs, but"
                f" `layer_{index - 1}` gives {shapes[index - 1][1]}"
                " (a matrix must be (inputs, outputs))"
            )
            raise PolicyFileError(msg)
    return [shapes[0][0], *(shape[1] for shape in shapes)]


def _expected_shapes(
    widths: list[int], layer_norm: bool, normalized: bool
) -> dict[str, tuple[int, ...]]:
    expected: dict[str, tuple[int, ...]] = {}
    for index, (inputs, outputs) in enumerate(itertools.pairwise(widths)):
        expected[f"layer_{index}/kernel"] = (inputs, outputs)
        expected[f"layer_{index}/bias"] = (outputs,)
        if layer_norm and index < len(widths) - 2:
            expected[f"norm_{index}/scale"] = expected[f"norm_{index}/bias"] = (outputs,)
    if normalized:
        expected["normalizer/mean"] = expected["normalizer/std"] = (widths[0],)
    return expected


def _head(
    outputs: int, settings: Mapping[str, Any], environment: Environment | None
) -> tuple[Head, int]:
    """Tell a mean-and-scale head from a plain one; only a bare file leaves it open."""
    head = settings.get("head")
    if head is None:
        twice = environment is not None and outputs == 2 * environment.action_size
        head = "tanh_normal" if twice else "deterministic"
    head = _known("head", head, typing.get_args(Head))
    if head == "tanh_normal" and outputs % 2:
        msg = f"has {outputs} outputs, but a mean and a scale per action make an even number"
        raise PolicyFileError(msg)
    return head, outputs // 2 if head == "tanh_normal" else outputs


def _known(name: str, value: Any, choices: tuple[str, ...]) -> Any:
    if value not in choices:
        msg = f"has {name} {value!r}, but only {', '.join(choices)} are known"
        raise PolicyFileError(msg)
    return value


def _check_values(arrays: Arrays) -> None:
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            msg = f"holds NaN or infinite values in `{name}`"
            raise PolicyFileError(msg)
    if (arrays.get("normalizer/std", np.ones(1)) <= 0).any():
        msg = "divides by zero or less in `normalizer/std`"
        raise PolicyFileError(msg)


def _check_sizes(
    observation_size: int,
    action_size: int,
    settings: Mapping[str, Any],
    environment: Environment | None,
) -> None:
    sizes = observation_size, action_size
    stated = (
        settings.get("observation_size", observation_size),
        settings.get("action_size", action_size),
    )
    if stated != sizes:
        msg = f"states sizes {stated} in its header, but its layers have {sizes}"
        raise PolicyFileError(msg)
    if environment is None or sizes == (environment.observation_size, environment.action_size):
        return
    msg = (
        f"has {observation_size} observations and {action_size} actions, but"
        f" `{environment.name}` needs {environment.observation_size} and"
        f" {environment.action_size}"
    )
    raise PolicyFileError(msg)


def to_arrays(policy: Policy) -> Arrays:
    """Name the weights and the normaliser of a policy as files hold them."""
    weights = policy.params["params"]
    arrays: Arrays = {}
    for index in range(len(policy.network.layer_sizes)):
        for part in ("kernel", "bias"):
            arrays[f"layer_{index}/{part}"] = np.asarray(weights[f"hidden_{index}"][part])
        if policy.network.layer_norm and index < len(policy.network.hidden):
            for part in ("scale", "bias"):
                arrays[f"norm_{index}/{part}"] = np.asarray(weights[f"LayerNorm_{index}"][part])
    if policy.normalizer is not None:
        arrays["normalizer/mean"] = np.asarray(policy.normalizer.mean)
        arrays["normalizer/std"] = np.asarray(policy.normalizer.std)
    return arrays


def _from_arrays(
    arrays: Arrays, num_layers: int, num_norms: int
) -> tuple[dict[str, Any], Normalizer | None]:
    layers = {
        f"hidden_{i}": {
            part: jnp.asarray(arrays[f"layer_{i}/{part}"]) for part in ("kernel", "bias")
        }
        for i in range(num_layers)
    }
    norms = {
        f"LayerNorm_{i}": {
            part: jnp.asarray(arrays[f"norm_{i}/{part}"]) for part in ("scale", "bias")
        }
        for i in range(num_norms)
    }
    normalizer = None
    if "normalizer/mean" in arrays:
        parts = (jnp.asarray(arrays[f"normalizer/{part}"]) for part in ("mean", "std"))
        normalizer = Normalizer(*parts)
    return {"params": {**layers, **norms}}, normalizer


def metadata(policy: Policy) -> dict[str, Any]:
    """Describe everything but the arrays, as JSON values."""
    return {
        "format": FORMAT,
        "version": VERSION,
        **dataclasses.asdict(policy.network),
        "hidden": list(policy.network.hidden),
        "normalize": policy.normalizer is not None,
        "environment": policy.info.environment,
        "backend": policy.info.backend,
        "training": dict(policy.info.training),
    }
