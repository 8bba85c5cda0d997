"""What is public, and the reference pages made of it.

A page of the reference holds a line such as `<!-- public names: fracjax.learning flossing -->`: at
build time its place is taken by the documentation of every name in `__all__` of that package,
here of those that its folder `flossing` defines. `missing_names` says what no page asks for; the
build and the tests both fail on it.
"""

import ast
import enum
import functools
import importlib
import importlib.util
import inspect
import re
import typing
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

__all__ = ["documented_names", "missing_names", "public_names", "setup"]

PAGES = Path(__file__).parent.parent / "api"
MARKER = re.compile(
    r"^<!-- public names: (?P<module>[\w.]+)(?: (?P<folder>\w+))? -->$", re.MULTILINE
)
LONGEST_VALUE = 120
# Modules of one file with something for users; packages are found by themselves.
SINGLE_MODULES = (
    *("tree", "directions", "tangent", "evaluation", "orthonormal"),
    *("affine", "devices", "liveness", "processes"),
)
# What users import from modules inside packages.
NESTED = (
    "fracjax.diagnosis.watching",
    "fracjax.rl.activations",
    "fracjax.rl.checkpoints",
    "fracjax.rl.classic",
    "fracjax.rl.dynamics_mismatch",
    "fracjax.rl.equations",
    "fracjax.rl.many_seeds",
    "fracjax.rl.recorded_training",
    "fracjax.rl.training",
    "fracjax.rl.wrappers",
)


@functools.cache
def _definitions(module: str) -> dict[str, str]:
    """Which module each name of a package is imported from, by the text of its `__init__`."""
    spec = importlib.util.find_spec(module)
    found = {}
    body = ast.parse(Path(spec.origin).read_text()).body
    # What is loaded on first use is imported for type checkers only.
    lazy = [each for node in body if isinstance(node, ast.If) for each in node.body]
    for node in body + lazy:
        if isinstance(node, ast.ImportFrom) and node.names[0].name == "*":
            found |= _definitions(node.module)
        elif isinstance(node, ast.ImportFrom):
            found |= {alias.asname or alias.name: node.module for alias in node.names}
    return found


def public_names(module: str) -> dict[str, str]:
    """Name every public thing of a module, with the module that defines it."""
    package = importlib.import_module(module)
    sources = _definitions(module)
    names = [name for name in package.__all__ if not name.startswith("__")]
    return {name: sources.get(name, module) for name in names}


def _folder(module: str, source: str) -> str:
    rest = source.removeprefix(f"{module}.")
    return "" if rest == source else rest.partition(".")[0]


@functools.cache
def public_modules() -> list[str]:
    """Every module whose public names the reference must hold."""
    package = importlib.import_module("fracjax")
    subpackages = [name for name in package.__all__ if inspect.ismodule(getattr(package, name))]
    found = ["fracjax", *(f"fracjax.{name}" for name in (*subpackages, *SINGLE_MODULES)), *NESTED]
    for name in found:  # grows: modules inside modules
        module = importlib.import_module(name)
        inner = [f"{name}.{n}" for n in module.__all__ if inspect.ismodule(getattr(module, n))]
        found += [each for each in inner if each not in found]
    return found


def _is_folder(module: str, name: str) -> bool:
    found = importlib.util.find_spec(f"{module}.{name}") if name else None
    return found is not None and found.submodule_search_locations is not None


def _asked(text: str) -> dict[str, list[str]]:
    """Return the names that a page's markers ask for, by module."""
    names = defaultdict(list)
    for match in MARKER.finditer(text):
        module, folder = match["module"], match["folder"]
        for name, source in public_names(module).items():
            if folder is None or _folder(module, source) == folder:
                names[module].append(name)
    return names


def _things(module: str, names: Iterable[str]) -> list[str]:
    """Return those of a module's names that are not modules themselves."""
    package = importlib.import_module(module)
    return [name for name in names if not inspect.ismodule(getattr(package, name))]


def documented_names() -> set[str]:
    """Return the full names of everything that some page of the reference documents."""
    found = set()
    for page in sorted(PAGES.rglob("*.md")):
        for module, names in _asked(page.read_text()).items():
            found |= {f"{module}.{name}" for name in _things(module, names)}
    return found


