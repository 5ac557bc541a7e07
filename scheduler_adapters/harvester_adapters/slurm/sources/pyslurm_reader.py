"""The program that imports pyslurm: prints the nodes and batch jobs of a Slurm, and ends.

A process of its own, because pyslurm may end the process that imports it (without a slurm.conf, after a minute), holds
Python's lock while a controller does not answer, and has no time limit. It prints one JSON document in the words of
scontrol and squeue, so that one set of parsers reads both sources. Knows no record of ours.

Exit codes: 0, 3 (pyslurm cannot be used), 4 (the controller did not answer); whatever else, too, means that it is of no
use here.
"""

from __future__ import annotations

import json
import pwd
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

UNUSABLE, NO_ANSWER = 3, 4
_NO_VALUE = (0xFFFFFFFE, 0xFFFF_FFFF)  # NO_VAL, INFINITE
_ENDED = frozenset(
    {
        "COMPLETED", "PREEMPTED", "CANCELLED", "REVOKED", "TIMEOUT", "DEADLINE", "NODE_FAIL", "BOOT_FAIL",
        "LAUNCH_FAILED", "FAILED", "OUT_OF_MEMORY",
    }
)  # fmt: skip
_SHARED = {"0": "NO", "1": "YES"}


def main() -> int:
    """Print the document; return the exit code."""
    try:
        import pyslurm  # noqa: PLC0415 - the one place, and only when this program was started for it
    except ImportError as error:
        sys.stderr.write(f"pyslurm cannot be imported: {error}")
        return UNUSABLE
    if not (hasattr(pyslurm, "job") and hasattr(pyslurm, "Nodes")):
        sys.stderr.write("this pyslurm has no class `job`; those from 22.5 to 24.11 have it")
        return UNUSABLE
    try:
        # Nodes before batch jobs: see `source.Source`. `Nodes` tells all of a state, and not which GPUs are in use.
        found = _values(pyslurm.Nodes.load())
        used = pyslurm.node().get() if any(node.configured_gres for node in found) else {}
        nodes = "\n".join(node_line(node, used.get(node.name, {}).get("gres_used")) for node in found)
        rows = [words for job in pyslurm.job().get().values() if (words := job_words(job))["State"] not in _ENDED]
    except (ValueError, pyslurm.PyslurmError) as error:
        sys.stderr.write(f"the controller did not answer pyslurm: {error}")
        return NO_ANSWER
    json.dump({"nodes": nodes, "batch_jobs": rows}, sys.stdout)
    return 0


def node_line(node: Any, gres_used: list[str] | None = None) -> str:  # noqa: ANN401 - pyslurm has no types
    """Return a node as `scontrol --oneliner show node` would, as far as our parser looks."""
    total, allocated = node.effective_cpus or node.total_cpus, node.allocated_cpus or 0
    words = {
        "NodeName": node.name,
        "CPUAlloc": allocated,
        "CPUEfctv": total,
        "CPUTot": node.total_cpus,
        "ActiveFeatures": _joined(node.active_features),
        "Gres": _gres(node.configured_gres),
        "GresUsed": _joined(gres_used),
        "RealMemory": node.real_memory,
        "AllocMem": node.allocated_memory or 0,
        "MemSpecLimit": node.memory_reserved_for_system or 0,
        "State": _state(node.state, allocated, total),
        "Partitions": _joined(node.partitions),
    }
    line = " ".join(f"{key}={value}" for key, value in words.items())
    # The parser looks for the words in brackets that Slurm puts behind a reason; who and when is not used.
    return f"{line} Reason={node.reason} [slurm@2000-01-01T00:00:00]" if node.reason else line


