"""Read what Brax writes: orbax checkpoint folders and pickles.

Nothing here imports Brax, and no pickle is loaded by `pickle.load`.
"""

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fracjax import safe_files
from fracjax.rl import ocdbt_index, restricted_pickle
from fracjax.rl.policies import PolicyFileError

__all__ = ["looks_like_pickle", "read_folder", "read_pickle"]

_CONFIGS = ("ppo_network_config.json", "sac_network_config.json")
# What Brax's network factories use where a checkpoint's configuration is silent.
_DEFAULT_ACTIVATION = {_CONFIGS[0]: "swish", _CONFIGS[1]: "relu"}

# TensorStore decodes these in a stream, and stops where the chunk is full. Blosc, which orbax
# does not use, is decoded to the size that its own header states.
_BOUNDED_CODECS = {"bytes", "crc32c", "gzip", "sharding_indexed", "transpose", "zlib", "zstd"}

_PLAIN = re.compile(r"[<>|][biuf][1248]|bool|u?int\d{1,2}|b?float\d{1,2}(_\w{1,20})?")
_MOST_DESCRIBED = 100_000

Contents = tuple[dict[str, np.ndarray], dict[str, Any]]


def read_folder(folder: Path) -> Contents:
    """Read a checkpoint of Brax's PPO or SAC, or the latest one in a folder of them."""
    folder, name = _find_checkpoint(folder)
    config = safe_files.read_json(folder / name)
    network = config["network_factory_kwargs"]
    if network.get("distribution_type", "tanh_normal") != "tanh_normal":
        msg = f"has distribution `{network['distribution_type']}`, but only `tanh_normal` is known"
        raise PolicyFileError(msg)
    statistics, weights = _restore(folder)
    training: dict[str, Any] = {"algorithm": name[:3]}
    if folder.name.isdigit():
        training["steps"] = int(folder.name)
    settings = {
        "activation": network.get("activation", _DEFAULT_ACTIVATION[name]),
        "head": "tanh_normal",
        "squash": "tanh",
        "normalize": bool(config["normalize_observations"]),
        "action_size": int(config["action_size"]),
        "origin": f"Brax {name[:3].upper()} checkpoint",
        "training": training,
    }
    return _to_arrays(statistics, weights, network.get("policy_obs_key", "state")), settings


def looks_like_pickle(content: bytes) -> bool:
    """Whether the file begins as pickles of protocol 2 to 5 do."""
    return re.match(rb"\x80[\x02-\x05]", content) is not None


def read_pickle(content: bytes, *, trust: bool) -> Contents:
    """Read `brax.io.model.save_params` without running anything it asks for."""
    if not trust:
        msg = (
            "is a pickle, and loading a pickle can run any code: train with `fracjax train`,"
            " or have Brax write a checkpoint folder (`save_checkpoint_path=…`) and give that,"
            " or allow this one with `--trust` (`trust=True`)"
        )
        raise PolicyFileError(msg)
    stored = restricted_pickle.read(content, _ADMITTED)
    if not isinstance(stored, (tuple, list)) or len(stored) < 2:
        msg = "is a pickle, but does not hold Brax's (statistics, policy, …)"
        raise PolicyFileError(msg)
    statistics, weights = stored[:2]
    settings = {
        "head": "tanh_normal",
        "squash": "tanh",
        "origin": "Brax pickle",
        "activation_default": "swish",
    }
    if isinstance(statistics, restricted_pickle.Container):
        statistics = vars(statistics)
    return _to_arrays(statistics, weights, "state"), settings


def _jax_array(build: Any, arguments: Any, state: tuple, aval: Any) -> Any:
    """Stand in for JAX's constructor; the state is that of the NumPy array inside."""
    del build, arguments, aval
    array = restricted_pickle.NUMPY["numpy", "ndarray"]()
    array.__setstate__(state)
    return array


def _frozen_dict(contents: dict) -> dict:
    if not isinstance(contents, dict):
        msg = "is a damaged pickle: a dictionary is made of something else"
        raise PolicyFileError(msg)
    return contents


_STATISTICS = "brax.training.acme.running_statistics"
_ADMITTED: Mapping[tuple[str, str], Any] = {
    **restricted_pickle.NUMPY,
    ("jax._src.array", "_reconstruct_array"): _jax_array,
    ("flax.core.frozen_dict", "FrozenDict"): _frozen_dict,
    ("collections", "OrderedDict"): restricted_pickle.OrderedContents,
    (_STATISTICS, "RunningStatisticsState"): restricted_pickle.Container,
    (_STATISTICS, "NestedMeanStd"): restricted_pickle.Container,
    (_STATISTICS, "NormalizationMode"): int,
    ("brax.training.types", "UInt64"): restricted_pickle.Container,
}


