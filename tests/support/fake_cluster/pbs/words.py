"""PBS's words for what the model holds: the attributes of batch jobs, queues, nodes and reservations, as texts."""

from __future__ import annotations

import shlex
import time

from support.fake_cluster.model.cluster import FakeCluster
from support.fake_cluster.model.records import Amount, End, FakeBatchJob, FakeNode, FakeQueue, Phase
from support.fake_cluster.model.rules import Eviction

VERSION = "23.06.06"
SERVER = "vm"
Attributes = dict[str, str]

_ORDERS = {Eviction.CANCEL: "D", Eviction.REQUEUE: "R", Eviction.SUSPEND: "S"}
_SENT_S = 2.0  # a batch job is R/41 for so long after its start


def instant(at: float) -> str:
    """Return an instant as commands print it with TZ=UTC."""
    return time.asctime(time.gmtime(at))


def clock(seconds: float) -> str:
    """Return a limit: `00:15:00`, `100:00:00`."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest:02}"


def seconds(text: str) -> float:
    """Return the seconds of a walltime: `H:M:S`, `M:S`, or seconds."""
    total = 0.0
    for part in text.split(":"):
        total = total * 60 + float(part)
    return total


def full_id(batch: FakeBatchJob) -> str:
    """Return the id with the server's name."""
    return f"{batch.number}.{SERVER}"


def chunk(each: Amount) -> str:
    """Return what one chunk is given."""
    gpus = f":ngpus={each.gpus}" if each.gpus else ""
    memory = f":mem={each.memory_mb * 1024}kb" if each.memory_mb else ""
    return f"ncpus={each.cpus}{gpus}{memory}"


def where(nodes: tuple[str, ...], each: Amount) -> str:
    """Return an exec_vnode."""
    return "+".join(f"({name}:{chunk(each)})" for name in nodes)


def state(batch: FakeBatchJob, now: float) -> tuple[str, str]:
    """Return state and substate."""
    match batch.phase:
        case Phase.PENDING:
            return ("H", "20") if batch.is_held else ("Q", "10")
        case Phase.SUSPENDED:
            return "S", "45"
        case Phase.RUNNING:
            return _running(batch, now)
        case Phase.ENDED:
            if batch.end in {End.CANCELLED, End.PREEMPTED, End.NEVER_STARTED}:
                return "F", "91"
            return "F", "92" if exit_status(batch) == "0" else "93"


def _running(batch: FakeBatchJob, now: float) -> tuple[str, str]:
    is_rerun = batch.told_for is End.PREEMPTED and is_put_back(batch)
    if batch.gone_at is not None and batch.told_for is not End.NODE_FAILED:
        if is_rerun:
            return "E", "60"
        if batch.told_for is None or batch.told_for is End.TIMEOUT:
            return "E", "51"
    if is_rerun:
        return "R", "60"
    return "R", "41" if now < (batch.started_at or 0.0) + _SENT_S else "42"


def is_put_back(batch: FakeBatchJob) -> bool:
    """Return whether its eviction puts it back into the queue."""
    return batch.is_put_back


def exit_status(batch: FakeBatchJob) -> str:
    """Return the exit status; empty where there is none (yet)."""
    if batch.phase is Phase.PENDING:
        return {End.PREEMPTED: "-11", End.NODE_FAILED: "-20"}.get(batch.came_back_from or End.COMPLETED, "")
    if batch.gone_at is None or batch.end is End.NEVER_STARTED:
        return ""
    if batch.told_for is End.NODE_FAILED:
        return "-20" if batch.has_ended else ""
    own = 256 + batch.killed_by if batch.killed_by else batch.exit_code or 0
    if batch.told_for is End.PREEMPTED and is_put_back(batch):
        own = -11
    return str(-29 if batch.told_for is End.TIMEOUT else own)


