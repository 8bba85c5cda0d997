"""The registry: environments by name, whoever simulates them.

A source (a library that simulates) is one entry of `_FACTORIES`: a function
`(name, backend, dtype, options) -> Environment` that imports what it needs when called.
To add a source, write its factory and list its environments in `_ENTRIES`.

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

import dataclasses
import difflib
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from fracjax.rl import classic
from fracjax.rl.environment import Environment

__all__ = ["Entry", "entries", "make"]

_Factory: TypeAlias = Callable[[str, str, str, Mapping[str, Any]], Environment]


@dataclasses.dataclass(frozen=True)
class Entry:
    """What is known of an environment without building it.

    Attributes:
        name: Name for `make`.
        source: `"analytic"` (equations in fracjax) or the library that simulates it.
        backends: Physics backends offered; none if broken.
        default_backend: The one that `make` takes if none is given.
        observation_size: Length of an observation, if known.
        action_size: Length of an action, if known.
        state_size: Number of physical coordinates, if known.
        dt: Seconds per control step on the default backend, if known.
        note: What a user should know before trusting a result, or "".
        broken: Why it cannot be made, or `None`.
        extra: Which of fracjax's extras it needs (`pip install 'fracjax[extra]'`), or `None`.
    """

    name: str
    source: str
    backends: tuple[str, ...]
    default_backend: str | None
    observation_size: int | None = None
    action_size: int | None = None
    state_size: int | None = None
    dt: float | None = None
    note: str = ""
    broken: str | None = None
    extra: str | None = None


def entries() -> list[Entry]:
    """List all environments, those that do not work and the reason included."""
    return list(_ENTRIES)


def make(
    name: str, *, backend: str | None = None, dtype: str = "float32", **options: Any
) -> Environment:
    """Build an environment.

    Args:
        name: Name of an entry, of DM Control's with or without `dmc_`.
        backend: One of the entry's backends; its default if not given.
        dtype: str of states, observations and rewards. float64 needs `jax_enable_x64`;
            float32 stays float32 with and without it.
        **options: Keyword arguments of the environment, such as `torque_limit` of
            `fracjax.rl.classic.acrobot`, `ctrl_cost_weight` of Brax's environments, `ctrl_dt` of
            Playground's or `max_torque` of gymnax's.

    Raises:
        ValueError: If there is no such environment, backend or dtype, or its extra is missing.
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
    known = {entry.name: entry for entry in _ENTRIES}
    if name not in known and _DM_CONTROL + name in known:
        name = _DM_CONTROL + name
    if name not in known:
        usable = [entry.name for entry in _ENTRIES if entry.broken is None]
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
_DM_CONTROL = "dmc_"
_SAME_MODEL = "gymnasium's model on MJX; contacts: compiles for a minute or two on a CPU"
_DISCRETE = "a choice by argmax: the loop is piecewise smooth and returns jump at switches; "


def _of_extra(
    source: str, backend: str, name: str, sizes: tuple[int, int, int], dt: float, note: str
) -> Entry:
    """List an environment of the extra that is named like its source."""
    return Entry(
        name=name,
        source=source,
        backends=(backend,),
        default_backend=backend,
        observation_size=sizes[0],
        action_size=sizes[1],
        state_size=sizes[2],
        dt=dt,
        note=f"needs `pip install 'fracjax[{source}]'`; {note}",
        extra=source,
    )


