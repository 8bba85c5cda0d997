"""Runs jobs that die, or whose disk is full: `mortal.py FOLDER JOB … [--every N | --random N]`.

This process imports everything and computes nothing, so that it can fork; every life of a job is
a child. Prints one JSON object: what came out of every job, by name.
"""

import contextlib
import errno
import importlib.util
import io
import json
import os
import random
import resource
import signal
import sys
import time
import traceback
from pathlib import Path

import jax
import typer

sys.path.insert(0, str(Path(__file__).parents[1]))

import hardening.test_damaged_runs as requests
import hardening.test_damaged_stores as stores
import recorded_walks
import watched_runs
from hardening import trainings, whole_commands
from hardening.commands import contents

from fracjax.cli.runtime import bad_input_is_exit_code_2
from fracjax.diagnosis.watching import Journal
from fracjax.reproduce.experiments import Experiment
from fracjax.reproduce.rows import Findings, compare
from fracjax.reproduce.run import run as reproduce

EVENTS = ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.truncate")
FORGOTTEN = ("state.json", "writer.lock")  # who wrote last, and who may


# --- jobs: begin, or go on with, what lies in a folder ----------------------------------------


def scan_store(folder):
    stores.store(folder / "s")


def path(folder):
    with recorded_walks.recorder(folder / "path.zarr") as recorder:
        for row in range(3):
            recorded_walks.record(recorder, [row])


def request(folder):
    requests.request_of_pendulum().write(folder / "scan")


def journal(folder):
    kept = Journal(folder / "run", {"budget": 0.2, "maximize": True})
    kept.note("running", step=0)
    for step in range(4):
        kept.append(watched_runs.record(1000 * step, watched_runs.FRACTAL, cost=watched_runs.COST))
        kept.note("running", step=1000 * step)
    kept.note("finished")


class Picture:
    """Stands in for a figure."""

    def savefig(self, buffer, **_):
        buffer.write(b"\x89PNG" + bytes(5000))


def experiment(folder):
    def part(name):
        rows = [compare(name, "exponent", (1.0, 0.1), (1.2, 0.0, "exact"))]
        return lambda key, size: Findings(rows, {f"picture-{name}": Picture})

    toy = Experiment("toy", "", {name: part(name) for name in ("a", "b", "c")})
    reproduce(toy, folder=folder / "rows")


def scan(folder):
    """A scan of a chaotic objective by JAX."""
    spec = importlib.util.spec_from_file_location(
        "scans_of_toys", Path(__file__).parents[1] / "landscapes" / "scans" / "test_store.py"
    )
    toys = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(toys)
    toys.run(folder / "s")


JOBS = {job.__name__: job for job in (scan_store, path, request, journal, experiment, scan)}
JOBS |= {name: getattr(trainings, name) for name in trainings.__all__}
JOBS |= {name: getattr(whole_commands, name) for name in whole_commands.__all__}


# --- lives ------------------------------------------------------------------------------------


class Life:
    """One child's life: what it does to the folder is counted, and can be its end."""

    def __init__(self, folder, *, dies_at=None, full_from=None):
        self.folder, self.dies_at, self.full_from = str(folder), dies_at, full_from
        self.count = 0

    def hook(self, event, arguments):
        if event not in EVENTS or not any(self.folder in str(part) for part in arguments[:2]):
            return
        if event == "open" and not _writes(arguments):
            return
        self.count += 1
        if self.count == self.dies_at:
            os.kill(os.getpid(), signal.SIGKILL)
        removes = event in ("os.remove", "os.rmdir")
        if self.full_from is not None and self.count >= self.full_from and not removes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _writes(arguments):
    _, mode, flags = arguments
    return bool(flags & (os.O_WRONLY | os.O_RDWR)) if mode is None else set(mode) & set("wax+")


def child(job, folder, *, life=None, largest=None, said=None):
    """Fork one life; returns its process."""
    folder.mkdir(exist_ok=True)
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        if largest is not None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        if life is not None:
            sys.addaudithook(life.hook)
        err = io.StringIO()
        with contextlib.redirect_stderr(err):
            try:
                if largest is not None:
                    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
                bad_input_is_exit_code_2(job)(folder)
                code = 0
            except typer.Exit as end:
                code = end.exit_code
        if life is not None:
            life.folder = "nothing more is counted"
        if largest is not None:
            largest = None
            os.write(said, err.getvalue().encode())
        elif said is not None:
            os.write(said, f"{0 if life is None else life.count}\n{err.getvalue()}".encode())
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def lived(job, folder, **how):
    """Wait for one life: its exit code (negative for a signal), and what it said."""
    reading, writing = os.pipe()
    process = child(job, folder, said=writing, **how)
    os.close(writing)
    with open(reading, "rb") as pipe:
        said = pipe.read().decode()
    _, status = os.waitpid(process, 0)
    return os.waitstatus_to_exitcode(status), said


