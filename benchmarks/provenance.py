"""Where a number comes from: the commit, what was changed since, the machine, how idle it was.

Nothing here starts JAX, so that whoever asks leaves the accelerator to somebody else.
"""

import datetime
import hashlib
import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

__all__ = [
    "IDLE",
    "commit",
    "free_cores",
    "host",
    "is_idle",
    "load_averages",
    "moment",
    "num_cores",
    "processor",
    "source",
    "versions",
]

IDLE = 0.95  # of the cores must be had by someone who asks for all of them
_FOLDER = Path(__file__).parent
_MEASURED = ("fracjax", "benchmarks/*.py")  # files on which numbers depend
_SPIN = """
import sys, time
begin, used = time.perf_counter(), time.process_time()
while time.perf_counter() - begin < float(sys.argv[1]):
    pass
print((time.process_time() - used) / (time.perf_counter() - begin))
"""


def num_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":")[1].strip()
    return platform.processor() or platform.machine()


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=_FOLDER.parent, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout


def commit() -> str | None:
    """Short hash of the commit, `None` outside a repository."""
    found = _git("rev-parse", "--short", "HEAD")
    return None if found is None else found.strip()


def source() -> dict[str, str | None]:
    """The commit, and a digest of what the measured files changed since: `None` if nothing."""
    changed = _git("diff", "HEAD", "--", *_MEASURED)
    added = _git("ls-files", "--others", "--exclude-standard", "--", *_MEASURED)
    digest = None
    if changed or added:
        text = hashlib.sha256((changed or "").encode())
        for name in sorted((added or "").splitlines()):
            text.update(name.encode() + (_FOLDER.parent / name).read_bytes())
        digest = text.hexdigest()[:12]
    return {"commit": commit(), "uncommitted changes": digest}


def host() -> dict[str, object]:
    """Processor, cores, GPUs, and what JAX is told to use."""
    gpus: list[str] = []
    if shutil.which("nvidia-smi"):
        query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        found = subprocess.run(query, capture_output=True, text=True, check=False)
        gpus = found.stdout.splitlines() if found.returncode == 0 else []
    return {
        "processor": processor(),
        "cores": num_cores(),
        "gpus": gpus,
        "JAX_PLATFORMS": os.environ.get("JAX_PLATFORMS"),
    }


def versions(names: Sequence[str]) -> dict[str, str]:
    """Installed versions; who is missing is said to be."""
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def moment() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def load_averages() -> list[float] | None:
    """Over 1, 5 and 15 minutes; whoever ran just before is part of them."""
    return [round(one, 2) for one in os.getloadavg()] if hasattr(os, "getloadavg") else None


def free_cores(seconds: float = 0.5) -> float:
    """Cores that one gets when asking for all of them, by keeping all busy for a moment.

    Unlike a load average it knows nothing of who ran a minute ago. It does not see who else uses
    the accelerator.
    """
    started = [
        subprocess.Popen(
            [sys.executable, "-S", "-c", _SPIN, str(seconds)], stdout=subprocess.PIPE, text=True
        )
        for _ in range(num_cores())
    ]
    return round(sum(float(process.communicate()[0]) for process in started), 2)


def is_idle(free: float, cores: int) -> bool:
    """Whether so many free cores of so many mean that nobody else was at work."""
    return free >= IDLE * cores
