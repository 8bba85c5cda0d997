"""Training runs on disk: all that is needed to go on from there, in one file that is never torn."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fracjax import safe_files
from fracjax._types import PyTree
from fracjax.learning.exponent_regularization.short_horizon import Learner, Log

__all__ = ["load_run", "save_run"]

_ENTRY_BYTES = 4096  # name and header of an array, at most
_IDENTITY_BYTES = 2**20


def save_run(file: Path, learners: Learner, log: Log, identity: str) -> None:
    """Write a run as `.npz`: it appears complete or not at all.

    Args:
        file: Where to; an existing file is replaced.
        learners: Stacked, any number of leading axes.
        log: What their updates reported, updates along the last axis.
        identity: What a reader must agree on.
    """
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(_plain(learners))]
    entries: dict[str, Any] = {"identity": np.asarray(identity)}
    entries |= {f"learner_{index}": leaf for index, leaf in enumerate(leaves)}
    entries |= {f"log_{name}": leaf for name, leaf in log._asdict().items()}
    with safe_files.written_whole(file) as handle:
        safe_files.write_npz(handle, entries)


def load_run(file: Path, like: Learner, identity: str, *, num_updates: int) -> tuple[Learner, Log]:
    """Read what `save_run` wrote.

    Args:
        file: The file.
        like: Learners as they begin, with the first policies and the keys of the run.
        identity: What was given to `save_run`.
        num_updates: Updates of a whole run: the file may hold fewer.

    Raises:
        ValueError: If the file is damaged, or of another run.
    """
    begun = _plain(like)
    wanted, structure = jax.tree.flatten(begun)
    numbers = like.update.size * num_updates * len(Log._fields)
    most = sum(leaf.nbytes for leaf in wanted) + numbers * np.dtype(float).itemsize
    most += (len(wanted) + len(Log._fields)) * _ENTRY_BYTES + _IDENTITY_BYTES
    try:
        content = safe_files.read_bytes(file, most=most)
        held: dict[str, Any] = dict(safe_files.read_npz(content, most=most))
        found = str(held["identity"])
        leaves = [held[f"learner_{index}"] for index in range(len(wanted))]
        log = Log(*(held[f"log_{name}"] for name in Log._fields))
    except Exception as error:  # damaged files fail in many ways inside the parsers
        reason = f"{type(error).__name__}: {error}"
        msg = f"Argument `file` must hold a training run, but {file} is damaged or none ({reason})."
        raise ValueError(msg) from error
    if found != identity:
        msg = (
            f"Argument `file` must be of the same run, but {file} holds {found}"
            f" instead of {identity}."
        )
        raise ValueError(msg)
    read = jax.tree.unflatten(structure, leaves)
    if not _fit(leaves, wanted) or not _holds_updates(log, read.update):
        msg = f"Argument `file` must hold a training run, but arrays in {file} do not fit it."
        raise ValueError(msg)
    if not _are_equal((read.first, read.key), (begun.first, begun.key)):
        msg = (
            f"Argument `file` must be of the same run, but that of {file} began with other"
            " parameters or another key."
        )
        raise ValueError(msg)
    read = jax.tree.map(jnp.asarray, read)
    return read._replace(key=jax.random.wrap_key_data(read.key)), log


def _plain(learners: Learner) -> Learner:
    """Learners with the numbers that their keys hold in the place of these."""
    return learners._replace(key=jax.random.key_data(learners.key))


def _fit(found: list[np.ndarray], wanted: list[jax.Array]) -> bool:
    return all(
        (there.shape, there.dtype) == (leaf.shape, leaf.dtype)
        for there, leaf in zip(found, wanted, strict=True)
    )


def _holds_updates(log: Log, updates: np.ndarray) -> bool:
    """Whether every number was reported at every update of every learner."""
    shape = (*updates.shape, *log.reward.shape[-1:])
    plain = all(part.shape == shape and part.dtype.kind == "f" for part in log)
    return plain and bool((updates == shape[-1]).all())


def _are_equal(first: PyTree, second: PyTree) -> bool:
    pairs = zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True)
    return all(np.array_equal(one, other, equal_nan=True) for one, other in pairs)
