"""Which source a configuration means."""

from __future__ import annotations

from typing import assert_never

from harvester_adapters.asking import SchedulerCommands
from harvester_adapters.slurm.sources.commands import CommandSource
from harvester_adapters.slurm.sources.pyslurm_source import PyslurmSource
from harvester_adapters.slurm.sources.source import ChosenSource, SourceKind


def chosen(kind: SourceKind, run: SchedulerCommands, *, wake: bool) -> ChosenSource:
    """Return the source that `kind` names."""
    commands = CommandSource(run, wake=wake)
    match kind:
        case SourceKind.COMMANDS:
            return ChosenSource(commands, None, is_wanted=False)
        case SourceKind.PYSLURM | SourceKind.AUTO:
            library = PyslurmSource(run, wake=wake)
            return ChosenSource(commands, library, is_wanted=kind is SourceKind.PYSLURM)
        case _:
            assert_never(kind)
