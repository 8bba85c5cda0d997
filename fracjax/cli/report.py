"""`fracjax report`: the page and the exports of a scan, or the page of a diagnosis again."""

import contextlib
import html
import json as json_
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fracjax import safe_files
from fracjax.cli.runtime import bad_input_is_exit_code_2, print_json, progress_bar

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure

    from fracjax.reports import ScanAnalysis, ScanDescription

__all__ = ["report"]

_SCAN = "scan.json"
_DIAGNOSIS = "results.json"
_VALUES = "values"
_PAGE = "report.html"
# Options that take their numbers in one word; others are repeated.
_JOINED = {"grid": "x", "action_bounds": ",", "zoom_at": ","}
_MAPS = ("value", "exponent", "holder")  # of `fracjax scan --measure exponents`


@bad_input_is_exit_code_2
def report(
    folder: Annotated[
        Path,
        typer.Argument(
            help="Folder of `fracjax scan`, finished or not; of `fracjax diagnose`; or a store"
            " that `landscapes.scan` wrote."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="Folder to write to. Default: FOLDER; beside it for a bare store."),
    ] = None,
    html_surface: Annotated[
        bool, typer.Option("--html-surface", help="Also surface.html, to turn and zoom.")
    ] = False,
    csv: Annotated[bool, typer.Option("--csv", help="Also scan.csv, a row per point.")] = False,
    npz: Annotated[bool, typer.Option("--npz", help="Also scan.npz, for NumPy.")] = False,
    vtk: Annotated[bool, typer.Option("--vtk", help="Also scan.vts, for ParaView.")] = False,
    height: Annotated[
        str | None,
        typer.Option(help="Column that is the height in scan.vts, such as value or value_0."),
    ] = None,
    every: Annotated[int, typer.Option(help="Points of surface.html: one in so many.")] = 1,
    analysis: Annotated[bool, typer.Option(help="Estimate roughness and look for cliffs.")] = True,
    json: Annotated[bool, typer.Option("--json", help="Print a summary as JSON.")] = False,
) -> None:
    """Make one self-contained page of a scan, and its values in other formats.

    Writes report.html into the folder, pictures inside. Works on an unfinished scan, too.

    Example: fracjax report scans/acrobot --html-surface --csv
    """
    if height is not None and not vtk:
        msg = "--height needs --vtk."
        raise ValueError(msg)
    wanted = {"--html-surface": html_surface, "--csv": csv, "--npz": npz, "--vtk": vtk}
    if (folder / _DIAGNOSIS).is_file() and not (folder / _SCAN).exists():
        given = [option for option, on in wanted.items() if on]
        if given:
            msg = f"{folder} holds a diagnosis; {', '.join(given)} are for scans."
            raise ValueError(msg)
        summary = _diagnosis(folder, _checked(out, folder))
    else:
        with progress_bar() as step:
            step("read", 0, 0)
            dataset, description = _read(folder)
            bare = not (folder / _SCAN).exists()
            beside = folder.resolve().with_name(f"{folder.resolve().name}-report")
            target = _checked(out, beside if bare else folder)
            step("exports", 0, 0)
            files = _export(dataset, target, wanted, description, height, every)
            step("analysis", 0, 0)
            summary = _scan(folder, target, dataset, description, files, analyse=analysis)
    if json:
        print_json(summary)
        return
    if "points" in summary:
        filled = summary["interpolation"]
        count, how = (filled["evaluated"], " evaluated") if filled else (summary["done"], "")
        typer.echo(f"{count:,} of {summary['points']:,} points{how}")
    for path in summary["files"]:
        typer.echo(path)


def _checked(out: Path | None, default: Path) -> Path:
    """Make the folder to write to; one that was named must not hold another's page."""
    from fracjax.reports.files import OutputError, make_folder

    target = default if out is None else out
    found = target / _PAGE
    if out is not None and found.exists() and not _is_ours(found):
        msg = f"{found} was not written by fracjax; choose another --out."
        raise OutputError(msg)
    make_folder(target)
    return target


def _is_ours(page: Path) -> bool:
    if not page.is_file():
        return False
    with page.open("rb") as file:
        return b'content="fracjax"' in file.read(4096)


