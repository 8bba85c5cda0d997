"""Made-up records, clocks and measurements for tests of watching."""

import math

from fracjax.diagnosis import Prediction
from fracjax.diagnosis.watching import Cost, DiscountRecord, Number, Record

SCALES = tuple(1e-5 * 4.0**level for level in range(7))


def number(value, half=0.1, status="ok"):
    return Number(value, half / 2, value - half, value + half, status)


def finding(alpha=2.0, verdict="smooth", *, discount=0.9, rate=-0.1, half=0.1, status="ok"):
    """What was found at one discount, with a variogram of the same exponent."""
    law = min(2.0, -math.log(discount) / rate) if rate > 0 else 2.0
    power = min(max(alpha, 0.05), 1.9)
    return DiscountRecord(
        discount=discount,
        value=number(5.0, 0.5),
        holder=number(alpha, half, status),
        window=(SCALES[0], SCALES[-1]),
        predicted={"mean": Prediction(law, 0.9 * law, 1.1 * law)},
        noise=1e-12,
        jump_alarm=False,
        jumpy_lines=0,
        lines=8,
        verdict=verdict,
        reason="made up",
        scales=SCALES,
        variogram=tuple((scale / SCALES[-1]) ** (2 * power) for scale in SCALES),
    )


def record(step, *found, value=1.0, half=0.05, rate=-0.1, cost=None):
    return Record(
        step=step,
        size="small",
        value=number(value, half),
        exponent=number(rate / 0.05, 0.01),
        rate=number(rate, 0.0005),
        smooth_below=0.0,
        terminates=False,
        moved=math.nan,
        parameter_size=0.4,
        by_discount=found or (finding(),),
        cost=cost,
    )


FRACTAL = finding(0.4, "fractal", rate=0.3)
SMOOTH = finding()
JUMPY = finding(0.5, "discontinuous")
UNDECIDED = finding(1.0, "undecided", half=0.4)
SILENT = finding(math.nan, "undecided", status="at_noise_floor")
COST = Cost(training=100.0, watching=8.0, compiling=3.0, last=1.0)


class Clock:
    """Seconds that pass when told."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def pass_(self, seconds):
        self.now += seconds


class MadeUpMeasurement:
    """Takes the time it is told to, and finds what it is told to."""

    def __init__(self, clock, compiling, per_line, find=record):
        self.clock, self.compiling, self.per_line, self.find = clock, compiling, per_line, find
        self.asked = []
        self.last = 0.0

    def prepare(self, params, clock):
        self.clock.pass_(self.compiling)
        return self.per_line()

    def measure(self, params, key, size, *, step):
        self.asked.append((step, size.name))
        self.last = self.per_line() * size.lines
        self.clock.pass_(self.last)
        return self.find(step)
