"""Options of `harvester up` and `harvester demo`, as records. Their only default is "not given"."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

import msgspec


class Scheduler(StrEnum):
    """The schedulers that `up` may be told to use."""

    LOCAL = "local"
    SLURM = "slurm"
    PBS = "pbs"


class DemoScheduler(StrEnum):
    """Where the demo runs; `auto` is the Slurm or the PBS that answers here, else the embedded local scheduler."""

    LOCAL = "local"
    SLURM = "slurm"
    PBS = "pbs"
    AUTO = "auto"


class UpOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options of `harvester up`; None where one is not given: the configuration file or a default decides."""

    config: Path | None = None
    scheduler: str | None = None  # a value of `Scheduler`
    nodes: int | None = None  # local: emulated nodes
    cpus: int | None = None  # local: CPUs of each node
    gpus: int | None = None  # local: GPUs of each node
    state: Path | None = None  # folder for everything that must survive a restart
    host: str | None = None
    port: int | None = None
    partition: str | None = None
    ready: int | None = None  # pilots kept ready beyond what waiting work needs
    max_pilots: int | None = None
    settings: tuple[tuple[str, str], ...] = ()  # --set key=value, in order


class DemoOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options of `harvester demo`."""

    scheduler: str = "auto"  # a value of `DemoScheduler`
    keep: bool = False  # keep the system running afterwards
    as_json: bool = False
