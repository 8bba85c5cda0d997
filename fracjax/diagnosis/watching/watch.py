"""Watch a training run: chaos, roughness and return at a schedule, within a budget."""

import dataclasses
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np

from fracjax import tree
from fracjax._types import Key, Objective, PyTree
from fracjax.diagnosis.findings import Problem
from fracjax.diagnosis.watching import policies
from fracjax.diagnosis.watching.advice import Advice, advise
from fracjax.diagnosis.watching.alarms import Message, Stretch, messages, stretches
from fracjax.diagnosis.watching.budget import SIZES, Budget, Pace, Size
from fracjax.diagnosis.watching.journal import Journal
from fracjax.diagnosis.watching.line_returns import key_numbers
from fracjax.diagnosis.watching.measurement import Measurement
from fracjax.diagnosis.watching.records import Cost, Record
from fracjax.rl.environment import Environment
from fracjax.rl.networks import PolicyNetwork

__all__ = ["Watch", "problem_of_objective", "watch_policies"]


@runtime_checkable
class _Measures(Protocol):
    """What a `Watch` asks of a measurement."""

    def prepare(self, params: PyTree, clock: Callable[[], float]) -> float: ...

    def measure(self, params: PyTree, key: Key, size: Size, *, step: int) -> Record: ...


class Watch:
    """Looks at a run while it trains, and takes no more than a fraction of its time.

    Call it with the step and the parameters as often as you like. Most calls return `None` at
    once; where `every` steps have passed since the last record and the budget allows it (see
    `fracjax.diagnosis.watching.budget` for the rule and its worst case), it measures the largest
    Lyapunov exponent λ, the Hölder exponent α at every discount, what -ln γ/λ predicts, the noise
    of rounding and the return, writes a record, and says when the run enters or leaves a
    fractal stretch. The size of the estimate is what the budget leaves room for. Programs take the
    parameters as an argument and are compiled once, which counts as time spent.

    In any Optax loop:

        problem = problem_of_objective(loss, params)     # or a `Problem` with a closed loop
        watch = Watch(problem, jax.random.key(0), budget=0.1, every=100, maximize=False)
        for step in range(num_steps):
            gradients = jax.grad(loss)(params, key)
            updates, state = optimizer.update(gradients, state)
            params = optax.apply_updates(params, updates)
            watch(step, params)
        print(watch.summary())

    In Brax:

        watch = watch_policies(environment, network, jax.random.key(0), discounts=(0.99,))
        ppo.train(..., policy_params_fn=watch.policy_params_fn(normalize=True))

    In float32 rounding can pose as roughness: without `Problem.reference` the noise floor is
    measured by moving all parameters by one unit in the last place, which shares most
    roundings, and came out five times too small on the acrobot, whose smooth return at γ = .9
    then read α = .2. Watch in float64, as `watch_policies` does whatever the training does, or
    give a reference.

    Intervals of 8 lines (size "small") are wide; see `exponent_from_lines` for their coverage.
    """

    def __init__(
        self,
        problem: Problem,
        key: Key,
        *,
        budget: float = 0.1,
        every: int = 1,
        total_steps: int | None = None,
        folder: str | os.PathLike | None = None,
        configuration: Mapping[str, Any] | None = None,
        sizes: Sequence[Size] = SIZES,
        largest_scale: float | None = None,
        smallest_scale: float | None = None,
        chunk_size: int | None = None,
        maximize: bool = True,
        split: Callable[[PyTree], tuple[PyTree, PyTree]] | None = None,
        join: Callable[[PyTree, PyTree], PyTree] | None = None,
        first_compiling: float = 10.0,
        on_record: Callable[["Watch", Record], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        measurement: _Measures | None = None,
    ):
        """Start the clock; nothing is compiled yet.

        Args:
            problem: What to watch; `objective` and `step_at` are called with the parameters of
                the run, and its `params` give shapes and the typical size.
            key: Draws lines and frames, others at every step.
            budget: Fraction of training time.
            every: Fewest steps between two records.
            total_steps: Steps of the whole run, if known: compiling is written off over it.
            folder: Keep records here (see `journal`). Records that lie there are gone on
                with: no step twice, and time spent counts on.
            configuration: Noted in the folder beside the settings; a folder of another one
                is refused.
            sizes: Sizes to choose from, smallest first.
            largest_scale: See `Measurement`.
            smallest_scale: See `Measurement`.
            chunk_size: See `Measurement`.
            maximize: Whether the run raises a return, and not lowers a loss.
            split: Parts the run's parameters into those whose landscape is looked at and the
                rest; all of them by default.
            join: Undoes `split`.
            first_compiling: Seconds that compiling is expected to take.
            on_record: Called after every record, to draw or print; its time counts.
            clock: Seconds, for tests.
            measurement: Measures instead of the default.

        Raises:
            ValueError: If a setting is out of range, or the folder holds another run.
        """
        _check(problem, budget, every, sizes)
        self.every = every
        self.maximize = maximize
        self.on_record = on_record
        self._key = key
        self._measurement = measurement or Measurement(
            problem,
            max(size.states for size in sizes),
            max(size.lines for size in sizes),
            split=split,
            join=join,
            largest_scale=largest_scale,
            smallest_scale=smallest_scale,
            chunk_size=chunk_size,
        )
        self._split = split or (lambda params: (params, ()))
        self._journal = None
        self._records: list[Record] = []
        if folder is not None:
            settings = {
                **(configuration or {}),
                "key": key_numbers(key).tolist(),
                "discounts": list(problem.discounts),
                "horizon": problem.horizon,
                "dt": problem.dt,
                "every": every,
                "maximize": maximize,
                "largest_scale": getattr(self._measurement, "largest_scale", None),
                "smallest_scale": getattr(self._measurement, "smallest_scale", None),
            }
            self._journal = Journal(folder, settings)
            self._records = self._journal.records
        costs = [record.cost for record in self._records if record.cost is not None]
        spent = max(costs, key=lambda cost: cost.training, default=Cost(0.0, 0.0, 0.0, 0.0))
        self.budget = Budget(
            budget,
            sizes,
            first_compiling=first_compiling,
            training=spent.training,
            watching=spent.watching,
            compiling=spent.compiling,
            clock=clock,
        )
        self._pace = Pace(total_steps)
        self._before: PyTree | None = None
        self._skipped = 0

    @property
    def records(self) -> list[Record]:
        """All records, by rising step."""
        return list(self._records)

    @property
    def messages(self) -> list[Message]:
        """What began and ended; see `alarms.messages`."""
        return messages(self._records, maximize=self.maximize)

    @property
    def stretches(self) -> list[Stretch]:
        """Parts of the run; see `alarms.stretches`."""
        return stretches(self._records, maximize=self.maximize)

    def advice(self, *, index: int = 0) -> list[Advice]:
        """What to try, by the last record; see `advice.advise`."""
        return advise(self._records[-1], index=index) if self._records else []

    def __call__(self, step: int, params: PyTree) -> Record | None:
        """Look, if it is time and the budget allows it.

        Args:
            step: Steps done, rising.
            params: Parameters now.

        Returns:
            The record, or `None`.
        """
        budget = self.budget
        self._pace.note(step, budget.training())
        if not self._is_due(step):
            return None
        progress = self._pace.progress(step, budget.training())
        if not budget.compiled:
            if not budget.may_compile(progress):
                self._skipped += 1
                return None
            started = budget.now()
            rate = self._measurement.prepare(params, budget.now)
            budget.expect(rate)
            budget.spend(started, compiling=True)
        size = budget.largest(progress)
        if size is None:
            self._skipped += 1
            return None
        return self._look(step, params, size, timed=True)

    def look(self, step: int, params: PyTree, *, size: Size | None = None) -> Record | None:
        """Look whatever it costs, unless there is a record: for runs that are over.

        Such records do not depend on time: an interrupted series that is gone on with ends in
        the same bytes.

        Args:
            step: Step of the parameters.
            params: Parameters.
            size: How much to compute; the largest by default.
        """
        if any(record.step == step for record in self._records):
            return None
        return self._look(step, params, size or self.budget.sizes[-1], timed=False)

    def policy_params_fn(
        self, *, normalize: bool, offset: int = 0, dtype: str = "float64"
    ) -> Callable[[int, Any, Any], None]:
        """Make the callback for Brax's PPO; for a watch of `watch_policies`.

        Args:
            normalize: Whether the training normalises observations.
            offset: Steps done before this training began.
            dtype: Precision that the watch was made with.
        """

        def callback(step: int, _: Any, params: Any) -> None:
            with jax.enable_x64(dtype == "float64"):
                self(step + offset, policies.of_brax(params, normalize=normalize, dtype=dtype))

        return callback

    def summary(self) -> dict[str, Any]:
        """What watching cost so far, and what was found, as values that JSON can hold."""
        budget, training = self.budget, self.budget.training()
        running = budget.watching - budget.compiling
        return {
            "records": len(self._records),
            "budget": budget.fraction,
            "training_seconds": training,
            "watching_seconds": budget.watching,
            "compiling_seconds": budget.compiling,
            "share": budget.watching / training if training > 0 else None,
            "share_without_compiling": running / training if training > 0 else None,
            "messages": [dataclasses.asdict(message) for message in self.messages],
            "advice": [dataclasses.asdict(advice) for advice in self.advice()],
        }

    def note(self, state: str, **details: Any) -> None:
        """Tell followers how the run stands: "running", "finished" or "interrupted"."""
        if self._journal is not None:
            self._journal.note(state, **details)

    def _is_due(self, step: int) -> bool:
        steps = [record.step for record in self._records]
        if step in steps:
            return False
        earlier = [done for done in steps if done < step]
        return not earlier or step - max(earlier) >= self.every

    def _look(self, step: int, params: PyTree, size: Size, *, timed: bool) -> Record:
        budget = self.budget
        started = budget.now()
        key = jax.random.fold_in(self._key, step)
        record = self._measurement.measure(params, key, size, step=step)
        part, _ = self._split(params)
        if timed and self._before is not None:
            change = tree.add_scaled(part, -1.0, self._before)
            moved = float(tree.norm(change)) / math.sqrt(max(tree.size(part), 1))
            record = dataclasses.replace(record, moved=moved)
        self._before = jax.tree.map(np.asarray, part)
        if timed:
            spent = budget.now() - started
            cost = Cost(
                training=budget.training() - spent,
                watching=budget.watching + spent,
                compiling=budget.compiling,
                last=spent,
            )
            record = dataclasses.replace(record, cost=cost, skipped=self._skipped)
        self._skipped = 0
        if self._journal is not None:
            self._journal.append(record)
            self._records = self._journal.records
        else:
            self._records = sorted([*self._records, record], key=lambda kept: kept.step)
        if self.on_record is not None:
            self.on_record(self, record)
        if timed:
            budget.learn(size, budget.spend(started))
        return record


def watch_policies(
    environment: Environment,
    network: PolicyNetwork,
    key: Key,
    *,
    normalize: bool = True,
    discounts: Sequence[float] = (0.99,),
    horizon: int = 400,
    num_return_states: int = 2,
    dtype: str = "float64",
    sizes: Sequence[Size] = SIZES,
    **options: Any,
) -> Watch:
    """Make a `Watch` whose parameters are (weights, normaliser) of policies of one network.

    Args:
        environment: The simulator, in `dtype`.
        network: The policies' network.
        key: Draws initial states (the same along the run), lines and frames.
        normalize: Whether the policies normalise observations.
        discounts: Discounts γ, that of the training first.
        horizon: Steps of a return and of the tangents.
        num_return_states: Initial states that a return of the landscape averages over.
        dtype: Precision of the watching, with `jax_enable_x64` on where it is float64.
        sizes: See `Watch`.
        **options: Passed to `Watch`.
    """
    problem = policies.moving_problem(
        environment,
        network,
        jax.random.fold_in(key, 0),
        normalize=normalize,
        dtype=dtype,
        discounts=discounts,
        horizon=horizon,
        num_states=max(size.states for size in sizes),
        num_return_states=num_return_states,
    )
    return Watch(
        problem,
        jax.random.fold_in(key, 1),
        sizes=sizes,
        split=policies.split,
        join=policies.join,
        **options,
    )


def problem_of_objective(objective: Objective, params: PyTree) -> Problem:
    """Pose an objective that is no return: without closed loop, exponent and discount.

    Records then hold α, the noise floor and the value (without an interval) at "discount 1".

    Args:
        objective: `objective(params, key)`, a scalar. The key is the same at all points of
            one record and differs between records.
        params: Parameters of the typical size.
    """
    return Problem(
        step=lambda state: state,
        states=np.zeros((0, 1)),
        objective=objective,
        params=params,
        discounts=(1.0,),
        dt=1.0,
        horizon=1,
    )


def _check(problem: Problem, budget: float, every: int, sizes: Sequence[Size]) -> None:
    if not budget > 0:
        msg = f"Argument `budget` must be positive, but is {budget}."
        raise ValueError(msg)
    if every < 1:
        msg = f"Argument `every` must be at least 1, but is {every}."
        raise ValueError(msg)
    if not sizes or any(size.lines < 8 or size.states < 2 for size in sizes):
        msg = f"Argument `sizes` must hold sizes of at least 8 lines and 2 states, but is {sizes}."
        raise ValueError(msg)
    discounted = problem.step_at is not None
    if not problem.discounts or not all(
        0 < discount < 1 or (discount == 1 and not discounted) for discount in problem.discounts
    ):
        msg = f"Argument `discounts` must lie inside (0, 1), but is {problem.discounts}."
        raise ValueError(msg)
