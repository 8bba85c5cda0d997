"""How well, and how fast, is the Hölder exponent of a series estimated, next to other packages?

The series are exact fractional Brownian motion at H = .1, .3, .5, .7 and .9, the same for
everyone. `series_holder_exponent` runs under `vmap`, whole and in cache-sized pieces; the same
estimator is written in PyTorch and must give the same numbers. Then windows per second (P7).

    python benchmarks/work_precision_holder.py --out FOLDER --json PATH    # CPU or GPU
    python benchmarks/work_precision_holder.py --quick

Everything is in float64, the throughput also in float32. Runs alternate; use an idle machine.
Findings: README.md beside this file.
"""

import functools
from collections.abc import Callable
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from command_line import show, write
from holder_peers import PEERS, series_estimators
from interleaved import SHORTEST, best_threads, compiled, interleaved, ratios, spread
from work_precision import Method, begin, curve_rows, draw, measure, same_error

from fracjax.estimators import series_holder_exponent
from fracjax.estimators.roughness.scaling import hurst_grid, variogram_covariance
from fracjax.systems.signals import fractional_brownian_motion

EXPONENTS = (0.1, 0.3, 0.5, 0.7, 0.9)
TARGET = 0.06  # RMS error at which costs are compared; a method that is worse, at its best
SLOW = {"nolds dfa": 6, "neurokit2 fractal_dfa": 10, "nolds hurst_rs": 20, "MFDFA, q = 2": 20}
PIECE = 64  # series in a piece that stays in cache
LAGS = (1, 2, 3, 4, 5, 6, 7, 8)
STEP, PASSES, JITTER = 0.04, 10, 1e-6  # of the estimator: grid of covariances, passes, ridge