def job_words(job: Mapping[str, Any]) -> dict[str, str]:
    """Return a batch job's fields as `squeue --Format` would print them, called with TZ=UTC."""
    is_pending = job["job_state"] == "PENDING"
    limit = job["time_limit"]
    return {
        "JobID": str(job["job_id"]),
        "ArrayTaskID": _array(job),
        "Partition": job["partition"] or "",
        "UserName": _user(job["user_id"]),
        "State": job["job_state"],
        "Reason": _sentence(job["state_reason"] or ""),
        "SubmitTime": _instant(job["submit_time"]),
        "EligibleTime": _instant(job["eligible_time"]),
        "StartTime": _instant(job["start_time"]),
        "NumNodes": str(_node_count(job, is_pending=is_pending)),
        "NumCPUs": str(job["num_cpus"]),
        "MinCpus": str(job["pn_min_cpus"]),
        "MinMemory": f"{job['pn_min_memory']}M",
        "tres-alloc": job["tres_req_str" if is_pending else "tres_alloc_str"] or "",
        "tres-per-node": job["tres_per_node"] or "",
        "tres-per-job": job["tres_per_job"] or "",
        "tres-per-task": job["tres_per_task"] or "",
        "OverSubscribe": _SHARED.get(job["shared"], job["shared"]),
        "Exclusive": "",
        "PriorityLong": str(job["priority"]),
        "TimeLimit": f"{limit}:00" if isinstance(limit, int) else str(limit),
        "Feature": _joined(job["features"]),
        "ReqNodes": _joined(job["req_nodes"]),
        "ExcNodes": _joined(job["exc_nodes"]),
        "Reservation": job["resv_name"] or "",
        "SchedNodes": job["sched_nodes"] or "",
        "EndTime": _instant(job["end_time"]),
        "PreemptTime": job.get("preempt_time") or "N/A",
        "NodeList": job["nodes"] or "",
        "Name": job["name"] or "",
    }


def _values(found: Any) -> list[Any]:  # noqa: ANN401 - a list or a dict, as the version has it
    return list(found.values() if hasattr(found, "values") else found)


def _state(word: str, allocated: int, total: int) -> str:
    """Return a node's state with MIXED, which scontrol works out by itself."""
    base, plus, flags = word.partition("+")
    name = base.rstrip("*~#!%$@^-")
    if name in {"IDLE", "ALLOCATED"} and 0 < allocated < total:
        return f"MIXED{base[len(name) :]}{plus}{flags}"
    return word


def _gres(found: Mapping[str, int] | None) -> str:
    return ",".join(f"{name}:{count}" for name, count in (found or {}).items()) or "(null)"


def _joined(names: Iterable[str] | str | None) -> str:
    if not names:
        return ""
    return names if isinstance(names, str) else ",".join(names)


def _instant(seconds: int | None) -> str:
    if not seconds or seconds in _NO_VALUE:
        return "N/A"
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _array(job: Mapping[str, Any]) -> str:
    if job.get("array_task_str"):
        return str(job["array_task_str"])
    number = job.get("array_task_id")
    return "N/A" if number is None or number in _NO_VALUE else str(number)


def _sentence(reason: str) -> str:
    """Return a reason with its spaces, for which pyslurm has put underscores."""
    return reason if reason.startswith("burst_buffer") else reason.replace("_", " ")


def _node_count(job: Mapping[str, Any], *, is_pending: bool) -> int:
    """Return the number of nodes as squeue does: while it pends, at least as many as are required by name."""
    count = int(job["num_nodes"])
    if not is_pending:
        return count
    count = max(count, len(job["req_nodes"] or ()))
    per_node = job["ntasks_per_node"]
    if count == 1 and job["num_cpus"] > 1 and per_node and per_node not in {0xFFFE, 0xFFFF}:
        cpus_per_task = job["cpus_per_task"]
        tasks = job["num_cpus"] // (cpus_per_task if isinstance(cpus_per_task, int) and cpus_per_task else 1)
        count = max(1, min((tasks + 1) // per_node, tasks))
    return count


@lru_cache(maxsize=4096)
def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


if __name__ == "__main__":
    sys.exit(main())
