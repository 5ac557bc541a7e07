"""The states of a batch job, in Slurm's words. A word that is not known is UNKNOWN, never an end."""

from __future__ import annotations

from harvester.domain.cluster.snapshot import BatchState
from harvester_adapters.slurm.text.words import NOTHING

_S = BatchState
_BATCH_STATES = {
    "PENDING": _S.PENDING, "REQUEUED": _S.PENDING, "REQUEUE_HOLD": _S.PENDING, "REQUEUE_FED": _S.PENDING,
    "RESV_DEL_HOLD": _S.PENDING, "SPECIAL_EXIT": _S.PENDING,
    # Its nodes are its own already: they boot, or a prolog runs.
    "CONFIGURING": _S.RUNNING, "RUNNING": _S.RUNNING, "RESIZING": _S.RUNNING, "SIGNALING": _S.RUNNING,
    "COMPLETING": _S.COMPLETING, "STAGE_OUT": _S.COMPLETING,
    "SUSPENDED": _S.SUSPENDED, "STOPPED": _S.SUSPENDED,
    "COMPLETED": _S.COMPLETED, "PREEMPTED": _S.PREEMPTED,
    "CANCELLED": _S.CANCELLED, "REVOKED": _S.CANCELLED,
    "TIMEOUT": _S.TIMEOUT, "DEADLINE": _S.DEADLINE,
    "NODE_FAIL": _S.NODE_FAIL, "BOOT_FAIL": _S.NODE_FAIL, "LAUNCH_FAILED": _S.FAILED,
    "FAILED": _S.FAILED, "OUT_OF_MEMORY": _S.OUT_OF_MEMORY,
}  # fmt: skip
# States that are told apart by their word only, which is then the reason where Slurm gives none.
_TOLD_BY_WORD = frozenset(
    {
        "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "RESV_DEL_HOLD", "SPECIAL_EXIT", "CONFIGURING", "RESIZING",
        "SIGNALING", "STAGE_OUT", "STOPPED", "REVOKED", "BOOT_FAIL", "LAUNCH_FAILED",
    }
)  # fmt: skip
LEFT = frozenset({_S.COMPLETED, _S.FAILED})
"""Ends that Slurm gives to one that left when it was asked to."""


def batch_state(word: str) -> BatchState:
    """Return what Slurm's word for a state means."""
    return _BATCH_STATES.get(word, BatchState.UNKNOWN)


def told_reason(state: str, reason: str) -> str:
    """Return the reason that people are told: Slurm's, or else the state's word where that alone tells."""
    if reason not in NOTHING:
        return reason
    return state if state in _TOLD_BY_WORD else ""
