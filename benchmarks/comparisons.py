"""All ratios of all benchmarks as rows of one table, with targets and whether they are met.

Every script writes its ratios as `{"min": …, "median": …, "max": …}` over rounds, in rows of its
own layout. `SOURCES` says where they are and what they compare; `TARGETS` what they should be.
"""

import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

__all__ = [
    "SOURCES",
    "TARGETS",
    "Comparison",
    "Source",
    "Target",
    "bound_of",
    "extract",
    "judged",
    "verdict",
]

Rows = Iterable[tuple[str, Sequence[Mapping[str, Any]]]]
THEIRS = "peer / ours"
OURS = "ours / peer"


@dataclasses.dataclass(frozen=True)
class Comparison:
    """One ratio of two costs.

    Attributes:
        benchmark: Name of the script.
        problem: What was computed, and of what size.
        ours: Way of fracjax.
        peer: The other way.
        of: `"peer / ours"` (large is good) or `"ours / peer"` (small is good).
        ratio: Least, median and largest over rounds.
    """

    benchmark: str
    problem: str
    ours: str
    peer: str
    of: str
    ratio: Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class Source:
    """Where a script's record holds ratios of one kind.

    Attributes:
        script: Name of the script.
        rows: From the record to problems and their rows.
        ratio: Key of the ratio in a row.
        way: Key of the way that a row is about; its first key if not given.
        ours: Way of fracjax; where `peer` is given, that of the row if not given.
        peer: Whom fracjax is compared with; the way of the row if not given.
        wanted: Which ways are listed; all that are not fracjax's if not given.
        of: What is divided by what.
        inverted: The record holds the ratio upside down.
    """

    script: str
    rows: Callable[[Mapping[str, Any]], Rows]
    ratio: str
    way: str | None = None
    ours: str | None = None
    peer: str | None = None
    wanted: Callable[[str], bool] = lambda way: not way.startswith("fracjax")
    of: str = THEIRS
    inverted: bool = False


@dataclasses.dataclass(frozen=True)
class Target:
    """A bound on the ratios of a script.

    Attributes:
        script: Name of the script.
        rows: Pattern that "problem: ours | peer" matches.
        bound: Number.
        platform: `"cpu"`, `"gpu"`, or "" for both.
        best: It is enough that one way of fracjax meets it, the fastest on the median.
    """

    script: str
    rows: str
    bound: float
    platform: str = "cpu"
    best: bool = False


def _under(*path: str, title: str = "") -> Callable[[Mapping[str, Any]], Rows]:
    """Rows of a table under some keys, by the title beside them, or the given one."""

    def rows(record: Mapping[str, Any]) -> Rows:
        part: Any = record
        for name in path:
            part = part.get(name, {})
        if "rows" in part:
            yield title or part.get("title", ""), part["rows"]

    return rows


def _sections(record: Mapping[str, Any]) -> Rows:
    for section in record.get("sections", []):
        yield section["title"], section["rows"]


def _by(keys: Mapping[str, str], *path: str) -> Callable[[Mapping[str, Any]], Rows]:
    """Rows of a table, told apart by values of keys, which are written after their names."""

    def rows(record: Mapping[str, Any]) -> Rows:
        for _, found in _under(*path)(record):
            for row in found:
                yield ", ".join(f"{name}{row[key]}" for key, name in keys.items()), [row]

    return rows


def _rollouts(record: Mapping[str, Any]) -> Rows:
    if "ratio" in record:
        title = f"pendulum, 64-64, {record['policies']} policies, {record['steps']} steps"
        yield title, [{"way": "PyTorch", "ratio": record["ratio"]}]


def _scan(record: Mapping[str, Any]) -> Rows:
    for name, part in record.get("pendulum", {}).items():
        if isinstance(part, Mapping):  # a part that failed holds a message instead
            rows = part["times the cost of fracjax"].items()
            title = f"pendulum, {name}, {part['points']} points"
            yield title, [{"way": way, "ratio": ratio} for way, ratio in rows]
    for row in record.get("recipe", {}).get("rows", []):
        title = f"pendulum, {row['steps per point']} steps a point"
        yield title, [{"way": "one process per point", "ratio": row["ratio"]}]
    hopper = record.get("hopper", {})
    if "points" in hopper:
        rows = hopper["times the cost of fracjax"].items()
        title = f"hopper, {hopper['points']} points"
        yield title, [{"way": way, "ratio": ratio} for way, ratio in rows]


def _equal_error(*systems: str) -> Callable[[Mapping[str, Any]], Rows]:
    def rows(record: Mapping[str, Any]) -> Rows:
        for system in systems:
            part = record.get(system, {}) if system else record
            for row in part.get("equal error", []):
                at = f"{system}, " if system else ""
                yield f"{at}at an RMS error of {row['compared at']}", [row]

    return rows


