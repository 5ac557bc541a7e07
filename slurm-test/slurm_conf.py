"""The texts of a one-machine cluster's configuration: slurm.conf, gres.conf, cgroup.conf.

Pure: text out of a `Shape`, no file, no process. Every key works on Slurm 22.05 (Debian 12), 23.11 (Ubuntu 24.04),
24.11 (Debian 13) and 26.05 unless the comment beside it says otherwise.
"""

from __future__ import annotations

import dataclasses
from enum import StrEnum
from pathlib import Path

import site_kinds
from site_kinds import SiteKind


class Clock(StrEnum):
    """How often the scheduler looks at its queue."""

    TUNED = "tuned"  # every 2 seconds, and at once when a batch job is submitted
    DEFAULT = "default"  # as Slurm comes: backfill every 30 s, 3 s of patience with a submitted batch job


@dataclasses.dataclass(frozen=True, kw_only=True)
class Asked:
    """What `up` was asked for. Two that are equal mean the same cluster."""

    site: SiteKind = SiteKind.TIERS
    clock: Clock = Clock.TUNED
    bf_interval_s: int | None = None  # in place of the clock's
    nodes: int = 8
    cpus: int = 2
    gpus: int = 0
    memory_mb: int = 4000
    grace_s: int = 60
    features: dict[str, list[str]] = dataclasses.field(default_factory=dict)  # node's name to its features
    settings: dict[str, str] = dataclasses.field(default_factory=dict)  # of slurm.conf, in place of ours

    @property
    def node_names(self) -> tuple[str, ...]:
        """n1, n2, n3 …"""
        return tuple(f"n{number}" for number in range(1, self.nodes + 1))

    @property
    def daemons(self) -> int:
        """How many daemons run when all is well: munged, slurmctld, a slurmd a node, slurmdbd and its database."""
        return self.nodes + (4 if self.site.needs_accounting else 2)


def asked_of(document: dict[str, object]) -> Asked:
    """Return what `dataclasses.asdict` made a document of."""
    asked = Asked(**document)  # type: ignore[arg-type]
    return dataclasses.replace(asked, site=SiteKind(asked.site), clock=Clock(asked.clock))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shape:
    """What was asked for, and what the machine gave for it. `ports`: the controller's, each node's, slurmdbd's."""

    asked: Asked
    ports: tuple[int, ...]
    host: str  # this machine's short name
    devices: Path  # the folder that holds nvidia0, nvidia1 …


def cluster_name(folder: Path) -> str:
    """Return a cluster name that is this folder's alone: every batch job carries it in SLURM_CLUSTER_NAME."""
    return "t-" + "".join(char if char.isalnum() else "-" for char in str(folder)).strip("-").lower()


def slurm_conf(shape: Shape, folder: Path) -> str:
    """Return slurm.conf for a cluster whose every file lies in `folder`."""
    return written(settings(shape, folder), [*nodes(shape), *partitions(shape.asked)])


def settings(shape: Shape, folder: Path) -> dict[str, str]:
    """Return what slurm.conf says before its nodes and partitions; what was asked for beats ours."""
    ours = general(shape, folder) | dict(line.split("=", 1) for line in site_kinds.preemption(shape.asked.site))
    if schedule := schedule_of(shape.asked):
        ours["SchedulerParameters"] = schedule
    if shape.asked.gpus:
        ours["GresTypes"] = "gpu"
    if shape.asked.site.needs_accounting:
        ours |= accounting(shape, folder)
    return ours | shape.asked.settings


def written(settings: dict[str, str], lines: list[str]) -> str:
    """Return a file with `settings`, a line each, before `lines`."""
    return "\n".join([*(f"{key}={value}" for key, value in settings.items()), *lines]) + "\n"


