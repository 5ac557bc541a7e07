"""Why a batch job pends, in Slurm's words, and what it waits for.

Pure: a table of the reasons of Slurm 22.05 to 26.05 (src/common/job_state_reason.c and the sentences of slurmctld). A
word that is in none of the lists is UNKNOWN: it may wait for nodes.
"""

from __future__ import annotations

import re
from functools import lru_cache

from harvester.domain.cluster.snapshot import WaitsFor
from harvester_adapters.slurm.text.words import NOTHING

# States whose base is PENDING, but that nothing starts before somebody releases the batch job.
HELD_STATES = frozenset({"REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT"})

# ReqNodeNotAvail: a node that it requires is in use (perhaps by us), reserved or down. Which of these, the nodes and
# the reservations tell better than the word, which is also written where only some of the nodes are reserved for a
# maintenance. NodeDown is left from the run before it was requeued.
_NODES = frozenset({"Resources", "Priority", "ReqNodeNotAvail", "NodeDown", "SchedDefer", "WaitingForScheduling"})
_OTHER = frozenset(
    {
        "AccountNotAllowed", "AccountingPolicy", "BadConstraints", "BeginTime", "BurstBufferOperation",
        "BurstBufferResources", "BurstBufferStageIn", "Cleaning", "Constraints", "DeadLine", "Dependency",
        "DependencyNeverSatisfied", "FedJobLock", "FrontEndDown", "InactiveLimit", "InvalidAccount", "InvalidQOS",
        "JobArrayTaskLimit", "JobHeldAdmin", "JobHeldUser", "JobHoldMaxRequeue", "Licenses", "MaxMemPerLimit",
        "MaxPoweredUpNodes", "PartitionConfig", "PartitionDown", "PartitionInactive", "PartitionNodeLimit",
        "PartitionTimeLimit", "PowerNotAvail", "PowerReserved", "Prolog", "QOSNotAllowed", "Reservation",
        "ReservationDeleted", "ReservationInvalid",
    }
)  # fmt: skip
_NOT_ALLOWED = frozenset({"AccountNotAllowed", "AccountingPolicy", "InvalidAccount", "InvalidQOS", "QOSNotAllowed"})
# Limits of associations and QOSs, of which every version has more: AssocGrpCpuLimit, QOSMaxJobsPerUserLimit,
# MaxGRESPerAccount. (What would free such a limit are batch jobs of the same user or account, not pilots.)
_LIMIT = re.compile(r"Assoc(Grp|Max|iation)\w*|QOS\w+|Max\w+PerAccount")
# Sentences instead of a word; in `scontrol` they have underscores for spaces.
_OTHER_SENTENCE = re.compile(r"\bheld\b|burst.buffer", re.IGNORECASE)
_NODES_SENTENCE = re.compile(r"nodes? required (for|by) (the )?job", re.IGNORECASE)


@lru_cache(maxsize=4096)
def waits_for(state: str, reason: str, priority: int) -> WaitsFor:
    """Return what a pending batch job waits for.

    Parameters
    ----------
    state: Slurm's word for it; some that pend are held.
    reason: a word, a word with an explanation (`ReqNodeNotAvail, UnavailableNodes:n3`), or a sentence.
    priority: 0 where it is held.
    """
    sentence = reason.replace("_", " ")
    word = _word(reason)
    if state in HELD_STATES or priority == 0 or _OTHER_SENTENCE.search(sentence):
        return WaitsFor.OTHER
    if word in NOTHING or word in _NODES or _NODES_SENTENCE.search(sentence):
        return WaitsFor.NODES
    if word in _OTHER or _LIMIT.fullmatch(word):
        return WaitsFor.OTHER
    return WaitsFor.UNKNOWN


@lru_cache(maxsize=4096)
def limit_in(reason: str) -> str:
    """Return the limit of an account, an association or a QOS in a reason; empty where it is none.

    Of an account or a QOS that may not be used at all, too: another pilot would wait as this one does.
    """
    word = _word(reason)
    return word if word in _NOT_ALLOWED or _LIMIT.fullmatch(word) else ""


def _word(reason: str) -> str:
    return re.split(r"[,(:]", reason, maxsplit=1)[0].strip()
