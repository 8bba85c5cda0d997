"""Chaos and roughness at changing parameters: compiled once, used along a whole run."""

import dataclasses
import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from fracjax import tree
from fracjax._types import Estimate, Key, Objective, PyTree
from fracjax.diagnosis.findings import Prediction, Problem
from fracjax.diagnosis.verdict import judge
from fracjax.diagnosis.watching.budget import Size
from fracjax.diagnosis.watching.growth import Growth, Sample, growth_numbers, mean_return
from fracjax.diagnosis.watching.records import DiscountRecord, Number, Record, lines_of
from fracjax.estimators.chaos.finite_time import finite_time_growth
from fracjax.estimators.roughness.jumps import Jumps, find_jumps
from fracjax.estimators.roughness.line_moments import LAGS
from fracjax.estimators.roughness.lines import LineSampler, default_scales, root_mean_square
from fracjax.estimators.roughness.orders import exponents_of_outputs
from fracjax.evaluation import cache_chunk_size, map_points

__all__ = ["Measurement", "key_numbers"]

_POINTS = 34
_NOISE_POINTS = 32
_SHORTEST = 1e-4
_STATES_AT_ONCE = 4
_SAFETY = 10.0  # smallest spacing over e^{-λT}, as in `diagnose`
_DECADE = 10.0
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
        self._lines = largest_lines
        states = len(jax.tree.leaves(problem.states)[0])
        self._states = min(states, largest_states)
        self._chunk = chunk_size or cache_chunk_size(part)
        # One function object each, whose program is compiled once.
        self._return = self._program(problem.objective)
        self._exact = self._program(
            problem.objective if problem.reference is None else problem.reference[0]
        )
        self._tangent = self._tangent_program()

    def _program(self, objective: Objective) -> Callable:
        """Return at a point of a line around a centre."""
        lines = self._lines

        def value(
            row: tuple[Array, Array, Array], part: PyTree, rest: PyTree, table: PyTree, key: Key
        ) -> Array:
            line, inner, offset = row

            def pick(index: Array) -> PyTree:
                return jax.tree.map(lambda leaf: leaf[index], table)

            centre = tree.add_scaled(part, inner, pick(line))
            point = tree.add_scaled(centre, offset, pick(line + lines))
            return jnp.atleast_1d(objective(self._join(point, rest), key))

        return value

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

    def prepare(self, params: PyTree, clock: Callable[[], float]) -> float:
        """Compile everything at `params`; return what one line is going to take, in seconds."""
        part, rest = self._split(params)
        key = jax.random.key(0)
        sample = self._sample(part, rest, key, Size("one state", 1, 1))
        growth_numbers(sample, self.problem, self._states)
        count = self._chunk * jax.local_device_count()
        lines = np.zeros(count, np.int32)
        values = evaluate = None
        for _ in range(2):  # the first compiles
            before = clock()
            table = _directions(key, part, self._lines, self.largest_scale)
            evaluate = functools.partial(self._evaluate, part, rest, table, key)
            values = evaluate(lines, np.linspace(-1, 1, count) * self.largest_scale)
            seconds = clock() - before
        assert values is not None
        shape = (self._lines, self.num_levels, _POINTS, values.shape[-1])
        drawn = np.random.default_rng(0).normal(size=shape).astype(values.dtype)
        if self.problem.reference is not None:
            self._exactly(part, rest, table, key, lines[:1], np.zeros(1))
        self._exponents(drawn, np.geomspace(1, 1e-3, self.num_levels), np.zeros(shape[-1]))
        return _BESIDE * seconds / count * self.num_levels * _POINTS

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
        ladder = self._ladder(growth, sample)
        look = _Look(self, part, rest, jax.random.fold_in(key, 1), size, ladder.spacings)
        by_discount = tuple(
            self._conclude(index, look, growth, sample, ladder)
            for index in range(len(problem.discounts))
        )
        exponent = growth.exponent
        return Record(
            step=step,
            size=size.name,
            value=mean_return(sample, 1.0, look.centre[0]),
            exponent=Number.unknown() if exponent is None else Number.of(exponent),
            rate=Number.unknown() if exponent is None else Number.of(exponent, problem.dt),
            smooth_below=ladder.cut,
            terminates=not bool(sample.alive.all()),
            moved=math.nan,
            parameter_size=root_mean_square(part),
            by_discount=by_discount,
        )

    def _evaluate(
        self,
        part: PyTree,
        rest: PyTree,
        table: PyTree,
        key: Key,
        lines: np.ndarray,
        offsets: np.ndarray,
        inner: np.ndarray | None = None,
    ) -> np.ndarray:
        """Returns at points of lines, (points, discounts)."""
        dtype = np.dtype(jnp.result_type(*jax.tree.leaves(part)))
        rows = (
            np.asarray(lines, np.int32),
            np.ones(len(lines), dtype) if inner is None else inner.astype(dtype),
            np.asarray(offsets, dtype),
        )
        return np.asarray(
            map_points(self._return, rows, part, rest, table, key, chunk_size=self._chunk)
        )

    def _exactly(
        self,
        part: PyTree,
        rest: PyTree,
        table: PyTree,
        key: Key,
        lines: np.ndarray,
        offsets: np.ndarray,
    ) -> np.ndarray:
        """The same by the problem's reference in double precision."""
        assert self._exact is not None
        with jax.enable_x64(True):
            wide = tree.astype(jax.tree.map(jnp.asarray, (part, rest, table)), "float64")
            rows = np.asarray(lines, np.int32), np.ones(len(lines)), np.asarray(offsets, float)
            return np.asarray(map_points(self._exact, rows, *wide, key, chunk_size=self._chunk))

    def _exponents(self, values: np.ndarray, spacings: np.ndarray, noise: np.ndarray) -> Estimate:
        """Hölder exponents by one program for all sizes: lines not sampled are dropped as NaN."""
        missing = self._lines - len(values)
        padded = np.pad(values, ((0, missing), *((0, 0),) * 3), constant_values=np.nan)
        found = exponents_of_outputs(padded, spacings, noise_variance=noise)
        return jax.tree.map(np.asarray, found)

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

    def _ladder(self, growth: Growth, sample: Sample) -> "_Ladder":
        """Spacings that the horizon leaves rough, if any."""
        steps = float(sample.alive.sum(axis=1).mean()) if len(sample.alive) else 0.0
        rate = 0.0 if growth.exponent is None else float(growth.exponent.value) * self.problem.dt
        grown = rate * min(self.problem.horizon, steps)
        cut = math.exp(-grown) if math.isfinite(grown) and grown > 0 else 0.0
        wanted = max(self.smallest_scale, _SAFETY * cut)
        first = self.largest_scale / max(LAGS)
        too_short = cut > 0 and wanted > first / _DECADE
        last = self.smallest_scale if too_short else wanted
        return _Ladder(np.geomspace(first, last, self.num_levels), cut, too_short)

    def _conclude(
        self, index: int, look: "_Look", growth: Growth, sample: Sample, ladder: "_Ladder"
    ) -> DiscountRecord:
        holder, jumps, rest = look.holder(index), look.jumps[index], look.without_jumps(index)
        discount = self.problem.discounts[index]
        predicted = growth.predictions(index, discount)
        verdict, reason = judge(
            holder,
            jumps,
            rest,
            predicted.get("mean", Prediction(math.nan, math.nan, math.nan)),
            horizon_too_short=ladder.too_short,
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


@dataclasses.dataclass(frozen=True)
class _Ladder:
    spacings: np.ndarray
    cut: float
    too_short: bool


class _Look:
    """Returns around one point, and what they say."""

    def __init__(
        self,
        owner: Measurement,
        part: PyTree,
        rest: PyTree,
        key: Key,
        size: Size,
        spacings: np.ndarray,
    ):
        self._owner, self._part, self._rest, self._size = owner, part, rest, size
        self._key = jax.random.fold_in(key, 1)
        self._table = _directions(
            jax.random.fold_in(key, 0), part, owner._lines, owner.largest_scale
        )
        self.spacings = spacings
        offsets = np.arange(_POINTS) - (_POINTS - 1) / 2
        shape = (size.lines, owner.num_levels, _POINTS)
        line = np.broadcast_to(np.arange(size.lines)[:, None, None], shape).ravel()
        offset = np.broadcast_to(spacings[:, None] * offsets, shape).ravel()
        # The point itself comes last: on a line of length 0 around no other centre.
        all_lines, all_offsets = np.append(line, 0), np.append(offset, 0.0)
        inner = np.append(np.ones(len(line)), 0.0)
        values = self.evaluate(all_lines, all_offsets, inner)
        self.centre, flat = values[-1], values[:-1]
        self.values = flat.reshape((*shape, -1))
        again = np.linspace(0, len(line) - 1, _NOISE_POINTS).astype(int)
        shaken = self.evaluate(line[again], offset[again], part=_last_place(part))
        self.noise = _noise_variance(flat[again], shaken)
        if owner.problem.reference is not None:
            exact = owner._exactly(part, rest, self._table, self._key, line[again], offset[again])
            self.noise = np.maximum(self.noise, _mean_square(flat[again] - exact))
        self._estimates = self._exponents(self.values)
        self.jumps = [self._find_jumps(index) for index in range(self.values.shape[-1])]
        self._rests: Estimate | None = None
        held = np.stack([found.lines for found in self.jumps], axis=-1)
        if held.any():
            kept = np.where(held[:, None, None, :], np.nan, self.values)
            self._rests = self._exponents(kept)

    def evaluate(
        self,
        lines: np.ndarray,
        offsets: np.ndarray,
        inner: np.ndarray | None = None,
        *,
        part: PyTree | None = None,
    ) -> np.ndarray:
        """Returns at points of lines, (points, discounts)."""
        point = self._part if part is None else part
        return self._owner._evaluate(
            point, self._rest, self._table, self._key, lines, offsets, inner
        )

    def holder(self, index: int) -> Estimate:
        """Exponent of one output."""
        return _take(self._estimates, index)

    def without_jumps(self, index: int) -> Estimate | None:
        """The same without the lines that hold jumps, if any do."""
        if self._rests is None or not self.jumps[index].lines.any():
            return None
        return _take(self._rests, index)

    def _exponents(self, values: np.ndarray) -> Estimate:
        return self._owner._exponents(values, self.spacings, self.noise)

    def _find_jumps(self, index: int) -> Jumps:
        return find_jumps(
            self.values[..., index],
            self.spacings,
            lambda lines, offsets: self.evaluate(lines, offsets)[:, index],
            noise_variance=float(self.noise[index]),
        )


def _directions(key: Key, part: PyTree, lines: int, radius: float) -> PyTree:
    """Offsets of the lines' centres, then lines of root mean square 1, stacked.

    Drawn by NumPy, seeded by the key: a draw by JAX takes a second to compile.
    """
    leaves, structure = jax.tree.flatten(jax.tree.map(np.asarray, part))
    generator = np.random.default_rng(key_numbers(key).astype(np.uint64))
    sizes = [leaf.size for leaf in leaves]
    drawn = generator.standard_normal((2 * lines, sum(sizes)))
    scale = np.linalg.norm(drawn[lines:], axis=1, keepdims=True) / math.sqrt(max(sum(sizes), 1))
    drawn = np.concatenate([radius * drawn[:lines], drawn[lines:] / scale])
    cut = np.split(drawn, np.cumsum(sizes)[:-1], axis=1)
    stacked = [
        piece.reshape((2 * lines, *leaf.shape)).astype(leaf.dtype)
        for piece, leaf in zip(cut, leaves, strict=True)
    ]
    return jax.tree.unflatten(structure, stacked)


def key_numbers(key: Key) -> np.ndarray:
    """Numbers of a key of either kind."""
    typed = jax.dtypes.issubdtype(key.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(key) if typed else key)


def _last_place(part: PyTree) -> PyTree:
    """Move every parameter by a unit in its last place, up and down in turn."""

    def move(given: Array) -> np.ndarray:
        leaf = np.asarray(given)
        up = np.arange(leaf.size).reshape(leaf.shape) % 2 == 0
        return np.asarray(np.nextafter(leaf, np.where(up, np.inf, -np.inf).astype(leaf.dtype)))

    return jax.tree.map(move, part)


def _noise_variance(values: np.ndarray, shaken: np.ndarray) -> np.ndarray:
    """Variance of one return by rounding: of the parameters, or at least of itself."""
    place = np.spacing(np.where(np.isfinite(values), np.abs(values), 0.0)).astype(float)
    return np.maximum(_mean_square(values.astype(float) - shaken) / 2, _mean_square(place) / 12)


def _mean_square(errors: np.ndarray) -> np.ndarray:
    """Mean square over points, those that are not finite left out."""
    kept = np.isfinite(errors)
    squared = np.where(kept, errors.astype(float), 0.0) ** 2
    return squared.sum(axis=0) / np.maximum(kept.sum(axis=0), 1)


def _take(estimate: Estimate, index: int) -> Estimate:
    return jax.tree.map(lambda leaf: np.asarray(leaf)[index], estimate)
