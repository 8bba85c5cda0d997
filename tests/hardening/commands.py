"""Commands run in this process, watched for what a bad file must never cause."""

import contextlib
import os
import pickle
import re
import signal
import threading
from pathlib import Path

from typer.testing import CliRunner

from fracjax.cli import app

__all__ = ["Canary", "contents", "guarded", "one_line", "run", "said"]

# Work is counted in seconds of the processor, of which a busy machine takes no more; by the clock
# only what waits is stopped.
LIMITS = {signal.ITIMER_PROF: (signal.SIGPROF, 60), signal.ITIMER_REAL: (signal.SIGALRM, 300)}
MOST_BYTES = 900 * 2**20  # twice what an archive may hold, and JAX's own


class TookTooLongError(BaseException):
    """Passes every `except Exception`."""


class Canary:
    """A command that a pickle would run; `sings` once it has."""

    def __init__(self, folder):
        self.path = Path(folder) / "canary"

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)

    @property
    def sings(self):
        return self.path.exists()

    def pickles(self):
        return [pickle.dumps(self, protocol) for protocol in range(6)]


def _peak():
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return 1024 * int(found.group(1))


@contextlib.contextmanager
def guarded():
    """Bound time and memory of a block."""
    measured = Path("/proc/self/clear_refs").exists()
    before = 0
    if measured:
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # forget the peak
        before = _peak()

    def late(*_):
        raise TookTooLongError

    alarmed = threading.current_thread() is threading.main_thread()
    old = {}
    if alarmed:
        for timer, (number, seconds) in LIMITS.items():
            old[number] = signal.signal(number, late)
            signal.setitimer(timer, seconds)
    try:
        yield
    finally:
        if alarmed:
            for timer, (number, _) in LIMITS.items():
                signal.setitimer(timer, 0)
                signal.signal(number, old[number])
    if measured:
        grown = _peak() - before
        assert grown < MOST_BYTES, f"took {grown >> 20} MiB"


def contents(folder):
    """What is on disk, by path."""
    found = {}
    for path in sorted(Path(folder).rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = f"-> {os.readlink(path)}"
        elif path.is_file():
            found[name] = path.read_bytes()
        else:
            found[name] = "folder" if path.is_dir() else "odd"
    return found


def run(*arguments):
    with guarded():
        return CliRunner().invoke(app, [str(argument) for argument in arguments])


def one_line(result, *, codes=(2,)):
    """Check that a command refused its input as it should."""
    shown = f"{result.output!r} {result.exception!r}"
    assert result.exit_code in codes, shown
    assert isinstance(result.exception, SystemExit), shown
    said = [line for line in result.stderr.splitlines() if line.startswith("fracjax: ")]
    assert len(said) == 1, shown
    assert "Traceback" not in result.output
    assert 20 < len(said[0]) < 2000, shown
    assert said[0].isprintable(), shown
    return said[0]


def said(error):
    """Check that an error of the library says something, in one line."""
    text = str(error)
    assert len(text.splitlines()) == 1
    assert len(text) > 20
