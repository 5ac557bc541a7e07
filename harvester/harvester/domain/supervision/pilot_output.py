"""A pilot's output: which line of it tells why the pilot did not work, and what to do about it.

Pure. Owns what Slurm, Python, the dynamic linker, module systems and a pilot write when something is wrong. Knows no
file and no folder: `daemon.folders` reads the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import IntEnum

from harvester.domain.cluster.snapshot import BatchState

LONGEST = 300  # characters of a line that are told

UNREACHABLE = "pilot.unreachable"
"""The first word of the line that a pilot writes when no gateway answers it."""
CONNECTED = "link.up"
"""The first word of the line that a pilot writes when a gateway does."""

_STAMP = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (DEBUG|INFO|WARNING|ERROR|CRITICAL) ")
_FRAME = re.compile(r'\s+(File "|\^+|~+)')
_TRACEBACK = "Traceback (most recent call last):"
_FROM_SCHEDULER = re.compile(r"(srun|slurmstepd\S*|slurmd\S*): ")


class _Rank(IntEnum):
    """How much a line tells; the least tells most."""

    CAUSE = 0
    CANCELLED = 1
    KILLED = 2
    WARNING = 3
    EXITED = 4
    PLAIN = 5
    NOISE = 6
    NONE = 7


_KINDS = (  # the first that is found counts
    (re.compile(r"^\s"), _Rank.PLAIN),  # it goes on with the line above
    (
        re.compile(
            r"^srun: (got SIG|forcing job term|Force Terminated|Job step aborted|step creation)"
            r"|ignored\.?$"  # ld.so on what it could not preload
            r"|Warning:|^usage: ",
            re.IGNORECASE,
        ),
        _Rank.NOISE,
    ),
    # How a task ended is the last thing that srun says, and never why.
    (re.compile(r"^srun: error: \S+: tasks? \S+ Exited with "), _Rank.EXITED),
    (re.compile(r"error: \*\*\* .* \*\*\*"), _Rank.CANCELLED),
    (re.compile(r"^srun: error: \S+: tasks? \S+ \w+"), _Rank.KILLED),  # "Killed", "Segmentation fault", …
    (
        re.compile(
            r"error|exception|cannot|can't|couldn't|could not|failed|fatal|not found|denied|no such|no module|unable"
            r"|refuse|invalid|unknown|unreachable|oom|out of memory|quota|no space|is no pilot file",
            re.IGNORECASE,
        ),
        _Rank.CAUSE,
    ),
)

_REMEDIES = (
    (UNREACHABLE, ""),  # it says itself what to do
    (
        "No module named",
        "install harvester for that Python where compute nodes see it, or name another with `python` in [[pilot]]",
    ),
    ("the pilot file", "set `state` to a folder on a filesystem that compute nodes see and your user may read there"),
    ("execve()", "set `python` in [[pilot]] to an interpreter that compute nodes have"),
    ("/env: ", "set `python` in [[pilot]] to an interpreter that compute nodes have"),  # PBS: a pilot begins with env
    ("cannot start ", "set `python` in [[pilot]] to an interpreter that is there"),  # of the local scheduler
    ("GLIBC", "set `python` in [[pilot]] to an interpreter that was built for the compute nodes"),
    ("error while loading shared", "set `python` in [[pilot]] to an interpreter that compute nodes can run"),
    ("oom", "raise `memory_mb` in [[pilot]]"),
    ("Out Of Memory", "raise `memory_mb` in [[pilot]]"),
    ("No space left", "make room on that filesystem"),
)


def telling_line(text: str) -> str:
    """Return the first line of a pilot's output that tells what went wrong, empty where there is no line at all.

    Ranked: a cause; then the scheduler's word that it cancelled the pilot; then a signal; then a warning of the
    pilot's; then an exit code; and where there is none of them, the last line.
    """
    lines = list(_lines(text))
    best, least = -1, _Rank.NONE
    for number, line in enumerate(lines):
        rank = _rank(line)
        if rank < least or (rank == least and rank >= _Rank.PLAIN):
            best, least = number, rank
    if best < 0:
        return ""
    line = _STAMP.sub("", lines[best])
    if line.endswith(":") and best + 1 < len(lines):  # Lmod names the unknown module on the next line
        line += " " + lines[best + 1].strip()
    return line.strip()[:LONGEST]


def remedy(line: str) -> str:
    """Return what to do about a telling line, empty where it says so itself or nobody knows."""
    return next((words for sign, words in _REMEDIES if sign in line), "")


def unreachable(text: str) -> str:
    """Return the pilot's line that no gateway answers, empty unless that is how it stands at the end of `text`."""
    found = ""
    for line in text.splitlines():
        words = _STAMP.sub("", line.strip())
        if words.startswith(UNREACHABLE):
            found = words
        elif words.startswith(CONNECTED):
            found = ""
    return found[:LONGEST]


def ending(reason: str, text: str | None, state_dir: str) -> str:
    """Return why a pilot failed: `reason`, with what its output tells of it, and what to do.

    Parameters
    ----------
    reason: what the scheduler says.
    text: the output; None where there is no file. Slurm makes it on the node before the pilot starts.
    """
    if text is None:
        if BatchState.NODE_FAIL in reason:  # the node was lost, perhaps before anything was written
            return reason
        return (
            f"{reason}; it wrote no output: do the compute nodes see the state folder {state_dir}, and may your user "
            "write there? Set `state` to a folder on a filesystem that they share with this host"
        )
    line = telling_line(text)
    if not line:
        return f"{reason}; its output is empty"
    todo = remedy(line)
    return f"{reason}; its output says: {line}" + (f"; {todo}" if todo else "")


def ending_of_used(reason: str, text: str, path: str) -> str:
    """Return why a pilot failed that may have run functions: `reason`, with what the scheduler wrote into its output.

    Everybody is shown it, and the rest of the output may be what somebody's function printed.

    Parameters
    ----------
    path: where the output lies.
    """
    own = [line for line in text.splitlines() if _FROM_SCHEDULER.match(line)]
    line = telling_line("\n".join(own))
    if not line:
        return f"{reason}; the admin finds its output in {path}"
    todo = remedy(line)
    return f"{reason}; the scheduler says: {line}" + (f"; {todo}" if todo else "")


def _rank(line: str) -> _Rank:
    stamp = _STAMP.match(line)
    if stamp is not None:
        return {"ERROR": _Rank.CAUSE, "CRITICAL": _Rank.CAUSE, "WARNING": _Rank.WARNING}.get(stamp[1], _Rank.NOISE)
    return next((rank for pattern, rank in _KINDS if pattern.search(line)), _Rank.PLAIN)


def _lines(text: str) -> Iterator[str]:
    """Yield the lines of `text`; of a traceback its last line only, whatever the scheduler wrote into the middle."""
    is_inside = False  # of a traceback
    for line in text.splitlines():
        is_indented = line.startswith((" ", "\t"))
        if not line.strip():
            continue
        if line.strip() == _TRACEBACK:
            is_inside = True
        elif _FROM_SCHEDULER.match(line):
            yield line.rstrip()
        elif not is_indented:
            is_inside = False
            yield line.rstrip()
        elif not is_inside and not _FRAME.match(line):  # the frames above a SyntaxError have no head
            yield line.rstrip()
