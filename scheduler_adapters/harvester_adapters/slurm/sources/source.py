"""The source of a look: which one is in use, and that pyslurm never costs us the commands.

Owns the choice between the commands and pyslurm. The commands are always there; pyslurm is used where it is asked for
and works, and the first time that it does not is said once: from then on the commands are asked.
"""

from __future__ import annotations

import logging
from enum import StrEnum
from typing import Protocol

import msgspec

from harvester.domain.cluster.snapshot import BatchJob, Node
from harvester_adapters.slurm.text.config import SiteConfig

log = logging.getLogger(__name__)


class SourceKind(StrEnum):
    """What the configuration may name as `[scheduler.slurm] source`."""

    COMMANDS = "commands"
    PYSLURM = "pyslurm"
    AUTO = "auto"  # pyslurm where one is installed that matches this Slurm, the commands else


class SlurmLook(msgspec.Struct, frozen=True, kw_only=True):
    """What a source shows in one look."""

    nodes: tuple[Node, ...]
    batch_jobs: tuple[BatchJob, ...]  # that have not ended
    odd: tuple[str, ...] = ()  # records that could not be read whole, and why


class Source(Protocol):
    """Shows the nodes, and after them the batch jobs.

    In this order, because a batch job that starts in between makes a node look idle that its job names, which reads as
    "taken"; the other order would show a free node that nobody has.
    """

    def look(self, site: SiteConfig, give_up_at: float) -> SlurmLook:
        """Return what there is. Raises `SchedulerUnavailable`; `give_up_at` is monotonic."""
        ...


class SourceUnusable(Exception):
    """pyslurm cannot be used here, and why; nobody was asked."""


class ChosenSource:
    """The source in use.

    Parameters
    ----------
    commands: the source that is always there.
    library: pyslurm; None where the configuration wants the commands.
    is_wanted: whether the configuration names pyslurm, so that its absence is a warning and not a remark.
    """

    def __init__(self, commands: Source, library: Source | None, *, is_wanted: bool) -> None:
        self._commands, self._library, self._is_wanted = commands, library, is_wanted
        self.in_use = SourceKind.COMMANDS if library is None else SourceKind.PYSLURM
        self.why_commands = ""  # why pyslurm is not used although it may be

    def look(self, site: SiteConfig, give_up_at: float) -> SlurmLook:
        """Return what the source in use shows. Raises `SchedulerUnavailable`."""
        if self._library is not None:
            try:
                return self._library.look(site, give_up_at)
            except SourceUnusable as error:
                self._library, self.in_use = None, SourceKind.COMMANDS
                self.why_commands = str(error)
                level = logging.WARNING if self._is_wanted else logging.INFO
                log.log(level, "slurm.source: the commands are asked, because %s", error)
        return self._commands.look(site, give_up_at)
