"""What does a Lyapunov exponent cost, at what error, next to other ways of getting it?

Errors are over many orbits, against the known largest exponent; costs are seconds per estimate.
"equations": fracjax (`lyapunov_spectrum` under `vmap`, and alone), loops over the same steps with
the same frames in NumPy and PyTorch, and SciPy's adaptive integrator. "series": nolds and
NeuroKit2, which are given the recorded first coordinate and no equations, a far harder task; the
series is free of charge. Then the sizes that matter: recorded chains, ensembles, gradients, a
large ring, random networks.

    python benchmarks/work_precision_lyapunov.py --out FOLDER --json PATH    # CPU or GPU
    python benchmarks/work_precision_lyapunov.py --quick

Everything is in float64. Runs alternate; use an idle machine. Findings: README.md beside this file.
"""

from collections.abc import Callable
from types import ModuleType

import jax
import jax.numpy as jnp
import lyapunov_peers
import lyapunov_sizes
import numpy as np
from command_line import show, write
from data_peers import EVERY, data_estimators
from interleaved import best_threads, compiled
from work_precision import Method, begin, curve_rows, draw, measure, same_error

from fracjax import tangent
from fracjax.estimators import lyapunov_spectrum
from fracjax.systems import catalogue, known_values

SYSTEMS = ("henon", "lorenz63")
PEERS = ("torch", "nolds", "neurokit2")
SHORT = 20  # steps over which every loop must agree
ORBITS = 1024


def main() -> None:
    parts = (*SYSTEMS, *lyapunov_sizes.PARTS)
    arguments, modules, result = begin(__doc__, PEERS, parts)
    for system in SYSTEMS:
        if system not in arguments.only:
            continue
        problem = Problem(system, arguments.quick)
        agreement = problem.agreement(modules.get("torch"))
        curves = measure(problem.methods(modules), arguments.repeats)
        equal = same_error(curves, "fracjax, ensemble", 0.05, percent)
        result[system] = {"agreement": agreement, "curves": curves, "equal error": equal}
        show(f"{system}: error and cost", curve_rows(curves, problem.unit, percent))
        show(f"{system}: cost at equal error", equal)
        absent = [f"{name}: {result['packages'][name]}" for name in PEERS if name not in modules]
        gaps = ", ".join(f"{name} {gap:.0e}" for name, gap in agreement.items())
        absent.append(f"largest relative difference from fracjax after {SHORT} steps: {gaps}")
        print("\n" + "\n".join(absent))
        if arguments.out:
            draw(
                curves,
                f"{system}: largest Lyapunov exponent",
                arguments.out / f"lyapunov_{system}.png",
            )
    for name, part in lyapunov_sizes.PARTS.items():
        if name in arguments.only:
            section = part(modules.get("torch"), arguments.quick, arguments.repeats)
            result[name] = section
            show(section["title"], section["rows"])
            print("\n" + "\n".join(section["notes"]))
    if arguments.json:
        write(result, arguments.json)


def percent(share: float) -> str:
    return f"{100 * share:.{0 if abs(share) > 1 else 1}f} %"


