"""Multilayer perceptrons in state dictionaries of torch, recognised by the names of tensors.

    CleanRL's PPO        actor_mean.N, actor_logstd               tanh   clipped to a box
    CleanRL's SAC        fc1, fc2, fc_mean, fc_logstd             relu   tanh
    CleanRL's TD3, DDPG  fc1, fc2, fc_mu                          relu   tanh
    SB3's PPO, A2C       mlp_extractor.policy_net.N, action_net   tanh   clipped to a box
    SB3's SAC            actor.latent_pi.N, actor.mu              relu   tanh
    SB3's TD3, DDPG      actor.mu.N                               relu   tanh
    anything else        matrices ….weight, as they follow in the file; the caller says both

A state dictionary does not say how a network is activated: the libraries' defaults are taken
where the caller says nothing, and noted in the policy's `info`. What noise a policy was trained
with is not part of the result, which acts by the mean.
"""

import dataclasses
import itertools
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from fracjax.rl.policies import PolicyFileError

__all__ = ["Layout", "find_layers", "recognise"]

Tensors = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Layout:
    """How a library names the layers of an actor.

    Attributes:
        algorithm: What it belongs to, where several save alike all of them.
        library: Whose layout it is.
        body: Pattern of the modules before the last one; a group sorts them.
        head: Name of the module that gives the actions, or "" if `body` matches it, too.
        activation: What the library uses if not told otherwise.
        squash: How outputs become actions.
    """

    algorithm: str
    library: str
    body: str
    head: str
    activation: str
    squash: str


_SB3 = "Stable-Baselines3"
_LAYOUTS = (
    Layout("ppo", "CleanRL", r"actor_mean\.(\d+)", "", "tanh", "clip"),
    Layout("sac", "CleanRL", r"fc(\d+)", "fc_mean", "relu", "tanh"),
    Layout("td3 or ddpg", "CleanRL", r"fc(\d+)", "fc_mu", "relu", "tanh"),
    Layout("ppo or a2c", _SB3, r"mlp_extractor\.policy_net\.(\d+)", "action_net", "tanh", "clip"),
    Layout("sac", _SB3, r"actor\.latent_pi\.(\d+)", "actor.mu", "relu", "tanh"),
    Layout("td3 or ddpg", _SB3, r"actor\.mu\.(\d+)", "", "relu", "tanh"),
)
_WRAPPERS = re.compile(r"(^|\.)(module|_orig_mod)(?=\.)")  # of parallel and compiled modules
_NOT_LAYERS = re.compile(r"(^|\.)(\w*log_?std\w*|std|sigma|action_(scale|bias))$")


def recognise(tensors: Tensors, *, prefix: str | None = None) -> tuple[dict[str, np.ndarray], dict]:
    """Find an actor among tensors, and name its layers as `checkpoints` does.

    Args:
        tensors: Named tensors, in the order of the file.
        prefix: Look only at what is below this name, as `actor` in `actor.0.weight`.

    Returns:
        Arrays `layer_i/kernel` and `layer_i/bias` and the settings that the names imply.

    Raises:
        PolicyFileError: If there is no actor, or more than one; the message says what was found.
    """
    named = {_WRAPPERS.sub("", name).lstrip("."): array for name, array in tensors.items()}
    if prefix is not None:
        named = _below(named, prefix.rstrip(".") + ".")
    if not named:
        where = "no tensor" if prefix is None else f"no tensor whose name begins with `{prefix}`"
        msg = f"holds {where}, but has {_listed(tensors)}"
        raise PolicyFileError(msg)
    for layout in _LAYOUTS:
        places = _places(layout, named)
        if len(places) > 1:
            choices = ", ".join(repr(place) for place in places)
            msg = f"holds several actors: choose one by `prefix` ({choices})"
            raise PolicyFileError(msg)
        if places:
            return _read_layout(layout, _below(named, places[0]))
    return _read_unknown(named)


def _below(named: Tensors, prefix: str) -> dict[str, np.ndarray]:
    """Choose the tensors whose names begin so, and name them without it."""
    return {n.removeprefix(prefix): a for n, a in named.items() if n.startswith(prefix)}


def _places(layout: Layout, named: Tensors) -> list[str]:
    """Prefixes under which a layout is found; copies that follow slowly are passed over."""
    mark = re.escape(layout.head) if layout.head else layout.body
    pattern = re.compile(rf"((?:.*\.)?){mark}\.weight")
    found = dict.fromkeys(m.group(1) for m in map(pattern.fullmatch, named) if m)
    return [place for place in found if "target" not in place]