def main() -> None:
    names = ("torch", *PEERS)
    arguments, modules, result = begin(__doc__, names, ("errors", "throughput"))
    lengths = (256, 1024) if arguments.quick else (256, 1024, 4096)
    if "errors" in arguments.only:
        series = {n: Series(n, 64 if arguments.quick else max(2**21 // n, 512)) for n in lengths}
        methods = [*ours(series), *theirs(series, modules, arguments.quick)]
        curves = measure(methods, arguments.repeats)
        rows = [row for one in series.values() for row in one.rows]
        equal = same_error(curves, methods[0].name, TARGET, plain)
        result |= {"curves": curves, "equal error": equal, "by exponent": rows}
        show("Error and cost, all H together", curve_rows(curves, "samples", plain))
        show("Cost at equal error", equal)
        show("By exponent", rows)
        print("\n" + "\n".join(f"{name}: {said}" for name, said in result["packages"].items()))
        if arguments.out:
            draw(curves, "fractional Brownian motion", arguments.out / "holder.png")
    if "throughput" in arguments.only:
        rows, notes = throughput(modules.get("torch"), arguments.quick, arguments.repeats)
        result["throughput"] = {"rows": rows, "notes": notes}
        show("Windows per second (P7)", rows)
        print("\n" + "\n".join(notes))
    if arguments.json:
        write(result, arguments.json)


def plain(value: float) -> str:
    return f"{value:.3f}"


class Series:
    """Paths of one length at every exponent, (exponents, count, length), and what was found."""

    def __init__(self, length: int, count: int) -> None:
        keys = jax.random.split(jax.random.key(0), count)
        draws = [
            jax.jit(jax.vmap(lambda key, h=h: fractional_brownian_motion(key, h, length)))(keys)
            for h in EXPONENTS
        ]
        self.values = np.stack([np.asarray(draw) for draw in draws])
        self.rows: list[dict[str, object]] = []

    def take(self, count: int) -> np.ndarray:
        """The first `count` series in all, equally many of every exponent."""
        part = self.values[:, : count // len(EXPONENTS)]
        return np.ascontiguousarray(part.reshape(-1, part.shape[-1]))

    def note(self, name: str, found: np.ndarray, covered: np.ndarray | None = None) -> np.ndarray:
        """Keep bias, scatter and coverage by exponent; return the errors."""
        errors = np.reshape(found, (len(EXPONENTS), -1)) - np.array(EXPONENTS)[:, None]
        row: dict[str, object] = {"method": name, "samples": self.values.shape[-1]}
        for index, exponent in enumerate(EXPONENTS):
            good = errors[index][np.isfinite(errors[index])]
            text = f"{good.mean():+.3f} / {good.std(ddof=1):.3f}" if len(good) > 1 else "fails"
            if covered is not None:
                share = np.reshape(covered, (len(EXPONENTS), -1))[index].mean()
                text += f" / {share:.3f}"
            row[f"H={exponent}: bias / SD / coverage"] = text
        if name not in {known["method"] for known in self.rows}:
            self.rows.append(row)
        return errors.ravel()


def estimate(values: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    found = series_holder_exponent(values)
    return found.value, found.low, found.high


def in_pieces(values: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    return jax.lax.map(estimate, values, batch_size=PIECE)


def ours(series: dict[int, Series]) -> list[Method]:
    count = len(EXPONENTS) * min(one.values.shape[1] for one in series.values())
    truth = np.repeat(EXPONENTS, count // len(EXPONENTS))

    def prepare(name: str, function: Callable, length: int) -> tuple[Callable, float]:
        values = jnp.asarray(series[length].take(count))
        program, seconds, _ = compiled(function, values)

        def run(_: int) -> np.ndarray:
            value, low, high = (np.asarray(part) for part in program(values))
            return series[length].note(name, value, (low <= truth) & (truth <= high))

        return run, seconds

    functions = {"fracjax, in pieces": in_pieces, "fracjax, whole": jax.vmap(estimate)}
    return [
        Method(
            name, "series", list(series), count, count, functools.partial(prepare, name, function)
        )
        for name, function in functions.items()
    ]


def theirs(series: dict[int, Series], modules: dict[str, ModuleType], quick: bool) -> list[Method]:
    """Everyone else, on as many of the same series as their speed allows."""
    methods = []
    for name, estimator in series_estimators(modules).items():
        seeds = len(EXPONENTS) * (4 if quick else SLOW.get(name, 40))
        timed = seeds if name.startswith("pymultifracs") else len(EXPONENTS)  # it takes batches

        def prepare(length: int, name: str = name, estimator: Callable = estimator) -> tuple:
            def run(count: int) -> np.ndarray:
                return series[length].note(name, estimator(series[length].take(count)))

            return run, 0.0

        methods.append(Method(name, "series", list(series), seeds, timed, prepare))
    return methods


def throughput(
    torch: ModuleType | None, quick: bool, repeats: int
) -> tuple[list[dict[str, object]], list[str]]:
    """Windows of 256 samples per second: value and interval of each."""
    windows = 2000 if quick else 10_000 * (10 if jax.default_backend() == "gpu" else 1)
    rng = np.random.default_rng(0)
    paths = np.cumsum(rng.normal(size=(windows, 256)), axis=1)
    runs: dict[str, Callable[[], Any]] = {}
    compilation, notes = {}, []
    for dtype in ("float32", "float64"):
        values = jnp.asarray(paths, dtype)
        for title, function in {"in pieces": in_pieces, "whole": jax.vmap(estimate)}.items():
            name = f"fracjax, {title}, {dtype}"
            program, compilation[name], _ = compiled(function, values)
            runs[name] = lambda program=program, values=values: np.asarray(program(values)[0])
        if torch is not None:
            whole = torch_gls(torch, paths, dtype, windows)
            pieces = torch_gls(torch, paths, dtype, PIECE * 8)
            for title, run in {"in pieces": pieces, "whole": whole}.items():
                threads = best_threads(torch, run)
                name = f"PyTorch ({threads} threads), {title}, {dtype}"

                def timed(run: Callable = run, threads: int = threads) -> np.ndarray:
                    torch.set_num_threads(threads)
                    return run()

                runs[name] = timed
            gap = np.abs(whole() - runs[f"fracjax, whole, {dtype}"]()).max()
            notes.append(f"largest difference between PyTorch and fracjax, {dtype}: {gap:.1e}")
    if torch is None:
        notes.append("PyTorch: left out")
    for run in runs.values():
        run()
    seconds = interleaved(runs, repeats, shortest=SHORTEST)
    rows = [
        {
            f"{windows} windows of 256": name,
            "thousand windows/s (min / median / max)": spread([windows / s / 1e3 for s in times]),
            "times fracjax in pieces": ratios(
                seconds[f"fracjax, in pieces, {name.rsplit(' ', 1)[1]}"], times
            ),
            "compilation, s": compilation.get(name),
        }
        for name, times in seconds.items()
    ]
    return rows, notes


def torch_gls(
    torch: ModuleType, paths: np.ndarray, dtype: str, batch: int
) -> Callable[[], np.ndarray]:
    """The estimator of `series_holder_exponent` without noise, for a batch at a time."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    kind = getattr(torch, dtype)
    values = torch.tensor(paths, device=device, dtype=kind)
    law = variogram_covariance(paths.shape[1], LAGS, 2, hurst_grid(2, STEP))
    table = law.signal_signal / law.signal[:, :1, None] ** 2
    covariances = torch.tensor(table, device=device, dtype=kind)
    log_lags = torch.log(torch.tensor(LAGS, device=device, dtype=kind))
    design = torch.stack([torch.ones_like(log_lags), 2 * log_lags], dim=-1)
    offset = log_lags - log_lags.mean()

    def fit(logarithm: Any, exponent: Any) -> tuple[Any, Any]:
        position = (exponent / STEP - 0.5).clamp(0, len(table) - 1.001)
        lower = position.long()
        share = (position - lower)[:, None, None]
        covariance = (1 - share) * covariances[lower] + share * covariances[lower + 1]
        size = torch.exp(2 * exponent[:, None] * log_lags)
        covariance = covariance / (size[:, :, None] * size[:, None, :])
        diagonal = covariance.diagonal(dim1=1, dim2=2)
        covariance = covariance + JITTER * torch.diag_embed(diagonal)
        target = (logarithm + 0.5 * diagonal)[..., None]
        columns = torch.cat([design.expand(len(exponent), -1, -1), target], dim=2)
        solved = torch.linalg.solve(covariance, columns)
        inverse = torch.linalg.inv(design.T @ solved[:, :, :2])
        solution = inverse @ (design.T @ solved[:, :, 2:])
        residual = target - design @ solution
        squared = residual.transpose(1, 2) @ (solved[:, :, 2:] - solved[:, :, :2] @ solution)
        return solution[:, 1, 0], (inverse[:, 1, 1].sqrt(), squared)

    def several(part: Any) -> Any:
        means = [
            (part[:, 2 * lag :] - 2 * part[:, lag:-lag] + part[:, : -2 * lag]).square().mean(dim=1)
            for lag in LAGS
        ]
        logarithm = torch.log(torch.stack(means, dim=1))
        exponent = (logarithm @ offset / (2 * offset @ offset)).clamp(0.05, 1.95)
        for _ in range(PASSES + 1):
            exponent, _error = fit(logarithm, exponent)
        return exponent

    def run() -> np.ndarray:
        with torch.no_grad():
            return torch.cat([several(part) for part in values.split(batch)]).cpu().numpy()

    return run


if __name__ == "__main__":
    main()
