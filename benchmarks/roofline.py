"""How near do rollouts, scans and exponents come to what this machine can do?

Work is counted by formula, per unit, in floating-point operations and bytes:

* rollouts (a policy step): what `scan_roofline.py` counts for the plain evaluator, and every
  policy's own weights and biases, read from memory once per rollout, (P + B) / horizon words.
* scan, plain and affine (a policy step): `scan_roofline.py`.
* Lyapunov spectrum (a step of one orbit, d dimensions, k tangents): the operations of a step of
  the system together with its derivative along k directions, from their jaxpr, 2 d k² for
  Gram–Schmidt and k logarithms: 74 + 3 · 90 + 54 + 3 = 401 for Lorenz's system. Bytes: state and
  frame are read and written, 2 (d + d k) words.
* Hölder exponent (a series of n samples, lags 1 … L, p fits): 5 Σ (n − 2 l) for squared second
  differences and their sum, and p times (2/3 L³ + 6 L²) for a factorisation of the covariances
  and three right sides. Bytes: the series is read once for every lag, n L words.

Beside it stands what XLA's `cost_analysis()` says. It takes the body of a loop once, however
often it runs, so it is asked about one step of a chunk (rollouts, scans, spectrum), or about the
whole program with one of its p fits (Hölder); its bytes are those of all arrays that enter or
leave a fused kernel. It counts what the compiled kernels do, not what there is to do: a step of
Lorenz's spectrum is 401 operations by formula, some 450 in the program, which also guards against
vanished tangents (comparisons and selections count), and some 900 after fusion, because every
kernel that needs an intermediate of the step works it out again.

Peaks are measured in the same run, in the same dtype and on all devices: the larger of XLA's and
NumPy's product of matrices (TF32 is off), and a copy of an array as large as what a chunk touches
in a step. The roofline is the larger of the times that operations and bytes take at these peaks.
Compiling is apart. Cases alternate; use an idle machine.

    python benchmarks/roofline.py                          # CPU or GPU, whichever JAX finds
    python benchmarks/roofline.py --quick --json PATH
"""

import argparse
import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scan_roofline
from command_line import announced, options, show, some_of, with_rounds, write
from interleaved import SHORTEST, compiled, interleaved, spread
from scan_pendulum import POLICIES, Problem
from scan_roofline import Work, operations
from work_precision_holder import LAGS, PASSES, PIECE, in_pieces

from fracjax import devices, evaluation, tangent
from fracjax.affine import along_affine_family
from fracjax.estimators import lyapunov_spectrum
from fracjax.systems import catalogue

DTYPES = ("float32", "float64")
SAMPLES = 256
ROUNDS = (5, 2)  # usually, and when quick


@dataclasses.dataclass(frozen=True)
class Case:
    """Something to be measured.

    Attributes:
        name: As printed.
        unit: What work is counted for.
        units: How many of them a run does.
        run: Does them.
        work: Counted, of one unit.
        xla: What XLA counts, of one unit: operations and bytes; `None` where it does not say.
        compilation: Seconds.
    """

    name: str
    unit: str
    units: int
    run: Callable[[], object]
    work: Work
    xla: tuple[float | None, float | None]
    compilation: float


def main() -> None:
    arguments = parse()
    devices.one_cpu_device_per_core()
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_default_matmul_precision", "highest")
    host, _, _ = announced(())
    rows: list[dict[str, Any]] = []
    details: list[dict[str, Any]] = []
    measured = {}
    for dtype in arguments.dtypes:
        cases = [
            *of_pendulum(dtype, quick=arguments.quick),
            spectrum(dtype, quick=arguments.quick),
            holder(dtype, quick=arguments.quick),
        ]
        sizes = [case.work.chunk_bytes for case in cases]
        measured[dtype], bandwidths = scan_roofline.measure_peaks(sizes, dtype)
        print(f"\npeaks, {dtype}: " + ", ".join(f"{k} {v:.3g}" for k, v in measured[dtype].items()))
        for case in cases:
            case.run()
        seconds = interleaved(
            {case.name: case.run for case in cases}, arguments.repeats, shortest=SHORTEST
        )
        for case, bandwidth in zip(cases, bandwidths, strict=True):
            rates = [case.units / each for each in seconds[case.name]]
            row, detail = compared(case, dtype, rates, measured[dtype], bandwidth)
            rows.append(row)
            details.append(detail)
    show("Fractions of what the machine can do", rows)
    if arguments.json:
        result = {"machine": host, "peaks": measured, "rows": rows, "details": details}
        write(result, arguments.json)