def _diagnosis(folder: Path, target: Path) -> dict[str, Any]:
    """Render the page of a diagnosis again."""
    from fracjax import reports

    document = _json(folder / _DIAGNOSIS, "a result of fracjax diagnose")
    configuration = document.get("configuration")
    command = _command("diagnose", configuration if isinstance(configuration, dict) else {})
    text, document = reports.render_again(folder, command=command)
    files = reports.write_files(target, {_PAGE: _encoded(text)})
    return {
        "folder": str(folder),
        "kind": "diagnosis",
        "cases": [str(case["title"]) for case in document["cases"]],
        "files": [str(path) for path in files],
    }


def _read(folder: Path) -> "tuple[xarray.Dataset, ScanDescription]":
    """Open the values and what is known of them; nothing there is trusted."""
    from fracjax import landscapes
    from fracjax.reports import ScanDescription

    if not folder.is_dir():
        msg = f"{folder} is no folder."
        raise ValueError(msg)
    request: dict[str, Any] = {}
    if (folder / _SCAN).exists():
        refusal = f"{folder / _SCAN} does not describe a scan."
        found = _json(folder / _SCAN, "the description of a scan").get("request")
        if not isinstance(found, dict) or not all(map(_is_plain, found.values())):
            raise ValueError(refusal)
        # The format of a film says nothing where there is none.
        request = {n: v for n, v in found.items() if n != "film" or found.get("zoom")}
        if not (folder / _VALUES).exists():
            msg = f"{folder} holds no values yet: run `fracjax scan --resume {folder}`."
            if request.get("zoom"):
                msg = (
                    f"{folder} is for a zoom, which has no page: see its film, scan.png and the"
                    " numbers of its frames in zoom.json."
                )
            raise ValueError(msg)
        dataset = landscapes.open_scan(folder / _VALUES)
    else:
        try:
            dataset = landscapes.open_scan(folder)
        except ValueError:
            msg = (
                f"{folder} holds neither a scan ({_SCAN}), nor a diagnosis ({_DIAGNOSIS}), nor a"
                " store of values."
            )
            raise ValueError(msg) from None
    dataset = _loaded(dataset, folder)
    versions = _manifest(dataset).get("versions")
    gamma = request.get("gamma")
    numbers = isinstance(gamma, list) and all(type(g) in (int, float) and 0 < g <= 1 for g in gamma)
    policy = Path(str(request.get("policy") or "trained")).name
    title = f"{request['environment']}, {policy}" if "environment" in request else folder.name
    return dataset, ScanDescription(
        title=title,
        request=[
            (name.replace("_", " "), _shown(name, value))
            for name, value in request.items()
            if value is not None and value is not False and value != []
        ],
        command=_command("scan", request) if request else "",
        versions={str(name): str(value) for name, value in versions.items()}
        if isinstance(versions, dict)
        else {},
        discounts=list(gamma or []) if numbers else [],
        has_path=str(request.get("plane")).startswith(("path", "through")),
    )


def _loaded(dataset: "xarray.Dataset", folder: Path) -> "xarray.Dataset":
    """Read all values, if they can be a scan's and there is room for them."""
    from fracjax.landscapes.exports.tables import grid_axes

    axes = grid_axes(dataset)
    if any(dataset[axis].dtype.kind not in "fiu" for axis in axes) or not dataset.sizes[axes[0]]:
        msg = f"{folder} holds no scan: its coordinates are no numbers."
        raise ValueError(msg)
    room = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    if dataset.nbytes > room:
        msg = (
            f"values in {folder} take {dataset.nbytes / 1e9:.3g} GB, more than half of the memory"
            " here: read parts of them by `landscapes.open_scan`."
        )
        raise ValueError(msg)
    try:
        return dataset.load()
    except (ValueError, RuntimeError) as error:
        msg = f"values in {folder} are damaged ({error}); run the scan again to repair them."
        raise ValueError(msg) from None


def _scan(
    folder: Path,
    target: Path,
    dataset: "xarray.Dataset",
    description: "ScanDescription",
    files: list[Path],
    *,
    analyse: bool,
) -> dict[str, Any]:
    """Summarise, draw and write the page."""
    from fracjax import reports
    from fracjax.reports.page import png

    analyses = reports.analyse_scan(dataset) if analyse else {}
    summary = reports.describe_scan(dataset, discounts=description.discounts, analyses=analyses)
    sections = []
    pictures: dict[str, bytes] = {}
    drawn = folder / "scan.png"
    if description.has_path and drawn.is_file():
        pictures["With the path or the points of the slice, as fracjax scan drew it."] = (
            safe_files.read_bytes(drawn)
        )
    try:
        for caption, figure in _figures(dataset, description, analyses).items():
            pictures[caption] = png(figure)
    except ValueError as error:  # more outputs than a page holds
        sections.append(("Pictures", f"<p>Not drawn: {html.escape(str(error))}</p>"))
    text = reports.render_scan(
        summary,
        description,
        pictures=pictures,
        manifest=_manifest(dataset),
        files=[path.name for path in files],
        sections=sections,
    )
    written = reports.write_files(target, {_PAGE: _encoded(text)})
    return {
        "folder": str(folder),
        "kind": "scan",
        "title": description.title,
        **summary,
        "command": description.command,
        "files": [str(path) for path in [*written, *files]],
    }