_ENTRIES: tuple[Entry, ...] = (
    Entry(
        name="acrobot",
        source="analytic",
        backends=("analytic",),
        default_backend="analytic",
        observation_size=6,
        action_size=1,
        state_size=4,
        dt=0.05,
        note="chaotic for about half of random policies at the default 5 N m; frictionless, so"
        " a motor can spin it faster than 0.05 s resolve: see `damping` and `substeps`",
    ),
    Entry(
        name="pendulum",
        source="analytic",
        backends=("analytic",),
        default_backend="analytic",
        observation_size=3,
        action_size=1,
        state_size=2,
        dt=0.05,
        note="two state variables, so never chaotic: separatrix jumps at most",
    ),
    Entry(
        name="double_pendulum",
        source="analytic",
        backends=("analytic",),
        default_backend="analytic",
        observation_size=6,
        action_size=2,
        state_size=4,
        dt=0.05,
        note="strongly chaotic once it swings; `actuated='first'` for one motor",
    ),
    Entry(
        name="cartpole_swingup",
        source="analytic",
        backends=("analytic",),
        default_backend="analytic",
        observation_size=5,
        action_size=1,
        state_size=4,
        dt=0.05,
        note="terminates at the ends of the track, most random policies within 100 steps",
    ),
    Entry(
        name="inverted_pendulum",
        source="brax",
        backends=("spring", "positional", "generalized", "mjx"),
        default_backend="spring",
        observation_size=4,
        action_size=1,
        state_size=4,
        dt=0.02,
        note="pays 1 in every step: returns count steps, piecewise constant in the parameters",
    ),
    Entry(
        name="inverted_double_pendulum",
        source="brax",
        backends=("spring", "positional", "generalized"),
        default_backend="spring",
        observation_size=8,
        action_size=1,
        state_size=6,
        dt=0.02,
    ),
    Entry(
        name="reacher",
        source="brax",
        backends=("spring", "positional", "generalized", "mjx"),
        default_backend="spring",
        observation_size=11,
        action_size=2,
        state_size=8,
        dt=0.02,
        note="the target's coordinates are part of the state",
    ),
    Entry(
        name="hopper",
        source="brax",
        backends=("spring",),
        default_backend="spring",
        observation_size=11,
        action_size=3,
        state_size=12,
        dt=0.008,
        note="contacts are stiff: tangents grow fast at every impact",
    ),
    Entry(
        name="halfcheetah",
        source="brax",
        backends=("spring",),
        default_backend="spring",
        observation_size=17,
        action_size=6,
        state_size=18,
        dt=0.05,
        note="contacts are stiff: tangents grow fast at every impact",
    ),
    Entry(
        name="ant",
        source="brax",
        backends=("spring",),
        default_backend="spring",
        observation_size=27,
        action_size=8,
        state_size=29,
        dt=0.05,
        note="contacts are stiff: tangents grow fast at every impact",
    ),
    Entry(
        name="walker2d",
        source="brax",
        backends=("spring",),
        default_backend="spring",
        observation_size=17,
        action_size=6,
        state_size=18,
        dt=0.008,
        note="contacts are stiff: tangents grow fast at every impact",
    ),
    Entry(
        name="swimmer",
        source="brax",
        backends=(),
        default_backend=None,
        broken="Brax 0.14.2 calls `clip(a_min=...)`, which JAX 0.10 no longer knows",
    ),
    *(
        _of_extra("playground", "mjx", _DM_CONTROL + name, sizes, dt, note)
        for name, sizes, dt, note in (
            ("cartpole_balance", (5, 1, 4), 0.01, "neutral without action: no friction"),
            ("cartpole_swingup", (5, 1, 4), 0.01, "neutral without action: no friction"),
            ("point_mass", (4, 2, 4), 0.02, "linear but for its walls: a damped mass in a plane"),
            ("walker_stand", (24, 6, 18), 0.025, "contacts: compiles for a minute on a CPU"),
            ("walker_walk", (24, 6, 18), 0.025, "contacts: compiles for a minute on a CPU"),
            ("walker_run", (24, 6, 18), 0.025, "contacts: compiles for a minute on a CPU"),
            ("cheetah_run", (17, 6, 18), 0.01, "contacts: compiles for a minute on a CPU"),
        )
    ),
    *(
        _of_extra("gymnax", "gymnax", name, sizes, dt, note)
        for name, sizes, dt, note in (
            ("Pendulum-v1", (3, 1, 2), 0.05, "speed clipped at 8 rad/s, angle wrapped in the cost"),
            (
                "MountainCarContinuous-v0",
                (2, 1, 2),
                1.0,
                "pays 100 at the goal alone: returns jump; no seconds, so `dt` is one step",
            ),
            (
                "Reacher-misc",
                (8, 2, 6),
                0.05,
                "joints are not coupled; the goal is in the state",
            ),
            ("CartPole-v1", (4, 2, 4), 0.02, _DISCRETE + "pays 1 in every step"),
            (
                "Acrobot-v1",
                (6, 3, 4),
                0.2,
                _DISCRETE + "angles wrap, so distances of states jump there: use tangents",
            ),
            (
                "MountainCar-v0",
                (2, 3, 2),
                1.0,
                _DISCRETE + "pays -1 in every step; no seconds, so `dt` is one step",
            ),
        )
    ),
    *(
        _of_extra("gymnasium", "mjx", name, sizes, dt, note)
        for name, sizes, dt, note in (
            ("HalfCheetah-v5", (17, 6, 18), 0.05, _SAME_MODEL),
            ("Hopper-v5", (11, 3, 12), 0.008, _SAME_MODEL),
            ("InvertedDoublePendulum-v5", (9, 1, 6), 0.05, _SAME_MODEL),
            ("InvertedPendulum-v5", (4, 1, 4), 0.04, "gymnasium's model on MJX"),
            ("Reacher-v5", (10, 2, 8), 0.02, "the target is in the state"),
            ("Swimmer-v5", (8, 2, 10), 0.04, "gymnasium's model on MJX"),
            ("Walker2d-v5", (17, 6, 18), 0.008, _SAME_MODEL),
        )
    ),
)
