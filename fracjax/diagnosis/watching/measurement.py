"""Chaos and roughness at changing parameters: compiled once, used along a whole run."""

import math
from collections.abc import Callable

import jax
import numpy as np
from jaxtyping import Array

from fracjax._types import Key, PyTree
from fracjax.diagnosis.findings import Prediction, Problem
from fracjax.diagnosis.scales import Reach, above_horizon
from fracjax.diagnosis.verdict import judge
from fracjax.diagnosis.watching.budget import Size
from fracjax.diagnosis.watching.growth import Growth, Sample, growth_numbers, mean_return
from fracjax.diagnosis.watching.line_returns import LineReturns
from fracjax.diagnosis.watching.records import DiscountRecord, Number, Record, lines_of
from fracjax.diagnosis.watching.roughness import POINTS_PER_LINE, Roughness, padded_exponents
from fracjax.estimators.chaos.finite_time import finite_time_growth
from fracjax.estimators.roughness.line_moments import LAGS
from fracjax.estimators.roughness.lines import LineSampler, default_scales, root_mean_square
from fracjax.evaluation import cache_chunk_size, map_points

__all__ = ["Measurement"]

_SHORTEST = 1e-4
_STATES_AT_ONCE = 4
_BESIDE = 2.0  # tangents, noise floor and bisection of jumps, in times of the lines

Split = Callable[[PyTree], tuple[PyTree, PyTree]]