def _figures(
    dataset: "xarray.Dataset", description: "ScanDescription", analyses: "dict[str, ScanAnalysis]"
) -> "dict[str, Figure]":
    """Draw a scan; figures by caption."""
    from fracjax import plotting
    from fracjax.landscapes.exports.tables import grid_axes

    num_axes = len(grid_axes(dataset))
    cliffs = {name: found.cliffs for name, found in analyses.items()}
    figures = {}
    if num_axes == 2 and set(_MAPS) <= set(dataset.data_vars):
        caption = "Return, Lyapunov exponent and Hölder exponent; red is chaotic, and rough."
        figures[caption] = plotting.fractality_figure(
            dataset,
            dataset,
            dataset,
            title=description.title,
            variables=_MAPS,
            cliffs=cliffs.get("value_0", cliffs.get("value")),
        )
    caption = {
        1: "Every output along the direction.",
        2: "Every output over the plane. Contour lines are drawn where the grid resolves it.",
    }.get(num_axes, "Every output over every pair of axes, the others held at their middle.")
    figures[caption] = plotting.scan_figure(
        dataset, description.discounts, title=description.title, cliffs=cliffs
    )
    return figures


def _export(
    dataset: "xarray.Dataset",
    target: Path,
    wanted: dict[str, bool],
    description: "ScanDescription",
    height: str | None,
    every: int,
) -> list[Path]:
    """Write the values in the formats that were asked for."""
    from fracjax import plotting
    from fracjax.landscapes.exports.tables import write_csv, write_npz
    from fracjax.landscapes.exports.vtk import write_vts

    files = []
    if wanted["--html-surface"]:
        try:
            files.append(
                plotting.surface_html(
                    dataset,
                    target / "surface.html",
                    discounts=description.discounts,
                    title=description.title,
                    every=every,
                )
            )
        except ModuleNotFoundError as error:
            raise ValueError(str(error)) from None
    if wanted["--csv"]:
        files.append(write_csv(dataset, target / "scan.csv"))
    if wanted["--npz"]:
        files.append(write_npz(dataset, target / "scan.npz"))
    if wanted["--vtk"]:
        files.append(write_vts(dataset, target / "scan.vts", height=height))
    return files


def _json(path: Path, what: str) -> dict[str, Any]:
    """Read a JSON object from a file that is not trusted."""
    document = None
    with contextlib.suppress(ValueError):
        document = safe_files.read_json(path)
    is_object = isinstance(document, dict)
    if not is_object:
        msg = f"{path} is not {what}."
        raise ValueError(msg)
    return dict(document or {})


def _manifest(dataset: "xarray.Dataset") -> dict[str, Any]:
    found = dataset.attrs.get("manifest", "{}")
    document = json_.loads(found) if isinstance(found, str) else found
    return document if isinstance(document, dict) else {}


def _is_plain(value: Any) -> bool:
    parts = value if isinstance(value, list) else [value]
    return all(part is None or isinstance(part, str | int | float) for part in parts)


def _shown(name: str, value: Any) -> str:
    mark = " × " if name == "grid" else ", "
    return mark.join(map(str, value)) if isinstance(value, list) else str(value)


def _command(name: str, request: dict[str, Any]) -> str:
    """Write the command line that asks for the same."""
    words = ["fracjax", name]
    environments = request.get("environments", [request.get("environment")])
    if isinstance(environments, list) and len(environments) == 1:
        words.append(str(environments[0]))
    for option, value in request.items():
        if option in ("environment", "environments", "command") or "_digest" in option:
            continue
        flag = "--" + option.replace("_", "-")
        if option in _JOINED and isinstance(value, list):
            words += [flag, _JOINED[option].join(map(str, value))]
        elif value is True:
            words.append(flag)
        elif value is not None and value is not False:
            for part in value if isinstance(value, list) else [value]:
                words += [flag, str(part)]
    return shlex.join(words)


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")