def _hopper(record: Mapping[str, Any]) -> Rows:
    for name, part in record.items():
        if name.startswith("exponents: "):
            counted = f"{record['settings']['policies']} policies"
            yield f"hopper, {counted}, {name}", part["rows"]


def _titled(part: str, prefix: str, *, with_key: bool = True) -> Callable[..., Rows]:
    """Rows whose first key may hold sizes, and its value the way, or "sizes: way"."""

    def rows(record: Mapping[str, Any]) -> Rows:
        for _, found in _under(part)(record):
            for row in found:
                key, text = next(iter(row.items()))
                left, _, who = text.rpartition(": ")
                parts = (prefix, key if with_key else "", left)
                yield ", ".join(part for part in parts if part), [{**row, "who": who}]

    return rows


def _ensembles(record: Mapping[str, Any]) -> Rows:
    for _, found in _under("ensembles")(record):
        for row in found:
            yield f"tangent steps, {row['ensemble']}", [{**row, "who": "PyTorch, Gram–Schmidt"}]


def _overhead(record: Mapping[str, Any]) -> Rows:
    for title, rows in _sections(record):
        for row in rows:
            if row.get("s") == "overhead of an update":
                yield title, [{"who": "PPTB", "ratio": {**row}}]


def _flossing(record: Mapping[str, Any]) -> Rows:
    for row in record.get("rows", []):
        yield f"k = {row['k']}, {row['dtype']}", [row]


def _starts(*names: str) -> Callable[[str], bool]:
    return lambda way: way.startswith(names)


_LYAPUNOV, _HOLDER = "work_precision_lyapunov", "work_precision_holder"
_FASTER = "times faster than "
_ENSEMBLE = "ensemble"
_STEP, _TOY = "a step of Langevin dynamics", "a step of the toy 5-2"
SOURCES = (
    Source("rollouts", _rollouts, "ratio"),
    Source("scan", _scan, "ratio"),
    Source(_LYAPUNOV, _equal_error("henon", "lorenz63"), "ratio (min / median / max)",
           "method", ours=_ENSEMBLE),
    Source(_LYAPUNOV, _titled("chains", "chain of 3 × 3 Jacobians", with_key=False),
           "times exterior", "who", ours="exterior powers",
           wanted=lambda way: "exterior" not in way),
    Source(_LYAPUNOV, _ensembles, "ratio", "who", ours=_ENSEMBLE),
    Source(_LYAPUNOV, _titled("gradients", "spectrum"), "times its forward pass", "who",
           ours="gradient", peer="forward pass", wanted=_starts("fracjax, gradient"), of=OURS),
    Source(_LYAPUNOV, _titled("gradients", "spectrum"), "times fracjax", "who"),
    Source(_LYAPUNOV, _titled("ring", "ring"), "ratio", "who"),
    Source(_LYAPUNOV, _titled("networks", "", with_key=False), "ratio", "who"),
    Source(_HOLDER, _equal_error(""), "ratio (min / median / max)", "method", ours="in pieces"),
    Source(_HOLDER, _titled("throughput", ""), "times fracjax in pieces", "who", ours="in pieces",
           inverted=True),
    Source("hopper_exponents", _hopper, "times the cost of fracjax", ours="batches"),
    Source("path_analyses", _sections, "times ours", ours="Gram matrix, float64",
           wanted=_starts("jnp", "torch")),
    Source("path_analyses", _overhead, "ratio", "who", ours="recording and trimming",
           peer="an update by Adam", wanted=lambda _: True, of=OURS),
    Source("langevin", _under("steps", title=_STEP), "times qdop of fracjax",
           ours="quasi-diagonal", wanted=lambda way: way.startswith("PyTorch") or "samples" in way),
    Source("langevin", _under("steps", title=_STEP), "times its own SGD", ours="quasi-diagonal",
           peer="SGD of fracjax", wanted=lambda way: way == "JAX qdop", of=OURS),
    Source("network_metrics", _sections, "times the vmapped one (min / median / max)",
           ours="vmapped", wanted=lambda way: way != "vmapped"),
    Source("curvature", _by({"network": ""}, "product"), "times a gradient", "work",
           ours="Hessian-vector product", peer="gradient", wanted=_starts("one product"), of=OURS),
    Source("curvature", _by({"network": ""}, "product"), "times a gradient", "work",
           ours="product in a loop", peer="gradient in a loop", wanted=_starts("product"), of=OURS),
    Source("curvature", _by({"n": "Lanczos, n = "}, "lanczos"), "times fracjax", "method"),
    Source("curvature", _under("density", title="spectral density"), "times fracjax", "method"),
    Source("flossing", _flossing, _FASTER + "a batch in PyTorch", "method",
           peer="PyTorch, batched", wanted=_starts("fracjax")),
    Source("flossing", _flossing, _FASTER + "its loop", "method",
           peer="PyTorch, in a loop", wanted=_starts("fracjax")),
    Source("trainability", _under("plane"), "times the cost of fracjax"),
    Source("decomposition", _under("fit", title=_TOY), "times 8 seeds vmapped",
           ours="8 seeds, per seed", wanted=lambda way: way != "fracjax, 8 seeds"),
)  # fmt: skip

