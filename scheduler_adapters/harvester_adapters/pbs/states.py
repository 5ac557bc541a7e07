"""What a batch job's state, substate, exit status and comment mean.

Pure: tables of PBS's letters and numbers, and of the scheduler's sentences. What is not known is UNKNOWN, never an end.
"""

from __future__ import annotations

import re
from functools import lru_cache

from harvester.domain.cluster.snapshot import BatchState, WaitsFor
from harvester_adapters.pbs.words import shown

_S = BatchState
_LETTERS = {
    "Q": _S.PENDING, "H": _S.PENDING, "W": _S.PENDING, "T": _S.PENDING,
    "R": _S.RUNNING,  # substate 41, sent to the node, counts as well: its first instruction was 2 s before 42
    "S": _S.SUSPENDED, "U": _S.SUSPENDED,
    "E": _S.COMPLETING,
}  # fmt: skip
_RERUNNING = frozenset({"60", "61", "62", "63"})
_DELETED, _GOOD = "91", "92"
_ENDS = {  # exit statuses below 0 are PBS's own (src/include/job.h), as far as they say more than "failed"
    "-29": _S.TIMEOUT,
    "-20": _S.NODE_FAIL,
    "-4": _S.NODE_FAIL,  # its mom was restarted
    "-11": _S.PREEMPTED,  # put back into the queue, and deleted there
    "-12": _S.PREEMPTED,  # checkpointed, likewise
}
_BY_SCHEDULER = re.compile(r"terminated by Scheduler@")
_TERMINATED = re.compile(r"terminated by \S+@")

_OTHER = re.compile(
    r"queue not started|can never run|amount of (server|queue) resource|dedicated time|limit|dependency|draining|"
    r"primetime|not (be )?run (on|in) .*(period|day|time)|hold|too many|max_run|formula|license|preempt_targets|stopp",
    re.IGNORECASE,
)
_LIMIT = re.compile(r"Not Running: (.*\b(?:limit|max_run)\b.*)", re.IGNORECASE | re.DOTALL)
_NODES = re.compile(
    r"insufficient amount of resource|not enough (free|total) nodes|no available resources on nodes|"
    r"conflict with reservation or top job|not enough of the right type|ineligible state|"
    r"resources? (were|was|is|are) (not )?(un)?available|in use|placement set|higher.priority|exclusive",
    re.IGNORECASE,
)


def batch_state(state: str, substate: str, exit_status: str, comment: str) -> BatchState:
    """Return the state of a batch job that is not an array."""
    if state in {"F", "X"}:
        return _end(substate, exit_status, comment)
    found = _LETTERS.get(state, BatchState.UNKNOWN)
    if found is BatchState.RUNNING and (substate in _RERUNNING or is_deleted(comment)):
        return BatchState.COMPLETING
    return found


def _end(substate: str, exit_status: str, comment: str) -> BatchState:
    if substate == _DELETED:
        return BatchState.PREEMPTED if _BY_SCHEDULER.search(comment) else BatchState.CANCELLED
    if not exit_status:  # e.g. its dependency can no more be met
        return BatchState.CANCELLED
    if exit_status == "0" or (substate == _GOOD and exit_status not in _ENDS):
        return BatchState.COMPLETED
    return _ENDS.get(exit_status, BatchState.FAILED)


def is_preempted(state: str, substate: str, exit_status: str, comment: str) -> bool:
    """Return whether the scheduler has asked a batch job to leave that has not ended.

    Where preemption deletes, only the comment tells until it is gone. Where it puts back into the queue (operators can,
    too), the substate does, and then the exit status of the run before.
    """
    if state == "R" and (_BY_SCHEDULER.search(comment) or substate in _RERUNNING):
        return True
    return state in {"E", "Q", "H"} and exit_status in {"-11", "-12"}


def is_deleted(comment: str) -> bool:
    """Return whether somebody who is not the scheduler has deleted a batch job that runs still."""
    return _TERMINATED.search(comment) is not None and not _BY_SCHEDULER.search(comment)


def limit_in(comment: str) -> str:
    """Return the limit that a pending batch job waits for, in the scheduler's sentence; empty where it is none."""
    found = _LIMIT.fullmatch(comment)
    return shown(found[1]) if found else ""


@lru_cache(maxsize=4096)
def waits_for(state: str, comment: str) -> WaitsFor:
    """Return what a pending batch job waits for. Comments are the scheduler's last word, and may be old."""
    if state != "Q":  # held by somebody or by a dependency, or not before a time
        return WaitsFor.OTHER
    # Without a comment no cycle has looked at it; a comment from the run before says as little.
    if not comment or comment.startswith(("Job run at", "Job was sent", "Job Array Began")):
        return WaitsFor.NODES
    if _NODES.search(comment) and not comment.startswith("Can Never Run"):
        return WaitsFor.NODES
    return WaitsFor.OTHER if _OTHER.search(comment) else WaitsFor.UNKNOWN