def parse() -> argparse.Namespace:
    parser = options(__doc__, ROUNDS)
    parser.add_argument(
        "--dtypes", type=some_of(DTYPES), default=list(DTYPES), help=",".join(DTYPES)
    )
    return with_rounds(parser.parse_args(), ROUNDS)


def compared(
    case: Case, dtype: str, rates: list[float], peaks: dict[str, float], bandwidth: float
) -> tuple[dict[str, Any], dict[str, Any]]:
    """A row for the table, and everything that is known."""
    found = [scan_roofline.roofline(case.work, rate, peaks, bandwidth) for rate in rates]

    def over_rounds(name: str) -> dict[str, float]:
        return spread([each[name] for each in found])

    row = {
        "case": case.name,
        "dtype": dtype,
        "unit": case.unit,
        "operations": case.work.operations,
        "by XLA": case.xla[0],
        "bytes": case.work.bytes,
        "bytes by XLA": case.xla[1],
        "bound by": found[0]["bound by"],
        "million units/s": over_rounds("million steps/s"),
        "of the roofline": over_rounds("fraction of the roofline"),
        "of peak operations": over_rounds("fraction of the peak of operations"),
        "compiling, s": case.compilation,
    }
    return row, {"case": case.name, "dtype": dtype, "rounds": found}


def counted_by_xla(
    function: Callable, *arguments: object, units: int
) -> tuple[float | None, float | None]:
    """Operations and bytes of one unit by `cost_analysis()`, which not every platform has."""
    costs = jax.jit(function).lower(*arguments).compile().cost_analysis() or {}
    found = (costs.get(name) for name in ("flops", "bytes accessed"))
    flops, moved = (None if value is None else float(value) / units for value in found)
    return flops, moved


def of_pendulum(dtype: str, *, quick: bool) -> list[Case]:
    """Rollouts of different 64-64 policies, and a plane of them by both evaluators."""
    shape, horizon = ((8, 16), 20) if quick else ((64, 128), 200)
    if not quick and jax.default_backend() != "cpu":
        shape = (256, 1024)
    problem, one = (Problem(POLICIES[1], shape, steps, dtype=dtype) for steps in (horizon, 1))
    rows = jnp.asarray(problem.coordinates(), dtype)

    def policy(row: jax.Array) -> Any:
        return jax.tree.map(
            lambda leaf, along: leaf + jnp.tensordot(row, along, 1),
            problem.params,
            problem.grid.directions,
        )

    params = jax.tree.map(np.asarray, jax.jit(jax.vmap(policy))(rows))
    cases = []
    chunk = evaluation.cache_chunk_size(problem.params)
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(problem.params))
    steps = scan_roofline.work(problem, "plain", chunk)
    work = dataclasses.replace(steps, bytes=steps.bytes + size / horizon)
    part = jax.tree.map(lambda leaf: leaf[:chunk], params)
    over = functools.partial(jax.vmap, in_axes=(0, None))
    _, seconds, _ = compiled(over(problem.objective), part, problem.key)
    xla = counted_by_xla(over(one.objective), part, one.key, units=chunk)
    run = functools.partial(
        evaluation.map_points,
        problem.objective,
        params,
        problem.key,
        chunk_size=chunk,
        chunks_per_call=4,
    )
    cases.append(Case("rollouts, 64-64", "policy step", problem.steps, run, work, xla, seconds))
    for way in ("plain", "affine"):
        chunk = problem.scan(way).attrs["chunk_size"]
        arguments: tuple = (jax.tree.map(lambda leaf, n=chunk: leaf[:n], params), problem.key)
        programs = [over(each.objective) for each in (problem, one)]
        if way == "affine":
            arguments = (problem.params, problem.grid.directions, rows[:chunk], problem.key)
            programs = [
                jax.vmap(along_affine_family(each.objective), in_axes=(None, None, 0, None))
                for each in (problem, one)
            ]
        _, seconds, _ = compiled(programs[0], *arguments)
        xla = counted_by_xla(programs[1], *arguments, units=chunk)
        run = functools.partial(problem.run, way)
        work = scan_roofline.work(problem, way, chunk)
        name = f"scan, 64-64, {way}"
        cases.append(Case(name, "policy step", problem.steps, run, work, xla, seconds))
    return cases


