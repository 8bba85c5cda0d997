"""How `fracjax scan` evaluates its points: kept beside the request, for a --resume of little."""

import dataclasses
import math
from pathlib import Path
from typing import Any

from fracjax import safe_files

__all__ = ["ScanEvaluation", "is_begun", "parse_memory"]

_EVALUATORS = ("auto", "plain", "affine")
_NAME = "evaluation"
_STORES = ("values", "batches")
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 2**10, "mi": 2**20, "gi": 2**30}


@dataclasses.dataclass(frozen=True)
class ScanEvaluation:
    """What was asked for; which evaluator and chunk came of it stands in the store of the values.

    Attributes:
        evaluator: `plain`, `affine` or `auto`.
        chunk_size: Points that one device evaluates together; chosen if not given.
        memory: Bound in bytes on what evaluating needs.
    """

    evaluator: str = "auto"
    chunk_size: int | None = None
    memory: int | None = None

    def check(self) -> None:
        """Refuse an evaluator that there is not.

        Raises:
            ValueError: If there is none of this name.
        """
        if self.evaluator not in _EVALUATORS:
            msg = f"--evaluator must be one of {', '.join(_EVALUATORS)}, but is {self.evaluator!r}."
            raise ValueError(msg)

    def document(self) -> dict[str, Any]:
        """What a request keeps of it, in JSON's types."""
        return {_NAME: dataclasses.asdict(self)}

    def completed(self, before: "ScanEvaluation") -> "ScanEvaluation":
        """Take what was not asked for now from what was asked for before."""
        return ScanEvaluation(
            before.evaluator if self.evaluator == "auto" else self.evaluator,
            before.chunk_size if self.chunk_size is None else self.chunk_size,
            before.memory if self.memory is None else self.memory,
        )

    @classmethod
    def read(cls, path: Path) -> "ScanEvaluation":
        """Read it from the file of a request, which is not trusted.

        Raises:
            ValueError: If it is damaged.
        """
        try:
            found = cls(**safe_files.read_json(path).get(_NAME, {}))
            found.check()
            numbers = (found.chunk_size, found.memory)
            good = all(n is None or (type(n) is int and 1 <= n < 2**60) for n in numbers)
        except (AttributeError, TypeError, ValueError):
            good = False
        if not good:
            msg = f"{path} does not say how its scan is evaluated."
            raise ValueError(msg)
        return found


def is_begun(folder: Path) -> bool:
    """Whether values are there, or a store for them, which says itself how they are evaluated."""
    return any((folder / name).exists() for name in _STORES)


def parse_memory(text: str | None) -> int | None:
    """Parse a `--memory` such as 512MB or 2GiB, in bytes.

    Raises:
        ValueError: If it does not look like one.
    """
    if text is None:
        return None
    number = text.strip().lower().removesuffix("b")
    for unit in sorted(_UNITS, key=len, reverse=True):
        if unit and number.endswith(unit):
            number, factor = number.removesuffix(unit), _UNITS[unit]
            break
    else:
        factor = 1
    try:
        size = float(number) * factor
    except ValueError:
        size = math.nan
    if not 2**10 <= size < 2**60:
        msg = f"--memory must look like 512MB or 2GiB, but is {text!r}."
        raise ValueError(msg)
    return int(size)
