"""Docstrings as they are written, in reStructuredText as Sphinx wants them.

In the package a single pair of backticks means code, stars and bars mean themselves, and lists
stand directly under the sentence that announces them. Signatures are shown as in the source, where
shapes have names, and not as Python evaluates them.
"""

import ast
import dataclasses
import functools
import inspect
import re
import sys
import textwrap
import typing
from typing import Any

from public_names import documented_names, public_modules, public_names

__all__ = ["setup"]

CODE = re.compile(r"(`[^`]+`)")
BULLET = re.compile(r"\s*(- |\d\. )")


@functools.cache
def _links() -> dict[str, str]:
    """Return names that can mean one thing only, and where it is documented."""
    targets: dict[str, set[str]] = {}
    for module in public_modules():
        for name in public_names(module):
            targets.setdefault(name, set()).add(f"{module}.{name}")
    # A single word is a parameter or a field more often than a function.
    return {n: t.pop() for n, t in targets.items() if "_" in n and len(t) == 1}


def link(code: str) -> str | None:
    """Return what a piece of code in backticks names, if it can name one thing only."""
    full = f"fracjax.{code.removeprefix('fracjax.')}"
    if "." in code and full in _documented():
        return full
    return _links().get(code.rpartition(".")[2])


@functools.cache
def _documented() -> set[str]:
    return documented_names()


def _escape(text: str) -> str:
    text = re.sub(r"([*|\\])", r"\\\1", text)
    return re.sub(r"(\w)_(?=\W|$)", r"\1\\_", text)


def _inline(line: str) -> str:
    parts = CODE.split(line)
    for i, part in enumerate(parts):
        if not part.startswith("`"):
            parts[i] = _escape(part)
            continue
        code = part.strip("`")
        target = link(code)
        parts[i] = f":py:obj:`{code} <{target}>`" if target else f"``{code}``"
    # Roles and literals must not touch a letter.
    for i in range(1, len(parts), 2):
        before = "\\ " if re.search(r"\w$", parts[i - 1]) else ""
        after = "\\ " if re.match(r"\w", parts[i + 1]) else ""
        parts[i] = f"{before}{parts[i]}{after}"
    return "".join(parts)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _is_python(code: str) -> bool:
    try:
        ast.parse(code)
    except SyntaxError:
        return False
    return True


def translate(lines: list[str]) -> list[str]:
    """Translate the lines of one docstring."""
    lines = _join_split_code(lines)
    result: list[str] = []
    i = 0
    while i < len(lines):
        line = lines[i]
        end = _end_of_indented(lines, i)
        if line.lstrip().startswith(">>> "):  # an example, up to the next blank line
            end = next((j for j in range(i, len(lines)) if not lines[j].strip()), len(lines))
            result += lines[i:end]
        elif end > i:  # a block of code or a table, indented as in Markdown
            block = textwrap.dedent("\n".join(lines[i:end])).splitlines()
            kind = "python" if _is_python("\n".join(block)) else "text"
            margin = " " * (_indent(line) - 4)
            result += [f"{margin}.. code-block:: {kind}", ""]
            result += [f"{margin}   {each}".rstrip() for each in block] + [""]
        else:
            previous = result[-1] if result else ""
            starts = BULLET.match(line) and previous.strip() and not BULLET.match(previous)
            if starts and _indent(previous) <= _indent(line):
                result.append("")
            result.append(_inline(line))
            end = i + 1
        i = end
    return result


def _end_of_indented(lines: list[str], start: int) -> int:
    """Return where a block that starts here and is indented after a sentence ends, or `start`."""
    if not lines[start].strip() or start < 2 or lines[start - 1].strip():
        return start
    before = next((line for line in reversed(lines[:start]) if line.strip()), "")
    margin = _indent(before)
    if not before or _indent(lines[start]) < margin + 4 or BULLET.match(before):
        return start
    end = start
    for j in range(start, len(lines)):
        if lines[j].strip():
            if _indent(lines[j]) <= margin:
                break
            end = j + 1
    return end


def _join_split_code(lines: list[str]) -> list[str]:
    """Keep code in backticks on one line, as Markdown allows it to break."""
    result: list[str] = []
    for line in lines:
        if result and result[-1].count("`") % 2 and not result[-1].lstrip().startswith(">>> "):
            result[-1] = f"{result[-1].rstrip()} {line.strip()}"
        else:
            result.append(line)
    return result


# Translated docstrings of properties, which napoleon would take for `type: text`.
_PROPERTIES: dict[str, list[str]] = {}


def _process_docstring(
    app: Any,  # noqa: ARG001
    what: str,
    name: str,
    obj: Any,  # noqa: ARG001
    options: Any,  # noqa: ARG001
    lines: list[str],
) -> None:
    lines[:] = translate(lines)
    if what == "property":
        _PROPERTIES[name] = list(lines)


