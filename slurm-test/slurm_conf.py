"""The texts of a one-machine cluster's configuration: slurm.conf, gres.conf, cgroup.conf.

Pure: text out of a `Shape`, no file, no process. Every key works on Slurm 22.05 (Debian 12), 23.11 (Ubuntu 24.04) and
24.11 (Debian 13) unless the comment beside it says otherwise.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shape:
    """What the cluster looks like. `ports` has one for the controller and one for each node, in that order."""

    nodes: int
    cpus: int
    gpus: int
    grace_s: int
    ports: tuple[int, ...]
    host: str  # this machine's short name
    devices: Path  # the folder that holds nvidia0, nvidia1 …

    @property
    def node_names(self) -> tuple[str, ...]:
        """n1, n2, n3 …"""
        return tuple(f"n{number}" for number in range(1, self.nodes + 1))


def cluster_name(folder: Path) -> str:
    """Return a cluster name that is this folder's alone: every batch job carries it in SLURM_CLUSTER_NAME."""
    return "t-" + "".join(char if char.isalnum() else "-" for char in str(folder)).strip("-").lower()


def slurm_conf(shape: Shape, folder: Path) -> str:
    """Return slurm.conf for a cluster whose every file lies in `folder`."""
    lines = [
        f"ClusterName={cluster_name(folder)}",
        f"SlurmctldHost={shape.host}(127.0.0.1)",
        f"SlurmctldPort={shape.ports[0]}",
        "SlurmUser=root",
        "SlurmdUser=root",
        # A munge of our own, so that the host's is neither needed nor disturbed.
        "AuthType=auth/munge",
        f"AuthInfo=socket={folder}/munge/munge.socket",
        # No cgroups, no affinity: a container has neither.
        "ProctrackType=proctrack/linuxproc",
        "TaskPlugin=task/none",
        "JobAcctGatherType=jobacct_gather/none",
        f"SlurmctldPidFile={folder}/pid/slurmctld",
        f"SlurmdPidFile={folder}/pid/slurmd-%n",
        f"StateSaveLocation={folder}/state",
        f"SlurmdSpoolDir={folder}/spool/%n",
        f"SlurmctldLogFile={folder}/log/slurmctld",
        f"SlurmdLogFile={folder}/log/slurmd-%n",
        "SlurmctldDebug=info",
        "SlurmdDebug=info",
        "SlurmdParameters=config_overrides",  # believe the CPUs below, not the machine's
        "ReturnToService=2",
        "SlurmctldTimeout=30",
        "SlurmdTimeout=30",
        "KillWait=30",
        "MinJobAge=300",
        "SelectType=select/cons_tres",
        "SelectTypeParameters=CR_Core_Memory",
        "SchedulerType=sched/backfill",
        "SchedulerParameters=bf_interval=2,bf_continue,bf_max_job_test=500,sched_interval=2,batch_sched_delay=0",
        "PreemptType=preempt/partition_prio",
        "PreemptMode=CANCEL",
        "PriorityType=priority/basic",
    ]
    if shape.gpus:
        lines.append("GresTypes=gpu")
    gres = f" Gres=gpu:{shape.gpus}" if shape.gpus else ""
    for name, port in zip(shape.node_names, shape.ports[1:], strict=True):
        lines.append(
            f"NodeName={name} NodeHostname={shape.host} NodeAddr=127.0.0.1 Port={port} CPUs={shape.cpus}"
            f" RealMemory=4000{gres} State=UNKNOWN"
        )
    prime = "Default=YES MaxTime=INFINITE DefaultTime=10 PriorityTier=10 PreemptMode=OFF"
    harvest = f"MaxTime=120 DefaultTime=5 PriorityTier=1 PreemptMode=CANCEL GraceTime={shape.grace_s}"
    for name, rules in (("prime", prime), ("harvest", harvest)):
        lines.append(f"PartitionName={name} Nodes=ALL State=UP DefMemPerCPU=100 {rules}")
    return "\n".join(lines) + "\n"


def gres_conf(shape: Shape) -> str:
    """Return gres.conf: character devices, because for plain files Slurm sets no CUDA_VISIBLE_DEVICES."""
    if not shape.gpus:
        return ""
    return f"AutoDetect=off\nNodeName=n[1-{shape.nodes}] Name=gpu File={shape.devices}/nvidia[0-{shape.gpus - 1}]\n"


def cgroup_conf(version: tuple[int, int]) -> str:
    """Return cgroup.conf for a Slurm `version` (year, month); below 24.05 `disabled` is a fatal parse error."""
    return "CgroupPlugin=disabled\n" if version >= (24, 5) else ""
