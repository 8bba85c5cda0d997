"""Recompute the table of known values."""

import functools
import math
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from fracjax._types import Estimate, Key, PyTree
from fracjax.estimators.chaos.kaplan_yorke import entropy_bound, kaplan_yorke_dimension
from fracjax.estimators.chaos.lyapunov import lyapunov_spectrum
from fracjax.reproduce.dimension_references import DIMENSIONS
from fracjax.reproduce.experiments import Part, in_one_size
from fracjax.reproduce.reference_numbers import Numbers, averaged
from fracjax.reproduce.rows import Measured, Row, agreement_bound, compare
from fracjax.reproduce.signal_references import SIGNALS
from fracjax.systems import catalogue
from fracjax.systems.known_values import REFERENCES, Reference

__all__ = ["parts"]

_MEASURES = {**SIGNALS, **DIMENSIONS}
_NUM_ORBITS = 16
_BUDGET = 1e9  # numbers moved per system: orbits × steps × tangents × coordinates
_QUICK = 0.1
_SPREAD = 1e-3  # of the initial states around an orbit
# Error by the integrator, and of the exponents' sum where that is larger.
_INTEGRATED = 1e-9
_INTEGRATOR = {
    "lorenz63": 1.5e-4,
    "lorenz63 16, 45.92, 4": 1e-4,
    "chen": 1e-6,
    "duffing": 1e-7,
    "lorenz96 N=4, F=20": 5e-4,
    "lorenz96 N=36": 5e-4,
    "lorenz96 N=40": 5e-4,
}


def parts() -> dict[str, Part]:
    """One part per system of the table; each returns a row per number."""
    systems = dict.fromkeys(system for system, _ in REFERENCES)
    return {
        system: functools.partial(in_one_size, functools.partial(_recompute, system))
        for system in systems
    }


def _recompute(system: str, key: Key, quick: bool) -> list[Row]:
    wanted = {
        quantity: reference for (name, quantity), reference in REFERENCES.items() if name == system
    }
    with jax.enable_x64(True):
        if system in _MEASURES:
            found = _MEASURES[system](key, quick)
        else:
            found = _spectrum_numbers(system, wanted, key, quick)
    return [
        row for quantity, known in wanted.items() for row in _rows(system, quantity, known, found)
    ]


def _rows(
    system: str, quantity: str, reference: Reference, found: dict[str, Numbers]
) -> Iterator[Row]:
    expected = np.atleast_1d(reference.value)
    uncertainty = np.broadcast_to(reference.uncertainty, expected.shape)
    numbers = found[quantity]
    values, errors = np.atleast_1d(numbers.values), np.atleast_1d(numbers.errors)
    systematic = _INTEGRATOR.get(system, _INTEGRATED) if quantity == "sum" else _INTEGRATED
    for index, known in enumerate(expected):
        label = quantity if len(expected) == 1 else f"{quantity} {index + 1}"
        yield compare(
            system,
            label,
            Measured(float(values[index]), float(errors[index]), numbers.degrees),
            (float(known), float(uncertainty[index]), reference.source),
            systematic=systematic,
        )


def _spectrum_numbers(
    name: str, wanted: dict[str, Reference], key: Key, quick: bool
) -> dict[str, Numbers]:
    """Exponents and what follows from them, as means over independent orbits."""
    system = catalogue.get(name)
    states = _initial_states(system, key)
    size = sum(leaf.size for leaf in jax.tree.leaves(system.state) if _is_floating(leaf))
    known = len(np.atleast_1d(wanted["exponents"].value)) if "exponents" in wanted else 1
    count = known if set(wanted) <= {"exponent", "exponents"} else size
    budget = _BUDGET * (_QUICK if quick else 1.0)
    steps = int(np.clip(budget / (_NUM_ORBITS * (count + 2) * (size + 30)), 500, 400_000))
    run = functools.partial(
        lyapunov_spectrum,
        system.step,
        num_steps=steps,
        num_exponents=count,
        num_transient=system.num_transient,
        dt=system.dt,
        invariants=system.invariants,
    )
    spectra = jax.jit(jax.vmap(lambda state: run(state)))(states)
    complete = count == size
    dimension = jax.vmap(lambda s: kaplan_yorke_dimension(s, size))(spectra).value
    entropy = jax.vmap(entropy_bound)(spectra).value
    exponents = spectra.value
    return {
        "exponent": averaged(exponents[:, 0]),
        "exponents": averaged(exponents),
        "sum": averaged(exponents.sum(axis=1) if complete else exponents[:, 0] + math.nan),
        "kaplan-yorke dimension": averaged(dimension),
        "entropy": averaged(entropy),
        "positive exponents": _count_positive(spectra, system.invariants.num_neutral),
    }


def _count_positive(spectra: Estimate, num_neutral: int) -> Numbers:
    """Count positive exponents; those as near to zero as rows that agree make it uncertain."""
    mean, error, degrees = averaged(spectra.value)
    near = agreement_bound(degrees) * error
    surely = (mean > near).sum()
    perhaps = max((mean > -near).sum() - num_neutral, surely)
    return Numbers(np.asarray((surely + perhaps) / 2), np.asarray((perhaps - surely) / 2))


def _is_floating(leaf: jax.Array) -> bool:
    return bool(jnp.issubdtype(leaf.dtype, jnp.floating))


def _initial_states(system: catalogue.System, key: Key) -> PyTree:
    """Draw states along one orbit, or, where a state holds a key, independent keys.

    Times are spread, not only places: the phase of a flow such as Rössler's diffuses so slowly
    that orbits from one neighbourhood share the errors of a finite average.
    """
    leaves = jax.tree.leaves(system.state)
    if any(jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) for leaf in leaves):

        def copy(leaf: jax.Array) -> jax.Array:
            if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
                return jax.random.split(key, _NUM_ORBITS)
            return jnp.broadcast_to(leaf, (_NUM_ORBITS, *leaf.shape))

        return jax.tree.map(copy, system.state)
    gap = system.num_transient // 8 + 1

    def advance(state: PyTree, _: None) -> tuple[PyTree, PyTree]:
        state = jax.lax.fori_loop(0, gap, lambda _, moved: system.step(moved), state)
        return state, state

    walk = jax.jit(lambda state: jax.lax.scan(advance, state, length=_NUM_ORBITS)[1])
    states = walk(system.state)
    noise = jax.random.uniform(key, (_NUM_ORBITS,), maxval=_SPREAD)

    def move(leaf: jax.Array) -> jax.Array:
        return leaf + noise.reshape((-1,) + (1,) * (leaf.ndim - 1)).astype(leaf.dtype)

    return jax.tree.map(lambda leaf: move(leaf) if _is_floating(leaf) else leaf, states)


def measured() -> dict[str, Callable]:
    """Say which systems have a way to be measured, for the test that none is left out."""
    return {**_MEASURES, **dict.fromkeys(catalogue.names(), _spectrum_numbers)}
