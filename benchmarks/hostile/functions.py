"""The functions of the soak, shipped to pilots as a whole, and what each must return.

Each returns its number and what it saw of its children, so that a result which an eviction has damaged is not the
expected one. Everything is imported inside: the module arrives on a pilot without its folder.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import harvester

STEPS = 6
LINES = 12


@harvester.function(ship_module=True)
def plain(number: int, seconds: float) -> int:
    """Sleep, without checkpoints."""
    import time  # noqa: PLC0415 - as the docstring says

    time.sleep(seconds)
    return number * number + 1


@harvester.function(ship_module=True, checkpoints=True)
def stepwise(number: int, seconds: float) -> tuple[int, int]:
    """Add up step by step, and save each step."""
    import time  # noqa: PLC0415 - as the docstring says

    ctx = harvester.context()
    done, total = ctx.restore((0, 0))
    while done < STEPS:
        time.sleep(seconds / STEPS)
        done, total = done + 1, total + number
        ctx.checkpoint((done, total))
    return number, total


@harvester.function(ship_module=True)
def child(number: int, seconds: float) -> tuple[int, int]:
    """Return what became of a child process."""
    import subprocess  # noqa: PLC0415 - as the docstring says

    return number, subprocess.run(["sleep", f"{seconds}"], check=False).returncode


@harvester.function(ship_module=True)
def pipeline(number: int, seconds: float) -> tuple[int, int, list[str]]:
    """Return what a shell pipeline printed, line by line."""
    import subprocess  # noqa: PLC0415 - as the docstring says

    script = f"for i in $(seq {LINES}); do echo $i; sleep {seconds / LINES}; done | sed s/^/{number}-/"
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)
    return number, done.returncode, done.stdout.split()


@harvester.function(ship_module=True)
def hidden(number: int, seconds: float) -> tuple[int, str]:
    """Return what a child's exit code, hidden in a `try`, decides."""
    import subprocess  # noqa: PLC0415 - as the docstring says

    try:
        subprocess.run(["sleep", f"{seconds}"], check=True)
    except subprocess.CalledProcessError:
        return number, "failed"
    return number, "done"


@harvester.function(ship_module=True, checkpoints=True)
def children(number: int, seconds: float) -> tuple[int, list[int]]:
    """Return what became of several children, one after the other, and save after each."""
    import subprocess  # noqa: PLC0415 - as the docstring says

    ctx = harvester.context()
    codes: list[int] = ctx.restore([])
    while len(codes) < STEPS:
        codes.append(subprocess.run(["sleep", f"{seconds / STEPS}"], check=False).returncode)
        ctx.checkpoint(list(codes))
    return number, codes


EXPECTED: dict[Any, Callable[[int], object]] = {
    plain: lambda number: number * number + 1,
    stepwise: lambda number: (number, STEPS * number),
    child: lambda number: (number, 0),
    pipeline: lambda number: (number, 0, [f"{number}-{line}" for line in range(1, LINES + 1)]),
    hidden: lambda number: (number, "done"),
    children: lambda number: (number, [0] * STEPS),
}