def _find_checkpoint(folder: Path) -> tuple[Path, str]:
    steps = sorted((child for child in folder.iterdir() if child.name.isdigit()), key=_step)
    for candidate in (folder, *reversed(steps)):
        for name in _CONFIGS:
            if (candidate / name).exists():
                return candidate, name
    msg = f"is a folder without {_CONFIGS[0]}, so not a checkpoint of Brax's PPO"
    raise PolicyFileError(msg)


def _step(folder: Path) -> int:
    return int(folder.name)


def _restore(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read the statistics and the policy of an orbax checkpoint as NumPy arrays.

    Through TensorStore, on which orbax builds: orbax itself reads all networks at once in
    the background, and leaves stray tracebacks behind when one file is damaged.
    """
    import tensorstore

    safe_files.refuse_odd_files(folder, most=safe_files.MOST_BYTES)
    if (folder / "manifest.ocdbt").exists():
        ocdbt_index.refuse_large_indices(folder)
    base = f"file://{folder.resolve()}/"
    layout = safe_files.read_json(folder / "_METADATA")
    driver, described_in, kind_name = ("zarr", ".zarray", "dtype")
    if layout.get("use_zarr3"):
        driver, described_in, kind_name = ("zarr3", "zarr.json", "data_type")
    trees: tuple[dict[str, Any], dict[str, Any]] = {}, {}
    room = safe_files.MOST_BYTES
    for entry in layout["tree_metadata"].values():
        keys = [str(step["key"]) for step in entry["key_metadata"]]
        if keys[0] not in ("0", "1"):
            continue
        name = ".".join(keys)
        if "/" in name or "\0" in name:
            msg = f"has an array `{name[:50]}`, which leads out of it"
            raise PolicyFileError(msg)
        store: dict[str, Any] = {"driver": "ocdbt", "base": base, "path": f"{name}/"}
        if not (folder / "manifest.ocdbt").exists():
            store = {"driver": "file", "path": f"{folder.resolve()}/{name}/"}
        described = tensorstore.KvStore.open(store).result().read(described_in).result().value
        if not _is_of_numbers(described, kind_name):
            msg = f"has an array `{name[:50]}` of something else than numbers"
            raise PolicyFileError(msg)
        array = tensorstore.open({"driver": driver, "kvstore": store}, read=True).result()
        leaf = trees[int(keys[0])]
        for key in keys[1:-1]:
            leaf = leaf.setdefault(key, {})
        room -= _decoded_bytes(array)
        if room < 0:  # a shape is only said, and missing chunks are filled in
            msg = f"holds more than {safe_files.MOST_BYTES >> 20} MiB, too large for a policy"
            raise PolicyFileError(msg)
        odd = _codecs(array.codec and array.codec.to_json()) - _BOUNDED_CODECS
        if odd:
            named = ", ".join(sorted(odd))[:100]
            msg = f"has an array `{name[:50]}` packed by {named}, which is not read"
            raise PolicyFileError(msg)
        leaf[keys[-1]] = np.asarray(array.read().result())
    return trees


def _is_of_numbers(described: bytes, kind_name: str) -> bool:
    """Whether an array's description names a dtype of numbers: others have any size."""
    if len(described) > _MOST_DESCRIBED:
        return False
    kind = json.loads(described)[kind_name]
    return isinstance(kind, str) and _PLAIN.fullmatch(kind) is not None


def _decoded_bytes(array: Any) -> int:
    """Count the bytes of all chunks, which are decoded whole however little of them is array."""
    chunks = array.chunk_layout.write_chunk.shape or ()  # None of an array without axes
    padded = (-(-size // chunk) * chunk for size, chunk in zip(array.shape, chunks, strict=True))
    return math.prod(padded) * array.dtype.numpy_dtype.itemsize


def _codecs(described: Any) -> set[str]:
    """Names of the codecs in a description, those inside others included."""
    found, parts = set(), [described]
    while parts:
        part = parts.pop()
        if isinstance(part, dict):
            found |= {str(part[name]) for name in ("id", "name") if name in part}
            parts += part.values()
        elif isinstance(part, list):
            parts += part
    return found


def _to_arrays(
    statistics: Mapping[str, Any], weights: Mapping[str, Any], observation_key: str
) -> dict[str, np.ndarray]:
    """Name Brax's arrays as `checkpoints` does."""
    arrays = {}
    for layer, parts in weights["params"].items():
        kind, _, index = layer.rpartition("_")
        ours = {"hidden": "layer", "LayerNorm": "norm"}.get(kind)
        if ours is None:
            msg = f"has a layer `{layer}`, but only dense layers and layer norms are known"
            raise PolicyFileError(msg)
        arrays.update({f"{ours}_{index}/{name}": np.asarray(a) for name, a in parts.items()})
    for part in ("mean", "std"):
        value = statistics[part]
        if isinstance(value, Mapping):  # observations in named groups, as in Playground
            value = value[observation_key]
        arrays[f"normalizer/{part}"] = np.asarray(value)
    return arrays