def _restore_property(
    app: Any,  # noqa: ARG001
    what: str,  # noqa: ARG001
    name: str,
    obj: Any,  # noqa: ARG001
    options: Any,  # noqa: ARG001
    lines: list[str],
) -> None:
    lines[:] = _PROPERTIES.get(name, lines)


class _Qualify(ast.NodeTransformer):
    """Write classes with their modules, so that links find the right one, and choices in full."""

    def __init__(self, names: dict[str, Any]) -> None:
        self.names = names

    def visit_Name(self, node: ast.Name) -> ast.expr:
        found = self.names.get(node.id)
        if typing.get_origin(found) is typing.Literal:
            choices = ", ".join(map(repr, typing.get_args(found)))
            return ast.parse(f"Literal[{choices}]", mode="eval").body
        module = getattr(found, "__module__", "") or ""
        if not inspect.isclass(found) or not module.startswith("fracjax."):
            return node
        return ast.parse(f"~{module}.{found.__qualname__}", mode="eval").body


def _parse(obj: Any) -> Any:
    """Return the syntax tree of a function or class, its classes qualified, or None."""
    try:
        source = textwrap.dedent(inspect.getsource(inspect.unwrap(obj)))
        node = ast.parse(source).body[0]
    except (OSError, TypeError, SyntaxError):
        return None
    names = vars(sys.modules[obj.__module__]) if obj.__module__ in sys.modules else {}
    return _Qualify(names).visit(node)


def _fields(cls: type) -> str | None:
    """Write the fields of a dataclass or named tuple as its signature, if all are its own."""
    node = _parse(cls)
    if not isinstance(node, ast.ClassDef):
        return None
    if dataclasses.is_dataclass(cls):
        wanted = [field.name for field in dataclasses.fields(cls) if field.init]
        kinds = {parameter.kind for parameter in inspect.signature(cls).parameters.values()}
        keywords = "*, " if kinds == {inspect.Parameter.KEYWORD_ONLY} else ""
    else:
        wanted, keywords = list(getattr(cls, "_fields", ())), ""
    found = {n.target.id: n for n in node.body if isinstance(n, ast.AnnAssign)}
    if not wanted or any(name not in found for name in wanted):
        return None
    shown = []
    for name in wanted:
        text, default = ast.unparse(found[name].annotation), found[name].value
        if default is not None:
            made = isinstance(default, ast.Call) and "field" in ast.unparse(default.func)
            text += " = ..." if made else f" = {ast.unparse(default)}"
        shown.append(f"{name}: {text}")
    return f"({keywords}{', '.join(shown)})"


def _process_signature(
    app: Any,  # noqa: ARG001
    what: str,
    name: str,  # noqa: ARG001
    obj: Any,
    options: Any,  # noqa: ARG001
    signature: str | None,
    annotation: str | None,
) -> tuple[str | None, str | None]:
    """Show a signature as the source has it."""
    if what == "class":
        own = vars(obj).get("__init__")
        generated = dataclasses.is_dataclass(obj) or hasattr(obj, "_fields")
        if generated or not inspect.isfunction(own):
            return _fields(obj) or signature, annotation
        obj = own
    elif what not in ("function", "method"):
        return signature, annotation
    node = _parse(obj)
    if not isinstance(node, ast.FunctionDef):
        return signature, annotation
    arguments = node.args
    if what != "function" and arguments.args and arguments.args[0].arg in ("self", "cls"):
        arguments.args = arguments.args[1:]
    returns = node.returns if what != "class" else None
    return f"({ast.unparse(arguments)})", ast.unparse(returns) if returns else annotation


def _read(app: Any, docname: str, source: list[str]) -> None:  # noqa: ARG001
    """Link the names in the text of a page, which are code in backticks."""
    if not docname.startswith("api/"):
        parts = re.split(r"(^```.*?^```$|`[^`\n]+`(?=[^`]))", source[0], flags=re.M | re.S)
        for i, part in enumerate(parts):
            target = link(part.strip("`")) if re.fullmatch(r"`[^`]+`", part) else None
            parts[i] = f"{{py:obj}}`{part.strip('`')} <{target}>`" if target else part
        source[0] = "".join(parts)


def _skip(app: Any, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:  # noqa: ARG001
    """Leave out what named tuples say of themselves: the class describes its fields."""
    return True if (inspect.getdoc(obj) or "").startswith("Alias for field number") else None


def setup(app: Any) -> dict[str, bool]:
    """Register with Sphinx, before napoleon reads the sections."""
    from sphinx.domains.python._object import PyObject

    for kind in PyObject.doc_field_types:
        kind.label = "Attributes" if kind.name == "variable" else kind.label
    app.connect("autodoc-skip-member", _skip)
    app.connect("autodoc-process-docstring", _process_docstring, priority=400)
    app.connect("autodoc-process-docstring", _restore_property, priority=600)
    app.connect("autodoc-process-signature", _process_signature)
    app.connect("source-read", _read)
    return {"parallel_read_safe": True}
