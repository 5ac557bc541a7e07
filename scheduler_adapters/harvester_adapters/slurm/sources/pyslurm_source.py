"""pyslurm as a source: whether one can be used here, and what `pyslurm_reader` prints, as records.

The version of pyslurm must be the one of Slurm (year and month): the C interface differs, not only the number. So it is
compared before anything is imported, and nothing is started where no slurm.conf is found.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from importlib import metadata

import msgspec

from harvester.domain.cluster.ports import SchedulerUnavailable
from harvester_adapters.asking import SchedulerCommands
from harvester_adapters.slurm.sources.pyslurm_reader import NO_ANSWER
from harvester_adapters.slurm.sources.source import SlurmLook, SourceUnusable
from harvester_adapters.slurm.text.config import SiteConfig
from harvester_adapters.slurm.text.nodes import nodes
from harvester_adapters.slurm.text.squeue import ALL, read_rows

_READER = (sys.executable, "-m", "harvester_adapters.slurm.sources.pyslurm_reader")
_PLACES = ("/etc/slurm/slurm.conf", "/etc/slurm-llnl/slurm.conf", "/run/slurm/conf/slurm.conf")
_FIELDS = frozenset(ALL)


class _Document(msgspec.Struct, frozen=True):
    nodes: str
    batch_jobs: list[dict[str, str]]


class PyslurmSource:
    """One process a look.

    Parameters
    ----------
    run: runs it.
    wake: whether pilots may wake nodes that are powered down.
    """

    def __init__(self, run: SchedulerCommands, *, wake: bool) -> None:
        self._run, self._wake = run, wake
        self._is_proven = False  # it has answered once

    def look(self, site: SiteConfig, give_up_at: float) -> SlurmLook:
        """Return nodes and batch jobs. Raises `SourceUnusable`; once it has answered, `SchedulerUnavailable` too."""
        if not self._is_proven and (why := why_unusable(site.version, _installed(), os.environ)):
            raise SourceUnusable(why)
        try:
            seen = self._look(give_up_at)
        except SchedulerUnavailable as error:
            if self._is_proven:
                raise
            raise SourceUnusable(f"pyslurm did not answer: {error}") from error
        self._is_proven = True
        return seen

    def _look(self, give_up_at: float) -> SlurmLook:
        answer = self._run.answer(_READER, give_up_at)
        if answer.exit_code not in {0, NO_ANSWER}:
            raise SourceUnusable(f"pyslurm ended with {answer.exit_code}: {answer.words[-300:] or 'it said nothing'}")
        return seen_in(answer.expect_success(), wake=self._wake)


def seen_in(text: str, *, wake: bool = False) -> SlurmLook:
    """Return what the reader has printed. Raises `SchedulerUnavailable`."""
    try:
        document = msgspec.json.decode(text, type=_Document)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise SchedulerUnavailable(f"what pyslurm showed cannot be read: {error}") from error
    if any(not _FIELDS.issubset(row) for row in document.batch_jobs):
        raise SchedulerUnavailable("what pyslurm showed cannot be read: a batch job without all of its fields")
    odd: list[str] = []
    found = nodes(document.nodes, wake=wake, odd=odd)
    return SlurmLook(nodes=found, batch_jobs=read_rows(document.batch_jobs, odd=odd), odd=tuple(odd))


def why_unusable(slurm: str, pyslurm: str, environment: Mapping[str, str]) -> str:
    """Return why pyslurm is not to be started here; empty where it may be.

    Parameters
    ----------
    slurm: the version of the site's Slurm.
    pyslurm: the version that is installed; empty: none is.
    """
    if not pyslurm:
        return "pyslurm is not installed"
    if _release(slurm) != _release(pyslurm):
        return f"pyslurm {pyslurm} is not for Slurm {slurm}: year and month must be the same"
    named = environment.get("SLURM_CONF", "")
    if not any(os.access(place, os.R_OK) for place in ([named] if named else _PLACES)):
        return f"no slurm.conf can be read ({named or ', '.join(_PLACES)}), without which pyslurm ends its process"
    return ""


def _release(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d{1,9}", version)[:2])


def _installed() -> str:
    try:
        return metadata.version("pyslurm")
    except metadata.PackageNotFoundError:
        return ""
