"""The kinds of site that a one-machine cluster can be: how each decides who has to leave for whom.

Owns the part of slurm.conf in which sites differ: preemption and partitions. Pure: text out of a kind and a grace time.
Every kind has the partitions `prime` (the default one, listed first) and `harvest` over all nodes; `prime` is of the
higher PriorityTier.
"""

from __future__ import annotations

from enum import StrEnum

LONGEST_MIN = 120  # harvest's MaxTime
UPPER = "Default=YES MaxTime=INFINITE DefaultTime=10 PriorityTier=10"
LOWER = f"MaxTime={LONGEST_MIN} DefaultTime=5 PriorityTier=1"
SCAVENGER = "scavenger"  # the QOS that may be preempted, in the kind `qos`


class SiteKind(StrEnum):
    """What a site is like."""

    TIERS = "tiers"
    CLUSTER_CANCEL = "cluster-cancel"
    QOS = "qos"
    NO_PREEMPTION = "no-preemption"
    SUSPEND = "suspend"
    REQUEUE = "requeue"

    @property
    def needs_accounting(self) -> bool:
        """Whether it needs slurmdbd: QOS exist in its database only."""
        return self is SiteKind.QOS


def preemption(kind: SiteKind) -> tuple[str, ...]:
    """Return the lines that say who is preempted, and how."""
    match kind:
        case SiteKind.TIERS | SiteKind.CLUSTER_CANCEL:
            return ("PreemptType=preempt/partition_prio", "PreemptMode=CANCEL")
        case SiteKind.QOS:
            return ("PreemptType=preempt/qos", "PreemptMode=CANCEL")
        case SiteKind.NO_PREEMPTION:
            return ("PreemptType=preempt/none", "PreemptMode=OFF")
        case SiteKind.SUSPEND:
            return ("PreemptType=preempt/partition_prio", "PreemptMode=SUSPEND,GANG")
        case SiteKind.REQUEUE:
            return ("PreemptType=preempt/partition_prio", "PreemptMode=REQUEUE")


def partitions(kind: SiteKind, grace_s: int) -> tuple[tuple[str, str], ...]:
    """Return `(name, rules)` of each partition."""
    grace = f"GraceTime={grace_s}"
    match kind:
        case SiteKind.TIERS:
            return ("prime", f"{UPPER} PreemptMode=OFF"), ("harvest", f"{LOWER} PreemptMode=CANCEL {grace}")
        case SiteKind.REQUEUE:
            return ("prime", f"{UPPER} PreemptMode=OFF"), ("harvest", f"{LOWER} PreemptMode=REQUEUE {grace}")
        case SiteKind.CLUSTER_CANCEL:
            # No modes of their own: Slurm then shows the cluster's, CANCEL, for both.
            return ("prime", UPPER), ("harvest", f"{LOWER} {grace}")
        case SiteKind.QOS | SiteKind.NO_PREEMPTION:
            # Modes and grace times of partitions mean nothing here; a QOS has its own.
            return ("prime", UPPER), ("harvest", LOWER)
        case SiteKind.SUSPEND:
            # FORCE:1, or jobs of one partition would take turns on a core.
            return ("prime", f"{UPPER} OverSubscribe=FORCE:1"), ("harvest", f"{LOWER} OverSubscribe=FORCE:1 {grace}")


def qualities(grace_s: int) -> tuple[tuple[str, ...], ...]:
    """Return sacctmgr's arguments that make the kind `qos`: jobs under `normal` preempt those under `scavenger`."""
    return (
        ("add", "qos", SCAVENGER, "set", "PreemptMode=Cancel", f"GraceTime={grace_s}", "Priority=1"),
        ("modify", "qos", "normal", "set", f"Preempt={SCAVENGER}", "Priority=100"),
        ("modify", "account", "root", "set", f"QOS=normal,{SCAVENGER}", "DefaultQOS=normal"),
    )
