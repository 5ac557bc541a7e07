"""The options of `harvester simulate`, and the words that they take. Imports nothing of the simulator."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


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
PolicyName = Annotated[
    str, typer.Option("--policy", metavar="P[,P…]", help="demand, fib, var, gap; several are put side by side.")
]
Lengths = Annotated[str, typer.Option(metavar="MIN,MIN…", help="Walltimes that pilots may be given, in minutes.")]
Cycle = Annotated[float, typer.Option(help="Seconds from one look of the scheduler at its queue to the next.")]
Boot = Annotated[float, typer.Option(help="Seconds from a pilot's start until it is ready.")]
Tick = Annotated[float, typer.Option(help="Seconds from one look of the daemon to the next.")]
Grain = Annotated[float, typer.Option(help="The scheduler rounds walltimes up to so many seconds; Slurm: 60.")]
Pending = Annotated[int, typer.Option("--max-pending", help="Pilots that may wait in the queue.")]
Cut = Annotated[TimeMin, typer.Option("--time-min", help="What backfill gives a pilot of `var`: see docs/policies.md.")]
Seed = Annotated[int, typer.Option(help="Of everything drawn by lot.")]
Functions = Annotated[Path | None, typer.Option(help="A workload of invocations (JSON): see docs/simulator.md.")]
Plot = Annotated[Path | None, typer.Option(metavar="FILE.png|.svg", help="Write plots here.")]
StrictInput = Annotated[bool, typer.Option("--strict-input", help="Refuse malformed lines instead of skipping them.")]
Nodes = Annotated[int, typer.Option(help="Nodes of the cluster.")]
ModeName = Annotated[Mode, typer.Option("--mode", help="How pilots are kept harmless; off: no harvest.")]
Delay = Annotated[
    float, typer.Option("--sched-delay", help="Seconds from a submission or an end until the scheduler acts.")
]
Grace = Annotated[float, typer.Option(help="Seconds of notice before a pilot is killed.")]
Margin = Annotated[float, typer.Option(help="strict: a pilot has ended so many seconds before its window does.")]
DiesAt = Annotated[
    float | None,
    typer.Option("--daemon-dies-at", metavar="SHARE", help="After this share of the time (0..1) the daemon is dead."),
]
Orphan = Annotated[
    float, typer.Option(help="A pilot leaves so many seconds after the daemon has died; 0: it does not notice.")
]
Block = Annotated[int | None, typer.Option(help="Nodes simulated as one; by default as the size asks for.")]

LENGTHS = "2,4,6,8,14,22,34,56,90"  # HPC-Whisk's set