def missing_names() -> set[str]:
    """Return public names that no page documents; a module is documented by its names."""
    wanted = set()
    for module in public_modules():
        wanted |= {f"{module}.{name}" for name in _things(module, public_names(module))}
    return wanted - documented_names()


def _assignment(source: str, name: str) -> tuple[str, str]:
    """Return the value of a constant as its source has it, and the comment above or beside it."""
    text = Path(importlib.util.find_spec(source).origin).read_text()
    lines = text.splitlines()
    for node in ast.parse(text).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            break
    else:
        msg = f"{source} does not assign {name}"
        raise LookupError(msg)
    above: list[str] = []
    for line in reversed(lines[: node.lineno - 1]):
        if not line.startswith("# "):
            break
        above.insert(0, line.removeprefix("# "))
    beside = lines[node.end_lineno - 1].partition("  # ")[2]
    value = ast.unparse(node.value)
    return value if len(value) <= LONGEST_VALUE else "", " ".join(above) or beside


def _entry(module: str, name: str, source: str) -> tuple[str, list[str]]:
    """Return the first sentence about a name, and its directive in reStructuredText."""
    thing = getattr(importlib.import_module(module), name)
    full = f"{module}.{name}"
    about = " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split())
    if inspect.isclass(thing) and typing.get_origin(thing) is None:
        kind = "autoexception" if issubclass(thing, Exception) else "autoclass"
        members = ["   :undoc-members:"] if issubclass(thing, enum.Enum) else []
        return about, [f".. {kind}:: {full}", "   :members:", *members]
    if callable(thing) and hasattr(thing, "__name__") and typing.get_origin(thing) is None:
        return about, [f".. autofunction:: {full}"]
    value, about = _assignment(source, name)
    lines = [f".. py:data:: {full}", *([f"   :value: {value}"] if value else [])]
    return about, [*lines, "", f"   {about}"]


def _entries(module: str, names: dict[str, str]) -> str:
    """Write the table of a module's names and their entries, as MyST Markdown."""
    package = importlib.import_module(module)
    table, entries = ["{.names}", "| | |", "|---|---|"], ["```{eval-rst}"]
    for name, source in names.items():
        if not inspect.ismodule(getattr(package, name)):
            about, directive = _entry(module, name, source)
            about = "".join(
                part if i % 2 else re.sub(r"([*_])", r"\\\1", part)
                for i, part in enumerate(re.split(r"(`[^`]*`)", about))
            ).replace("|", "\\|")
            elsewhere = source != module and source in public_modules()
            home = source if elsewhere else module
            table.append(f"| {{py:obj}}`{name} <{home}.{name}>` | {about} |")
            entries += [] if elsewhere else ["", *directive]
    return "\n".join([*table, "", *entries, "```"])


def _page(match: re.Match) -> str:
    module, folder = match["module"], match["folder"]
    names = public_names(module)
    if folder is not None:
        chosen = {n: s for n, s in names.items() if _folder(module, s) == folder}
        return _entries(module, chosen)
    by_folder = defaultdict(dict)
    for name, source in names.items():
        by_folder[_folder(module, source)][name] = source
    if not any(_is_folder(module, each) for each in by_folder):
        return _entries(module, names)
    parts = []
    for each in sorted(by_folder):
        title = (each or "More").replace("_", " ").capitalize()
        about = inspect.getdoc(importlib.import_module(f"{module}.{each}")) if each else ""
        parts += [
            f"## {title}",
            (about or "").partition("\n\n")[0],
            _entries(module, by_folder[each]),
        ]
    return "\n\n".join(parts)


def _read(app: Any, docname: str, source: list[str]) -> None:  # noqa: ARG001
    source[0] = MARKER.sub(_page, source[0])


def _check(app: Any, environment: Any) -> None:  # noqa: ARG001
    from sphinx.util import logging

    for name in sorted(missing_names()):
        logging.getLogger(__name__).warning("public but not in the reference: %s", name)


def setup(app: Any) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("source-read", _read)
    app.connect("env-check-consistency", _check)
    return {"parallel_read_safe": True}