TARGETS = (
    Target("rollouts", "PyTorch$", 3),
    Target("rollouts", "PyTorch$", 10, "gpu"),
    Target("scan", r"pendulum.*\| PyTorch$", 4),
    Target("scan", r"pendulum.*\| PyTorch$", 20, "gpu"),
    Target("scan", r"\| naive vmap$", 4),
    Target("scan", r"\| one process per point$", 100, ""),
    Target(_LYAPUNOV, r"\| (nolds|neurokit2) ", 20, ""),
    Target(_LYAPUNOV, r"\| fracjax, qr", 10, "gpu"),
    Target(_LYAPUNOV, r"k=16.*\| forward pass$", 6, ""),
    Target(_HOLDER, r"\| (nolds|neurokit2) ", 20, ""),
    Target("hopper_exponents", r"\| loop$", 10),
    Target("path_analyses", r"\| an update by Adam$", 0.05, ""),
    Target("curvature", r"\| gradient", 3, ""),
    Target("flossing", r"\| PyTorch, batched$", 5, best=True),
    Target("decomposition", r"\| PyTorch", 10),
)


def extract(script: str, record: Mapping[str, Any]) -> list[Comparison]:
    """Read all ratios off a script's record; those that a missing peer leaves empty are not there.

    Raises:
        KeyError: If a row lacks what `SOURCES` says it has: a script has changed its layout.
    """
    return [each for one in SOURCES if one.script == script for each in _read(one, record)]


def _read(one: Source, record: Mapping[str, Any]) -> Iterator[Comparison]:
    for problem, rows in one.rows(record):
        for row in rows:
            way = str(row[one.way] if one.way else next(iter(row.values())))
            if not one.wanted(way) or row[one.ratio] is None:
                continue
            ratio = {name: row[one.ratio][name] for name in ("min", "median", "max")}
            if one.inverted:
                least, middle, most = ratio.values()
                ratio = {"min": 1 / most, "median": 1 / middle, "max": 1 / least}
            ours = one.ours or (way if one.peer else "fracjax")
            yield Comparison(one.script, problem, ours, one.peer or way, one.of, ratio)


def judged(
    script: str, record: Mapping[str, Any], *, provisional: bool
) -> list[tuple[Comparison, str, str]]:
    """All ratios of a script's record, each with its target and its `verdict`."""
    found = extract(script, record)
    return [
        (each, *verdict(each, found, cpu=_on_cpu(record), provisional=provisional))
        for each in found
    ]


def bound_of(script: str) -> float:
    """The bound of a script that has one target."""
    (only,) = (target.bound for target in TARGETS if target.script == script)
    return only


def _on_cpu(record: Mapping[str, Any]) -> bool:
    """Whether a script's record says that JAX ran on a CPU."""
    return all("cpu" in str(kind).lower() for kind in record["machine"]["jax_devices"])


def verdict(
    comparison: Comparison, others: Sequence[Comparison], *, cpu: bool, provisional: bool
) -> tuple[str, str]:
    """Target of a comparison, and whether it is met.

    Args:
        comparison: Which.
        others: All comparisons of the same script, of which one may have to be the best.
        cpu: Whether JAX ran on a CPU.
        provisional: The numbers are not to be relied on.

    Returns:
        The bound as text, and "met" (in every round), "met by the median", "not met" or
        "provisional"; two empty strings where there is no target.
    """
    for target in TARGETS:
        if not _applies(target, comparison, cpu=cpu):
            continue
        if target.best and comparison != _fastest(comparison, others):
            return "", ""
        small = comparison.of == OURS
        bound = f"{'≤' if small else '≥'} {target.bound:g}"
        if provisional:
            return bound, "provisional"
        sign = -1 if small else 1
        if sign * comparison.ratio["median"] < sign * target.bound:
            return bound, "not met"
        worst = comparison.ratio["max" if small else "min"]
        return bound, "met" if sign * worst >= sign * target.bound else "met by the median"
    return "", ""


def _applies(target: Target, comparison: Comparison, *, cpu: bool) -> bool:
    text = f"{comparison.problem}: {comparison.ours} | {comparison.peer}"
    return (
        target.script == comparison.benchmark
        and target.platform in ("", "cpu" if cpu else "gpu")
        and re.search(target.rows, text) is not None
    )


def _fastest(comparison: Comparison, others: Sequence[Comparison]) -> Comparison:
    same = [
        each
        for each in others
        if (each.problem, each.peer) == (comparison.problem, comparison.peer)
    ]
    return max(same, key=lambda each: each.ratio["median"], default=comparison)
