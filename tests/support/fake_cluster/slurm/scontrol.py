"""scontrol, sinfo and sacctmgr of the fake Slurm."""

from __future__ import annotations

from collections.abc import Collection

from support.fake_cluster.answers import Answer, Call, complained, said
from support.fake_cluster.model.cluster import FakeCluster
from support.fake_cluster.model.records import FakeNode, FakeQueue, Refusal, Refused
from support.fake_cluster.model.rules import Eviction
from support.fake_cluster.slurm import words

_MODES = {Eviction.CANCEL: "CANCEL", Eviction.REQUEUE: "REQUEUE", Eviction.SUSPEND: "SUSPEND"}
_REFUSALS = {
    Refusal.UNKNOWN: "Invalid job id specified",
    Refusal.FINISHED: "Job/step already completing or completed",
    Refusal.NOT_PENDING: "Job is no longer pending execution",
}


def scontrol(cluster: FakeCluster, call: Call, version: str) -> Answer:
    """Do or show what scontrol is asked."""
    verb, *rest = [argument for argument in call.arguments if not argument.startswith("-")] or ["help"]
    match verb:
        case "show":
            return _show(cluster, rest, version)
        case "hold" | "uhold" | "release":
            return _hold(cluster, verb, [int(word) for part in rest for word in part.split(",")])
        case "ping":
            return said("Slurmctld(primary) at fake is UP\n")
        case "version":
            return said(f"slurm {version}\n")
        case _:
            return complained(f"invalid keyword: {verb}\n")


def _hold(cluster: FakeCluster, verb: str, numbers: list[int]) -> Answer:
    complaints = []
    for number in numbers:
        try:
            (cluster.release if verb == "release" else cluster.hold)(number)
        except Refused as refused:
            complaints.append(f"{_REFUSALS[refused.why]} for job {number}\n")
    return complained("".join(complaints)) if complaints else said("")


def _show(cluster: FakeCluster, rest: list[str], version: str) -> Answer:
    what, *asked = rest
    match what:
        case "node" | "nodes":
            planned = words.planned_nodes(cluster)
            return said("".join(node(each, cluster, version, planned) for each in cluster.nodes.values()))
        case "partition" | "partitions":
            return said("".join(_partition(each, cluster) for each in cluster.queues.values()))
        case "reservation" | "reservations":
            return said(_reservations(cluster))
        case "config":
            return said(_config(cluster, version))
        case "job" | "jobs":
            return _batch_jobs(cluster, asked, version)
        case _:
            return complained(f"invalid entity:{what} for keyword:show\n")


def node(node: FakeNode, cluster: FakeCluster, version: str, planned: Collection[str]) -> str:
    """Return the line of one node."""
    total, used = node.total, node.used
    given = f"cpu={used.cpus},mem={used.memory_mb}M" if node.batch_jobs else ""
    why = f" Reason={node.drained} [root@{words.instant(cluster.now)}]" if node.drained else ""
    return (
        f"NodeName={node.name} Arch=x86_64 CoresPerSocket=1  CPUAlloc={used.cpus} CPUEfctv={total.cpus}"
        f" CPUTot={total.cpus} CPULoad=0.01 AvailableFeatures=(null) ActiveFeatures=(null)"
        f" Gres={f'gpu:{total.gpus}' if total.gpus else '(null)'} GresDrain=N/A GresUsed=gpu:{used.gpus}"
        f" NodeAddr=127.0.0.1 NodeHostName={node.name} Version={version} RealMemory={total.memory_mb}"
        f" AllocMem={used.memory_mb} FreeMem={node.free.memory_mb} Sockets={total.cpus} Boards=1"
        f" State={words.node_state(node, cluster, planned)} ThreadsPerCore=1 TmpDisk=0 Weight=1 Owner=N/A MCS_label=N/A"
        f" Partitions={','.join(node.queues)}  BootTime=2026-11-25T18:22:02 SlurmdStartTime=2026-11-25T19:31:23"
        f" LastBusyTime=2026-11-25T19:31:23 CfgTRES=cpu={total.cpus},mem={total.memory_mb}M,billing={total.cpus}"
        f" AllocTRES={given} CapWatts=n/a CurrentWatts=0 AveWatts=0{why}\n"
    )


