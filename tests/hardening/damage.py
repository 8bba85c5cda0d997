"""Ways in which a file can be wrong, as Hypothesis draws and shrinks them."""

import copy
import json
import math
import os
import shutil
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

__all__ = ["DEEP", "Placed", "damaged_bytes", "damaged_json", "damages", "fuzz", "place"]

# What a schema never means: each type in place of each other, and the ends of their ranges.
WEIRD = (
    *(None, True, False, 0, 1, -1, 2, 3, 7, 2**31, 2**62, 2**63, -(2**63), 10**30, 10**400),
    *(0.0, 0.5, -0.5, 1e-320, 1e308, -1e308, math.nan, math.inf, -math.inf),
    *("", "x", "0", "1e5", "NaN", "\0", "\ud800", "\x1b[2J", "a\nb", "../..", "/", "é" * 300),
    *("/dev/zero", "float64", "|O", "<U9", "pickle", "running", "<script>", "[red]", "%s{0}"),
    *([], {}, [[]], [None], [0], [1, 2], [1e9, 1e9, 1e9], [2**40], ["x"], [[1, 2], [3, 4]]),
    *({"": None}, {"name": "x"}, {"a": {"b": []}}, {"id": "pickle"}, {"value": "x"}),
)
DEEP = (b"[" * 200_000, b'{"a":' * 200_000, b"[" * 20_000 + b"]" * 20_000)
# Numbers that stand for sizes, written where a size may be.
_SIZES = (b"\xff" * 4, b"\xff" * 8, b"\x7f\xff\xff\xff", b"\x00" * 8, b"\xff\xff\xff\x7f")
_TOKENS = (
    b"PK\x03\x04",
    b"PK\x05\x06",
    b"\x80\x04",
    b"cos\nsystem\n",
    b"NaN",
    b"\xed\xa0\x80",
    b"\n",
)


def fuzz(count, **more):
    """Run so many examples, the same ones every time and however slow the machine is."""
    return settings(
        max_examples=count,
        deadline=None,
        database=None,
        derandomize=True,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
        **more,
    )


@st.composite
def damaged_bytes(draw, content):
    """Change a file's bytes: flips, cuts, holes, repetitions, insertions, sizes that lie."""
    content = bytearray(content)
    for _ in range(draw(st.integers(1, 3))):
        length = len(content)
        start = draw(st.integers(0, length))
        stop = min(length, start + draw(st.sampled_from((1, 2, 4, 8, 64, 1024))))
        match draw(st.integers(0, 7)):
            case 0 | 1 if start < length:
                content[start] ^= 1 << draw(st.integers(0, 7))
            case 2:
                del content[start:]
            case 3:
                del content[start:stop]
            case 4:
                content[start:start] = content[start:stop]
            case 5:
                token = draw(st.one_of(st.sampled_from(_TOKENS), st.binary(max_size=16)))
                content[start:start] = token
            case 6:
                size = draw(st.sampled_from(_SIZES))
                content[start : start + len(size)] = size
            case _:
                content[start:stop] = bytes(stop - start)
    return bytes(content)


def _places(value, found):
    if isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            found.append((value, key))
            _places(value[key], found)
    return found


@st.composite
def damaged_json(draw, document):
    """Change a document where its schema says something: another type, a missing or a new key."""
    document = [copy.deepcopy(document)]
    for _ in range(draw(st.integers(1, 2))):
        places = _places(document, [])
        container, key = places[draw(st.integers(0, len(places) - 1))]
        value = container[key]
        match draw(st.integers(0, 5)):
            case 0 if container is not document:
                del container[key]
            case 1:
                other, place = places[draw(st.integers(0, len(places) - 1))]
                container[key] = copy.deepcopy(other[place])
            case 2 if isinstance(value, list):
                value.extend(copy.deepcopy(value) or [None])
            case 2 if isinstance(value, dict):
                value[draw(st.sampled_from(("x", "name", "", "zarr_format")))] = None
            case 3:
                container[key] = draw(st.sampled_from(([value], {"value": value}, str(value))))
            case 4 if isinstance(value, int | float) and math.isfinite(value):
                container[key] = draw(st.sampled_from((-value, value + 1, 1000 * value, 0.5)))
            case _:
                container[key] = copy.deepcopy(draw(st.sampled_from(WEIRD)))
    return json.dumps(document[0] if document else None, ensure_ascii=True).encode()


class Placed(str):
    """Something in a file's place that is no file: `folder`, `loop`, `dangling`, `pipe`, `zero`."""


@st.composite
def damages(draw, files, *, odd=("folder", "loop", "dangling", "pipe", "zero")):
    """Damage one file of a folder.

    Args:
        draw: Given by Hypothesis.
        files: Content by relative path.
        odd: Kinds of `Placed` to try.

    Returns:
        Relative path, and its new content, `Placed`, or None for a file that is gone.
    """
    name = draw(st.sampled_from(sorted(files)))
    content = files[name]
    choices = [damaged_bytes(content)]
    try:
        document = json.loads(content)
    except ValueError:
        pass
    else:
        choices = [damaged_json(document)] * 4 + choices + [st.sampled_from(DEEP)]
    rare = [None, b"", b"\xff\xfe" + content, *map(Placed, odd)]
    if "/c/" not in name:  # a chunk in another's place has a good checksum
        rare += [files[other] for other in files if other != name]
    return name, draw(st.one_of(*choices, *choices, st.sampled_from(rare)))


def place(path, change):
    """Put a change on disk."""
    path = Path(path)
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.is_dir():
        shutil.rmtree(path)
    if isinstance(change, bytes):
        path.write_bytes(change)
    elif change == "folder":
        path.mkdir()
        (path / "inside").write_text("{}")
    elif change == "loop":
        path.symlink_to(path.name)
    elif change == "dangling":
        path.symlink_to("nowhere")
    elif change == "pipe":
        os.mkfifo(path)
    elif change == "zero":
        path.symlink_to("/dev/zero")
