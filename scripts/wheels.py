#!/usr/bin/env python3
"""Build sdist and wheel, look into the wheel, and try every extra in a clean virtual environment.

    make dist                            # all extras
    make dist EXTRAS="worker gateway"

Owns what each extra is for: what must be importable with it alone, and which commands must run. The wheel is built from
the sdist, so that an incomplete sdist shows. Exits with 1 where something failed.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
DIST = ROOT / "dist"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
DEVELOPERS = {"dev", "hooks", "mutants", "bench-peers"}  # extras for work on a clone, which the wheel has no use for

IN_PROCESS = """
from harvester.testing import InProcessHarvester
with InProcessHarvester() as system, system.client() as client:
    assert client.submit(pow, 2, 10).result(timeout=60) == 1024
    assert list(client.map(abs, range(-3, 0))) == [3, 2, 1]
"""
BASE = "import harvester, harvester.sdk.async_client; assert harvester.Client and harvester.__version__"
COMMANDS = (("--version",), ("--help",), ("up", "--help"), ("simulate", "--help"))


class Trial(NamedTuple):
    """What must work with an extra alone."""

    code: str
    commands: tuple[tuple[str, ...], ...] = ()


TRIALS = {
    "": Trial(BASE, COMMANDS),
    "worker": Trial("import harvester_worker.agent, harvester_worker.slot.slot, harvester_worker.devices.gpus, pynvml"),
    "gateway": Trial("import harvester_api.app, harvester_api.server, harvester.store.store"),
    "daemon": Trial("import harvester.daemon.daemon, harvester_adapters.local.adapter, psij"),
    "slurm": Trial("import ClusterShell.NodeSet, harvester_adapters.slurm.text.words"),
    "postgres": Trial("import psycopg; psycopg.pq.version()"),
    "simulate": Trial("import matplotlib, harvester.simulator.report.plots", (("simulate", "swf", "--help"),)),
    "joblib": Trial("import harvester.joblib"),
    "gateway,worker": Trial(IN_PROCESS),
    "all": Trial(IN_PROCESS + "import harvester_adapters.slurm.adapter\n", (("demo", "--scheduler", "local"),)),
}


def build() -> Path:
    """Build both into `dist`, and return the wheel."""
    shutil.rmtree(DIST, ignore_errors=True)
    must(sys.executable, "-m", "build", "--outdir", str(DIST), str(ROOT))
    (wheel,) = DIST.glob("*.whl")
    return wheel


def missing_from(wheel: Path) -> list[str]:
    """Return what a package's folder has and the wheel has not, or the other way round."""
    folders = [Path(each) for each in PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]]
    meant = {
        str(path.relative_to(ROOT / folder.parent))
        for folder in folders
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    names = zipfile.ZipFile(wheel).namelist()
    packed = {name for name in names if ".dist-info/" not in name}
    typed = {f"{folder.name}/py.typed" for folder in folders}
    licence = {"a licence"} if not any("/licenses/" in name for name in names) else set()
    return sorted((meant ^ packed) | (typed - packed) | licence)


def trial(extra: str, wheel: Path) -> str:
    """Install the wheel with an extra into a new environment and try it; return what went wrong, if anything."""
    with tempfile.TemporaryDirectory(prefix="harvester-wheel-") as folder:
        venv = Path(folder) / "venv"
        python = venv / "bin" / "python"
        try:
            must(sys.executable, "-m", "venv", str(venv))
            target = f"{wheel}[{extra}]" if extra else str(wheel)
            pip = (str(python), "-m", "pip", "--disable-pip-version-check", "--quiet", "install")
            must(*pip, "-c", str(ROOT / "constraints.txt"), target)
            # Away from the clone, and with -I: what is imported is the wheel.
            must(str(python), "-I", "-c", TRIALS[extra].code, cwd=folder)
            for command in TRIALS[extra].commands:
                must(str(venv / "bin" / "harvester"), *command, cwd=folder)
        except subprocess.CalledProcessError as error:
            return f"{' '.join(map(str, error.cmd))[:200]} ended with {error.returncode}:\n{error.stdout[-2000:]}"
    return ""


def must(*argv: str, cwd: str | None = None) -> None:
    """Run a command. Raises `CalledProcessError`, with what it said, where it fails."""
    subprocess.run(
        argv, cwd=cwd, check=True, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def untried() -> set[str]:
    """Return the extras that a user may ask for and that no trial is of."""
    return set(PROJECT["project"]["optional-dependencies"]) - DEVELOPERS - set(TRIALS)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Build sdist and wheel, and try every extra.")
    parser.add_argument("extras", nargs="*", help="only these; without: none, each alone, and all together")
    asked = parser.parse_args().extras
    failures = [f"no trial of the extra {extra}" for extra in sorted(untried())]
    try:
        wheel = build()
    except subprocess.CalledProcessError as error:
        sys.exit(f"wheels: the build failed:\n{error.stdout[-3000:]}")
    failures += [f"{name} is not both in the clone and in the wheel" for name in missing_from(wheel)]
    for extra in asked or TRIALS:
        error = trial(extra, wheel)
        print(f"[{extra}]: {'failed' if error else 'works'}", flush=True)
        failures += [f"[{extra}]: {error}"] if error else []
    if any(".example" in url for url in PROJECT["project"]["urls"].values()):
        print("wheels: [project.urls] are placeholders: name the project's home before a release", file=sys.stderr)
    for failure in failures:
        print(f"wheels: {failure}", file=sys.stderr)
    print(f"{wheel.name}: {'wrong' if failures else 'good'}")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
