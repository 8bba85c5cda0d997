"""The sizes that matter in practice: chains, ensembles, gradients, a large ring, networks.

Every part returns rows for a table and notes, among them how far the ways agree. Sizes are
larger where JAX finds a GPU.
"""

import functools
import math
from collections.abc import Callable
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import lyapunov_peers
import numpy as np
from interleaved import SHORTEST, best_threads, compiled, interleaved, ratios, spread, timed

from fracjax import tangent
from fracjax.estimators import lyapunov_spectrum
from fracjax.estimators.chaos.exterior import spectrum_of_jacobians
from fracjax.systems import catalogue, flows, recurrent
from fracjax.systems.integrators import rk4

__all__ = ["PARTS"]

Section = dict[str, Any]


def on_gpu() -> bool:
    return jax.default_backend() == "gpu"


def chains(torch: ModuleType | None, quick: bool, repeats: int) -> Section:
    """Exponents of a recorded chain of 3 × 3 Jacobians."""
    system = catalogue.get("lorenz63")

    def record(state: jax.Array, _: None) -> tuple[jax.Array, jax.Array]:
        return system.step(state), jax.jacfwd(system.step)(state)

    long = 20_000 if quick else 1_000_000
    short = long // 10
    chain = jax.jit(lambda s: jax.lax.scan(record, s, length=long + 2000)[1])(system.state)[2000:]
    runs: dict[str, Callable[[], np.ndarray]] = {}
    lengths, compilation = {}, {}
    for method in ("exterior", "qr"):
        for length in (short, long):
            name = f"fracjax, {method}, {length} steps"

            def spectrum(part: jax.Array, method: str = method) -> jax.Array:
                return spectrum_of_jacobians(part, method=method).value

            program, compilation[name], _ = compiled(spectrum, chain[:length])
            runs[name] = functools.partial(_array, program, chain[:length])
            lengths[name] = length
    start = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    name = f"NumPy QR loop, {short} steps"
    recorded = np.asarray(chain[:short])
    runs[name], lengths[name] = functools.partial(numpy_chain, recorded, start), short
    notes = []
    if torch is None:
        notes.append("PyTorch: left out")
    else:
        where = lyapunov_peers.device(torch)
        pieces = torch.tensor(recorded, device=where), torch.tensor(start, device=where)
        trial = functools.partial(lyapunov_peers.torch_chain, torch, pieces[0][:500], pieces[1])
        threads = best_threads(torch, trial)
        name = f"PyTorch QR loop, {short} steps ({threads} threads)"
        runs[name] = functools.partial(lyapunov_peers.torch_chain, torch, *pieces)
        lengths[name] = short
    found = {name: run() for name, run in runs.items()}
    seconds = interleaved(runs, repeats, shortest=SHORTEST)
    rows = []
    for name, length in lengths.items():
        twin = f"fracjax, exterior, {length} steps"
        rows.append(
            {
                "chain": name,
                "µs per step (min / median / max)": spread(
                    [1e6 * s / length for s in seconds[name]]
                ),
                "times exterior": ratios(seconds[name], seconds[twin]),
                "compilation, s": compilation.get(name),
                "exponents per step": " ".join(f"{value:.6f}" for value in found[name]),
            }
        )
    gaps = {
        name: float(np.abs(found[name] - found[f"fracjax, exterior, {length} steps"]).max())
        for name, length in lengths.items()
    }
    notes += [f"largest difference from exterior, {n}: {gap:.1e}" for n, gap in gaps.items() if gap]
    return {"title": "Recorded chains of 3 × 3 Jacobians (P4)", "rows": rows, "notes": notes}


def numpy_chain(chain: np.ndarray, frame: np.ndarray) -> np.ndarray:
    total = np.zeros(len(frame))
    for jacobian in chain:
        frame, upper = np.linalg.qr(jacobian @ frame)
        total += np.log(np.abs(np.diagonal(upper)))
    return total / len(chain)


