"""Policies saved by Stable-Baselines3 (`model.save`), read without it and without torch.

The `.zip` holds the weights in `policy.pth`, and in `data` the constructor's arguments as JSON:
what JSON cannot hold is a pickle in base64, which is never opened here, beside a readable
rendering of its contents. From that come the activation, the kind of the spaces and the bounds
of the actions.

The loaded policy acts like `model.predict(observation, deterministic=True)`, in [-1, 1]. What
`VecNormalize` did to the observations is not in the file, see `observation_statistics`.

References:
    Raffin et al., Stable-Baselines3: Reliable Reinforcement Learning Implementations,
    JMLR 22(268), 2021.
"""

import json
import re
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from fracjax.rl import archives, torch_files, torch_policies
from fracjax.rl.policies import PolicyFileError

__all__ = ["ACTIVATIONS", "is_stable_baselines", "read"]

# Classes of torch whose defaults compute what the entry of `networks.ACTIVATIONS` does. Torch's
# GELU is exact where Brax's is approximate, so it is not among them.
ACTIVATIONS: Mapping[str, str] = {
    "CELU": "celu",
    "ELU": "elu",
    "Hardsigmoid": "hard_sigmoid",
    "Hardswish": "hard_swish",
    "Hardtanh": "hard_tanh",
    "Identity": "linear",
    "LeakyReLU": "leaky_relu",
    "LogSigmoid": "log_sigmoid",
    "Mish": "mish",
    "ReLU": "relu",
    "ReLU6": "relu6",
    "SELU": "selu",
    "SiLU": "silu",
    "Sigmoid": "sigmoid",
    "Softplus": "softplus",
    "Softsign": "soft_sign",
    "Tanh": "tanh",
}
_NUMBER = re.compile(r"[-+]?(?:inf|nan|\d+\.?\d*(?:e[-+]?\d+)?|\.\d+(?:e[-+]?\d+)?)")


def is_stable_baselines(names: Mapping[str, Any]) -> bool:
    """Whether an archive with these entries was written by `model.save`."""
    return "policy.pth" in names and "data" in names


def read(
    archive: zipfile.ZipFile, entries: archives.Entries
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read the actor of PPO, A2C, SAC, TD3 or DDPG with an `MlpPolicy`.

    Returns:
        Arrays and settings for `layers.assemble`.

    Raises:
        PolicyFileError: If the file is damaged, its spaces are not vectors, or its network is
            more than dense layers.
    """
    stated = json.loads(archives.read_entry(archive, entries, "data"))
    if not isinstance(stated, dict):
        msg = "has a `data` that is no table of arguments"
        raise PolicyFileError(msg)
    _check_space("observation", stated.get("observation_space"))
    _check_space("action", stated.get("action_space"))
    weights = torch_files.read(archives.read_entry(archive, entries, "policy.pth"))
    arrays, settings = torch_policies.recognise(torch_files.flatten(weights))
    if not settings["origin"].startswith("Stable-Baselines3"):
        msg = f"is a zip of Stable-Baselines3, but holds a {settings['origin']}"
        raise PolicyFileError(msg)
    arguments = _table(stated.get("policy_kwargs"))
    settings |= _activation(arguments)
    if arguments.get("squash_output") is True:
        settings["squash"] = "tanh"
    version = ""
    if "_stable_baselines3_version" in entries:
        content = archives.read_entry(archive, entries, "_stable_baselines3_version")
        version = f" {content[:20].decode('ascii').strip()}"
    settings["origin"] = f"Stable-Baselines3{version} zip"
    settings["training"] = {
        **settings["training"],
        "library": f"stable-baselines3{version}",
        **{
            name: stated[key]
            for name, key in (("steps", "num_timesteps"), ("seed", "seed"), ("gamma", "gamma"))
            if isinstance(stated.get(key), (int, float))
        },
    }
    bounds = _bounds(_table(stated.get("action_space")))
    return arrays, settings | ({} if bounds is None else {"action_bounds": bounds})


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _check_space(which: str, space: Any) -> None:
    """Refuse what is not a box of vectors, as far as the readable part says."""
    kind = str(_table(space).get(":type:", "Box"))
    name = re.sub(r"^<class '|'>$", "", kind).rpartition(".")[2]
    if name != "Box":
        msg = f"has {which}s in a `{name[:40]}` space, but only vectors (`Box`) are known"
        raise PolicyFileError(msg)


def _activation(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Read the class of the activation; without one the layout's default stands."""
    stated = arguments.get("activation_fn")
    if stated is None:
        return {}
    matched = re.fullmatch(r"<class 'torch\.nn\.modules\.\w+\.(\w+)'>", str(stated))
    if matched is None or matched.group(1) not in ACTIVATIONS:
        return {"unknown_activation": " ".join(str(stated).split())[:80]}
    return {"activation": ACTIVATIONS[matched.group(1)]}


def _bounds(space: Mapping[str, Any]) -> tuple[list[float], list[float]] | None:
    """Read the ends of a box from their printed form, `[-2.  -0.5]`."""
    ends = []
    for name in ("low", "high"):
        text = space.get(name)
        if not isinstance(text, str) or len(text) > 100_000 or "..." in text:
            return None
        ends.append([float(number) for number in _NUMBER.findall(text)])
    low, high = ends
    if not low or len(low) != len(high) or not np.isfinite(ends).all():
        return None
    return low, high
