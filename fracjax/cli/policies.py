"""The policy that a command is about: from a file, from the gallery, or untrained."""

import dataclasses
import hashlib
import itertools
from pathlib import Path
from typing import TYPE_CHECKING

from fracjax import safe_files
from fracjax.cli.runtime import naming_options

if TYPE_CHECKING:
    from fracjax.rl.environment import Environment
    from fracjax.rl.policies import Policy

__all__ = [
    "NAMED_POLICIES",
    "digest",
    "in_float64",
    "load_environment_and_policy",
    "parse_bounds",
    "policy_name",
]

NAMED_POLICIES = (None, "trained", "untrained")
_MOST_FILES = 100_000
_MOST_BYTES = 4 * 1024**3  # of snapshots and checkpoints in a folder


def policy_name(origin: str) -> str:
    """Name a policy in headings."""
    if origin == "shipped":
        return "trained policy"
    return "untrained policy" if origin.startswith("untrained") else f"policy {origin}"


def parse_bounds(text: str | None) -> tuple[float, float] | None:
    """Read `--action-bounds`, as in `-2,2`."""
    if text is None:
        return None
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError as error:
        msg = f"--action-bounds must be two numbers, as in -2,2, but is {text!r}."
        raise ValueError(msg) from error
    return low, high


def digest(policy: str | None) -> str | None:
    """Fingerprint of a policy file or folder: another one under the same name is noticed.

    Raises:
        ValueError: If there are more files, or bytes, than a policy and its training have.
        OSError: If a file cannot be read.
    """
    path = Path(policy) if policy else None
    if path is None or not path.exists():
        return None
    files = [path]
    if path.is_dir():
        parts = (part for part in path.rglob("*") if part.is_file())
        files = sorted(itertools.islice(parts, _MOST_FILES + 1))
    if len(files) > _MOST_FILES or sum(file.stat().st_size for file in files) > _MOST_BYTES:
        msg = f"{path} holds too much for a policy."
        raise ValueError(msg)
    found = hashlib.sha256()
    for file in files:
        found.update(str(file.relative_to(path)).encode())
        found.update(safe_files.read_bytes(file, most=_MOST_BYTES))
    return found.hexdigest()[:16]


def load_environment_and_policy(
    name: str,
    policy: str | None,
    *,
    backend: str | None,
    dtype: str,
    seed: int,
    stochastic: bool,
    trust: bool,
    activation: str | None = None,
    squash: str | None = None,
    statistics: str | None = None,
    action_bounds: tuple[float, float] | None = None,
) -> "tuple[Environment, Policy]":
    """Make the environment and read the policy that fits it.

    Args:
        name: Environment.
        policy: A file or folder, "trained" (also None) or "untrained".
        backend: Physics backend of a Brax environment.
        dtype: Precision of both.
        seed: Of an untrained policy.
        stochastic: Whether the policy must have noise.
        trust: Whether a pickle may be read.
        activation: For files that do not say, as those of torch.
        squash: Likewise.
        statistics: File by which observations were normalised outside the policy.
        action_bounds: Physical bounds of the actions of a torch file that does not say.

    Raises:
        ValueError: If there is no such environment or policy, or they do not fit.
        OSError: If the file cannot be read.
    """
    import jax

    from fracjax.rl import envs, gallery, policies
    from fracjax.rl.checkpoints import load_policy

    given = (activation, squash, statistics, action_bounds)
    if policy in NAMED_POLICIES and any(option is not None for option in given):
        msg = (
            "--activation, --squash, --statistics and --action-bounds describe a policy's file:"
            " give --policy FILE."
        )
        raise ValueError(msg)
    with naming_options({"backend": "--backend"}):
        environment = envs.make(name, backend=backend, dtype=dtype)
    shipped = name in gallery.shipped_names()
    if policy in (None, "trained"):
        if not shipped:
            msg = (
                f"no trained policy ships for {name}: give --policy FILE (`fracjax train {name}`"
                " makes one) or --policy untrained."
            )
            raise ValueError(msg)
        found = gallery.shipped(name)
    elif policy == "untrained":
        key = jax.random.key(seed)
        found = (
            policies.untrained(gallery.shipped(name), seed=seed)
            if shipped
            else policies.initialize(key, environment.observation_size, environment.action_size)
        )
    else:
        found = load_policy(
            Path(str(policy)),
            environment=environment,
            trust=trust,
            activation=activation,
            squash=squash,
            statistics=statistics,
            action_bounds=action_bounds,
        )
        found = found.replace(info=dataclasses.replace(found.info, origin=Path(str(policy)).name))
    if stochastic and found.network.head == "deterministic":
        msg = f"--stochastic needs a policy with noise, but {found.info.origin} has none."
        raise ValueError(msg)
    return environment, found.astype(dtype)


def in_float64(
    environment: "Environment", policy: "Policy", backend: str | None
) -> "tuple[Environment, Policy]":
    """Make the same closed loop in double precision, for a noise floor."""
    import jax

    from fracjax.rl import envs

    with jax.enable_x64(True):
        precise = envs.make(environment.name, backend=backend, dtype="float64")
        return precise, policy.astype("float64")
