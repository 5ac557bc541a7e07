"""Options of `harvester simulate`, and the words that they take. Imports nothing of the simulator."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from harvester.config import FIBONACCI_MIN


class Model(StrEnum):
    """How an idle log is simulated."""

    PUBLISHED = "published"
    DAEMON = "daemon"


class Mode(StrEnum):
    """How pilots are kept harmless; `off` is the cluster alone."""

    STRICT = "strict"
    PREEMPTIBLE = "preemptible"
    YIELDING = "yielding"
    OFF = "off"


class TimeMin(StrEnum):
    """What backfill gives a pilot with --time-min."""

    MINIMUM = "minimum"
    LARGEST = "largest"


File = Annotated[Path, typer.Argument(metavar="FILE", help="The trace, plain or .gz.")]
Files = Annotated[
    list[Path], typer.Argument(metavar="FILE|DIR…", help="The logs, plain or .gz, in any order; of a folder all files.")
]
PolicyName = Annotated[
    str, typer.Option("--policy", metavar="P[,P…]", help="demand, fib, var or gap; several are compared side by side.")
]
Lengths = Annotated[str, typer.Option(metavar="MIN,MIN…", help="Walltimes that pilots may be given, in minutes.")]
Cycle = Annotated[float, typer.Option(metavar="SECONDS", help="Time between two looks of the scheduler at its queue.")]
Boot = Annotated[float, typer.Option(metavar="SECONDS", help="Time from a pilot's start until it is ready.")]
Tick = Annotated[float, typer.Option(metavar="SECONDS", help="Time between two looks of the daemon.")]
Grain = Annotated[
    float, typer.Option(metavar="SECONDS", help="The scheduler rounds walltimes up to a multiple of this; Slurm: 60.")
]
Pending = Annotated[int, typer.Option("--max-pending", help="Pilots that may wait in the queue.")]
Cut = Annotated[TimeMin, typer.Option("--time-min", help="What backfill gives a pilot of `var`; see docs/policies.md.")]
Seed = Annotated[int, typer.Option(help="Seed of all random numbers.")]
Functions = Annotated[Path | None, typer.Option(help="A workload of invocations (JSON); see docs/simulator.md.")]
Plot = Annotated[Path | None, typer.Option(metavar="FILE.png|.svg", help="Write plots to this file.")]
StrictInput = Annotated[bool, typer.Option("--strict-input", help="Refuse malformed lines instead of skipping them.")]
Nodes = Annotated[int, typer.Option(help="Nodes of the cluster.")]
ModeName = Annotated[Mode, typer.Option("--mode", help="How prime jobs are protected from pilots; off: no harvest.")]
Delay = Annotated[
    float,
    typer.Option("--sched-delay", metavar="SECONDS", help="Time from a submission or an end until the scheduler acts."),
]
Grace = Annotated[float, typer.Option(metavar="SECONDS", help="Notice before a pilot is killed.")]
Margin = Annotated[float, typer.Option(metavar="SECONDS", help="strict: how long before its window a pilot ends.")]
DiesAt = Annotated[
    float | None,
    typer.Option("--daemon-dies-at", metavar="SHARE", help="The daemon dies after this share of the time (0..1)."),
]
Orphan = Annotated[
    float,
    typer.Option(metavar="SECONDS", help="A pilot leaves this long after the daemon's death; 0: it never notices."),
]
Block = Annotated[int | None, typer.Option(help="How many nodes are simulated as one. Default: by the cluster's size.")]

LENGTHS = ",".join(f"{minutes:g}" for minutes in FIBONACCI_MIN)
