"""Policies of Stable-Baselines3 and torch as `layers` assembles them.

A file is told by its entries (`stable_baselines`, `torch_files`), its network by the names of
its tensors (`torch_policies`), and its units by its box of actions (`action_bounds`).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fracjax.rl import archives, layers, stable_baselines, torch_files, torch_policies
from fracjax.rl.action_bounds import agree, into_unit_box
from fracjax.rl.environment import Environment
from fracjax.rl.observation_statistics import ObservationStatistics
from fracjax.rl.policies import PolicyFileError

__all__ = ["normalise", "read_archive", "settle"]


def read_archive(content: bytes, prefix: str | None) -> tuple[layers.Arrays, dict[str, Any]]:
    """Read the actor from a zip archive of either library.

    Args:
        content: The file.
        prefix: Below which name the actor's tensors are, where there are several networks.

    Raises:
        PolicyFileError: If it is neither library's, or holds no actor that is known.
    """
    archive, entries = archives.read_entries(content)
    if stable_baselines.is_stable_baselines(entries):
        arrays, settings = stable_baselines.read(archive, entries)
        return arrays, {**settings, "foreign": True}
    if torch_files.is_torch_archive(entries):
        tensors = torch_files.flatten(torch_files.read(content))
        arrays, settings = torch_policies.recognise(tensors, prefix=prefix)
        return arrays, {**settings, "foreign": True}
    listed = ", ".join(f"`{name[:40]}`" for name in list(entries)[:4]) or "nothing"
    msg = (
        f"is a zip archive with {listed}, but those of Stable-Baselines3 hold `data` and"
        " `policy.pth`, and those of torch `…/data.pkl`"
    )
    raise PolicyFileError(msg)


def settle(
    arrays: layers.Arrays,
    settings: dict[str, Any],
    environment: Environment | None,
    asked: Sequence[Any] | np.ndarray | None,
) -> layers.Arrays:
    """Settle what a torch file leaves open, and map the box of its actions to [-1, 1].

    Other files settle everything themselves.

    Args:
        arrays: Named as `checkpoints` does.
        settings: What the file and the caller say; what is settled is added.
        environment: What the policy is to act in, if known.
        asked: Bounds of the physical actions that the caller gives, if any.

    Raises:
        PolicyFileError: If something is missing, or the bounds disagree.
    """
    if not settings.get("foreign"):
        if asked is not None:
            msg = "is no file of torch, to which alone `action_bounds` applies"
            raise PolicyFileError(msg)
        return arrays
    missing = [name for name in settings.get("required", ()) if name not in settings]
    if "unknown_activation" in settings and "activation" not in settings:
        msg = (
            f"has the activation `{settings['unknown_activation']}`, which is not known:"
            " `activation` chooses one that is"
        )
        raise PolicyFileError(msg)
    if missing:
        names = " and ".join(f"`{name}`" for name in missing)
        msg = f"does not say how its network acts: give {names}"
        raise PolicyFileError(msg)
    last = f"layer_{sum(name.endswith('/kernel') for name in arrays) - 1}/bias"
    size = len(arrays[last])
    bounds = agree(size, settings.get("action_bounds"), asked, environment)
    training = settings.setdefault("training", {})
    if "activation" not in settings:
        training["activation"] = f"{settings['activation_default']}, the library's default"
    if bounds is not None:
        training["action_bounds"] = [list(end) for end in bounds]
    if settings["squash"] == "tanh":
        return arrays
    if bounds is None:
        msg = (
            "gives actions in physical units, but says not in which bounds: give"
            " `action_bounds=(low, high)` (`--action-bounds LOW,HIGH`)"
        )
        raise PolicyFileError(msg)
    return into_unit_box(arrays, bounds)


def normalise(
    arrays: layers.Arrays, settings: dict[str, Any], statistics: ObservationStatistics
) -> layers.Arrays:
    """Add statistics of observations that were kept outside the file.

    Raises:
        PolicyFileError: If the file has its own.
    """
    if "normalizer/mean" in arrays:
        msg = "holds statistics of observations itself, so that none can be given"
        raise PolicyFileError(msg)
    mean, variance = (np.asarray(part, float) for part in (statistics.mean, statistics.variance))
    settings["normalize"] = True
    settings["observation_clip"] = None if statistics.clip is None else float(statistics.clip)
    return {
        **arrays,
        "normalizer/mean": mean,
        "normalizer/std": np.sqrt(variance + statistics.epsilon),
    }
