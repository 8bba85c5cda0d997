"""Pickles read as data: containers, numbers and arrays, with no code run on their behalf.

Python's unpickler imports what a pickle names and calls it, and a short forged pickle can
make it take all memory. This reader walks the operations itself, as `pickletools` names them:
a pickle may only call what the caller admits, by name, and everything is bounded by the
length of the file.
"""

import io
import pickletools
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, cast

import numpy as np

from fracjax.rl.policies import PolicyFileError

__all__ = ["NUMPY", "Container", "Inert", "OrderedContents", "read"]

Admitted: TypeAlias = Callable[[str, str], Any]

_MOST_OPERATIONS = 250_000  # two seconds; the pickle of torch takes 44 for a tensor


class Container:
    """Stands in for an object of which only the attributes matter."""

    def __init__(self, *_: Any) -> None:
        pass


class Inert(Container):
    """Stands in for an object that nobody will read: takes any state and forgets it."""

    def __setstate__(self, state: Any) -> None:
        pass


class OrderedContents(dict):
    """Stands in for `OrderedDict`, whose further attributes are forgotten."""

    def __setstate__(self, state: Any) -> None:
        pass


class _DType:
    """Stands in for `numpy.dtype`, whose own state can be forged into bad pointers."""

    def __init__(self, code: str, *_: Any) -> None:
        self.code, self.order = str(code), "="

    def __setstate__(self, state: tuple) -> None:
        self.order = state[1]

    def read(self, content: bytes | bytearray) -> np.ndarray:
        """Numbers of plain types; anything else is refused."""
        if not re.fullmatch(r"[fiu][1248]|b1", self.code) or self.order not in "<>|=":
            msg = f"holds an array of type {self.code!r}, which no policy needs"
            raise PolicyFileError(msg)
        return np.frombuffer(content, self.order + self.code)


class _Array:
    """Stands in for `numpy.ndarray`, and reads the state that one pickles."""

    def __init__(self, *_: Any) -> None:
        self.value = np.zeros(0)

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, fortran, content = state
        if isinstance(content, str):  # bytes that protocol 2 wrote as text
            content = content.encode("latin1")
        self.value = dtype.read(content).reshape(shape, order="F" if fortran else "C")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.value, dtype, copy=copy)


def _from_buffer(content: bytes | bytearray, dtype: _DType, shape: Any, order: str) -> _Array:
    """Stand in for NumPy's constructor in pickles of protocol 5."""
    array = _Array()
    array.__setstate__((None, shape, dtype, order == "F", content))
    return array


def _scalar(dtype: _DType, content: bytes | str) -> float:
    content = content.encode("latin1") if isinstance(content, str) else content
    return dtype.read(content).item()


def _encode(text: str, encoding: str) -> bytes:
    """Stand in for `codecs.encode`, by which protocol 2 writes bytes."""
    if encoding not in ("latin1", "latin-1"):
        msg = f"holds bytes in the encoding {encoding!r}, which no policy needs"
        raise PolicyFileError(msg)
    return text.encode("latin1")


# What arrays of NumPy ask for; `_Array` also reads the state inside an array of JAX.
NUMPY: Mapping[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _DType,
    ("_codecs", "encode"): _encode,
    **{
        (f"numpy.{core}.{module}", name): stand_in
        for core in ("core", "_core")
        for module, name, stand_in in (
            ("multiarray", "_reconstruct", _Array),
            ("multiarray", "scalar", _scalar),
            ("numeric", "_frombuffer", _from_buffer),
        )
    },
}


def read(
    content: bytes,
    admitted: Mapping[tuple[str, str], Any] | Admitted,
    *,
    persistent: Callable[[Any], Any] | None = None,
) -> Any:
    """Read the object that a pickle describes.

    Args:
        content: The pickle; what follows its end is ignored.
        admitted: What stands for each `(module, name)` that may be asked for: a mapping, or
            a function that returns `None` for what is refused. Stand-ins are called with
            what the pickle says and have to check it.
        persistent: Resolves persistent identifiers, as in files of torch.

    Raises:
        PolicyFileError: If the pickle asks for anything else, is too long, or uses
            operations that no policy needs.
    """
    find = admitted if callable(admitted) else lambda module, name: admitted.get((module, name))
    try:
        return _Machine(find, persistent).run(content)
    except PolicyFileError:
        raise
    except Exception as error:  # damage shows in many ways
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:100]
        msg = f"is a damaged pickle ({reason})"
        raise PolicyFileError(msg) from error


def _unhashable(key: Any) -> bool:
    return not isinstance(key, (str, int, float, bytes))  # hashing nested tuples can overflow


