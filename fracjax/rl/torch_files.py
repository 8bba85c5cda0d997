"""Files of `torch.save` read without torch: tensors and containers, and nothing else.

A file is a zip archive: a pickle `…/data.pkl` that describes the containers, and one entry
`…/data/N` of raw bytes per storage, in which tensors are strided views. The pickle is read by
`restricted_pickle`, which admits tensors, parameters and plain containers; a file that holds
a whole module (`torch.save(model)`) is refused, because it would have to be run.
"""

import math
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, TypeAlias

import numpy as np

from fracjax.rl import archives, restricted_pickle
from fracjax.rl.policies import PolicyFileError

__all__ = ["flatten", "is_torch_archive", "read", "refuse_legacy"]

Order: TypeAlias = Literal["<", ">"]

# How a file begins that torch wrote before 1.6, or on request since: a pickled magic number.
_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."

_STORAGES: Mapping[str, str] = {
    "DoubleStorage": "f8",
    "FloatStorage": "f4",
    "HalfStorage": "f2",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "b1",
}
_MOST_DIMENSIONS = 16
_MOST_REPEATED = 2**20  # numbers of an expanded tensor, which are fewer in its storage
_MOST_TENSORS = 100_000
_DEEPEST = 8


def refuse_legacy(content: bytes) -> None:
    """Refuse a file in torch's format before zip archives, which begins as a pickle.

    Raises:
        PolicyFileError: If it is one; the message says how to convert it.
    """
    if content.startswith(_LEGACY):
        msg = (
            "is in torch's legacy format: open it with torch and write it again with"
            " `torch.save(…)`, which makes a zip archive since torch 1.6"
        )
        raise PolicyFileError(msg)


def is_torch_archive(names: Mapping[str, Any]) -> bool:
    """Whether an archive with these entries was written by `torch.save`."""
    return any(re.fullmatch(r"([^/]+/)?data\.pkl", name) for name in names)


def read(content: bytes) -> Any:
    """Read what `torch.save` wrote, with NumPy arrays in place of tensors.

    Views come back as what they show; bfloat16 comes back as float32, which holds it exactly.
    Arrays are read-only and may share memory, as the tensors did.

    Args:
        content: The file.

    Returns:
        The saved object: dictionaries, lists, tuples, numbers, strings and arrays.

    Raises:
        PolicyFileError: If the file is damaged, older than torch 1.6, TorchScript, larger
            than `archives.MOST_BYTES`, or asks for anything but tensors and containers.
    """
    refuse_legacy(content)
    archive, entries = archives.read_entries(content)
    pickles = [name for name in entries if re.fullmatch(r"([^/]+/)?data\.pkl", name)]
    if len(pickles) != 1:
        msg = f"is a zip archive with {len(pickles)} entries `data.pkl`, but torch writes one"
        raise PolicyFileError(msg)
    folder = pickles[0].removesuffix("data.pkl")
    if f"{folder}constants.pkl" in entries:
        msg = "is a TorchScript program: save the `state_dict()` of its module instead"
        raise PolicyFileError(msg)
    order: Order = "<"
    if f"{folder}byteorder" in entries:
        stated = archives.read_entry(archive, entries, f"{folder}byteorder")
        if stated not in (b"little", b"big"):
            msg = f"states the byte order {stated[:20]!r}, which is none"
            raise PolicyFileError(msg)
        order = "<" if stated == b"little" else ">"
    storages = _Storages(archive, entries, folder, order)
    described = archives.read_entry(archive, entries, pickles[0])
    return restricted_pickle.read(described, _admit, persistent=storages)


def flatten(stored: Any) -> dict[str, np.ndarray]:
    """Name every array in nested containers by its path, such as `actor.0.weight`.

    What is no array is left out.

    Raises:
        PolicyFileError: If there are too many arrays, or containers too deep.
    """
    named: dict[str, np.ndarray] = {}
    for name, array in _walk(stored, "", 0):
        named[name] = array
        if len(named) > _MOST_TENSORS:
            msg = f"holds more than {_MOST_TENSORS} tensors"
            raise PolicyFileError(msg)
    return named


def _walk(stored: Any, path: str, depth: int) -> Iterator[tuple[str, np.ndarray]]:
    if isinstance(stored, np.ndarray):
        yield path, stored
    elif isinstance(stored, (dict, list, tuple)):
        if depth == _DEEPEST:
            msg = f"nests containers more than {_DEEPEST} deep"
            raise PolicyFileError(msg)
        items = stored.items() if isinstance(stored, dict) else enumerate(stored)
        for key, value in items:
            yield from _walk(value, f"{path}.{key}" if path else str(key), depth + 1)


