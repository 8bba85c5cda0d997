"""The documentation: every public name is in the reference, and every example is true."""

import doctest
import importlib
import importlib.util
import inspect
import io
import re
import runpy
import shlex
import subprocess
import sys
import zlib
from pathlib import Path

import jax
import pytest
import typer

from fracjax import estimators
from fracjax.cli import app

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md")) if DOCS.exists() else []
if not PAGES:
    pytest.skip("tests without the sources of the documentation", allow_module_level=True)
REFERENCE = runpy.run_path(str(DOCS / "_extensions" / "public_names.py"))
OPTIONS = doctest.NORMALIZE_WHITESPACE
# More than five seconds of compiling each.
SLOW = {
    "correlation_dimension",
    "diagnose",
    "flossing_loss",
    "pptb",
    "spectral_density",
}
FENCE = re.compile(
    r"^(?P<comment><!-- (?P<mark>slow|not run)\b.*-->\n)?```(?P<kind>\w+)\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


def public_things():
    """Every public object with a docstring of its own, once, by name."""
    found = {}
    for module in REFERENCE["public_modules"]():
        package = importlib.import_module(module)
        for name in REFERENCE["public_names"](module):
            thing = getattr(package, name)
            if not inspect.ismodule(thing) and hasattr(thing, "__doc__"):
                found.setdefault(id(thing), (f"{module}.{name}", thing))
    return dict(found.values())


def with_examples():
    for name, thing in public_things().items():
        if ">>> " in (thing.__doc__ or ""):
            slow = name.rpartition(".")[2] in SLOW
            marks = [pytest.mark.slow] if slow else []
            yield pytest.param(thing.__doc__, name, id=name, marks=marks)


@pytest.fixture(autouse=True)
def in_double_precision(tmp_path, monkeypatch):
    """As installation.md says, in an empty folder; a page may say so itself."""
    monkeypatch.chdir(tmp_path)
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", before)


def check(text, name, names):
    """Run the examples of a text; `names` is what they know, and learn."""
    test = doctest.DocTestParser().get_doctest(inspect.cleandoc(text), names, name, name, 0)
    test.globs = names  # the parser makes a copy
    said = io.StringIO()
    runner = doctest.DocTestRunner(optionflags=OPTIONS, verbose=False)
    runner.run(test, out=said.write, clear_globs=False)
    assert runner.tries > 0
    assert runner.failures == 0, said.getvalue()


@pytest.mark.parametrize(("text", "name"), list(with_examples()))
def test_examples_of_docstrings(text, name):
    check(text, name, {})


def test_the_most_used_functions_have_examples():
    named = {parameter.id.rpartition(".")[2] for parameter in with_examples()}
    assert named >= {
        *("lyapunov_spectrum", "holder_exponent", "series_holder_exponent", "Estimate"),
        *("line", "plane", "scan", "diagnose", "predict", "make", "discounted_returns"),
        *("pptb", "natural_langevin", "flossing_loss", "redo", "intervene", "open_recorder"),
        *("hessian", "trace", "spectral_density", "top_eigenpairs", "optimizer_map"),
    }


def blocks(page, kinds, *, slow):
    for match in FENCE.finditer(page.read_text()):
        skipped = match["mark"] == "not run" or (match["mark"] == "slow" and not slow)
        if match["kind"] in kinds and not skipped:
            yield match["kind"], match["code"]


def pages_with_examples():
    for page in PAGES:
        name = str(page.relative_to(DOCS))
        if any(blocks(page, ("python", "pycon"), slow=False)):
            yield pytest.param(page, False, id=name)
        if "<!-- slow -->" in page.read_text():
            yield pytest.param(page, True, id=f"{name}, all", marks=pytest.mark.slow)


@pytest.mark.parametrize(("page", "slow"), list(pages_with_examples()))
def test_examples_of_pages(page, slow):
    """Blocks of a page run in their order and share their names."""
    names = {"__name__": "example"}
    for kind, code in blocks(page, ("python", "pycon"), slow=slow):
        if kind == "pycon":
            check(code, page.name, names)
        else:
            exec(compile(code, str(page), "exec"), names)


def commands(text):
    for match in FENCE.finditer(text):
        if match["kind"] in ("sh", "bash") and match["mark"] != "not run":
            for line in match["code"].replace("\\\n", " ").splitlines():
                words = shlex.split(line, comments=True)
                if "fracjax" in words:
                    yield words[words.index("fracjax") + 1 :]


@pytest.mark.parametrize(
    "page", [*PAGES, ROOT / "README.md"], ids=lambda page: str(page.relative_to(ROOT))
)
def test_commands_are_those_of_the_command_line(page):
    """Their names, options and the kinds of their values; nothing is run."""
    group = typer.main.get_command(app)
    for words in commands(page.read_text()):
        with group.make_context("fracjax", words, resilient_parsing=False) as context:
            name, command, rest = group.resolve_command(context, words)
            command.make_context(name, rest, parent=context).close()


def test_commands_are_found_and_a_wrong_one_is_not_accepted(tmp_path):
    found = [words for page in PAGES for words in commands(page.read_text())]
    assert {words[0] for words in found} >= {"diagnose", "scan", "report", "train", "watch"}
    page = tmp_path / "page.md"
    page.write_text("```sh\nfracjax scan acrobot --no-such-option 3\n```\n")
    with pytest.raises(Exception, match="No such option"):
        test_commands_are_those_of_the_command_line(page)


def test_every_public_name_is_in_the_reference():
    assert REFERENCE["missing_names"]() == set()
    assert len(REFERENCE["documented_names"]()) > 600


def test_every_public_name_says_what_it_is():
    silent = [
        f"{module}.{name}"
        for module in REFERENCE["public_modules"]()
        for name, source in REFERENCE["public_names"](module).items()
        if not inspect.ismodule(getattr(importlib.import_module(module), name))
        and not REFERENCE["_entry"](module, name, source)[0]
    ]
    assert silent == []


def test_a_name_that_no_page_asks_for_is_missed(tmp_path):
    """Null: without the page of the estimators theirs are missing, and no others."""
    reference = runpy.run_path(str(DOCS / "_extensions" / "public_names.py"))
    pages = tmp_path / "api"
    for page in (DOCS / "api").rglob("*.md"):
        if page.name != "estimators.md":
            copy = pages / page.relative_to(DOCS / "api")
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(page.read_text())
    reference["documented_names"].__globals__["PAGES"] = pages
    assert reference["missing_names"]() == {f"fracjax.estimators.{n}" for n in estimators.__all__}


def test_links_and_pictures_of_pages_exist():
    for page in PAGES:
        for target in re.findall(r"\]\(((?!https?:|#)[^)\s]+)\)", page.read_text()):
            assert (page.parent / target.partition("#")[0]).exists(), (page, target)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("sphinx") is None, reason="needs the extra `docs`")
def test_the_site_builds_without_a_warning_and_loads_nothing_from_elsewhere(tmp_path):
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-d", "trees", DOCS]
    built = subprocess.run([*command, "site"], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    loaded = re.compile(
        r"<(?:script|img|iframe)\b[^>]*\bsrc=\"(?:https?:)?//|"
        r"<link\b[^>]*\brel=\"(?:stylesheet|preload|icon)\"[^>]*\bhref=\"(?:https?:)?//"
    )
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) > 50
    for page in pages:
        assert loaded.search(page.read_text()) is None, page
    inventory = (tmp_path / "site" / "objects.inv").read_bytes().split(b"\n", 4)[4]
    listed = {line.split(" ", 1)[0] for line in zlib.decompress(inventory).decode().splitlines()}
    # What two modules export is listed where it is defined.
    modules = REFERENCE["public_modules"]()
    homes = {
        f"{module}.{name}": f"{source}.{name}"
        for module in modules
        for name, source in REFERENCE["public_names"](module).items()
        if source != module and source in modules
    }
    assert {homes.get(name, name) for name in REFERENCE["documented_names"]()} <= listed
