"""The tests on the cluster of containers: those for it, from this machine, and the others inside one container.

Owns how pytest is started, and that the cluster is fresh before and gone afterwards.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from typing import TYPE_CHECKING

from compose.stack import ROOT

if TYPE_CHECKING:
    from compose.stack import Stack

PYTEST = ROOT / ".venv" / "bin" / "python"


def of_the_cluster(stack: Stack, words: list[str]) -> int:
    """Run tests/acceptance/compose on a fresh cluster; pytest's exit code is ours."""
    stack.begin_afresh()
    try:
        print(stack.up(), flush=True)
        print(f"Slurm {stack.slurm_version()}, {stack.tell('login', '/venv/bin/python', '--version')}", flush=True)
        environment = os.environ | stack.environment | {"HARVESTER_TEST_COMPOSE": shlex.join(stack.command)}
        argv = [str(PYTEST), "-m", "pytest", "-p", "no:cacheprovider", *(words or ["tests/acceptance/compose"])]
        return subprocess.run(argv, cwd=ROOT, env=environment, check=False).returncode
    finally:
        stack.down()


def in_one_container(stack: Stack, words: list[str]) -> int:
    """Run the acceptance tests that bring up Slurms of their own, in one container without privileges."""
    argv = ["docker", "run", "--rm", "--init", "--workdir=/project", "--entrypoint=/venv/bin/python"]
    argv += ["--env=HARVESTER_TEST_SLURM=1", f"--hostname=acceptance-{stack.suite}", stack.image]
    argv += ["-m", "pytest", "-p", "no:cacheprovider", *(words or ["-m", "slurm", "tests/acceptance"])]
    return subprocess.run(argv, check=False).returncode
