"""Spread a leading axis over the local devices; the only user of `jax.sharding`."""

import os
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from fracjax._types import PyTree
from fracjax.sequential_lapack import one_matrix_at_a_time

__all__ = ["one_cpu_device_per_core", "replicate", "spread"]

_AXIS = "points"


def spread(function: Callable, devices: Sequence[jax.Device]) -> Callable:
    """Run `function(rows, *shared)` with the leading axis of `rows` cut over `devices`.

    Every device runs the same program on its own rows without communication, so results
    do not depend on the number of devices as long as each gets equally many rows. On several
    CPU devices LAPACK gets one matrix at a time (see `sequential_lapack`).

    Args:
        function: Takes rows (leading axis cut) and replicated arguments; returns a pytree
            of arrays with the same leading axis.
        devices: Devices to use; their number must divide the number of rows.
    """
    mesh = Mesh(devices, (_AXIS,), axis_types=(AxisType.Auto,))
    rows, shared = PartitionSpec(_AXIS), PartitionSpec()
    if len(devices) > 1 and devices[0].platform == "cpu":
        function = one_matrix_at_a_time(function)

    def run(inputs: object, *arguments: object) -> object:
        specs = (rows, *(shared for _ in arguments))
        cut = jax.shard_map(function, mesh=mesh, in_specs=specs, out_specs=rows, check_vma=False)
        place = NamedSharding(mesh, rows), NamedSharding(mesh, shared)
        return cut(
            jax.device_put(inputs, place[0]), *(jax.device_put(a, place[1]) for a in arguments)
        )

    return run


def replicate(tree: PyTree, devices: Sequence[jax.Device]) -> PyTree:
    """Give every device its own copy of `tree`, stacked along a new leading axis.

    What `jax.device_put_replicated` did until JAX 0.10, as input to `jax.pmap`.
    """
    mesh = Mesh(devices, (_AXIS,), axis_types=(AxisType.Auto,))
    place = NamedSharding(mesh, PartitionSpec(_AXIS))
    return jax.tree.map(
        lambda leaf: jax.device_put(jnp.stack([jnp.asarray(leaf)] * len(devices)), place), tree
    )


def one_cpu_device_per_core() -> None:
    """Ask JAX for one CPU device per core; call it before JAX is used.

    XLA runs the small operations of a rollout on one thread, so a single CPU device
    leaves the other cores idle. Does nothing where the user has already chosen
    (`jax_num_cpu_devices` or `XLA_FLAGS`).
    """
    chosen = "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", "")
    if chosen or getattr(jax.config, "jax_num_cpu_devices", -1) != -1:
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    jax.config.update("jax_num_cpu_devices", cores or 1)
