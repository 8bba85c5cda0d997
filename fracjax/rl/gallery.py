"""Trained policies that come with the package."""

import dataclasses
import importlib.resources

from fracjax.rl import checkpoints
from fracjax.rl.policies import Policy

__all__ = ["shipped", "shipped_names"]


def shipped_names() -> tuple[str, ...]:
    """Names of the trained policies that come with the package."""
    folder = importlib.resources.files("fracjax.rl") / "shipped"
    files = (entry.name for entry in folder.iterdir())
    return tuple(sorted(name.removesuffix(".npz") for name in files if name.endswith(".npz")))


def shipped(name: str) -> Policy:
    """Load a trained policy that comes with the package.

    Its `info.training` says how it was trained, which snapshot was taken and why.

    Args:
        name: One of `shipped_names()`: the name of its environment.

    Raises:
        ValueError: If no such policy is shipped.
    """
    if name not in shipped_names():
        msg = f"Argument `name` must be one of {', '.join(shipped_names())}, but is {name!r}."
        raise ValueError(msg)
    folder = importlib.resources.files("fracjax.rl") / "shipped"
    with importlib.resources.as_file(folder / f"{name}.npz") as path:
        policy = checkpoints.load_policy(path)
    return policy.replace(info=dataclasses.replace(policy.info, origin="shipped"))
