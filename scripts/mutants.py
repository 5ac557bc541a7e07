#!/usr/bin/env python3
"""Mutation testing of some modules: change one thing at a time, and see that a unit test fails.

    make mutants                                   # the modules changed since main
    make mutants SINCE=v0.1.0                      # … since another commit
    make mutants OWN=--own                         # by the tests of each module's own folder alone: quicker, fewer die
    make mutants PATHS="harvester/harvester/domain/supervision/backoff.py worker/harvester_worker/ipc/run_claims.py"

Owns what is mutated and which tests are asked; cosmic-ray does the rest, in a copy of the working tree. A module is
tested by the unit tests of its folder, and by those that import it, or a module of ours that imports it, or what tests
share that imports one of these. Exits with 1 where a mutant survives.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("harvester", "scheduler_adapters", "worker", "api")
UNIT, SHARED = Path("tests/unit"), Path("tests/support")
BIN = Path(sys.executable).parent
TIMEOUT_S = 60  # for the tests of one mutant; one that turns for ever is dead
# Of each operator the neighbours, which are what people get wrong; the others fail wherever these do.
COMPARED = (
    "Lt_LtE|Lt_GtE|LtE_Lt|LtE_Gt|Gt_GtE|Gt_LtE|GtE_Gt|GtE_Lt|Eq_NotEq|NotEq_Eq|Is_IsNot|IsNot_Is|In_NotIn|NotIn_In"
)
COMPUTED = "Add_Sub|Sub_Add|Mul_Div|Div_Mul|FloorDiv_Mul|Mod_FloorDiv|Pow_Mul"
EXCLUDED = (
    rf"core/ReplaceComparisonOperator_(?!({COMPARED})$)",
    rf"core/ReplaceBinaryOperator_(?!({COMPUTED})$)",
    "core/Variable.*",
    "core/RemoveDecorator",
)
CONFIG = """
[cosmic-ray]
module-path = {path!r}
timeout = {timeout}
excluded-modules = []
test-command = {command!r}
[cosmic-ray.distributor]
name = "local"
[cosmic-ray.filters.operators-filter]
exclude-operators = {excluded}
"""


def changed(since: str) -> list[Path]:
    """Return the modules that have changed since a commit, and are there."""
    done = subprocess.run(
        ["git", "diff", "--name-only", since, "--", *(f"{source}/*.py" for source in SOURCES)],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [path for line in done.stdout.splitlines() if (ROOT / (path := Path(line))).is_file()]


def dotted(path: Path) -> str:
    """Return a module's name: its path without the folder that holds its package."""
    return ".".join(path.with_suffix("").parts[1:])


def importing(name: str, files: Iterable[Path]) -> Iterator[Path]:
    """Yield the files that import a module."""
    package, _, stem = name.rpartition(".")
    line = re.compile(rf"^\s*(from {re.escape(name)} import|import {re.escape(name)}\b"
                      rf"|from {re.escape(package)} import [^\n]*\b{stem}\b)", re.MULTILINE)  # fmt: skip
    return (path for path in files if line.search(path.read_text()))


def mirrored(path: Path) -> Path:
    """Return the folder of the unit tests that mirrors a module's: tests/unit/worker/core for worker/…/core/x.py."""
    package = path.parts[1].removeprefix("harvester_")
    inner = path.parts[2:-1]
    return UNIT.joinpath(*inner) if package == "harvester" else UNIT.joinpath(package, *inner)


def tests_of(path: Path) -> list[str]:
    """Return the unit tests that a module is tested by, its own folder's first; all of them where there are none."""
    sources = [each.relative_to(ROOT) for source in SOURCES for each in (ROOT / source).rglob("*.py")]
    tests = [each.relative_to(ROOT) for each in (ROOT / UNIT).rglob("test_*.py")]
    shared = [each.relative_to(ROOT) for each in (ROOT / SHARED).glob("*.py")]
    near = [path, *importing(dotted(path), sources)]
    near += {each for module in near for each in importing(dotted(module), shared)}
    found = {test for module in near for test in importing(dotted(module), tests)}
    own = mirrored(path)
    found |= {test for test in tests if test.parent == own}
    return [str(test) for test in sorted(found, key=lambda test: (test.parent != own, test))] or [str(UNIT)]


def survivors(path: Path, tree: Path, *, own: bool) -> tuple[int, list[str]]:
    """Mutate one module in `tree`; return how many mutants there were, and those that lived, as differences."""
    config, session = tree / "mutants.toml", tree / "mutants.sqlite"
    tests = [str(mirrored(path))] if own else tests_of(path)
    command = f"{sys.executable} -m pytest -q -x -p no:cacheprovider {' '.join(tests)}"
    config.write_text(CONFIG.format(path=str(path), timeout=TIMEOUT_S, command=command, excluded=json.dumps(EXCLUDED)))
    session.unlink(missing_ok=True)
    where = os.pathsep.join(str(tree / source) for source in SOURCES)
    environment = os.environ | {"PYTHONPATH": where, "PYTHONDONTWRITEBYTECODE": "1"}

    def run(*argv: str) -> str:
        done = subprocess.run(
            [str(BIN / argv[0]), *argv[1:]], cwd=tree, env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"{' '.join(argv)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout

    run("cosmic-ray", "baseline", str(config))
    run("cosmic-ray", "init", str(config), str(session))
    run("cr-filter-operators", str(session), str(config))
    run("cosmic-ray", "exec", str(config), str(session))
    results = [json.loads(line)[1] for line in run("cosmic-ray", "dump", str(session)).splitlines()]
    tried = [result for result in results if result and result["worker_outcome"] != "skipped"]
    return len(tried), [result["diff"] for result in tried if result["test_outcome"] == "survived"]


def main() -> int:
    """Mutate what was asked for and tell the score."""
    parser = argparse.ArgumentParser(description="Mutation testing of some modules.")
    parser.add_argument("--since", default="main", help="a commit: the modules that have changed since")
    parser.add_argument("--own", action="store_true", help="only the tests of the module's own folder: quicker")
    parser.add_argument("paths", nargs="*", type=Path, help="modules, instead of those that have changed")
    asked = parser.parse_args()
    paths: list[Path] = asked.paths or changed(asked.since)
    in_all = alive = 0
    with tempfile.TemporaryDirectory(prefix="harvester-mutants-") as folder:
        tree = Path(folder) / "tree"
        shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(".venv", ".git", "build", ".*_cache", "__pycache__"))
        for path in paths:
            count, lived = survivors(path, tree, own=asked.own)
            in_all, alive = in_all + count, alive + len(lived)
            print(f"{path}: {count - len(lived)} of {count} mutants killed", flush=True)
            for diff in lived:
                print("\n".join(line for line in diff.splitlines() if line.startswith(("@@", "-", "+"))), flush=True)
    print(f"in all: {in_all - alive} of {in_all} mutants killed")
    return 1 if alive else 0


if __name__ == "__main__":
    sys.exit(main())
