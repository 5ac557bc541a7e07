#!/usr/bin/env python3
"""The unit tests and a demo on each Python that the package claims, as far as this machine has them.

    make matrix                          # all of them
    make matrix VERSIONS="3.12 3.13"
    make matrix VERSIONS=newest          # the newest that is found

Owns where interpreters are looked for (PATH, pyenv's and uv's folders, and for one that is in none of these a Debian
folder of slurm-test/debian.py) and a virtual environment for each (`build/matrix/VERSION`). A version that is not found
is told, and fails the run only where it was named. Exits with 1 where something failed. Standard library only.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "build" / "matrix"
DEBIAN = ROOT / "build" / "debian-26.05"  # made by `make test-slurm VERSION=26.05`: Debian testing, with its Python
# As `make unit`: few examples, and bytecode kept.
QUICK = {
    **os.environ,
    "HYPOTHESIS_PROFILE": "quick",
    "PYTHONDONTWRITEBYTECODE": "",
    "PYTHONPYCACHEPREFIX": str(ROOT / "build" / "pycache"),
}
UNIT = ("tests/unit", "-q", "-n", "auto", "-p", "no:schemathesis")
LIMIT_S = 1200


class Found(NamedTuple):
    """What became of one version."""

    version: str
    words: str
    is_good: bool


def claimed() -> list[str]:
    """Return the versions that pyproject.toml claims, the oldest first."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pattern = re.compile(r"Programming Language :: Python :: (3\.\d+)")
    versions = [match.group(1) for word in project["classifiers"] if (match := pattern.fullmatch(word))]
    return sorted(versions, key=minor)


def minor(version: str) -> int:
    """Return the number by which versions are ordered."""
    return int(version.partition(".")[2])


def candidates(version: str) -> Iterator[Path]:
    """Yield where an interpreter of a version may be."""
    on_path = shutil.which(f"python{version}")
    if on_path:
        yield Path(on_path)
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    yield from sorted(pyenv.glob(f"{version}.*/bin/python"), reverse=True)
    uv = Path(os.environ.get("UV_PYTHON_INSTALL_DIR", Path.home() / ".local/share/uv/python"))
    yield from sorted(uv.glob(f"cpython-{version}.*/bin/python"), reverse=True)


def interpreter(version: str) -> Path | None:
    """Return an interpreter of a version that can make virtual environments; None where there is none."""
    asked = f"import ensurepip, sys, venv; sys.exit('%d.%d' % sys.version_info[:2] != {version!r})"
    for path in candidates(version):
        if path.exists() and subprocess.run([path, "-c", asked], capture_output=True, check=False).returncode == 0:
            return path
    return None


def run(*argv: str | Path) -> str:
    """Run a command; return an empty text where it succeeds, else the end of what it said."""
    try:
        done = subprocess.run(
            argv, cwd=ROOT, env=QUICK, timeout=LIMIT_S, check=False, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"{argv[0]} took longer than {LIMIT_S} s"
    return "" if done.returncode == 0 else (done.stdout[-3000:] or f"it ended with {done.returncode}")


def on(version: str, python: Path) -> Found:
    """Install the project for one interpreter, run the unit tests and the demo."""
    began_at = time.monotonic()
    venv = FOLDER / version
    bin_ = venv / "bin"
    if not (bin_ / "python").exists():
        venv.parent.mkdir(parents=True, exist_ok=True)
        if error := run(python, "-m", "venv", venv):
            return Found(version, f"no virtual environment: {error}", is_good=False)
    pip = (bin_ / "python", "-m", "pip", "--disable-pip-version-check", "--quiet", "install")
    steps: dict[str, tuple[str | Path, ...]] = {
        "the installation": (*pip, "-c", "constraints.txt", "-e", ".[dev]"),
        "the unit tests": (bin_ / "python", "-m", "pytest", *UNIT),
        "harvester demo": (bin_ / "harvester", "demo", "--scheduler", "local"),
    }
    for name, argv in steps.items():
        say(f"{version} ({python}): {name}")
        if error := run(*argv):
            return Found(version, f"{name} failed:\n{error}", is_good=False)
    return Found(version, f"unit tests and demo passed in {time.monotonic() - began_at:.0f} s ({python})", is_good=True)


def in_debian(version: str) -> Found | None:
    """Run the unit tests in the Debian folder, where its Python is of this version; None where it is not."""
    python = DEBIAN / "usr/bin" / f"python{version}"
    if not python.exists() or os.geteuid() != 0:
        return None
    say(f"{version} (in {DEBIAN}): the unit tests")
    began_at = time.monotonic()
    debian = ROOT / "slurm-test" / "debian.py"
    error = run(sys.executable, debian, "--dir", DEBIAN, "26.05", "--", *UNIT)
    words = f"the unit tests failed:\n{error}" if error else f"unit tests passed in {time.monotonic() - began_at:.0f} s"
    return Found(version, f"{words} (Debian folder {DEBIAN})", is_good=not error)


def say(text: str) -> None:
    """Tell what takes long."""
    print(f"matrix: {text}", file=sys.stderr, flush=True)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="The unit tests and a demo on each Python that there is.")
    parser.add_argument("versions", nargs="*", help="3.12 3.13 …, or newest: the newest that is found; without: all")
    asked = parser.parse_args().versions
    versions = asked or claimed()
    if asked == ["newest"]:
        versions = [next(each for each in reversed(claimed()) if interpreter(each))]
    results = []
    for version in versions:
        python = interpreter(version)
        result = on(version, python) if python else in_debian(version)
        results.append(result or Found(version, "not found on this machine: not tried", is_good=not asked))
    for result in results:
        print(f"Python {result.version}: {result.words}")
    sys.exit(not all(result.is_good for result in results))


if __name__ == "__main__":
    main()