def spectrum(dtype: str, *, quick: bool) -> Case:
    """All three exponents of Lorenz's system over an ensemble of orbits."""
    system = catalogue.get("lorenz63")
    local = jax.local_devices()
    orbits, steps = (32, 200) if quick else (1024, 2000)
    if not quick and jax.default_backend() != "cpu":
        orbits = 100_000
    orbits = len(local) * -(-orbits // len(local))
    start = jnp.asarray(system.start, dtype)
    states = start + jnp.asarray(
        np.random.default_rng(0).uniform(-0.05, 0.05, (orbits, start.size)), dtype
    )
    dimension = start.size

    def one(state: jax.Array) -> jax.Array:
        return lyapunov_spectrum(system.step, state, num_steps=steps, dt=system.dt).value

    program, seconds, _ = compiled(devices.spread(jax.vmap(one), local), states)
    frame = tangent.random_frame(jax.random.key(0), start, dimension)

    def pushed(state: jax.Array, frame: jax.Array) -> tuple:
        state, frame = tangent.push(system.step, state, frame)
        return state, *tangent.orthonormalize_frame(state, frame)

    step = operations(functools.partial(tangent.push, system.step), start, frame)
    words = dimension + dimension * dimension
    itemsize = start.dtype.itemsize
    work = Work(
        operations=step[0] + 2 * dimension**3 + dimension,
        functions=step[1] + dimension,
        bytes=2 * words * itemsize,
        chunk_bytes=words * itemsize * orbits / len(local),
    )
    per_device = orbits // len(local)
    xla = counted_by_xla(
        jax.vmap(pushed, in_axes=(0, None)), states[:per_device], frame, units=per_device
    )
    return Case(
        "Lyapunov spectrum, Lorenz",
        "step of an orbit",
        orbits * steps,
        lambda: jax.block_until_ready(program(states)),
        work,
        xla,
        seconds,
    )


def holder(dtype: str, *, quick: bool) -> Case:
    """Exponent and interval of every series of many."""
    local = jax.local_devices()
    count = len(local) * PIECE * (1 if quick else 64)
    if not quick and jax.default_backend() != "cpu":
        count *= 16
    steps = np.random.default_rng(0).normal(size=(count, SAMPLES))
    series = jnp.asarray(np.cumsum(steps, axis=1), dtype)
    program, seconds, _ = compiled(devices.spread(in_pieces, local), series)
    lags = len(LAGS)
    differences = 5 * sum(SAMPLES - 2 * lag for lag in LAGS)
    fit = 2 / 3 * lags**3 + 6 * lags**2
    itemsize = series.dtype.itemsize
    work = Work(
        operations=differences + (PASSES + 1) * fit,
        functions=0,
        bytes=itemsize * SAMPLES * lags,
        chunk_bytes=itemsize * SAMPLES * PIECE,
    )
    xla = counted_by_xla(in_pieces, series[:PIECE], units=PIECE)
    return Case(
        f"Hölder exponent, {SAMPLES} samples",
        "series",
        count,
        lambda: jax.block_until_ready(program(series)),
        work,
        xla,
        seconds,
    )


if __name__ == "__main__":
    main()