def comment(batch: FakeBatchJob) -> str:
    """Return what the scheduler says of it."""
    if batch.phase is Phase.PENDING:
        return {
            "resources": "Not Running: Not enough free nodes available",
            "priority": "Not Running: Insufficient amount of resource: ncpus ",
            "never": "Can Never Run: Insufficient amount of resource: ncpus (R: 36 A: 12 T: 12)",
        }.get(batch.waits, "")
    if not batch.runs:
        return ""
    began = time.gmtime(batch.started_at)
    text = f"Job run at {time.strftime('%a %b %d at %H:%M', began)} on {where(batch.nodes, batch.wish.each)}"
    if batch.told_for is End.PREEMPTED and not is_put_back(batch):
        return f"{text} and terminated by Scheduler@{SERVER}"
    if batch.told_for is End.CANCELLED:
        return f"{text} and terminated by {batch.wish.user}@{SERVER}"
    if batch.has_ended:
        return f"{text} and {'finished' if exit_status(batch) == '0' else 'failed'}"
    return text


def batch_job(batch: FakeBatchJob, now: float) -> Attributes:
    """Return the attributes of a batch job, in the order in which `qstat -f` has them."""
    wish = batch.wish
    letter, substate = state(batch, now)
    submitted = instant(batch.submitted_at)
    out = f"{SERVER}:{wish.output or '/dev/null'}"
    found: Attributes = {"Job_Name": wish.name, "Job_Owner": f"{wish.user}@{SERVER}"}
    if batch.runs and batch.phase is not Phase.PENDING:
        found |= {"resources_used.ncpus": str(wish.each.cpus * wish.nodes)}
        found |= {"resources_used.walltime": clock(now - (batch.started_at or now))}
    found |= {"job_state": letter, "queue": wish.queue, "server": SERVER, "Checkpoint": "u", "ctime": submitted}
    found["Error_Path"] = out
    if batch.nodes:
        found["exec_host"] = "+".join(f"{name}/0*{wish.each.cpus}" for name in batch.nodes)
        found["exec_vnode"] = where(batch.nodes, wish.each)
    found |= {"Hold_Types": "u" if batch.is_held else "n", "Join_Path": "oe", "Keep_Files": "n", "Mail_Points": "a"}
    found |= {"mtime": instant(batch.ended_at or batch.started_at or batch.submitted_at), "Output_Path": out}
    found |= {"Priority": str(wish.priority), "qtime": submitted, "Rerunable": str(wish.is_rerunnable)}
    found |= _wanted(batch)
    if batch.started_at is not None:
        found["stime"] = instant(batch.started_at)
    if batch.has_ended and batch.runs and batch.ended_at is not None:
        found["obittime"] = instant(batch.ended_at)
    found |= {"substate": substate, "Variable_List": f"PBS_O_LOGNAME={wish.user},PBS_O_HOST={SERVER}"}
    found |= _told(batch)
    return found


def _wanted(batch: FakeBatchJob) -> Attributes:
    wish = batch.wish
    hosts = ":".join(["", *(f"host={name}" for name in wish.required)])
    found = {"Resource_List.ncpus": str(wish.each.cpus * wish.nodes)}
    if wish.each.gpus:
        found["Resource_List.ngpus"] = str(wish.each.gpus * wish.nodes)
    if wish.each.memory_mb:
        found["Resource_List.mem"] = f"{wish.each.memory_mb * wish.nodes}mb"
    found |= {"Resource_List.nodect": str(wish.nodes), "Resource_List.place": "free" if wish.nodes == 1 else "scatter"}
    found["Resource_List.select"] = f"{wish.nodes}:{chunk(wish.each)}{hosts}"
    if wish.least_s is not None:
        found["Resource_List.max_walltime"] = clock(wish.limit_s or 0.0)
        found["Resource_List.min_walltime"] = clock(wish.least_s)
    if limit := batch.limit_s or (wish.limit_s if wish.least_s is None else None):
        found["Resource_List.walltime"] = clock(limit)
    return found


def _told(batch: FakeBatchJob) -> Attributes:
    wish = batch.wish
    found: Attributes = {}
    if words := comment(batch):
        found["comment"] = words
    found["etime"] = instant(batch.submitted_at)
    if batch.runs:
        found["run_count"] = str(batch.runs)
    found["eligible_time"] = "00:00:00"
    if code := exit_status(batch):
        found["Exit_status"] = code
    found["Submit_arguments"] = shlex.join(wish.arguments)
    if batch.plan_at is not None and batch.phase is Phase.PENDING:
        found["estimated.exec_vnode"] = where(batch.plan_nodes, wish.each)
        found["estimated.start_time"] = instant(batch.plan_at)
        found["topjob"] = "True"
    return found | {"project": "_pbs_project_default", "Submit_Host": SERVER}