def ensembles(torch: ModuleType | None, quick: bool, repeats: int) -> Section:
    """Tangent steps (one step of the state, three tangents, one orthonormalisation) per second."""
    work = 100_000 if quick else 5_000_000 * (20 if on_gpu() else 1)
    batches = (100, 10_000) if quick else (1, 100, 1000, 10_000, 100_000)
    runs: dict[str, Callable[[], np.ndarray]] = {}
    made, compilation, twins, notes = {}, {}, {}, []
    for system in ("folded towel",) if quick else ("folded towel", "lorenz63"):
        step, start = catalogue.get(system).step, catalogue.get(system).start
        dt = catalogue.get(system).dt
        frame = np.asarray(tangent.random_frame(jax.random.key(0), jnp.asarray(start), 3)).T
        for batch in batches:
            steps = min(max(work // batch, 50), 20_000)
            shift = np.random.default_rng(0).uniform(-0.01, 0.01, (batch, 3))
            states = jnp.asarray(start + shift)

            def spectra(state: jax.Array, step=step, steps=steps, dt=dt) -> jax.Array:
                return lyapunov_spectrum(step, state, num_steps=steps, dt=dt).value

            name = f"{system}, {batch} orbits: fracjax"
            program, compilation[name], _ = compiled(jax.vmap(spectra), states)
            runs[name], made[name] = functools.partial(_array, program, states), batch * steps
            if torch is None:
                continue
            theirs = torch_ensemble(torch, system, np.asarray(states), frame)
            few = max(min(steps, 200), 50)
            threads = best_threads(torch, functools.partial(theirs, 5))
            name = f"{system}, {batch} orbits: PyTorch"
            runs[name], made[name] = functools.partial(theirs, few, threads), batch * few
            twins[name] = f"{system}, {batch} orbits: fracjax"
            if batch == 100:
                short = jax.vmap(functools.partial(spectra, steps=20))(states)
                gap = np.abs(np.asarray(short).T - theirs(20)).max()
                notes.append(f"largest difference of exponents after 20 steps, {system}: {gap:.1e}")
    found = {name: run() for name, run in runs.items()}
    seconds = interleaved(runs, repeats, shortest=SHORTEST)
    rates = {name: [made[name] / s for s in times] for name, times in seconds.items()}
    rows = []
    for name, rate in rates.items():
        if name in twins:
            continue
        peer = name.replace("fracjax", "PyTorch")
        rows.append(
            {
                "ensemble": name.split(":")[0],
                "fracjax, million/s": spread([r / 1e6 for r in rate]),
                "PyTorch, million/s": spread([r / 1e6 for r in rates[peer]])
                if peer in rates
                else None,
                "ratio": ratios(rate, rates[peer]) if peer in rates else None,
                "compilation, s": compilation[name],
                "mean exponents": " ".join(f"{v:.3f}" for v in np.mean(found[name], axis=0)),
            }
        )
    if torch is None:
        notes.append("PyTorch: left out")
    return {"title": "Ensembles in three dimensions (P3)", "rows": rows, "notes": notes}


def torch_ensemble(
    torch: ModuleType, system: str, states: np.ndarray, frame: np.ndarray
) -> Callable[..., np.ndarray]:
    where = lyapunov_peers.device(torch)
    push = lyapunov_peers.PUSHES[system](torch)
    kernel = lyapunov_peers.gram_schmidt(torch)
    state = torch.tensor(np.ascontiguousarray(states.T), device=where)
    frames = torch.tensor(np.repeat(frame[..., None], len(states), axis=2), device=where)
    dt = catalogue.get(system).dt

    def run(steps: int, threads: int | None = None) -> np.ndarray:
        if threads is not None:
            torch.set_num_threads(threads)
        with torch.no_grad():
            return lyapunov_peers.loop(push, kernel, state, frames, steps).cpu().numpy() / dt

    return run


def gradients(torch: ModuleType | None, quick: bool, repeats: int) -> Section:
    """Gradient of Σ λ² in the coupling of x' = J tanh(x), through `lyapunov_spectrum`."""
    size, steps = 80, 10 if quick else 40
    coupling = recurrent.gaussian_coupling(jax.random.key(1), size, 1.0).astype(jnp.float64)
    state = jax.random.normal(jax.random.key(2), (size,))
    runs: dict[str, Callable[[], np.ndarray]] = {}
    compilation, notes = {}, []
    for count in (16,) if quick else (1, 16, 75):

        def loss(matrix: jax.Array, count: int = count) -> jax.Array:
            found = lyapunov_spectrum(
                recurrent.tanh_network(matrix), state, num_steps=steps, num_exponents=count
            )
            return jnp.sum(found.value**2)

        for kind, function in (("forward", loss), ("gradient", jax.grad(loss))):
            title = f"k={count}: fracjax, {kind}"
            program, compilation[title], _ = compiled(function, coupling)
            runs[title] = functools.partial(_array, program, coupling)
        if torch is not None:
            where = lyapunov_peers.device(torch)
            frame = np.asarray(tangent.random_frame(jax.random.key(0), state, count)).T
            parts = [torch.tensor(np.array(x), device=where) for x in (coupling, state, frame)]
            forward, gradient = lyapunov_peers.floss_in_torch(torch, *parts, steps)
            threads = best_threads(torch, gradient)
            for kind, function in (("forward", forward), ("gradient", gradient)):
                title = f"k={count}: PyTorch ({threads} threads), {kind}"
                runs[title] = functools.partial(_with_threads, torch, threads, function)
            ours, theirs = runs[f"k={count}: fracjax, gradient"](), gradient()
            gap = np.abs(ours - theirs).max() / np.abs(theirs).max()
            notes.append(f"largest relative difference of gradients, k={count}: {gap:.1e}")
        else:
            notes.append("PyTorch: left out")
    for run in runs.values():
        run()
    seconds = interleaved(runs, repeats, shortest=SHORTEST)
    rows = []
    for name, times in seconds.items():
        who, kind = name.rsplit(", ", 1)
        ours = f"{who.split(':')[0]}: fracjax, {kind}"
        rows.append(
            {
                f"N={size}, {steps} steps": name,
                "ms (min / median / max)": spread([1e3 * s for s in times]),
                "times its forward pass": ratios(times, seconds[f"{who}, forward"]),
                "times fracjax": ratios(times, seconds[ours]),
                "compilation, s": compilation.get(name),
            }
        )
    return {"title": "Gradient through the spectrum (P6)", "rows": rows, "notes": notes}


def ring(torch: ModuleType | None, quick: bool, repeats: int) -> Section:
    """Leading exponents of a large Lorenz-96 ring: no matrix of its size may appear."""
    size, count = (1024, 16) if quick else (4096, 64)
    steps = 20 if quick else 40
    step = rk4(flows.lorenz96(), 0.02)
    state = 8 + jax.random.normal(jax.random.key(0), (size,))

    def spectrum(start: jax.Array) -> jax.Array:
        return lyapunov_spectrum(step, start, num_steps=steps, num_exponents=count, dt=0.02).value

    def explicit(start: jax.Array, frame: jax.Array) -> jax.Array:
        return jax.jacfwd(step)(start) @ frame

    program, seconds, scratch = compiled(spectrum, state)
    frame = tangent.random_frame(jax.random.key(0), state, count)
    runs = {"fracjax": functools.partial(_array, program, state)}
    found = {"fracjax": runs["fracjax"]()}
    _, _, dense = compiled(explicit, state, frame.T)
    if torch is not None:
        runs["PyTorch"] = torch_frame(
            torch, lyapunov_peers.lorenz96_in_torch(torch, 0.02), state, frame, steps, 1, 0.02
        )
        found["PyTorch"] = runs["PyTorch"]()
    peak = (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    times = interleaved(runs, repeats, shortest=SHORTEST)
    rows = [
        {
            f"N={size}, k={count}": name,
            "ms per step (min / median / max)": spread([1e3 * s / steps for s in row]),
            "ratio": ratios(row, times["fracjax"]),
            "compilation, s": seconds if name == "fracjax" else None,
        }
        for name, row in times.items()
    ]
    mebi = 1 / 2**20
    notes = [
        f"scratch memory of the compiled program: {_size(scratch)}; of one explicit Jacobian times"
        f" the frame: {_size(dense)}; the frame itself {count * size * 8 * mebi:.1f} MiB, N × N"
        f" {size**2 * 8 * mebi:.0f} MiB",
        f"peak memory of the device in this process: {_size(peak)}",
        _agreement(found),
    ]
    return {"title": "A large ring, no Jacobian formed (P5)", "rows": rows, "notes": notes}


def networks(torch: ModuleType | None, quick: bool, repeats: int) -> Section:
    """All exponents of a tanh map (P1), and a quarter of those of a rate network (P2)."""
    gpu = on_gpu() and not quick
    rows, notes = [], []
    settings = {
        "tanh map, all exponents, QR every step": (4096 if gpu else 256, 1, None, 1, 10),
        "rate network, N/4 exponents, QR every 5": (4096 if gpu else 512, 4, 0.1, 5, 20),
    }
    for title, (size, part, dt, qr_every, steps) in settings.items():
        count = size // part
        coupling = recurrent.gaussian_coupling(jax.random.key(0), size, 3.0).astype(jnp.float64)
        step = recurrent.tanh_network(coupling)
        if dt is not None:
            step = rk4(recurrent.rate_network(coupling), dt)
        state = jax.random.normal(jax.random.key(1), (size,))

        def spectrum(start: jax.Array, step=step, steps=steps, count=count, every=qr_every, dt=dt):
            return lyapunov_spectrum(
                step,
                start,
                num_steps=steps,
                num_exponents=count,
                qr_every=every,
                dt=1.0 if dt is None else dt,
            ).value

        program, compilation, _ = compiled(spectrum, state)
        runs = {"fracjax": functools.partial(_array, program, state)}
        if torch is not None:
            frame = tangent.random_frame(jax.random.key(0), state, count)
            matrix = torch.tensor(np.array(coupling), device=lyapunov_peers.device(torch))
            push = lyapunov_peers.network_in_torch(torch, matrix, dt)
            runs["PyTorch"] = torch_frame(torch, push, state, frame, steps, qr_every, dt or 1.0)
        found = {name: run() for name, run in runs.items()}
        seconds = interleaved(runs, repeats, shortest=SHORTEST)
        rows += [
            {
                "network": f"{title}, N={size}, k={count}: {name}",
                "ms per step (min / median / max)": spread([1e3 * s / steps for s in times]),
                "ratio": ratios(times, seconds["fracjax"]),
                "compilation, s": compilation if name == "fracjax" else None,
            }
            for name, times in seconds.items()
        ]
        notes.append(f"{title}: {_agreement(found)}")
    return {
        "title": "Random networks (P1, P2; 4096 units on a GPU only)",
        "rows": rows,
        "notes": notes,
    }


def torch_frame(
    torch: ModuleType,
    push: lyapunov_peers.Push,
    state: jax.Array,
    frame: jax.Array,
    steps: int,
    qr_every: int,
    dt: float,
) -> Callable[[], np.ndarray]:
    """One orbit in PyTorch, by whichever QR and number of threads is faster."""
    where = lyapunov_peers.device(torch)
    x = torch.tensor(np.array(state), device=where)
    tangents = torch.tensor(np.array(frame).T, device=where)

    def several(x: Any, tangents: Any) -> tuple[Any, Any]:
        for _ in range(qr_every):
            x, tangents = push(x, tangents)
        return x, tangents

    def run(kernel: Callable) -> np.ndarray:
        with torch.no_grad():
            growth = lyapunov_peers.loop(several, kernel, x, tangents, steps // qr_every)
        return growth.cpu().numpy() / (qr_every * dt)

    kernels = [lyapunov_peers.qr(torch)]
    if len(x) > tangents.shape[1]:
        kernels.append(lyapunov_peers.cholesky_qr(torch))
    trials = {}
    for kernel in kernels:
        once = functools.partial(run, kernel)
        threads = best_threads(torch, once)
        trials[min(timed(once, 2))] = functools.partial(_with_threads, torch, threads, once)
    return trials[min(trials)]


def _with_threads(torch: ModuleType, threads: int, run: Callable[[], Any]) -> Any:
    torch.set_num_threads(threads)
    return run()


def _array(program: Callable, *arguments: object) -> np.ndarray:
    return np.asarray(program(*arguments))


def _size(count: int | None) -> str:
    return "not told" if count is None else f"{count / 2**20:.1f} MiB"


def _agreement(found: dict[str, np.ndarray]) -> str:
    if "PyTorch" not in found:
        return "PyTorch: left out"
    gap = np.abs(found["PyTorch"] - found["fracjax"]).max()
    if not math.isfinite(gap):
        return "exponents are not finite"
    return f"largest difference of exponents: {gap:.1e} per unit of time"


PARTS: dict[str, Callable[[ModuleType | None, bool, int], Section]] = {
    "chains": chains,
    "ensembles": ensembles,
    "gradients": gradients,
    "ring": ring,
    "networks": networks,
}
