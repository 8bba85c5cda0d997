"""What does a scan cost, next to other ways to evaluate a plane of policies?

Parts, chosen with --only:

    a         pendulum, against batched PyTorch: as one writes it, with shared weights, compiled
    b         pendulum, against one process per point (the recipe of reward-surfaces)
    c         hopper, against gymnasium's MuJoCo with a pool of processes
    d         pendulum, against a naive `vmap` over copies of the parameters
    roofline  pendulum, against what the machine can do; bytes and operations counted
    scaling   1, 2 and 4 CPU devices and 2 processes, strong and weak
    linear    10³ to 10⁶ points: seconds, memory, bytes on disk

    python benchmarks/scan.py                                # CPU or GPU, whichever JAX finds
    python benchmarks/scan.py --quick                        # under two minutes, and noisy
    python benchmarks/scan.py --only a,d,roofline --points 262144 --json scan.json

Contenders alternate in one run, and ratios are taken round by round; still, use an idle
machine: PyTorch's threads wait for each other at every operation. A peer that is not installed
or fails when it is imported is left out, and named. float32 throughout, without TF32. Findings:
README.md beside this file.
"""

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import scan_hopper
import scan_pendulum
import scan_recipe
import scan_roofline
import scan_scaling
from command_line import some_of
from comparisons import judged
from interleaved import left_out, load, machine, table

from fracjax import devices

PARTS = ("a", "b", "c", "d", "roofline", "scaling", "linear")
PEERS = ("torch", "gymnasium", "mujoco", "brax")
_SETTINGS = (
    "points",
    "horizon",
    "layers",
    "chosen",
    "chunk sizes",
    "probe",
    "probe of both evaluators with compilation, seconds",
)


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    shape: tuple[int, int] = (64, 128)
    horizon: int = 200
    batches: tuple[int, ...] = (512, 2048, 8192)
    compile: bool = True
    policies: tuple[str, ...] = scan_pendulum.POLICIES
    repeats: int = 5
    episodes: tuple[int, ...] = (1, 1000)
    recipe_shapes: tuple[tuple[int, int], ...] = ((64, 128), (8, 8))
    recipe_points: int = 4
    recipe_repeats: int = 3
    hopper_shape: tuple[int, int] = (16, 16)
    hopper_horizon: int = 500
    hopper_evaluator: str = "auto"
    strong: int = 16384
    weak: int = 8192
    rounds: int = 3
    linear: tuple[int, ...] = (1000, 10_000, 100_000, 1_000_000)
    linear_horizon: int = 20


QUICK = Sizes(
    shape=(16, 32),
    horizon=50,
    batches=(512,),
    compile=False,
    policies=scan_pendulum.POLICIES[1:],
    repeats=2,
    episodes=(1, 20),
    recipe_shapes=((16, 32), (4, 4)),
    recipe_points=2,
    recipe_repeats=1,
    hopper_shape=(4, 8),
    hopper_horizon=50,
    hopper_evaluator="plain",
    strong=2048,
    weak=1024,
    rounds=1,
    linear=(1000, 10_000),
    linear_horizon=10,
)


def main() -> None:
    arguments = parse()
    # PyTorch and the processes of some parts share the GPU, if there is one.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    devices.one_cpu_device_per_core()
    jax.config.update("jax_default_matmul_precision", "highest")
    sizes = chosen(arguments)
    modules, packages = load(PEERS)
    torch = modules.get("torch")
    result: dict[str, Any] = {
        "machine": machine(),
        "packages": packages,
        "quick": arguments.quick,
    }
    if torch is not None:
        result["machine"]["torch_device"] = (
            torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
        )
    parts: dict[str, Callable[[], Any]] = {
        "pendulum": lambda: pendulum(arguments.only, sizes, torch),
        "recipe": lambda: recipe(sizes, packages),
        "hopper": lambda: hopper(sizes, packages),
        "scaling": lambda: scaling(sizes),
        "linear": lambda: scan_scaling.linear(
            sizes.linear, horizon=sizes.linear_horizon, policy=scan_pendulum.POLICIES[0],
            devices=None,
        ),
    }  # fmt: skip
    letters = {"recipe": "b", "hopper": "c", "scaling": "scaling", "linear": "linear"}
    failed = False
    for name, part in parts.items():
        wanted = {letters[name]} if name in letters else {"a", "d", "roofline"}
        if not wanted & arguments.only:
            continue
        print(f"{name} …", file=sys.stderr, flush=True)
        try:
            result[name] = part()
        except Exception as error:  # the other parts are worth having
            failed = True
            result[name] = {"failed": f"{type(error).__name__}: {error}"[:1000]}
        if arguments.json not in (None, "-"):
            Path(arguments.json).write_text(json.dumps(result, indent=1) + "\n")
    result["targets"] = [] if arguments.quick else targets(result)
    if arguments.json not in (None, "-"):
        Path(arguments.json).write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result) if arguments.json == "-" else report(result))
    sys.exit(1 if failed else 0)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="small and noisy: does it run?")
    parser.add_argument(
        "--only", type=some_of(PARTS), default=PARTS, help="parts, separated by commas"
    )
    parser.add_argument("--points", type=int, help="points of the pendulum's plane (8192)")
    parser.add_argument("--repeats", type=int, help="rounds of parts a, c and d (5)")
    parser.add_argument(
        "--json", nargs="?", const="-", help="JSON instead of tables, or also into a file"
    )
    arguments = parser.parse_args()
    arguments.only = set(arguments.only)
    return arguments