def general(shape: Shape, folder: Path) -> dict[str, str]:
    """Return the settings that all kinds of site share."""
    return {
        "ClusterName": cluster_name(folder),
        "SlurmctldHost": f"{shape.host}(127.0.0.1)",
        "SlurmctldPort": str(shape.ports[0]),
        "SlurmUser": "root",
        "SlurmdUser": "root",
        # A munge of our own, so that the host's is neither needed nor disturbed.
        "AuthType": "auth/munge",
        "AuthInfo": f"socket={folder}/munge/munge.socket",
        # No cgroups, no affinity: a container has neither.
        "ProctrackType": "proctrack/linuxproc",
        "TaskPlugin": "task/none",
        "JobAcctGatherType": "jobacct_gather/none",
        "SlurmctldPidFile": f"{folder}/pid/slurmctld",
        "SlurmdPidFile": f"{folder}/pid/slurmd-%n",
        "StateSaveLocation": f"{folder}/state",
        "SlurmdSpoolDir": f"{folder}/spool/%n",
        "SlurmctldLogFile": f"{folder}/log/slurmctld",
        "SlurmdLogFile": f"{folder}/log/slurmd-%n",
        "SlurmctldDebug": "info",
        "SlurmdDebug": "info",
        "SlurmdParameters": "config_overrides",  # believe the CPUs below, not the machine's
        "ReturnToService": "2",
        "SlurmctldTimeout": "30",
        "SlurmdTimeout": "30",
        "KillWait": "30",
        "MinJobAge": "300",
        "SelectType": "select/cons_tres",
        "SelectTypeParameters": "CR_Core_Memory",
        "SchedulerType": "sched/backfill",
        "PriorityType": "priority/basic",
    }


def schedule_of(asked: Asked) -> str:
    """Return SchedulerParameters; empty for a Slurm as it comes."""
    interval = asked.bf_interval_s
    match asked.clock:
        case Clock.TUNED:
            return f"bf_interval={interval or 2},bf_continue,bf_max_job_test=500,sched_interval=2,batch_sched_delay=0"
        case Clock.DEFAULT:
            return f"bf_interval={interval}" if interval else ""


def accounting(shape: Shape, folder: Path) -> dict[str, str]:
    """Return the settings by which the controller keeps QOS and associations in slurmdbd."""
    return {
        "AccountingStorageType": "accounting_storage/slurmdbd",
        "AccountingStorageHost": "127.0.0.1",
        "AccountingStoragePort": str(shape.ports[-1]),
        "AccountingStoragePass": f"{folder}/munge/munge.socket",  # AuthInfo is not asked for slurmdbd's sake
        "AccountingStorageEnforce": "associations,qos",
    }


def nodes(shape: Shape) -> list[str]:
    """Return the lines of the nodes: all on this machine, each with a port of its own."""
    return [
        f"NodeName={name} NodeHostname={shape.host} NodeAddr=127.0.0.1 Port={port} {what_it_has(shape.asked, name)}"
        for name, port in zip(shape.asked.node_names, shape.ports[1:], strict=False)
    ]


def what_it_has(asked: Asked, name: str) -> str:
    """Return the end of a node's line: CPUs, memory, GPUs, features."""
    gres = f" Gres=gpu:{asked.gpus}" if asked.gpus else ""
    features = f" Feature={','.join(asked.features[name])}" if name in asked.features else ""
    return f"CPUs={asked.cpus} RealMemory={asked.memory_mb}{gres}{features} State=UNKNOWN"


def partitions(asked: Asked) -> list[str]:
    """Return the lines of the partitions."""
    return [
        f"PartitionName={name} Nodes=ALL State=UP DefMemPerCPU=100 {rules}"
        for name, rules in site_kinds.partitions(asked.site, asked.grace_s)
    ]


def gres_conf(shape: Shape) -> str:
    """Return gres.conf: character devices, because for plain files Slurm sets no CUDA_VISIBLE_DEVICES."""
    nodes, gpus = shape.asked.nodes, shape.asked.gpus
    if not gpus:
        return ""
    return f"AutoDetect=off\nNodeName=n[1-{nodes}] Name=gpu File={shape.devices}/nvidia[0-{gpus - 1}]\n"


def cgroup_conf(version: tuple[int, int]) -> str:
    """Return cgroup.conf for a Slurm `version` (year, month); below 24.05 `disabled` is a fatal parse error.

    There `cgroup/v1` works whether cgroups of version 1, of version 2 or none are mounted; what 22.05 finds by itself
    fails where none are.
    """
    return "CgroupPlugin=disabled\n" if version >= (24, 5) else "CgroupPlugin=cgroup/v1\n"
