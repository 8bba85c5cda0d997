"""What is known of every environment without building it."""

import dataclasses

__all__ = ["DM_CONTROL", "ENTRIES", "Entry"]


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


DM_CONTROL = "dmc_"
_ALL_BACKENDS = ("spring", "positional", "generalized", "mjx")
_STIFF = "contacts are stiff: tangents grow fast at every impact"
_SAME_MODEL = "gymnasium's model on MJX; contacts: compiles for a minute or two on a CPU"
_DISCRETE = "a choice by argmax: the loop is piecewise smooth and returns jump at switches; "


def _entry(
    source: str,
    backends: tuple[str, ...],
    name: str,
    sizes: tuple[int, int, int],
    dt: float,
    note: str,
) -> Entry:
    """List an environment that works, the default backend first; sizes as in `Entry`."""
    return Entry(
        name=name,
        source=source,
        backends=backends,
        default_backend=backends[0],
        observation_size=sizes[0],
        action_size=sizes[1],
        state_size=sizes[2],
        dt=dt,
        note=note,
    )


def _of_extra(
    source: str, backend: str, name: str, sizes: tuple[int, int, int], dt: float, note: str
) -> Entry:
    """List an environment of the extra that is named like its source."""
    note = f"needs `pip install 'fracjax[{source}]'`; {note}"
    return dataclasses.replace(_entry(source, (backend,), name, sizes, dt, note), extra=source)


ENTRIES: tuple[Entry, ...] = (
    *(
        _entry("analytic", ("analytic",), name, sizes, 0.05, note)
        for name, sizes, note in (
            (
                "acrobot",
                (6, 1, 4),
                "chaotic for about half of random policies at the default 5 N m; frictionless, so"
                " a motor can spin it faster than 0.05 s resolve: see `damping` and `substeps`",
            ),
            (
                "pendulum",
                (3, 1, 2),
                "two state variables, so never chaotic: separatrix jumps at most",
            ),
            (
                "double_pendulum",
                (6, 2, 4),
                "strongly chaotic once it swings; `actuated='first'` for one motor",
            ),
            (
                "cartpole_swingup",
                (5, 1, 4),
                "terminates at the ends of the track, most random policies within 100 steps",
            ),
        )
    ),
    *(
        _entry("brax", backends, name, sizes, dt, note)
        for name, backends, sizes, dt, note in (
            (
                "inverted_pendulum",
                _ALL_BACKENDS,
                (4, 1, 4),
                0.02,
                "pays 1 in every step: returns count steps, piecewise constant in the parameters",
            ),
            ("inverted_double_pendulum", _ALL_BACKENDS[:3], (8, 1, 6), 0.02, ""),
            (
                "reacher",
                _ALL_BACKENDS,
                (11, 2, 8),
                0.02,
                "the target's coordinates are part of the state",
            ),
            ("hopper", ("spring",), (11, 3, 12), 0.008, _STIFF),
            ("halfcheetah", ("spring",), (17, 6, 18), 0.05, _STIFF),
            ("ant", ("spring",), (27, 8, 29), 0.05, _STIFF),
            ("walker2d", ("spring",), (17, 6, 18), 0.008, _STIFF),
        )
    ),
    Entry(
        name="swimmer",
        source="brax",
        backends=(),
        default_backend=None,
        broken="Brax 0.14.2 calls `clip(a_min=...)`, which JAX 0.10 no longer knows",
    ),
    *(
        _of_extra("playground", "mjx", DM_CONTROL + name, sizes, dt, note)
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