def chosen(arguments: argparse.Namespace) -> Sizes:
    """Sizes for this run; larger batches for PyTorch on a GPU."""
    sizes = QUICK if arguments.quick else Sizes()
    if not arguments.quick and jax.default_backend() != "cpu":
        sizes = dataclasses.replace(sizes, shape=(256, 1024), batches=(8192, 65536, 10**7))
    if arguments.points:
        sizes = dataclasses.replace(sizes, shape=scan_scaling.plane(arguments.points))
    if arguments.repeats:
        sizes = dataclasses.replace(sizes, repeats=arguments.repeats)
    return sizes


def missing(packages: dict[str, str], *names: str) -> str | None:
    """Say which of the packages that a part needs are not there, and why."""
    lacking = left_out({name: packages[name] for name in names})
    return ", ".join(f"{name} ({why})" for name, why in lacking.items()) or None


def pendulum(only: set[str], sizes: Sizes, torch: Any) -> dict[str, Any]:
    """Parts a, d and roofline: everyone in one run."""
    result: dict[str, Any] = {}
    for name in sizes.policies:
        compared = scan_pendulum.compare(
            name,
            shape=sizes.shape,
            horizon=sizes.horizon,
            repeats=sizes.repeats,
            torch=torch if "a" in only else None,
            batches=sizes.batches,
            with_compiled=sizes.compile,
            with_naive="d" in only,
        )
        if "roofline" in only:
            problem = scan_pendulum.Problem(name, sizes.shape, sizes.horizon)
            compared |= scan_roofline.compare(problem, compared)
        result[name] = compared
    return result


def recipe(sizes: Sizes, packages: dict[str, str]) -> dict[str, Any]:
    """Part b."""
    lacking = missing(packages, "torch", "gymnasium")
    if lacking:
        return {"left out": lacking}
    rows = [
        scan_recipe.compare(
            scan_pendulum.POLICIES[1],
            shape=shape,
            horizon=sizes.horizon,
            episodes=episodes,
            points=sizes.recipe_points,
            repeats=sizes.recipe_repeats,
        )
        for episodes, shape in zip(sizes.episodes, sizes.recipe_shapes, strict=True)
    ]
    return {"rows": rows}


def hopper(sizes: Sizes, packages: dict[str, str]) -> dict[str, Any]:
    """Part c."""
    lacking = missing(packages, "brax")
    if lacking:
        return {"left out": lacking}
    without = missing(packages, "gymnasium", "mujoco")
    found = scan_hopper.compare(
        shape=sizes.hopper_shape,
        horizon=sizes.hopper_horizon,
        repeats=sizes.repeats,
        pool=without is None,
        evaluator=sizes.hopper_evaluator,
    )
    return found | ({"pool": without} if without else {})


def scaling(sizes: Sizes) -> dict[str, Any]:
    """Strong and weak scaling of the 64-64 policy."""
    kinds = {"strong": sizes.strong, "weak": sizes.weak}
    return {
        kind: scan_scaling.scaling(
            kind,
            points=points,
            horizon=sizes.horizon,
            rounds=sizes.rounds,
            repeats=2,
            policy=scan_pendulum.POLICIES[1],
        )
        for kind, points in kinds.items()
    }


def targets(result: dict[str, Any]) -> list[dict[str, Any]]:
    """What has a target in `comparisons`, what was measured, and whether it is met."""
    return [
        {
            "times the cost of fracjax": f"{each.problem}: {each.peer}",
            "target": bound,
            "measured": each.ratio,
            "met": met,
        }
        for each, bound, met in judged("scan", result, provisional=False)
        if bound
    ]


def report(result: dict[str, Any]) -> str:
    """Lay out everything in Markdown."""
    lines = [f"{name}: {value}" for name, value in result["machine"].items()]
    lines += [f"{name}: {version}" for name, version in result["packages"].items()]
    if result["quick"]:
        lines.append("quick: these sizes show that it runs, and nothing else")
    for name, compared in result.get("pendulum", {}).items():
        lines += heading(f"Pendulum, {name}")
        lines += [compared] if isinstance(compared, str) else pendulum_tables(compared)
    titles = {
        "recipe": "One process per point",
        "hopper": "Hopper; different simulators, returns not compared",
        "scaling": "Scaling",
        "linear": "Number of points",
    }
    for name, title in titles.items():
        if name in result:
            lines += heading(title)
            lines += blocks(result[name])
    if result["targets"]:
        lines += heading("Targets, min / median / max over rounds")
        lines.append(table(result["targets"]))
    return "\n".join(lines)


def pendulum_tables(compared: dict[str, Any]) -> list[str]:
    settings = {name: compared[name] for name in _SETTINGS}
    rows = [
        {
            "way": name,
            "million steps/s": rate,
            "times the cost of fracjax": compared["times the cost of fracjax"][name],
            "first run, s": compared["first run, seconds"][name],
            "difference": compared["largest difference, of the spread"][name],
        }
        for name, rate in compared["million steps/s"].items()
    ]
    lines = [*blocks(settings), "", table(rows), ""]
    for name, note in compared["peers"].items():
        lines.append(f"{name}: {said(note)}")
    if "roofline" in compared:
        peaks = {f"measured peak, {name}": value for name, value in compared["peaks"].items()}
        lines += ["", *blocks(peaks), "", table(compared["roofline"])]
    return lines


def blocks(values: dict[str, Any]) -> list[str]:
    """Rows as tables, and everything else line by line."""
    lines = []
    for name, value in values.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            lines += ["", table(value), ""]
        elif isinstance(value, dict) and isinstance(next(iter(value.values()), None), dict):
            inner = [{"": key, name: each} for key, each in value.items()]
            lines += ["", table(inner), ""]
        else:
            lines.append(f"{name}: {said(value)}")
    return lines


def said(value: Any) -> str:
    """A value on one line."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {said(part)}" for name, part in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def heading(title: str) -> list[str]:
    return ["", f"## {title}", ""]


if __name__ == "__main__":
    main()
