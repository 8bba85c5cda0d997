"""A live monitor: measure a network every so many steps of any training loop, and keep it.

    def measure(params, grads, updates):
        return measure_network(hidden(params, probe_batch), params, grads, updates)

    with open_monitor("run/metrics.zarr", measure, every=100) as monitor:
        for step in range(num_steps):
            ...
            monitor.record(step, params, grads, updates, loss=loss)

Another process reads it at any moment by `load_series("run/metrics.zarr")`, and
`fracjax.plotting.network_metrics.metrics_figure` draws it. For a loop that is compiled whole use
`monitored`, for Brax `Monitor.policy_params_fn`.
"""

import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.experimental import io_callback
from jaxtyping import Array, Int

from fracjax._types import PyTree
from fracjax.estimators.settings import check_at_least
from fracjax.learning.network_metrics.metrics import NetworkMetrics
from fracjax.learning.paths.series import SeriesRecorder, open_series
from fracjax.learning.paths.writers import BlockWriter

__all__ = ["Measure", "Monitor", "MonitoredState", "monitored", "open_monitor"]

Measure = Callable[[PyTree, PyTree | None, PyTree | None], NetworkMetrics | Mapping[str, Array]]


class MonitoredState(NamedTuple):
    """State of `monitored`.

    Attributes:
        updates: How many there were so far.
        optimizer: State of the optimiser.
    """

    updates: Int[Array, ""]
    optimizer: Any


class Monitor(BlockWriter):
    """Measures and writes; made by `open_monitor`, best in a `with` block.

    Attributes:
        every: Fewest steps between two measurements.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        measure: Measure,
        *,
        every: int,
        num_seeds: int | None,
        settings: Mapping[str, Any],
        keep_until: int | None,
    ):
        self.every = every
        self._folder = folder
        self._num_seeds = num_seeds
        self._settings = settings
        self._keep_until = keep_until
        self._series: SeriesRecorder | None = None
        self._last: int | None = None
        self._closed = False

        def scalars(
            params: PyTree, grads: PyTree | None, updates: PyTree | None
        ) -> dict[str, Array]:
            found = measure(params, grads, updates)
            return found.scalars() if isinstance(found, NetworkMetrics) else dict(found)

        self._one = scalars
        self._measure = jax.jit(scalars if num_seeds is None else jax.vmap(scalars))

    @property
    def last_step(self) -> int | None:
        """Step from which the next measurement is counted; None before this process's first."""
        return self._last

    def is_due(self, step: int) -> bool:
        """Whether `record` would measure at this step; asking costs nothing."""
        return self._last is None or step - self._last >= self.every

    def record(
        self,
        step: int,
        params: PyTree,
        grads: PyTree | None = None,
        updates: PyTree | None = None,
        **further: float | Array | np.ndarray,
    ) -> dict[str, Array] | None:
        """Measure and write where it is due: the first step, and those `every` after the last.

        The first call of the process compiles, and fixes the names: it decides whether there are
        norms of gradients and updates, and which further numbers.

        Args:
            step: Of training.
            params: As `measure` takes them, with a leading axis of seeds if there is one.
            grads: Their gradient, if it is to be measured.
            updates: What the optimiser adds to them, if it is to be measured.
            **further: Numbers to be kept in the same row (loss, return).

        Returns:
            What was measured; None where it was not due.

        Raises:
            ValueError: If names differ from those there, or other numbers are there at this step.
            OSError: If there is no room.
        """
        if not self.is_due(step):
            return None
        found = self._measure(params, grads, updates)
        self.write(step, {**found, **further})
        return found

    def write(self, step: int, numbers: Mapping[str, float | Array | np.ndarray]) -> bool:
        """Write numbers that were measured elsewhere, such as those of a compiled run.

        Args:
            step: Of training.
            numbers: By name, one for each seed or one for all.

        Returns:
            Whether they were written.

        Raises:
            ValueError: If the monitor is closed, names differ from those there, or other numbers
                are there at this step.
            OSError: If there is no room.
        """
        if self._closed:
            msg = f"The monitor of {self._folder} is closed: open it again by `open_monitor`."
            raise ValueError(msg)
        if self._series is None:
            self._series = open_series(
                self._folder,
                sorted(numbers),
                every=self.every,
                num_seeds=self._num_seeds,
                settings=self._settings,
                keep_until=self._keep_until,
            )
        written = self._series.record(int(step), numbers)
        # A run that goes on between two rows waits as long as one that was never interrupted.
        last = self._series.last_step
        self._last = int(step) if last is None else min(int(step), last)
        return written

    def policy_params_fn(
        self, select: Callable[[Any], PyTree] | None = None
    ) -> Callable[[int, Any, Any], None]:
        """Make Brax's `policy_params_fn(step, make_policy, params)`, called at every evaluation.

        To record the path as well, call both: `lambda *a: (record(*a), watch(*a))`.

        Args:
            select: Takes what `measure` is given out of Brax's `params`; all of it by default, as
                `measure_brax` wants it.
        """

        def policy_params_fn(step: int, make_policy: Any, params: Any) -> None:
            del make_policy
            self.record(int(step), params if select is None else select(params))

        return policy_params_fn

    def close(self, *, finished: bool = True) -> None:
        """Note how the run ended and let others write; the monitor cannot be used after it."""
        jax.effects_barrier()  # what a compiled loop has sent may be on its way
        self._closed = True
        if self._series is not None:
            self._series.close(finished=finished)


