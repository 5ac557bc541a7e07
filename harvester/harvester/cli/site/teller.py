"""What tells of a site: built for our own adapters, and the adapter itself where another package's can tell."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path

import msgspec

from harvester.config import OWN_KINDS, Config
from harvester.domain.cluster.ports import SchedulerAdapter
from harvester.domain.fitness.site_facts import SiteTeller


def site_teller(config: Config, adapter: SchedulerAdapter) -> SiteTeller | None:
    """Return what tells of the configured scheduler's site; None where nothing can."""
    if isinstance(adapter, SiteTeller):
        return adapter
    match config.scheduler.kind:
        case "slurm":
            return _slurm(config, adapter)
        case "pbs":
            return _pbs(config)
        case "local":
            from harvester_adapters.sites.local import LocalSite  # noqa: PLC0415 - adapters are imported when needed

            return LocalSite()
        case _:
            return None


def _slurm(config: Config, adapter: SchedulerAdapter) -> SiteTeller:
    from harvester_adapters.sites.slurm import SlurmSite  # noqa: PLC0415 - as above
    from harvester_adapters.slurm.submission import EXPORTED  # noqa: PLC0415 - as above

    slurm = config.scheduler.slurm
    return SlurmSite(
        source=_source(adapter),
        wants_library=slurm.source != "commands",
        account=slurm.account,
        max_pilots=config.harvest.max_pilots,
        longest=timedelta(minutes=max(config.harvest.lengths_min)),
        timeout=timedelta(seconds=config.scheduler.timeout_s),
        exported=EXPORTED if slurm.export is None else slurm.export,
    )


def _source(adapter: SchedulerAdapter) -> tuple[str, str]:
    """Return what a Slurm's nodes and batch jobs are asked of, and why not of pyslurm."""
    from harvester_adapters.slurm.adapter import SlurmAdapter  # noqa: PLC0415 - as above

    return adapter.source_in_use if isinstance(adapter, SlurmAdapter) else ("commands", "")


def _pbs(config: Config) -> SiteTeller:
    from harvester_adapters.sites.pbs import PbsSite  # noqa: PLC0415 - as above

    return PbsSite(
        source="qstat and pbsnodes",
        max_pilots=config.harvest.max_pilots,
        is_strict=config.harvest.mode == "strict",
        timeout=timedelta(seconds=config.scheduler.timeout_s),
    )


def answering_kind() -> str:
    """Return the scheduler whose commands are here; `local` where there are none."""
    commands = {"slurm": "scontrol", "pbs": "pbsnodes"}
    return next((kind for kind, command in commands.items() if shutil.which(command)), "local")


def aside(config: Config, folder: Path) -> Config:
    """Return the configuration with what is written for a moment, or emulated, in `folder`.

    The emulated cluster of the state folder may be in use.
    """
    kind = config.scheduler.kind
    if kind == "local":
        return msgspec.structs.replace(config, state=str(folder))
    own = getattr(config.scheduler, kind) if kind in OWN_KINDS else None  # else: of another package
    if own is None or own.work_dir:
        return config
    # The state folder may not be there yet, or be another's; batch scripts lie somewhere for a moment only.
    elsewhere = {kind: msgspec.structs.replace(own, work_dir=str(folder))}
    return msgspec.structs.replace(config, scheduler=msgspec.structs.replace(config.scheduler, **elsewhere))
