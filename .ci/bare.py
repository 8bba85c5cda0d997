"""Does an installation without extras work, and say what is missing?

Every module is imported: one that needs an extra must name it. Then the shortest commands run.
"""

import importlib
import pkgutil
import subprocess
import sys
import tempfile
from pathlib import Path

import fracjax

COMMANDS = (
    "info envs",
    "diagnose pendulum --quick --out report",
    "scan pendulum --grid 11x11 --horizon 50 --out scan",
    "report scan",
)


def fail_without(name: str) -> None:
    raise ImportError(name)


def main() -> None:
    modules = pkgutil.walk_packages(fracjax.__path__, "fracjax.", fail_without)
    found = [module.name for module in modules]
    wrong = []
    for name in found:
        if name == "fracjax.__main__":
            continue
        try:
            importlib.import_module(name)
        except ImportError as error:
            if "fracjax[" in str(error):
                print(f"{name}: {error}")
            else:
                wrong.append(f"{name}: {error}")
    print(f"{len(found)} modules")
    with tempfile.TemporaryDirectory() as folder:
        for command in COMMANDS:
            program = Path(sys.executable).with_name("fracjax")
            done = subprocess.run(
                [program, *command.split()], cwd=folder, capture_output=True, text=True, check=False
            )
            print(f"fracjax {command}: exit code {done.returncode}")
            if done.returncode:
                wrong.append(f"fracjax {command}: {done.stderr[-2000:]}")
    for line in wrong:
        print(line, file=sys.stderr)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