def open_monitor(
    folder: str | os.PathLike,
    measure: Measure,
    *,
    every: int = 1,
    num_seeds: int | None = None,
    settings: Mapping[str, Any] | None = None,
    keep_until: int | None = None,
) -> Monitor:
    """Begin to monitor a run, or go on after the last measurement that is there.

    A measurement costs what `measure` costs, compiled, and some 5 ms for the row; it happens on
    the steps that are due only. The file is opened at the first one.

    Args:
        folder: Where the numbers go; `run/metrics.zarr` stands beside `run/path.zarr`.
        measure: Takes parameters, gradient and update (None where none is given) and returns
            `NetworkMetrics` or numbers by name; pure. Measure on a fixed batch: shares of units
            depend on its size, and a batch that changes adds its noise to every curve.
        every: Fewest steps between two measurements.
        num_seeds: Size of the leading axis of all parameters where many seeds train side by side;
            `measure` sees one.
        settings: What makes this run another one than others, as JSON values.
        keep_until: Drop what was measured after this step first: that of the checkpoint from
            which a training that does not repeat itself to the bit goes on.

    Raises:
        ValueError: If `every` is less than 1.
    """
    check_at_least(every=(every, 1), num_seeds=(num_seeds, 1))
    return Monitor(
        folder,
        measure,
        every=every,
        num_seeds=num_seeds,
        settings=settings or {},
        keep_until=keep_until,
    )


def monitored(
    optimizer: optax.GradientTransformation, monitor: Monitor
) -> optax.GradientTransformationExtraArgs:
    """Put a monitor into an optimiser, for loops that are compiled whole (`lax.scan`).

    On updates `every`, 2 `every`, … the parameters after the update are measured on the device,
    with the gradient and the update itself, and sent to the monitor of this process. The updates
    are the optimiser's to the bit. Not under `vmap`: there the members would write one after the
    other to the same steps. Steps are counted in the state, so a run that goes on from a
    checkpoint of it goes on in the file.

    Args:
        optimizer: The optimiser, whole.
        monitor: Opened without `num_seeds`.

    Raises:
        ValueError: By `update`, if it is given no parameters.
    """
    inner = optax.with_extra_args_support(optimizer)

    def init(params: PyTree) -> MonitoredState:
        return MonitoredState(jnp.zeros((), jnp.int32), inner.init(params))

    def update(
        updates: PyTree, state: MonitoredState, params: PyTree | None = None, **extra: Any
    ) -> tuple[PyTree, MonitoredState]:
        if params is None:
            msg = "Argument `params` must be given to `update`, but is None."
            raise ValueError(msg)
        gradient = updates
        updates, after = inner.update(gradient, state.optimizer, params, **extra)
        count = state.updates + 1

        def send() -> None:
            moved = optax.apply_updates(params, updates)
            numbers = monitor._one(moved, gradient, updates)
            io_callback(_writer(monitor), None, count, numbers, ordered=True)

        jax.lax.cond(count % monitor.every == 0, send, lambda: None)
        return updates, MonitoredState(count, after)

    return optax.GradientTransformationExtraArgs(init, update)


def _writer(monitor: Monitor) -> Callable[[Any, Mapping[str, Any]], None]:
    def write(step: Any, numbers: Mapping[str, Any]) -> None:
        monitor.write(int(step), {name: np.asarray(value) for name, value in numbers.items()})

    return write
