"""Counts the commands that a program sends to Slurm: small scripts of the same names, first in its PATH, note each.

Owns the scripts and the log that they write. A command is counted when it begins, whatever becomes of it.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

COMMANDS = ("squeue", "scontrol", "sbatch", "scancel", "sinfo", "sacct", "sacctmgr", "sdiag", "sprio", "sshare")
_SCRIPT = """#!/bin/bash
words="{name} $*"
printf '%s %s\\n' "$EPOCHREALTIME" "${{words//[^[:print:]]/ }}" >>'{log}'
exec '{real}' "$@"
"""


class CommandCount:
    """The scripts in `folder`, and what they noted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "bin"
        self.log = folder / "commands.txt"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.log.touch()
        for name in COMMANDS:
            if (real := shutil.which(name)) is not None:
                script = self.folder / name
                script.write_text(_SCRIPT.format(name=name, log=self.log, real=real))
                script.chmod(0o755)

    def path(self, before: str) -> str:
        """Return the PATH for those who are counted."""
        return f"{self.folder}:{before}"

    def between(self, begin: float, end: float) -> Counter[str]:
        """Return how often each command was sent from one moment to another."""
        return counted(self.log.read_text().splitlines(), begin, end)


def counted(lines: Iterable[str], begin: float, end: float) -> Counter[str]:
    """Return how often each command occurs in `lines` (`time command arguments …`) with `begin` <= time < `end`.

    `scontrol` is told by what it was asked: `scontrol show node`.
    """
    found: Counter[str] = Counter()
    for line in lines:
        at, *words = line.split()
        if begin <= float(at) < end:
            verbs = [word for word in words[1:] if not word.startswith("-")] if words[0] == "scontrol" else []
            found[" ".join([words[0], *verbs[:2]])] += 1
    return found
