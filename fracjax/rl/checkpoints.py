"""Policy files: `.npz` and `.msgpack` written here, and those of other libraries read.

Both of our formats hold the same named arrays and the same metadata:

    layer_0/kernel     (inputs, outputs)     layer_0/bias     (outputs,)     layer_1/…
    norm_0/scale       (outputs,)            norm_0/bias      with layer norm only
    normalizer/mean    (observation,)        normalizer/std   if observations are normalised
    metadata           sizes, activation, environment, training (JSON text in an `.npz`)

An `.npz` without `metadata` may come from anywhere. If it does not use these names, its
matrices are the dense layers in their order in the file, and its vectors the biases,
likewise in order (`normalizer/…` apart). A matrix is `(inputs, outputs)`, unless its name
ends in `weight`, which marks PyTorch's `(outputs, inputs)`.

What Brax, Stable-Baselines3 and torch write is read without these libraries, see
`brax_checkpoints` and `foreign_policies`.
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from flax import serialization

from fracjax import safe_files
from fracjax.rl import archives, brax_checkpoints, foreign_policies, layers, torch_files
from fracjax.rl.environment import Environment
from fracjax.rl.observation_statistics import ObservationStatistics, read_statistics
from fracjax.rl.policies import Policy, PolicyFileError

__all__ = ["load_policy", "save_policy"]


def save_policy(policy: Policy, path: str | os.PathLike) -> None:
    """Write a policy to `.npz` or `.msgpack`, by suffix.

    The file appears complete or not at all. An `.npz` needs only NumPy to be read; a
    `.msgpack` also opens with `flax.serialization.msgpack_restore`.

    Args:
        policy: What to write; its `info.training` must be JSON values.
        path: Where to; an existing file is replaced.

    Raises:
        ValueError: If the suffix is neither.
        OSError: If it cannot be written; an existing file is left as it was.
    """
    path = Path(path)
    if path.suffix not in (".npz", ".msgpack"):
        msg = f"Argument `path` must end in .npz or .msgpack, but is `{path}`."
        raise ValueError(msg)
    arrays, metadata = layers.to_arrays(policy), layers.metadata(policy)
    with safe_files.written_whole(path) as file:
        if path.suffix == ".npz":
            named = {**arrays, "metadata": np.array(json.dumps(metadata))}
            safe_files.write_npz(file, named, compress=True)
        else:
            stored = {"metadata": metadata, "arrays": arrays}
            file.write(serialization.msgpack_serialize(stored))


def load_policy(
    path: str | os.PathLike,
    *,
    environment: Environment | None = None,
    trust: bool = False,
    activation: str | None = None,
    squash: str | None = None,
    normalize: bool | None = None,
    statistics: ObservationStatistics | str | os.PathLike | None = None,
    action_bounds: Sequence[Any] | np.ndarray | None = None,
    prefix: str | None = None,
) -> Policy:
    """Read a policy from a file or a Brax checkpoint folder.

    Accepts, by their contents,

    - `.npz` and `.msgpack` as `save_policy` writes them, and an `.npz` of bare matrices and
      vectors, taken as kernels and biases in order (`fracjax.rl.checkpoints` says how);
    - the folder that Brax's PPO or SAC writes (one checkpoint, or its parent: the latest is
      taken), and, with `trust`, a pickle by `brax.io.model.save_params`;
    - the `.zip` of Stable-Baselines3's PPO, A2C, SAC, TD3 or DDPG with an `MlpPolicy`;
    - a file of `torch.save` that holds the `state_dict()` of a multilayer perceptron, such as
      those of CleanRL (see `torch_policies` for the layouts), inside other containers or not.

    No pickle ever runs code here: those of Brax and torch are read by a reader that admits
    arrays and a few containers. Brax's does not say, though, how its network was configured,
    which is why it must be asked for.

    A policy from torch acts by its mean, with a deterministic head; its noise is not loaded.
    Policies of PPO give actions in physical units, clipped to a box; the box is taken from the
    file, `action_bounds` or the environment, and the last layer is changed so that the policy
    acts in [-1, 1], to which the box is mapped.

    Args:
        path: The file or folder.
        environment: What the policy is to act in; sizes that do not fit are an error.
        trust: Accept a pickle.
        activation: For files that do not say: a bare `.npz` (default `"tanh"`), a pickle
            (default `"swish"`, as Brax's PPO), and torch files (default of the known layout;
            needed for other layouts).
        squash: For a bare `.npz` or a torch file of unknown layout with one output per action:
            `"tanh"` (default of a bare `.npz`) or `"clip"`. Two outputs per action of a bare
            `.npz` are taken as mean and scale.
        normalize: For a pickle: whether the policy was trained on normalised observations
            (default `True`; the file holds statistics either way).
        statistics: By which observations were normalised outside the policy, as by
            `VecNormalize` and `NormalizeObservation`, or the file of them (see
            `observation_statistics`). No torch file holds them, nor says that there are any.
        action_bounds: `(low, high)` of the physical actions of torch files, numbers or one per
            action. What the file or `environment` says must not differ.
        prefix: For torch files that hold several networks: below which name the actor is.

    Raises:
        PolicyFileError: In one line, if there is no such file, it is damaged, not
            finite, of an unknown kind, or does not fit `environment`. A `ValueError`.

    Example:
        >>> from fracjax import rl
        >>> rl.save_policy(rl.shipped("pendulum"), "pendulum.npz")
        >>> policy = rl.load_policy("pendulum.npz", environment=rl.make("pendulum"))
        >>> policy.observation_size, policy.action_size
        (3, 1)
    """
    path = Path(path)
    asked = {"activation": activation, "squash": squash, "normalize": normalize}
    if statistics is not None and not isinstance(statistics, ObservationStatistics):
        statistics = read_statistics(Path(statistics), trust=trust)
    try:
        arrays, settings = _read(path, trust, prefix)
        layers.merge(settings, {name: value for name, value in asked.items() if value is not None})
        arrays = foreign_policies.settle(arrays, settings, environment, action_bounds)
        if statistics is not None:
            arrays = foreign_policies.normalise(arrays, settings, statistics)
        return layers.assemble(arrays, settings, environment)
    except PolicyFileError as error:
        msg = f"Policy file `{path}` {error}."
        raise PolicyFileError(msg) from error
    except Exception as error:  # damaged files fail in many ways inside the parsers
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        msg = f"Policy file `{path}` is damaged or not a policy ({reason})."
        raise PolicyFileError(msg) from error


def _read(path: Path, trust: bool, prefix: str | None) -> tuple[layers.Arrays, dict[str, Any]]:
    """Choose a reader by what the file is called and how it begins."""
    if not path.exists():
        msg = "does not exist"
        raise PolicyFileError(msg)
    if path.is_dir():
        return brax_checkpoints.read_folder(path)
    content = safe_files.read_bytes(path)
    if path.suffix == ".npz":
        return _read_npz(content)
    if path.suffix == ".msgpack":
        return _read_msgpack(content)
    torch_files.refuse_legacy(content)
    if brax_checkpoints.looks_like_pickle(content):
        return brax_checkpoints.read_pickle(content, trust=trust)
    if archives.is_archive(content):
        return foreign_policies.read_archive(content, prefix)
    msg = (
        f"is of unknown kind `{path.suffix}`: give .npz, .msgpack, a Brax checkpoint folder,"
        " a .zip of Stable-Baselines3, a state dictionary of torch or a Brax pickle"
    )
    raise PolicyFileError(msg)


def _read_npz(content: bytes) -> tuple[layers.Arrays, dict[str, Any]]:
    if not content.startswith(b"PK"):
        msg = "is not an npz archive"
        raise PolicyFileError(msg)
    arrays = safe_files.read_npz(content)
    if "metadata" in arrays:
        metadata = json.loads(str(arrays.pop("metadata")))
        return arrays, _settings(metadata, "npz")
    return _bare_layers(arrays), {"origin": "bare npz"}


def _read_msgpack(content: bytes) -> tuple[layers.Arrays, dict[str, Any]]:
    stored = safe_files.read_msgpack(content, floats=layers.FLOATS)
    return dict(stored["arrays"]), _settings(stored["metadata"], "msgpack")


def _settings(metadata: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """Check the header; what follows may rely on its entries."""
    if metadata.get("format") != layers.FORMAT:
        msg = f"is not a {layers.FORMAT} file"
        raise PolicyFileError(msg)
    if metadata["version"] > layers.VERSION:
        msg = f"has format version {metadata['version']}, but this fracjax reads {layers.VERSION}"
        raise PolicyFileError(msg)
    return {**metadata, "origin": kind}


def _bare_layers(arrays: layers.Arrays) -> layers.Arrays:
    """Name a stranger's arrays as ours, by rank and order, unless they bear our names."""
    if any(name.startswith("layer_") for name in arrays):
        return arrays
    kernels = {name: a for name, a in arrays.items() if a.ndim == 2}
    biases = [a for name, a in arrays.items() if a.ndim == 1 and not name.startswith("normalizer/")]
    if not kernels or len(kernels) != len(biases):
        msg = f"must hold one bias per matrix, but has {len(kernels)} and {len(biases)}"
        raise PolicyFileError(msg)
    named = {name: a for name, a in arrays.items() if name.startswith("normalizer/")}
    for index, ((name, kernel), bias) in enumerate(zip(kernels.items(), biases, strict=True)):
        named[f"layer_{index}/kernel"] = kernel.T if name.endswith("weight") else kernel
        named[f"layer_{index}/bias"] = bias
    return named
