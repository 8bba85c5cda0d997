"""`fracjax reproduce`: recompute known numbers and print them beside their references."""

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from fracjax.cli.options import CompilationCacheOption
from fracjax.cli.runtime import (
    bad_input_is_exit_code_2,
    check_seed,
    configure_jax,
    print_json,
    progress_bar,
    versions,
)

__all__ = ["reproduce"]


@bad_input_is_exit_code_2
def reproduce(
    name: Annotated[
        str,
        typer.Argument(
            help="references, fractal, robustness, remedies, ladder, diffusion, langevin,"
            " plasticity, flossing, twofactor, trainability, l3d or gravity."
        ),
    ],
    only: Annotated[
        str | None, typer.Option(help="Only the parts whose name contains this text.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for a page (README.md), rows.json and figures; a killed run goes on from"
            " it."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    quick: Annotated[bool, typer.Option(help="A tenth of the work: wider intervals.")] = False,
    full: Annotated[bool, typer.Option(help="The sizes for a GPU: hours on a CPU.")] = False,
    compilation_cache: CompilationCacheOption = True,
    json: Annotated[bool, typer.Option("--json", help="Print rows as JSON.")] = False,
) -> None:
    """Recompute known numbers; print value, reference and difference in standard errors.

    A row agrees when it lies within four joint standard errors of its reference or, where an
    error is from few samples, within as many as are as rare by Student's t. Exit code 1 when one
    does not.

    Example: fracjax reproduce references --quick
    """
    if quick and full:
        msg = "--quick and --full exclude each other."
        raise ValueError(msg)
    check_seed(seed)
    configure_jax("float32", compilation_cache=compilation_cache)
    from fracjax.reproduce import experiments, run
    from fracjax.reproduce.rows import compared
    from fracjax.reproduce.run import as_document

    known = experiments()
    if name not in known:
        msg = f"name must be one of {', '.join(known)}, but is {name!r}."
        raise ValueError(msg)
    chosen = known[name]
    parts = {part: make for part, make in chosen.parts.items() if only is None or only in part}
    if not parts:
        msg = f"--only must match one of {', '.join(chosen.parts)}, but is {only!r}."
        raise ValueError(msg)
    chosen = dataclasses.replace(chosen, parts=parts)
    found = versions()
    pinned = {entry: found[entry] for entry in ("fracjax", "jax", "platform")}
    with progress_bar(quiet=False) as report:
        rows = run(
            chosen,
            seed=seed,
            size="quick" if quick else "full" if full else "default",
            folder=out,
            settings=pinned,
            on_part=lambda part, done, total: report(name, done, total, part),
        )
    if json:
        print_json({"name": name, "versions": found, **as_document(rows)})
    else:
        from fracjax.cli.tables import print_rows

        print_rows(compared(rows))
        for row in rows:  # these have nothing to agree with
            if not row.is_compared:
                interval = f"[{row.low:.3g}, {row.high:.3g}]"
                typer.echo(f"not tested: {row.system}: {row.quantity}: {row.value:.3g} {interval}")
    if not all(row.agrees for row in rows):
        raise typer.Exit(1)
