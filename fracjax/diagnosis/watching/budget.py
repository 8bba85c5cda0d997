"""How much watching a run can afford.

Time is split in two: what is spent watching, W, and the rest since the start, T, which is
training. With a budget b (a fraction of training time) an estimate begins only if

    W_run + C · min(1, T/T_end) + (its predicted cost)  ≤  b T,

where C is the time that compiling took, W_run = W - C, and T_end the expected length of the
training (`Pace`): compiling is written off over the run. Where the length is not known, C counts
whole at once. Compiling itself begins only if half as much again as its expected cost fits b T_end
(or b T): programs without time left to run them are of no use.

How far it can go wrong: predictions may be too low, so that at any time

    W  ≤  max(b T + C · (1 - T/T_end)⁺, C) + (cost of the last estimate beyond its prediction),

and nothing begins until that is made good. A run that ends as expected, with predictions that
are upper bounds, ends with W ≤ max(b T, C).
"""

import dataclasses
import math
import time
from collections.abc import Callable, Sequence

__all__ = ["SIZES", "Budget", "Pace", "Size"]

_MARGIN = 1.2
_WORTH = 1.5
_REMEMBERED = 3
_COMPILING_CALLS = 2


@dataclasses.dataclass(frozen=True)
class Size:
    """How much to compute for one record. Sizes share all compiled programs.

    Attributes:
        name: Name in records.
        lines: Lines of the Hölder exponent, at least 8. Its standard error falls with their
            root, and with 8 of them Student's quantile is 2.4.
        states: Initial states of returns and Lyapunov exponents.
    """

    name: str
    lines: int
    states: int


# Sizes of a record's estimates, by what the budget leaves room for.
SIZES = (Size("small", 8, 4), Size("medium", 16, 8), Size("large", 32, 16))


class Pace:
    """Expects when a run of known length ends, from the fastest stretch so far.

    The first two intervals between calls are left out, since training compiles in them (Brax's
    PPO twice); the fastest errs towards an early end, which is the side on which no budget is
    overdrawn.
    """

    def __init__(self, total_steps: int | None):
        """Begin; without `total_steps` nothing is expected."""
        self._total = total_steps
        self._last: tuple[int, float] | None = None
        self._calls = 0
        self._fastest = math.inf

    def note(self, step: int, training: float) -> None:
        """Note that so many steps took so much training time."""
        if self._last is not None and step > self._last[0]:
            self._calls += 1
            rate = (training - self._last[1]) / (step - self._last[0])
            if self._calls > _COMPILING_CALLS:
                self._fastest = min(self._fastest, rate)
        self._last = step, training

    def progress(self, step: int, training: float) -> float | None:
        """Part of the training time that is over, or `None` if that is not known."""
        if not self._total or not math.isfinite(self._fastest):
            return None
        rest = max(self._total - step, 0) * self._fastest
        return training / (training + rest) if training > 0 else None


class Budget:
    """Keeps the time spent watching below a fraction of training time (see the module).

    Attributes:
        fraction: Budget b.
        watching: Seconds spent watching, W.
        compiling: Seconds of them that went into compiling, C.
    """

    def __init__(
        self,
        fraction: float,
        sizes: Sequence[Size] = SIZES,
        *,
        first_compiling: float = 10.0,
        training: float = 0.0,
        watching: float = 0.0,
        compiling: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ):
        """Start the clock.

        Args:
            fraction: Budget, such as 0.1.
            sizes: Smallest first.
            first_compiling: What compiling is expected to take.
            training: Training time of earlier sessions of this run.
            watching: Time of them spent watching.
            compiling: The part of it that went into compiling.
            clock: Seconds.

        Raises:
            ValueError: If the fraction is not positive or there is no size.
        """
        if not fraction > 0 or not sizes:
            msg = f"Argument `fraction` must be positive, but is {fraction}."
            raise ValueError(msg)
        self.fraction = fraction
        self.sizes = tuple(sizes)
        self.watching = watching
        self.compiling = compiling
        self.compiled = False
        self._first_compiling = first_compiling
        self._clock = clock
        self._start = clock() - training - watching
        self._rates: list[float] = []
        self._tried = False

    def training(self) -> float:
        """Seconds since the start that were not spent watching, T."""
        return self._clock() - self._start - self.watching

    def share(self) -> float:
        """W/T now, compiling included."""
        return self.watching / max(self.training(), 1e-300)

    def owed(self, progress: float | None = None) -> float:
        """What counts as spent now: W_run and the part of C that is written off."""
        share = 1.0 if progress is None or not 0 < progress <= 1 else progress
        return self.watching - self.compiling + share * self.compiling

    def may_compile(self, progress: float | None = None) -> bool:
        """Whether compiling is expected to fit.

        Args:
            progress: Part of the training that is done, if known.
        """
        known = progress is not None and 0 < progress <= 1
        expected = self.training() / progress if known and progress else self.training()
        return self.watching + _WORTH * self._first_compiling <= self.fraction * expected

    def predicted(self, size: Size) -> float:
        """Predicted cost of an estimate: the dearest of the last three, by lines, and a fifth."""
        if not self._rates:
            return math.inf
        return _MARGIN * max(self._rates[-_REMEMBERED:]) * size.lines

    def largest(self, progress: float | None = None) -> Size | None:
        """Choose the largest size that fits now, or `None`; the smallest before any was tried."""
        left = self.fraction * self.training() - self.owed(progress)
        offered = self.sizes if self._tried else self.sizes[:1]
        fitting = [size for size in offered if self.predicted(size) <= left]
        return fitting[-1] if fitting else None

    def expect(self, per_line: float) -> None:
        """Take what one line is expected to take, before any estimate."""
        self._rates.append(per_line)

    def learn(self, size: Size, seconds: float) -> None:
        """Remember what an estimate took."""
        self._tried = True
        self._rates.append(seconds / size.lines)

    def spend(self, started: float, *, compiling: bool = False) -> float:
        """Book the time since `started` as watching; return it."""
        seconds = self._clock() - started
        self.watching += seconds
        if compiling:
            self.compiling += seconds
            self.compiled = True
        return seconds

    def now(self) -> float:
        """Read the clock."""
        return self._clock()