class Problem:
    """One system, its orbits, and all the ways to its largest exponent."""

    def __init__(self, system: str, quick: bool) -> None:
        self.name, self.quick = system, quick
        self.system = catalogue.get(system)
        self.truth = known_values.value(system, "exponents")[0]
        self.unit = "steps or samples"
        self.orbits = ORBITS // 8 if quick else ORBITS
        rng = np.random.default_rng(0)
        size = len(self.system.start)
        starts = self.system.start + rng.uniform(-0.05, 0.05, (self.orbits, size))
        self.states = np.asarray(self._advance(jnp.asarray(starts), self.system.num_transient))
        self.frame = np.asarray(tangent.random_frame(jax.random.key(0), self.states[0], size)).T
        self.push = lyapunov_peers.PUSHES[system]

    def _advance(self, states: jax.Array, steps: int) -> jax.Array:
        step = jax.vmap(self.system.step)
        return jax.lax.fori_loop(0, steps, lambda _, moved: step(moved), states)

    def _estimate(self, steps: int) -> Callable[[jax.Array], jax.Array]:
        def one(state: jax.Array) -> jax.Array:
            return lyapunov_spectrum(
                self.system.step, state, num_steps=steps, dt=self.system.dt
            ).value[0]

        return one

    def _errors(self, exponents: np.ndarray) -> np.ndarray:
        return np.asarray(exponents) / self.truth - 1

    def agreement(self, torch: ModuleType | None) -> dict[str, float]:
        """Compare the loops with fracjax, orbit by orbit, before chaos separates them."""
        count = 16
        ours = jax.vmap(self._estimate(SHORT))(self.states[:count])
        found = {
            "NumPy, one orbit": self._in_numpy(SHORT)(count),
            "NumPy, ensemble": self._in_arrays(np, "qr", SHORT)(count),
        }
        if self.name == "lorenz63":
            found["SciPy"] = self._in_scipy(SHORT)(count)
        if torch is not None:
            found |= {
                f"PyTorch, {kernel}": self._in_arrays(torch, kernel, SHORT)(count)
                for kernel in ("qr", "gram-schmidt")
            }
        scale = np.abs(ours).mean()
        return {name: float(np.abs(other - ours).max() / scale) for name, other in found.items()}

    def _in_numpy(self, steps: int) -> Callable[[int], np.ndarray]:
        push, kernel = self.push(np), lyapunov_peers.qr(np)

        def run(count: int) -> np.ndarray:
            growth = [
                lyapunov_peers.loop(push, kernel, state, self.frame, steps)[0]
                for state in self.states[:count]
            ]
            return np.array(growth) / self.system.dt

        return run

    def _in_arrays(self, xp: ModuleType, kernel: str, steps: int) -> Callable[[int], np.ndarray]:
        """All orbits at once, in NumPy or PyTorch."""
        kernels = {"qr": lyapunov_peers.qr, "gram-schmidt": lyapunov_peers.gram_schmidt}
        push, orthonormalize = self.push(xp), kernels[kernel](xp)

        def run(count: int) -> np.ndarray:
            state = np.ascontiguousarray(self.states[:count].T)
            frame = np.repeat(self.frame[..., None], count, axis=2)
            if xp is np:
                growth = lyapunov_peers.loop(push, orthonormalize, state, frame, steps)
                return growth[0] / self.system.dt
            device = lyapunov_peers.device(xp)
            with xp.no_grad():
                state, frame = (xp.tensor(part, device=device) for part in (state, frame))
                growth = lyapunov_peers.loop(push, orthonormalize, state, frame, steps)
                return growth[0].cpu().numpy() / self.system.dt

        return run

    def _in_scipy(self, steps: int) -> Callable[[int], np.ndarray]:
        duration = steps * self.system.dt
        return lambda count: np.array(
            [
                lyapunov_peers.solve_lorenz(state, self.frame, duration)
                for state in self.states[:count]
            ]
        )

    def methods(self, modules: dict[str, ModuleType]) -> list[Method]:
        """List every way, with its budgets and how many orbits it is tried on."""
        flow, quick = self.name == "lorenz63", self.quick
        budgets = [300, 1000, 3000, 10_000, 30_000] if flow else [30, 100, 300, 1000, 3000, 10_000]
        budgets = budgets[:4] if quick else budgets
        few = 3 if quick else 4
        serial = (4, 1) if quick else (16, 2)  # seeds, timed
        all_at_once = (self.orbits, self.orbits)
        fewer = (self.orbits // 4, self.orbits // 4)

        def ready(make: Callable) -> Callable:
            def prepare(budget: int) -> tuple[Callable[[int], np.ndarray], float]:
                run = make(budget)
                return lambda count: self._errors(run(count)), 0.0

            return prepare

        def in_fracjax(budget: int) -> tuple[Callable[[int], np.ndarray], float]:
            states = jnp.asarray(self.states)
            program, seconds, _ = compiled(jax.vmap(self._estimate(budget)), states)
            return lambda _: self._errors(np.asarray(program(states))), seconds

        def alone(budget: int) -> tuple[Callable[[int], np.ndarray], float]:
            states = list(jnp.asarray(self.states[: serial[0]]))
            program, seconds, _ = compiled(self._estimate(budget), states[0])

            def run(count: int) -> np.ndarray:
                return self._errors(np.array([program(one).item() for one in states[:count]]))

            return run, seconds

        methods = [
            Method("fracjax, ensemble", "equations", budgets, *all_at_once, in_fracjax),
            Method(
                "fracjax, one orbit",
                "equations",
                budgets[:3] if quick else budgets[:-1],
                *serial,
                alone,
            ),
            Method(
                "NumPy QR loop, one orbit",
                "equations",
                budgets[:few],
                *serial,
                ready(self._in_numpy),
            ),
            Method(
                "NumPy QR loop, ensemble",
                "equations",
                budgets[: few - 1],
                *fewer,
                ready(lambda budget: self._in_arrays(np, "qr", budget)),
            ),
        ]
        if flow:
            methods.append(
                Method(
                    "SciPy DOP853 and QR",
                    "equations",
                    budgets[: few - 1],
                    *serial,
                    ready(self._in_scipy),
                )
            )
        if "torch" in modules:
            torch = modules["torch"]
            for kernel in ("qr", "gram-schmidt"):
                trial = self._in_arrays(torch, kernel, 30)
                threads = best_threads(torch, lambda trial=trial: trial(self.orbits))

                def run(budget: int, kernel: str = kernel, threads: int = threads) -> Callable:
                    inner = self._in_arrays(torch, kernel, budget)

                    def timed(count: int) -> np.ndarray:
                        torch.set_num_threads(threads)
                        return inner(count)

                    return timed

                title = f"PyTorch {kernel}, ensemble ({threads} threads)"
                methods.append(Method(title, "equations", budgets[:few], *all_at_once, ready(run)))
        return methods + self._from_series(modules, serial)

    def _from_series(self, modules: dict[str, ModuleType], counts: tuple[int, int]) -> list[Method]:
        samples = [100, 300, 1000, 2000] if self.name == "henon" else [200, 500, 1000, 2000]
        samples = samples[:2] if self.quick else samples
        every, period = EVERY[self.name], EVERY[self.name] * self.system.dt

        def record(state: jax.Array) -> jax.Array:
            def sample(moved: jax.Array, _: None) -> tuple[jax.Array, jax.Array]:
                moved = jax.lax.fori_loop(0, every, lambda _, s: self.system.step(s), moved)
                return moved, moved[0]

            return jax.lax.scan(sample, state, length=samples[-1])[1]

        series = np.asarray(jax.jit(jax.vmap(record))(self.states[: counts[0]]))

        def prepare(estimator: Callable[[np.ndarray], float]) -> Callable:
            def at(budget: int) -> tuple[Callable[[int], np.ndarray], float]:
                def run(count: int) -> np.ndarray:
                    found = [estimator(one[:budget]) / period for one in series[:count]]
                    return self._errors(np.array(found))

                return run, 0.0

            return at

        return [
            Method(name, "series", samples, *counts, prepare(estimator))
            for name, estimator in data_estimators(self.name, modules).items()
        ]


if __name__ == "__main__":
    main()