def queue(each: FakeQueue, cluster: FakeCluster) -> Attributes:
    """Return the attributes of a queue."""
    here = [batch for batch in cluster.alive() if batch.wish.queue == each.name]
    found: Attributes = {"queue_type": "Execution", "Priority": str(each.tier), "total_jobs": str(len(here))}
    found["state_count"] = _counts(here)
    if each.max_time_s is not None:
        found["resources_max.walltime"] = clock(each.max_time_s)
    return found | {"kill_delay": str(round(each.grace_s)), "enabled": "True", "started": "True"}


def _counts(batch_jobs: list[FakeBatchJob]) -> str:
    pending = [batch for batch in batch_jobs if batch.phase is Phase.PENDING]
    held = sum(batch.is_held for batch in pending)
    return (
        f"Transit:0 Queued:{len(pending) - held} Held:{held} Waiting:0 Running:{len(batch_jobs) - len(pending)}"
        " Exiting:0 Begun:0 "
    )


def server(cluster: FakeCluster) -> Attributes:
    """Return the attributes of the server."""
    here = list(cluster.alive())
    default = next((each.name for each in cluster.queues.values() if each.is_default), "workq")
    return {
        "server_state": "Active", "server_host": SERVER, "scheduling": "True", "total_jobs": str(len(here)),
        "state_count": _counts(here), "default_queue": default, "log_events": "511", "mail_from": "adm",
        "query_other_jobs": "True", "resources_default.ncpus": "1", "default_chunk.ncpus": "1",
        "scheduler_iteration": "600", "flatuid": "True", "resv_enable": "True",
        "node_fail_requeue": str(round(cluster.rules.node_fail_s)), "backfill_depth": str(cluster.rules.plan_depth),
        "pbs_version": VERSION, "eligible_time_enable": "True", "job_history_enable": "True",
        "job_history_duration": clock(cluster.rules.forgets_after_s), "max_job_sequence_id": "9999999",
    }  # fmt: skip


def scheduler(cluster: FakeCluster) -> Attributes:
    """Return the attributes of the scheduler object."""
    return {
        "sched_host": SERVER, "sched_cycle_length": "00:20:00", "throughput_mode": "True", "partition": "pbs-default",
        "scheduling": "True", "scheduler_iteration": "600", "state": "idle", "preempt_queue_prio": "150",
        "preempt_prio": "express_queue, normal_jobs", "preempt_order": _ORDERS[cluster.rules.eviction],
        "preempt_sort": "min_time_since_start", "log_events": "767", "server_dyn_res_alarm": "30",
    }  # fmt: skip


def node(each: FakeNode, cluster: FakeCluster) -> dict[str, object]:
    """Return a node as `pbsnodes -F json` has it."""
    total, used = each.total, each.used
    available: dict[str, object] = {"arch": "linux", "host": each.name, "mem": f"{total.memory_mb}mb"}
    available |= {"ncpus": total.cpus} | ({"ngpus": total.gpus} if total.gpus else {}) | {"vnode": each.name}
    assigned: dict[str, object] = {"mem": f"{used.memory_mb * 1024}kb"} if used.memory_mb else {}
    assigned |= {"ncpus": used.cpus} if used.cpus else {}
    assigned |= {"ngpus": used.gpus} if used.gpus else {}
    reserved = [one.name for one in cluster.reservations if each.name in one.nodes and one.end_at > cluster.now]
    numbers = sorted(each.batch_jobs)
    found: dict[str, object] = {"Mom": each.name, "ntype": "PBS", "state": _node_state(each), "pcpus": total.cpus}
    found |= {"resv": ", ".join(reserved)} if reserved else {}
    found |= {"jobs": [f"{number}.{SERVER}" for number in numbers]} if numbers else {}
    found |= {"resources_available": available, "resources_assigned": assigned}
    found |= {"comment": each.drained} if each.drained else {}
    found |= {"queue": each.queues[0]} if len(each.queues) == 1 and len(cluster.queues) > 1 else {}
    return found | {"resv_enable": "True", "sharing": "default_shared", "license": "l"}


def _node_state(each: FakeNode) -> str:
    states = ["down"] if each.is_down else []
    states += ["offline"] if each.drained else []
    return ",".join(states) or ("job-busy" if each.used.cpus >= each.total.cpus else "free")
