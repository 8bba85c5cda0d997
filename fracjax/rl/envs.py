"""The registry: environments by name, whoever simulates them.

A source (a library that simulates) is one entry of `_FACTORIES`: a function
`(name, backend, dtype, options) -> Environment` that imports what it needs when called.
To add a source, write its factory and list its environments in `environment_table.ENTRIES`.

A Brax environment is offered on those backends on which it was stepped and its
Jacobian-vector products through `from_coordinates` were compared with finite differences in
float64. What failed is listed with the reason. Brax's pusher, its humanoids and the backends
that are not offered have not passed that test: compiling them took too long, or nobody tried.

DM Control's tasks (MuJoCo Playground, on MJX's own implementation) and gymnax's environments
passed it too. They need an extra each, which their notes and the error without it name. DM
Control's names begin with `dmc_`, which may be left out where no other environment has the rest;
gymnax's are its own (`Pendulum-v1`), and so are those of gymnasium's MuJoCo tasks (`Hopper-v5`), on
the same models by MJX; `dynamics_mismatch` measures by how much that differs.
"""

import difflib
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from fracjax.rl import classic
from fracjax.rl.environment import Environment
from fracjax.rl.environment_table import DM_CONTROL, ENTRIES, Entry

__all__ = ["Entry", "entries", "make"]

_Factory: TypeAlias = Callable[[str, str, str, Mapping[str, Any]], Environment]


def entries() -> list[Entry]:
    """List all environments, those that do not work and the reason included."""
    return list(ENTRIES)


def make(
    name: str, *, backend: str | None = None, dtype: str = "float32", **options: Any
) -> Environment:
    """Build an environment.

    Args:
        name: Name of an entry, of DM Control's with or without `dmc_`.
        backend: One of the entry's backends; its default if not given.
        dtype: That of states, observations and rewards. float64 needs `jax_enable_x64`;
            float32 stays float32 with and without it.
        **options: Keyword arguments of the environment, such as `torque_limit` of
            `fracjax.rl.classic.acrobot`, `ctrl_cost_weight` of Brax's environments, `ctrl_dt` of
            Playground's or `max_torque` of gymnax's.

    Raises:
        ValueError: If there is no such environment, backend or dtype, or its extra is missing.

    Example:
        >>> from fracjax import rl
        >>> pendulum = rl.make("pendulum", dtype="float64")
        >>> pendulum.observation_size, pendulum.action_size, pendulum.dt
        (3, 1, 0.05)
    """
    entry = _find(name)
    backend = backend or entry.default_backend
    if backend is None or backend not in entry.backends:
        offered = ", ".join(entry.backends)
        msg = f"Argument `backend` of `{name}` must be one of {offered}, but is {backend!r}."
        raise ValueError(msg)
    if dtype not in ("float32", "float64"):
        msg = f"Argument `dtype` must be 'float32' or 'float64', but is {dtype!r}."
        raise ValueError(msg)
    if jax.dtypes.canonicalize_dtype(dtype) != jnp.dtype(dtype):
        msg = f"Argument `dtype` is {dtype!r}, but JAX needs `jax_enable_x64` for it."
        raise ValueError(msg)
    return _FACTORIES[entry.source](entry.name, backend, dtype, options)


def _find(name: str) -> Entry:
    known = {entry.name: entry for entry in ENTRIES}
    if name not in known and DM_CONTROL + name in known:
        name = DM_CONTROL + name
    if name not in known:
        usable = [entry.name for entry in ENTRIES if entry.broken is None]
        near = difflib.get_close_matches(name, usable, n=3, cutoff=0.4) or sorted(usable)
        msg = f"Argument `name` must name an environment ({', '.join(near)}), but is {name!r}."
        raise ValueError(msg)
    entry = known[name]
    if entry.broken is not None:
        msg = f"Argument `name` is {name!r}, which does not work: {entry.broken}."
        raise ValueError(msg)
    return entry


def _analytic(name: str, backend: str, dtype: str, options: Mapping[str, Any]) -> Environment:
    del backend
    builders: Mapping[str, Callable[..., Environment]] = {
        "acrobot": classic.acrobot,
        "cartpole_swingup": classic.cartpole_swingup,
        "double_pendulum": classic.double_pendulum,
        "pendulum": classic.pendulum,
    }
    return builders[name](dtype=dtype, **options)


def _brax(name: str, backend: str, dtype: str, options: Mapping[str, Any]) -> Environment:
    from fracjax.rl import brax_envs

    return brax_envs.create(name, backend=backend, dtype=dtype, **options)


def _playground(name: str, backend: str, dtype: str, options: Mapping[str, Any]) -> Environment:
    from fracjax.rl import playground

    del backend
    return playground.create(name, dtype=dtype, **options)


def _gymnax(name: str, backend: str, dtype: str, options: Mapping[str, Any]) -> Environment:
    from fracjax.rl import gymnax_envs

    del backend
    return gymnax_envs.create(name, dtype=dtype, **options)


def _gymnasium(name: str, backend: str, dtype: str, options: Mapping[str, Any]) -> Environment:
    from fracjax.rl import gymnasium_mujoco

    del backend
    return gymnasium_mujoco.create(name, dtype=dtype, **options)


_FACTORIES: dict[str, _Factory] = {
    "analytic": _analytic,
    "brax": _brax,
    "gymnasium": _gymnasium,
    "gymnax": _gymnax,
    "playground": _playground,
}
