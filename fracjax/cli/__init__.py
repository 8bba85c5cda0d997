"""The command line: `fracjax diagnose | scan | report | train | watch | reproduce | info`.

Typer, because a positional environment with a few options per command is its shape, it
exits with code 2 on bad usage by itself, prints help in Rich (which draws the progress
anyway), and its commands are plain functions that tests call. Commands import what they
need when they run: `fracjax --help` does not wait for Brax.
"""

import io
import sys
from typing import Annotated

import typer

from fracjax.cli.diagnose import diagnose
from fracjax.cli.info import info
from fracjax.cli.report import report
from fracjax.cli.reproduce import reproduce
from fracjax.cli.runtime import WITHOUT_GREEK
from fracjax.cli.scan import scan
from fracjax.cli.train import train
from fracjax.cli.watch import watch

__all__ = ["app", "main"]

app = typer.Typer(
    name="fracjax",
    help="Is there a gradient here to estimate at all? Chaos and roughness of policy objectives.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(diagnose)
app.command()(scan)
app.command()(report)
app.command()(train)
app.command()(watch)
app.command()(reproduce)
app.command()(info)


def _print_version(wanted: bool) -> bool:
    if wanted:
        from fracjax import __version__

        typer.echo(f"fracjax {__version__}")
        raise typer.Exit
    return wanted


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Version.")
    ] = False,
) -> None:
    """Is there a gradient here to estimate at all? Chaos and roughness of policy objectives."""


def main() -> None:
    """Run the command line; bad input is one line on stderr and exit code 2."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal without α shows ?, not a traceback
            stream.reconfigure(errors=WITHOUT_GREEK)
    try:
        app()
    except KeyboardInterrupt:
        typer.echo("interrupted", err=True)
        sys.exit(130)
