"""Several processes, perhaps on several machines, that work on one job."""

import os
import time
from collections.abc import Callable

import jax

__all__ = ["count", "index", "join", "wait_until"]

# Number of tasks, as launchers tell it: SLURM's srun and Open MPI's mpirun.
_LAUNCHERS = {
    "SLURM_STEP_NUM_TASKS": "SLURM_PROCID",
    "OMPI_COMM_WORLD_SIZE": "OMPI_COMM_WORLD_RANK",
}


def join(
    coordinator: str | None = None, num_processes: int | None = None, process: int | None = None
) -> None:
    """Make this process one of several; call it before JAX computes.

    With a coordinator, all three arguments are needed. Without one, does what the launcher
    says (`srun`, `mpirun`), and nothing when there is none or it started a single task.

    Args:
        coordinator: Host and port of process 0, as `host:port`.
        num_processes: How many there are.
        process: Which this one is, from 0.

    Raises:
        ValueError: If arguments are missing or out of range.
    """
    if coordinator is None:
        if num_processes is not None or process is not None:
            msg = "--num-processes and --process need --coordinator HOST:PORT."
            raise ValueError(msg)
        if launched() > 1:
            jax.distributed.initialize()
        return
    if num_processes is None or process is None:
        msg = "--coordinator needs --num-processes and --process."
        raise ValueError(msg)
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        msg = f"--coordinator must look like host:port, but is {coordinator!r}."
        raise ValueError(msg)
    if num_processes < 1:
        msg = f"--num-processes must be positive, but is {num_processes}."
        raise ValueError(msg)
    if not 0 <= process < num_processes:
        msg = f"--process must lie between 0 and {num_processes - 1}, but is {process}."
        raise ValueError(msg)
    jax.distributed.initialize(coordinator, num_processes, process)


def launched() -> int:
    """Number of tasks that the launcher of this process says it started; 1 without one."""
    for name, rank in _LAUNCHERS.items():
        if os.environ.get(name, "").isdecimal() and rank in os.environ:
            return int(os.environ[name])
    return 1


def index() -> int:
    """Which process this is, from 0."""
    return jax.process_index()


def count() -> int:
    """How many processes there are."""
    return jax.process_count()


def wait_until(condition: Callable[[], bool], *, seconds_between: float = 0.1) -> None:
    """Wait for what another process does, seen on a file system that both see.

    Not a collective operation: libraries for these print on standard output. If another
    process dies, `jax.distributed` ends this one after a while.
    """
    while not condition():
        time.sleep(seconds_between)
