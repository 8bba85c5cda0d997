"""The parts of README.md that `run.py --write` makes from its record, between marks.

A block begins with `<!-- benchmarks/run.py: NAME -->` and ends with `<!-- end -->`; nothing else
is touched. The text of a block depends on the record alone.
"""

import re
from collections.abc import Mapping
from typing import Any

from comparisons import judged
from interleaved import left_out, table
from provenance import is_idle

__all__ = ["NAMES", "absent", "blocks", "doubts", "ratio_rows", "replaced"]

NAMES = {"all ratios": None, "cold starts": "cold_starts", "roofline": "roofline"}
_COMMAND = "python benchmarks/run.py --full --json benchmarks.json --write"


def doubts(entry: Mapping[str, Any]) -> list[str]:
    """Why numbers of a run of a script are provisional; nothing if they are not."""
    found = []
    if entry["size"] == "quick":
        found.append("quick sizes")
    if entry["source"]["commit"] is None:
        found.append("commit not known")
    if entry["source"]["uncommitted changes"]:
        found.append("uncommitted changes")
    if entry["changed meanwhile"]:
        found.append("files changed while it ran")
    free, cores = min(entry["free cores"].values()), entry["host"]["cores"]
    if not is_idle(free, cores):
        found.append(f"machine not idle ({free:.2g} of {cores} cores free)")
    return found


def absent(entry: Mapping[str, Any]) -> dict[str, str]:
    """Peers that a run of a script went without, and why."""
    told = (entry.get("result") or {}).get("packages", {})
    return {**entry["missing"], **left_out(told)}


def ratio_rows(runs: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """All ratios of all scripts, as rows of a table."""
    rows = []
    for script, entry in runs.items():
        if not entry.get("result"):
            continue
        provisional = bool(doubts(entry))
        for each, bound, met in judged(script, entry["result"], provisional=provisional):
            rows.append(
                {
                    "benchmark": each.benchmark,
                    "problem": each.problem,
                    "fracjax": each.ours,
                    "peer": each.peer,
                    "cost of": each.of,
                    "min / median / max": each.ratio,
                    "target": bound,
                    "verdict": met,
                }
            )
    return rows


def blocks(runs: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Text of every block, by its name."""
    found = {}
    for name, script in NAMES.items():
        special = [each for each in NAMES.values() if each]
        mine = {
            key: entry
            for key, entry in runs.items()
            if (key == script if script else key not in special)
        }
        rows = _own_rows(mine) if script else ratio_rows(mine)
        if not rows:
            only = f" --only {script}" if script else ""
            text = f"Not measured yet: `{_COMMAND}{only}`"
            found[name] = "\n".join([text, *_notes(mine)])
            continue
        found[name] = "\n".join([*_origins(mine), "", table(rows), *_notes(mine)])
    return found


def _own_rows(runs: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [
        row for entry in runs.values() if entry.get("result") for row in entry["result"]["rows"]
    ]


def _origins(runs: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Commit, machine and versions, said once for all scripts that share them."""
    shared: dict[str, list[str]] = {}
    for name, entry in runs.items():
        if not entry.get("result"):
            continue
        changed = " with uncommitted changes" if entry["source"]["uncommitted changes"] else ""
        host, kinds = entry["host"], entry["result"].get("machine", {}).get("jax_devices", [])
        parts = [
            f"Commit {entry['source']['commit']}{changed}",
            f"{host['processor']}, {host['cores']} cores",
            "JAX on " + ", ".join(sorted(set(kinds))) if kinds else "",
            ", ".join(f"{key} {value}" for key, value in entry["versions"].items()),
            f"{entry['size']} sizes",
        ]
        text = "; ".join(part for part in parts if part)
        shared.setdefault(text, []).append(f"{name} ({entry['date'][:10]})")
    return [f"{text}: {', '.join(names)}." for text, names in shared.items()]


def _notes(runs: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What makes numbers doubtful, what is missing, what failed."""
    lines = []
    shared: dict[str, list[str]] = {}
    for name, entry in runs.items():
        if entry.get("result") and doubts(entry):
            shared.setdefault("; ".join(doubts(entry)), []).append(name)
    lines += [f"Provisional, {why}: {', '.join(names)}." for why, names in shared.items()]
    without: dict[str, list[str]] = {}
    for name, entry in runs.items():
        for peer, said in absent(entry).items():
            without.setdefault(f"{peer} ({said})", []).append(name)
    lines += [f"Left out, {peer}: {', '.join(names)}." for peer, names in without.items()]
    lines += [
        f"**{name} {entry['status']}**" for name, entry in runs.items() if entry["status"] != "ok"
    ]
    return ["", *(f"- {line}" for line in lines)] if lines else []


def replaced(text: str, new: Mapping[str, str]) -> str:
    """Put blocks into a README; everything outside them stays as it is.

    Raises:
        ValueError: If a block does not stand in the text exactly once, or has no end.
    """
    for name, inside in new.items():
        begin = f"<!-- benchmarks/run.py: {name} -->"
        pattern = re.compile(re.escape(begin) + r"\n(?:(?!<!-- ).)*?<!-- end -->", re.DOTALL)
        if text.count(begin) != 1 or len(pattern.findall(text)) != 1:
            msg = f"The README must hold `{begin}` … `<!-- end -->` once."
            raise ValueError(msg)
        block = f"{begin}\n\n{inside}\n\n<!-- end -->"
        text = pattern.sub(lambda _, block=block: block, text)
    return text
