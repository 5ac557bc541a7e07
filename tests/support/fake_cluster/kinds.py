"""The schedulers that tests run on: for each its commands, its rules, and the adapter that talks to it.

This is where another scheduler is added: its commands as a `Flavour`, its `Rules`, and its adapter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from harvester.domain.cluster.ports import SchedulerAdapter
from harvester_adapters.pbs.adapter import PbsAdapter
from harvester_adapters.slurm.adapter import SlurmAdapter
from support.fake_cluster.answers import Flavour
from support.fake_cluster.model import rules
from support.fake_cluster.model.rules import Rules
from support.fake_cluster.pbs.commands import FakePbs
from support.fake_cluster.slurm.commands import FakeSlurm


@dataclass(frozen=True)
class SiteKind:
    """One scheduler.

    Parameters
    ----------
    make_adapter: given a folder for what it keeps, the time limit of a command, and for how long it believes what it
        asks for once in a while. (The cluster's time is not the time by which adapters let answers grow old: 0 asks for
        everything at each look.)
    """

    name: str
    flavour: Flavour
    rules: Rules
    make_adapter: Callable[[Path, timedelta, timedelta], SchedulerAdapter]
    asks_nodes: tuple[str, str]  # the command that asks for the nodes, and an argument of it
    submits: str  # the command that submits


def _slurm(folder: Path, timeout: timedelta, slow: timedelta) -> SchedulerAdapter:
    return SlurmAdapter(
        work_dir=folder,
        command_timeout=timeout,
        cache_for=timedelta(0),
        slow_cache_for=slow,
        reservations_for=slow,
    )


def _pbs(folder: Path, timeout: timedelta, slow: timedelta) -> SchedulerAdapter:
    return PbsAdapter(
        work_dir=folder,
        command_timeout=timeout,
        cache_for=timedelta(0),
        slow_cache_for=slow,
        reservations_for=slow,
    )


SLURM = SiteKind("slurm", FakeSlurm(), rules.SLURM, _slurm, ("scontrol", "node"), "sbatch")
PBS = SiteKind("pbs", FakePbs(), rules.PBS, _pbs, ("pbsnodes", "-F"), "qsub")
KINDS = (SLURM, PBS)