def _read_layout(layout: Layout, named: Tensors) -> tuple[dict[str, np.ndarray], dict]:
    body: dict[int, str] = {}
    for name in named:
        matched = re.match(rf"({layout.body})\.", name)
        if matched:
            body[int(matched.group(2))] = matched.group(1)
    modules = [body[index] for index in sorted(body)] + ([layout.head] if layout.head else [])
    settings: dict[str, Any] = {
        "activation_default": layout.activation,
        "squash": layout.squash,
        "head": "deterministic",
        "origin": f"{layout.library} state dictionary",
        "training": {"algorithm": layout.algorithm},
    }
    _check_whole(layout, named)
    return find_layers(named, modules), settings | _box(named)


def _check_whole(layout: Layout, named: Tensors) -> None:
    """Refuse actors that compute more than the layers that their layout names."""
    if layout.algorithm.startswith("td3") and any(".latent_pi." in name for name in named):
        msg = (
            "is an SAC with state-dependent exploration (gSDE), which clips its mean before the"
            " tanh: only SAC without it is known"
        )
        raise PolicyFileError(msg)
    for name in named:
        if re.search(r"(^|\.)((pi_)?features_extractor|shared_net|lstm\w*)\.", name):
            msg = (
                f"computes features before its dense layers (`{name[:60]}`): only policies of"
                " vector observations without a feature extractor are known"
            )
            raise PolicyFileError(msg)


def _box(named: Tensors) -> dict[str, Any]:
    """Note the box of actions that CleanRL keeps as its centre and half its width."""
    if "action_scale" not in named:
        return {}
    scale, centre = (
        np.atleast_1d(np.asarray(named.get(name, 0.0), float).squeeze())
        for name in ("action_scale", "action_bias")
    )
    return {"action_bounds": ((centre - scale).tolist(), (centre + scale).tolist())}


def find_layers(named: Tensors, modules: list[str]) -> dict[str, np.ndarray]:
    """Name the dense layers of given modules, in their order, as `checkpoints` does.

    Raises:
        PolicyFileError: If one of them is no dense layer.
    """
    arrays: dict[str, np.ndarray] = {}
    for index, module in enumerate(modules):
        parts = _below(named, f"{module}.")
        weight = parts.get("weight")
        if weight is None or weight.ndim != 2 or parts.keys() - {"weight", "bias"}:
            msg = f"has a module `{module}` with {_listed(parts)}, but only dense layers are known"
            raise PolicyFileError(msg)
        bias = parts.get("bias", np.zeros(len(weight), weight.dtype))
        if bias.shape != weight.shape[:1]:
            msg = f"has a bias in `{module}` that does not fit it: {_listed(parts)}"
            raise PolicyFileError(msg)
        arrays[f"layer_{index}/kernel"] = _at_least_single(weight.T)
        arrays[f"layer_{index}/bias"] = _at_least_single(bias)
    return arrays


def _read_unknown(named: Tensors) -> tuple[dict[str, np.ndarray], dict]:
    """Take every matrix as a dense layer, if together they are one network."""
    modules = [name.removesuffix(".weight") for name in named if name.endswith(".weight")]
    known = {f"{module}.{part}" for module in modules for part in ("weight", "bias")}
    strange = [name for name in named if name not in known and not _NOT_LAYERS.search(name)]
    parents = sorted({module.rpartition(".")[0] for module in modules}, key=len)
    chained = all(
        named[f"{first}.weight"].shape[:1] == named[f"{second}.weight"].shape[1:]
        for first, second in itertools.pairwise(modules)
    )
    nested = all(f"{parent}.".startswith(parents[0]) for parent in parents)
    if not modules or strange or not chained or not nested:
        msg = (
            f"is no actor of a known layout, nor one network of dense layers: it has"
            f" {_listed(named)}; `prefix` chooses a part of it"
        )
        raise PolicyFileError(msg)
    settings = {
        "head": "deterministic",
        "origin": "torch state dictionary",
        "required": ("activation", "squash"),
    }
    return find_layers(named, modules), settings


def _at_least_single(array: np.ndarray) -> np.ndarray:
    if not np.issubdtype(array.dtype, np.floating):
        msg = f"has weights of type {array.dtype}, but only floats are parameters"
        raise PolicyFileError(msg)
    return np.array(array, np.promote_types(array.dtype, np.float32))


def _listed(tensors: Tensors, most: int = 8) -> str:
    """Name tensors with their shapes, in one line."""
    shown = [f"`{name[:60]}` {tuple(array.shape)}" for name, array in tensors.items()]
    rest = f" and {len(shown) - most} more" if len(shown) > most else ""
    return (", ".join(shown[:most]) or "nothing") + rest