class _Machine:
    """The stack, the marks and the memory of one pickle."""

    def __init__(self, find: Admitted, persistent: Callable[[Any], Any] | None) -> None:
        self.find, self.persistent = find, persistent
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memory: dict[int, Any] = {}

    def run(self, content: bytes) -> Any:
        for count, (operation, argument, _) in enumerate(pickletools.genops(io.BytesIO(content))):
            if count == _MOST_OPERATIONS:
                msg = f"is a pickle of more than {_MOST_OPERATIONS} operations, too long for one"
                raise PolicyFileError(msg)
            name, slot = operation.name, cast(int, argument)
            if name == "STOP":
                return self.stack.pop()
            if name in _LITERALS:
                self.stack.append(argument)
            elif name in _CONSTANTS:
                self.stack.append(_CONSTANTS[name]())
            elif name in _GETS:
                self.stack.append(self.memory[slot])
            elif name in _PUTS:
                self.memory[slot] = self.stack[-1]
            elif name in _TUPLES:
                size = _TUPLES[name]
                items = tuple(self.stack[-size:])
                if len(items) < size:
                    msg = "is a damaged pickle: its stack is empty"
                    raise PolicyFileError(msg)
                del self.stack[-size:]
                self.stack.append(items)
            elif name in ("PROTO", "FRAME"):
                pass
            else:
                self.other(name, argument)
        msg = "is a pickle without an end"
        raise PolicyFileError(msg)

    def other(self, name: str, argument: Any) -> None:
        stack = self.stack
        match name:
            case "MARK":
                self.marks.append(len(stack))
            case "MEMOIZE":
                self.memory[len(self.memory)] = stack[-1]
            case "POP":
                stack.pop()
            case "TUPLE":
                stack.append(tuple(self.since_mark()))
            case "LIST":
                stack.append(self.since_mark())
            case "DICT":
                stack.append(self.fill({}, self.since_mark()))
            case "APPEND":
                item = stack.pop()
                self.extend([item])
            case "APPENDS":
                self.extend(self.since_mark())
            case "SETITEM":
                value, key = stack.pop(), stack.pop()
                self.fill(stack[-1], [key, value])
            case "SETITEMS":
                items = self.since_mark()
                self.fill(stack[-1], items)
            case "GLOBAL":
                stack.append(self.resolve(*argument.split(" ", 1)))
            case "STACK_GLOBAL":
                attribute, module = stack.pop(), stack.pop()
                stack.append(self.resolve(module, attribute))
            case "REDUCE" | "NEWOBJ":
                arguments, function = stack.pop(), stack.pop()
                stack.append(self.call(function, arguments))
            case "BUILD":
                state = stack.pop()
                self.build(stack[-1], state)
            case "BINPERSID" if self.persistent is not None:
                stack.append(self.persistent(_targets(stack.pop())))
            case _:
                msg = f"is a pickle that uses `{name}`, which no policy needs: nothing was run"
                raise PolicyFileError(msg)

    def since_mark(self) -> list[Any]:
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def fill(self, target: Any, items: list[Any]) -> Any:
        if not isinstance(target, dict) or any(_unhashable(key) for key in items[::2]):
            msg = "is a pickle with keys that no policy needs"
            raise PolicyFileError(msg)
        target.update(zip(items[::2], items[1::2], strict=True))
        return target

    def extend(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, list):
            msg = "is a damaged pickle: it adds to what is no list"
            raise PolicyFileError(msg)
        target.extend(items)

    def resolve(self, module: Any, name: Any) -> Any:
        found = self.find(str(module), str(name))
        if found is None:
            msg = f"asks for `{module}.{name}`, which no policy needs: nothing was run"
            raise PolicyFileError(msg)
        return _Callable(found)

    def call(self, function: Any, arguments: Any) -> Any:
        if not isinstance(function, _Callable) or not isinstance(arguments, tuple):
            msg = "is a damaged pickle: it calls what is no function"
            raise PolicyFileError(msg)
        values = _targets(arguments)
        if function.target is OrderedContents and values:
            pairs = [item for pair in values[0] for item in pair]
            return self.fill(OrderedContents(), pairs)
        return function.target(*values)

    def build(self, target: Any, state: Any) -> None:
        if isinstance(target, (OrderedContents, Inert, _Array, _DType)):
            target.__setstate__(state)
        elif isinstance(target, Container) and isinstance(state, dict):
            vars(target).update({str(key): value for key, value in state.items()})
        else:
            msg = "is a pickle with a state that no policy needs"
            raise PolicyFileError(msg)


class _Callable:
    """Something admitted, which a pickle may call or pass on but never look into."""

    def __init__(self, target: Any) -> None:
        self.target = target


def _targets(values: tuple) -> tuple:
    return tuple(value.target if isinstance(value, _Callable) else value for value in values)


_LITERALS = frozenset(
    "INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT"
    " STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8"
    " BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8".split()
)
_CONSTANTS: Mapping[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_GETS = frozenset({"GET", "BINGET", "LONG_BINGET"})
_PUTS = frozenset({"PUT", "BINPUT", "LONG_BINPUT"})