class Measurement:
    """Measures a `Problem` at any parameters, by programs that take them as an argument.

    What decides a number: the problem, the largest scale, the key and the size. Returns of
    all lines, of the noise floor and of the bisection of jumps come out of one program, and
    sizes differ in how often it is called.
    """

    def __init__(
        self,
        problem: Problem,
        largest_states: int,
        largest_lines: int,
        *,
        split: Split | None = None,
        join: Callable[[PyTree, PyTree], PyTree] | None = None,
        largest_scale: float | None = None,
        smallest_scale: float | None = None,
        chunk_size: int | None = None,
    ):
        """Prepare without compiling anything.

        Args:
            problem: Its `objective` and `step_at` are called with all parameters.
            largest_states: Initial states of the largest size.
            largest_lines: Lines of the largest size.
            split: Parts parameters into those whose landscape is looked at and those that
                only go with them, such as the statistics of a normaliser.
            join: Puts them together again.
            largest_scale: Largest lag; a tenth of the problem's parameters by default. It
                stays the same along the run.
            smallest_scale: Smallest spacing; by default 1e-4 of the largest lag, or more if
                precision asks for it.
            chunk_size: Points evaluated together on one device.
        """
        self.problem = problem
        self._split = split or (lambda params: (params, ()))
        self._join = join or (lambda part, _: part)
        part, _ = self._split(problem.params)
        largest, smallest = default_scales(part)
        self.largest_scale = float(largest_scale or largest)
        shortest = max(smallest, _SHORTEST * self.largest_scale)
        self.smallest_scale = float(smallest_scale or min(shortest, self.largest_scale / 256))
        self.num_levels = LineSampler.num_levels(self.largest_scale, self.smallest_scale)
        states = len(jax.tree.leaves(problem.states)[0])
        self._states = min(states, largest_states)
        self._chunk = chunk_size or cache_chunk_size(part)
        self._returns = LineReturns(
            problem,
            largest_lines,
            radius=self.largest_scale,
            join=self._join,
            chunk_size=self._chunk,
        )
        # One function object, whose program is compiled once.
        self._tangent = self._tangent_program()

    def prepare(self, params: PyTree, clock: Callable[[], float]) -> float:
        """Compile everything at `params`; return what one line is going to take, in seconds."""
        part, rest = self._split(params)
        key = jax.random.key(0)
        sample = self._sample(part, rest, key, Size("one state", 1, 1))
        growth_numbers(sample, self.problem, self._states)
        returns = self._returns
        count = self._chunk * jax.local_device_count()
        lines, offsets = np.zeros(count, np.int32), np.linspace(-1, 1, count) * self.largest_scale
        around = returns.around(part, rest, key)
        returns(around, lines, offsets)  # compiles
        before = clock()
        around = returns.around(part, rest, key)
        values = returns(around, lines, offsets)
        seconds = clock() - before
        if returns.has_reference:
            returns.exactly(around, lines[:1], np.zeros(1))
        shape = (returns.num_lines, self.num_levels, POINTS_PER_LINE, values.shape[-1])
        drawn = np.random.default_rng(0).normal(size=shape).astype(values.dtype)
        spacings = np.geomspace(1, 1e-3, self.num_levels)
        padded_exponents(drawn, spacings, np.zeros(shape[-1]), returns.num_lines)
        return _BESIDE * seconds / count * self.num_levels * POINTS_PER_LINE

    def measure(self, params: PyTree, key: Key, size: Size, *, step: int) -> Record:
        """Look at one point of the run.

        Args:
            params: Parameters.
            key: Draws lines and frames: another one at every step, so that two successive
                records are independent evidence.
            size: How much to compute.
            step: Noted in the record.
        """
        problem = self.problem
        part, rest = self._split(params)
        sample = self._sample(part, rest, jax.random.fold_in(key, 0), size)
        growth = growth_numbers(sample, problem, self._states)
        reach = self._reach(growth, sample)
        spacings = np.geomspace(self.largest_scale / max(LAGS), reach.smallest, self.num_levels)
        around = self._returns.around(part, rest, jax.random.fold_in(key, 1))
        look = Roughness(self._returns, around, spacings, size.lines)
        by_discount = tuple(
            self._conclude(index, look, growth, sample, reach)
            for index in range(len(problem.discounts))
        )
        exponent = growth.exponent
        return Record(
            step=step,
            size=size.name,
            value=mean_return(sample, 1.0, look.centre[0]),
            exponent=Number.unknown() if exponent is None else Number.of(exponent),
            rate=Number.unknown() if exponent is None else Number.of(exponent, problem.dt),
            smooth_below=reach.smooth_below,
            terminates=not bool(sample.alive.all()),
            moved=math.nan,
            parameter_size=root_mean_square(part),
            by_discount=by_discount,
        )

    def _tangent_program(self) -> Callable:
        """Growth of one tangent from one initial state, and the rewards on the way."""
        problem = self.problem

        def tangent(row: tuple[PyTree, Array], part: PyTree, rest: PyTree, key: Key) -> PyTree:
            assert problem.step_at is not None
            state, index = row
            record = finite_time_growth(
                problem.step_at(self._join(part, rest)),
                state,
                num_steps=problem.horizon,
                num_exponents=1,
                key=jax.random.fold_in(key, index),
                coordinates=problem.coordinates,
                lift=problem.lift,
                alive=problem.alive,
                observable=problem.observable,
            )
            return record.growth[:, 0], record.alive, record.observable

        return tangent

    def _sample(self, part: PyTree, rest: PyTree, key: Key, size: Size) -> Sample:
        """Push one tangent from every initial state."""
        if self.problem.step_at is None:
            return Sample(np.zeros((0, 1)), np.ones((0, 1), bool), None)
        count = min(size.states, self._states)
        states = jax.tree.map(lambda leaf: np.asarray(leaf)[:count], self.problem.states)
        rows = states, np.arange(count, dtype=np.int32)
        growth, alive, rewards = map_points(
            self._tangent, rows, part, rest, key, chunk_size=_STATES_AT_ONCE
        )
        return Sample(np.asarray(growth), np.asarray(alive), rewards)

    def _reach(self, growth: Growth, sample: Sample) -> Reach:
        """How far down the horizon leaves the return rough."""
        steps = float(sample.alive.sum(axis=1).mean()) if len(sample.alive) else 0.0
        rate = 0.0 if growth.exponent is None else float(growth.exponent.value) * self.problem.dt
        return above_horizon(
            self.largest_scale,
            self.smallest_scale,
            rate=rate,
            steps=min(self.problem.horizon, steps),
        )

    def _conclude(
        self, index: int, look: Roughness, growth: Growth, sample: Sample, reach: Reach
    ) -> DiscountRecord:
        """Set measurement beside prediction at one discount, and judge."""
        holder, jumps = look.holder[index], look.jumps[index]
        discount = self.problem.discounts[index]
        predicted = growth.predictions(index, discount)
        verdict, reason = judge(
            holder,
            jumps,
            look.without_jumps[index],
            predicted.get("mean", Prediction(math.nan, math.nan, math.nan)),
            horizon_too_short=reach.too_short,
            terminates=not bool(sample.alive.all()),
        )
        return DiscountRecord(
            discount=discount,
            value=mean_return(sample, discount, look.centre[index]),
            holder=Number.of(holder),
            window=(float(holder.details["window_low"]), float(holder.details["window_high"])),
            predicted=predicted,
            noise=float(np.sqrt(look.noise[index])),
            jump_alarm=bool(holder.details["jump_alarm"]),
            jumpy_lines=int(jumps.lines.sum()),
            lines=len(jumps.lines),
            verdict=verdict.value,
            reason=reason,
            **lines_of(holder),
        )