class _Storages:
    """Reads storages by their persistent identifiers, each once."""

    def __init__(
        self, archive: zipfile.ZipFile, entries: archives.Entries, folder: str, order: Order
    ) -> None:
        self.archive, self.entries, self.folder, self.order = archive, entries, folder, order
        self.known: dict[str, np.ndarray] = {}

    def __call__(self, identifier: Any) -> np.ndarray:
        kind, storage_type, key, _, count = identifier
        if kind != "storage" or not isinstance(storage_type, _StorageType):
            msg = "refers to something that is no storage of torch"
            raise PolicyFileError(msg)
        key, code = str(key), storage_type.code
        if key not in self.known:
            name = f"{self.folder}data/{key}"
            content = archives.read_entry(self.archive, self.entries, name)
            self.known[key] = _numbers(content, code, self.order, count, name)
        if len(self.known[key]) != count:
            msg = f"gives two sizes for its storage `{key}`"
            raise PolicyFileError(msg)
        return self.known[key]


class _StorageType:
    """Stands in for a storage class of torch: the type of its numbers."""

    def __init__(self, code: str) -> None:
        self.code = code

    def __call__(self, *_: Any) -> Any:
        msg = "makes a storage of its own, which no policy needs"
        raise PolicyFileError(msg)


def _numbers(content: bytes, code: str, order: Order, count: Any, name: str) -> np.ndarray:
    wide = np.dtype("u2" if code == "bfloat16" else code).newbyteorder(order)
    if not _is_count(count) or len(content) != count * wide.itemsize:
        msg = f"has {len(content)} bytes in `{name}`, but states {count!r} numbers of type {code}"
        raise PolicyFileError(msg)
    stored = np.frombuffer(content, wide).astype(wide.newbyteorder("="), copy=False)
    if code == "bfloat16":  # the upper half of a float32
        return (stored.astype(np.uint32) << 16).view(np.float32)
    return stored


def _tensor(storage: Any, offset: Any, sizes: Any, strides: Any, *_: Any) -> np.ndarray:
    """Stand in for `torch._utils._rebuild_tensor_v2`: a view, checked to lie in its storage."""
    fits = (
        isinstance(storage, np.ndarray)
        and storage.ndim == 1
        and isinstance(sizes, tuple)
        and isinstance(strides, tuple)
        and len(sizes) == len(strides) <= _MOST_DIMENSIONS
        and all(_is_count(number) for number in (offset, *sizes, *strides))
    )
    if fits:
        last = offset + sum(
            (size - 1) * stride for size, stride in zip(sizes, strides, strict=True)
        )
        fits = 0 in sizes or last < len(storage)
    if not fits:
        msg = "has a tensor that does not lie inside its storage"
        raise PolicyFileError(msg)
    if math.prod(max(size, 1) for size in sizes) > max(len(storage), _MOST_REPEATED):
        msg = "has a tensor that shows its storage many times over"
        raise PolicyFileError(msg)
    if 0 in sizes:
        return np.zeros(sizes, storage.dtype)
    steps = [
        stride * storage.itemsize if size > 1 else 0
        for size, stride in zip(sizes, strides, strict=True)
    ]
    return np.lib.stride_tricks.as_strided(storage[offset:], sizes, steps, writeable=False)


def _parameter(tensor: Any, *_: Any) -> Any:
    """Stand in for `torch._utils._rebuild_parameter`."""
    return tensor


def _size(*sizes: Any) -> tuple:
    """Stand in for `torch.Size`."""
    return tuple(*sizes)


def _is_count(number: Any) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and 0 <= number < 2**60


_ADMITTED: Mapping[tuple[str, str], Callable] = {
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch", "Size"): _size,
    ("collections", "OrderedDict"): restricted_pickle.OrderedContents,
    **{("torch", name): _StorageType(code) for name, code in _STORAGES.items()},
}


def _admit(module: str, name: str) -> Callable:
    found = _ADMITTED.get((module, name))
    if found is None:
        msg = (
            f"asks for `{module}.{name}`, which is more than tensors and containers: nothing was"
            " run; save the module's `state_dict()` with `torch.save`"
        )
        raise PolicyFileError(msg)
    return found
