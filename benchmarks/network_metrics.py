"""What does it cost to measure a network: 64 checkpoints in one program, against a loop over them.

    pip install "fracjax[bench]"
    python benchmarks/network_metrics.py --json metrics.json

The network is a perceptron with two hidden layers of ReLU, the batch 512 inputs. All ways compute
the same numbers, and the script compares them before it times anything:

- vmapped: `jax.jit(jax.vmap(measure_network))` over all checkpoints, one call;
- compiled loop: `jax.jit(measure_network)` called for one checkpoint after the other;
- uncompiled loop: `measure_network` called for one checkpoint after the other, as a script does;
- PyTorch loop: the same metrics written plainly with torch.linalg, at its best number of threads.

Times are of warm programs; what compiling took is told beside them. The forward pass of the batch
is part of all of them.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from command_line import announced, options, show, with_rounds, write
from interleaved import best_threads, compiled, interleaved, ratios, spread

from fracjax.learning.network_metrics.metrics import measure_network

TAUS = (0.0, 0.025, 0.1)
ROUNDS = (5, 1)  # usually, and when quick


def checkpoints(number: int, widths: tuple[int, ...]) -> list[dict[str, jax.Array]]:
    keys = jax.random.split(jax.random.key(0), len(widths) - 1)
    return [
        {
            "w": jax.random.normal(key, (number, a, b)) / np.sqrt(a / 2),
            "b": jnp.zeros((number, b)),
        }
        for key, a, b in zip(keys, widths[:-1], widths[1:], strict=True)
    ]


def hidden_layers(params: Any, inputs: Any, relu: Callable) -> dict[str, Any]:
    found, value = {}, inputs
    for index, layer in enumerate(params[:-1]):
        value = relu(value @ layer["w"] + layer["b"])
        found[f"hidden_{index}"] = value
    return found


def measure(params: Any, inputs: jax.Array) -> dict[str, jax.Array]:
    return measure_network(hidden_layers(params, inputs, jax.nn.relu), params).scalars()


def torch_metrics(torch: ModuleType, params: Any, inputs: Any) -> dict[str, Any]:
    """The same numbers in plain PyTorch."""
    eps = torch.finfo(torch.float32).eps

    def spectrum(matrix: Any) -> dict[str, Any]:
        values = torch.linalg.svdvals(matrix)
        shares = values / values.sum()
        squares = values**2
        reached = torch.cumsum(shares, 0)
        explained = torch.cumsum(squares / squares.sum(), 0)
        return {
            "effective_rank": torch.exp(-torch.special.xlogy(shares, shares).sum()),
            "srank": 1 + (reached < 0.99).sum(),
            "approximate_rank": 1 + (explained < 0.99).sum(),
            "stable_rank": squares.sum() / squares[0],
            "participation_ratio": squares.sum() ** 2 / (squares**2).sum(),
            "numerical_rank": (values > max(matrix.shape) * eps * values[0]).sum(),
            "feature_rank": (values / matrix.shape[0] ** 0.5 > 0.01).sum(),
            "largest_singular_value": values[0],
        }

    found: dict[str, Any] = {}
    scores = []
    for name, h in hidden_layers(params, inputs, torch.relu).items():
        strength = h.abs().mean(0)
        score = strength / strength.mean()
        scores.append(score)
        norm = h.norm(dim=0)
        unit = h / torch.where(norm == 0, 1.0, norm)
        similar = torch.triu(unit.T @ unit > 0.95, diagonal=1)
        found |= {
            f"dead_units/{name}": (h == 0).all(0).float().mean(),
            f"rarely_active_units/{name}": ((h != 0).float().mean(0) < 0.01).float().mean(),
            f"zero_activations/{name}": (h == 0).float().mean(),
            f"duplicate_units/{name}": similar.any(1).float().mean(),
            f"mean_magnitude/{name}": strength.mean(),
        }
        found |= {f"dormant_units_{t:g}/{name}": (score <= t).float().mean() for t in TAUS}
        ranks = spectrum(h)
        ranks.pop("largest_singular_value")
        found |= {f"{rank}/{name}": value for rank, value in ranks.items()}
    every = torch.cat(scores)
    found |= {f"dormant_units_{t:g}": (every <= t).float().mean() for t in TAUS}
    for index, layer in enumerate(params):
        ranks = spectrum(layer["w"])
        kept = ("effective_rank", "srank", "stable_rank", "largest_singular_value")
        found |= {f"kernel_{rank}/{index}/w": ranks[rank] for rank in kept}
        found[f"kernel_norm/{index}/w"] = layer["w"].norm()
    sizes = torch.cat([leaf.abs().ravel() for layer in params for leaf in layer.values()])
    order = torch.arange(1 - len(sizes), len(sizes), 2, dtype=torch.float32)
    total = len(sizes) * sizes.sum()
    found["weight_norm"] = sizes.norm()
    found["mean_weight"] = sizes.mean()
    found["weight_gini"] = (order * torch.sort(sizes).values).sum() / total
    return found


def largest_gap(ours: dict[str, np.ndarray], theirs: list[dict[str, Any]]) -> float:
    gap = 0.0
    for name, values in ours.items():
        other = np.array([float(one[name]) for one in theirs])
        scale = np.maximum(np.abs(values), 1.0) if "rank" in name else np.maximum(values, 0.1)
        gap = max(gap, float(np.max(np.abs(values - other) / scale)))
    return gap


def compare(
    torch: ModuleType | None, number: int, batch: int, widths: tuple[int, ...], repeats: int
) -> dict[str, Any]:
    params = checkpoints(number, widths)
    inputs = jax.random.normal(jax.random.key(1), (batch, widths[0]))
    single = [jax.tree.map(lambda leaf, i=i: leaf[i], params) for i in range(number)]
    together, compile_together, memory = compiled(jax.vmap(measure, (0, None)), params, inputs)
    alone, compile_alone, _ = compiled(measure, single[0], inputs)
    few = max(number // 16, 1)  # of the uncompiled loop, which takes long

    def loop(function: Callable, count: int) -> None:
        for one in single[:count]:
            jax.block_until_ready(function(one, inputs))

    runs: dict[str, Callable[[], object]] = {
        "vmapped": lambda: jax.block_until_ready(together(params, inputs)),
        "compiled loop": lambda: loop(alone, number),
        "uncompiled loop": lambda: loop(measure, few),
    }
    found = {name: np.asarray(value) for name, value in together(params, inputs).items()}
    gaps = {"compiled loop": largest_gap(found, [alone(one, inputs) for one in single])}
    threads = None
    if torch is not None:
        theirs = [
            [{k: torch.from_numpy(np.array(v)) for k, v in layer.items()} for layer in one]
            for one in single
        ]
        batch_there = torch.from_numpy(np.array(inputs))

        def their_loop() -> list[dict[str, Any]]:
            with torch.no_grad():
                return [torch_metrics(torch, one, batch_there) for one in theirs]

        threads = best_threads(torch, their_loop)
        gaps["PyTorch loop"] = largest_gap(found, their_loop())
        runs["PyTorch loop"] = their_loop
    for run in runs.values():
        run()
    seconds = interleaved(runs, repeats)
    seconds["uncompiled loop"] = [one * number / few for one in seconds["uncompiled loop"]]
    rows = [
        {
            "way": name,
            "seconds (min / median / max)": spread(times),
            "ms a checkpoint": 1e3 * spread(times)["median"] / number,
            "times the vmapped one (min / median / max)": ratios(times, seconds["vmapped"]),
        }
        for name, times in seconds.items()
    ]
    return {
        "title": f"{number} checkpoints of {'-'.join(map(str, widths))}, {batch} inputs",
        "numbers of a checkpoint": len(found),
        "rows": rows,
        "seconds of compiling": {"vmapped": compile_together, "one": compile_alone},
        "scratch bytes, vmapped": memory,
        "threads of PyTorch": threads,
        "largest relative difference": gaps,
    }


def main() -> None:
    arguments = with_rounds(options(__doc__, ROUNDS).parse_args(), ROUNDS)
    host, modules, versions = announced(("torch",))
    sizes: list[tuple[int, int, tuple[int, ...]]] = [(64, 512, (64, 256, 256, 10))]
    if arguments.quick:
        sizes = [(4, 32, (6, 16, 16, 2))]
    else:
        sizes.append((64, 256, (24, 64, 64, 8)))
    sections = []
    for number, batch, widths in sizes:
        section = compare(modules.get("torch"), number, batch, widths, arguments.repeats)
        sections.append(section)
        show(section["title"], section["rows"])
        for name in ("seconds of compiling", "largest relative difference"):
            print(f"{name}: {section[name]}")
    if arguments.json:
        write({"machine": host, "packages": versions, "sections": sections}, arguments.json)


if __name__ == "__main__":
    main()