def _partition(queue: FakeQueue, cluster: FakeCluster) -> str:
    here = [node for node in cluster.nodes.values() if queue.name in node.queues]
    cpus, memory = sum(node.total.cpus for node in here), sum(node.total.memory_mb for node in here)
    mode = _MODES[cluster.rules.eviction] if queue.is_preemptible else "OFF"
    return (
        f"PartitionName={queue.name} AllowGroups=ALL AllowAccounts=ALL AllowQos=ALL AllocNodes=ALL"
        f" Default={'YES' if queue.is_default else 'NO'} QoS=N/A DefaultTime=NONE DisableRootJobs=NO ExclusiveUser=NO"
        f" GraceTime={round(queue.grace_s)} Hidden=NO MaxNodes=UNLIMITED MaxTime={words.clock(queue.max_time_s)}"
        f" MinNodes=0 LLN=NO MaxCPUsPerNode=UNLIMITED Nodes={words.names(node.name for node in here) or '(null)'}"
        f" PriorityJobFactor=1 PriorityTier={queue.tier} RootOnly=NO ReqResv=NO OverSubscribe=NO OverTimeLimit=NONE"
        f" PreemptMode={mode} State=UP TotalCPUs={cpus} TotalNodes={len(here)} SelectTypeParameters=NONE"
        f" JobDefaults=(null) DefMemPerNode=UNLIMITED MaxMemPerNode=UNLIMITED TRES=cpu={cpus},mem={memory}M\n"
    )


def _reservations(cluster: FakeCluster) -> str:
    lines = [
        f"ReservationName={each.name} StartTime={words.instant(each.start_at)} EndTime={words.instant(each.end_at)}"
        f" Duration={words.clock(each.end_at - each.start_at)} Nodes={words.names(each.nodes)}"
        f" NodeCnt={len(each.nodes)} CoreCnt=4 Features=(null) PartitionName=(null) Flags=SPEC_NODES TRES=cpu=4"
        f" Users=root Groups=(null) Accounts=(null) Licenses=(null)"
        f" State={'ACTIVE' if each.start_at <= cluster.now else 'INACTIVE'} BurstBuffer=(null) Watts=n/a\n"
        for each in cluster.reservations
        if each.end_at > cluster.now
    ]
    return "".join(lines) or "No reservations in the system\n"


def _config(cluster: FakeCluster, version: str) -> str:
    is_preempting = any(queue.is_preemptible for queue in cluster.queues.values())
    settings = {
        "GroupUpdateForce": "1",
        "MinJobAge": f"{cluster.rules.forgets_after_s:g} sec",
        "PreemptMode": _MODES[cluster.rules.eviction] if is_preempting else "OFF",
        "PreemptType": "preempt/partition_prio" if is_preempting else "(null)",
        "PreemptExemptTime": "00:00:00",
        "PriorityType": "priority/basic",
        "SchedulerType": "sched/backfill",
        "SelectType": "select/cons_tres",
        "SLURM_CONF": "/etc/slurm/slurm.conf",
        "SLURM_VERSION": version,
    }
    lines = [f"{name:<23} = {value}\n" for name, value in settings.items()]
    return f"Configuration data as of {words.instant(cluster.now)}\n" + "".join(lines)


def _batch_jobs(cluster: FakeCluster, asked: list[str], version: str) -> Answer:
    numbers = [int(word) for part in asked for word in part.split(",")] or list(cluster.batch_jobs)
    try:
        found = [cluster.find(number) for number in numbers]
    except Refused:
        return complained("slurm_load_jobs error: Invalid job id specified\n")
    parsed = tuple(int(part) for part in version.split("."))
    return said(
        "".join(
            f"JobId={batch.number} JobName={batch.wish.name} UserId={batch.wish.user}(1000)"
            f" Partition={batch.wish.queue} JobState={words.state(batch, parsed)} Reason={words.reason(batch)}"
            f" SubmitTime={words.instant(batch.submitted_at)} StartTime={words.instant(batch.started_at)}"
            f" NodeList={words.names(batch.nodes) or '(null)'} ExitCode={batch.exit_code or 0}:{batch.killed_by}\n"
            for batch in found
        )
    )


def sinfo(cluster: FakeCluster, call: Call, version: str) -> Answer:
    """Return the version, or a line a node and partition: name, partition, state."""
    if {"--version", "-V"} & {*call.arguments}:
        return said(f"slurm {version}\n")
    planned = words.planned_nodes(cluster)
    return said(
        "".join(
            f"{node.name} {queue} {words.node_state(node, cluster, planned).lower()}\n"
            for node in cluster.nodes.values()
            for queue in node.queues
        )
    )


def sacctmgr(cluster: FakeCluster, call: Call, version: str) -> Answer:
    """Return one QOS, and one association of everybody with it."""
    del cluster, version
    return said("normal||cluster|00:00:00\n" if "qos" in call.arguments else "root||normal|normal\n")