def kept(folder):
    """What is on disk, but for who wrote it, and what the dead left aside under hidden names."""
    return {
        name: content
        for name, content in contents(folder).items()
        if Path(name).name not in FORGOTTEN and not Path(name).name.startswith(".")
    }


def deaths(job, base, every):
    """Kill a job at each (or every so many) of its acts on the disk, and let another go on."""
    code, said = lived(job, base / "whole", life=Life(base / "whole"))
    assert code == 0, said
    acts, whole = int(said.split()[0]), kept(base / "whole")
    different = []
    for act in range(acts, 0, -every):
        folder = base / f"killed-{act}"
        ended, _ = lived(job, folder, life=Life(folder, dies_at=act))
        after, said = lived(job, folder)
        if ended != -signal.SIGKILL or after != 0 or kept(folder) != whole:
            different.append([act, ended, after, said[:500], _changed(kept(folder), whole)])
    return {"acts": acts, "different": different}


def full(job, base, every):
    """Fill the disk before each act in turn, for good; make room, and let another go on."""
    code, said = lived(job, base / "whole", life=Life(base / "whole"))
    assert code == 0, said
    acts, whole = int(said.split()[0]), kept(base / "whole")
    different, refused = [], 0
    ways = [{"life": act} for act in range(acts, 0, -every)]
    largest = max(len(part) for part in contents(base / "whole").values())
    ways += [{"largest": size} for size in (0, 10, 300, 1000, largest - 1)[:: min(every, 2)]]
    for number, way in enumerate(ways):
        folder = base / f"full-{number}"
        how = dict(way)
        if "life" in how:
            how["life"] = Life(folder, full_from=how["life"])
        code, said = lived(job, folder, **how)
        lines = [line for line in said.splitlines() if line.startswith("fracjax: error: ")]
        refused += code == 2
        good = (code == 2 and len(lines) == 1) or code == 0
        after, more = lived(job, folder)
        if not good or after != 0 or kept(folder) != whole:
            different.append(
                [way, code, said[:500], after, more[:500], _changed(kept(folder), whole)]
            )
    return {"acts": len(ways), "refused": refused, "different": different}


def random_deaths(job, base, count):
    """Kill a job after random times, again and again on one folder, until it is done."""
    start = time.monotonic()
    code, said = lived(job, base / "whole")
    assert code == 0, said
    span, whole = time.monotonic() - start, kept(base / "whole")
    draws = random.Random(0)
    killed = finished = 0
    different = []
    while killed < count:
        folder = base / f"random-{finished}"
        process = child(job, folder)
        time.sleep(draws.uniform(0.0, span))
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
        _, status = os.waitpid(process, 0)
        ended = os.waitstatus_to_exitcode(status)
        killed += ended == -signal.SIGKILL
        if ended == 0 or draws.random() < 0.2 or killed == count:
            after, said = lived(job, folder)
            if after != 0 or kept(folder) != whole:
                different.append([finished, after, said[:500], _changed(kept(folder), whole)])
            finished += 1
        elif ended != -signal.SIGKILL:
            different.append([finished, ended])
    return {"killed": killed, "finished": finished, "different": different}


def _changed(found, wanted):
    return sorted(name for name in {*found, *wanted} if found.get(name) != wanted.get(name))[:20]


def main(folder, *words):
    jax.config.update("jax_platforms", "cpu")
    options = {"--random": 0, "--every": 1}
    options |= {word: int(words[words.index(word) + 1]) for word in options if word in words}
    count, every = options.values()
    names = [word for word in words if word in JOBS]
    result = {}
    for name in names:
        base = Path(folder) / name
        for kind in ("deaths", "full", "random"):
            (base / kind).mkdir(parents=True)
        if count:
            result[name] = {"random": random_deaths(JOBS[name], base / "random", count)}
        else:
            result[name] = {
                "deaths": deaths(JOBS[name], base / "deaths", every),
                "full": full(JOBS[name], base / "full", every),
            }
    print(json.dumps(result))


if __name__ == "__main__":
    main(*sys.argv[1:])
