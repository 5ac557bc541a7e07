"""Slurm's partitions: what `scontrol show partition` prints, and who can be evicted from which.

Pure: text in, records out. A text that is not understood raises `SchedulerUnavailable` naming the place.
"""

from __future__ import annotations

from datetime import timedelta

from harvester.domain.cluster.snapshot import Partition
from harvester_adapters.slurm.text.access import Submitter, gives_whole_nodes, most_of_a_node, refusal
from harvester_adapters.slurm.text.config import SiteConfig
from harvester_adapters.slurm.text.preemption import PilotQos, Tier, not_by_qos, not_by_tier
from harvester_adapters.slurm.text.words import NOTHING, duration, integer, lines, malformed, node_names, seconds

_BEARABLE = timedelta(minutes=1)  # a prime job may wait so long for a pilot that is exempt from eviction, no longer


def partitions(text: str, site: SiteConfig, qos: PilotQos, submitter: Submitter | None = None) -> tuple[Partition, ...]:
    """Return the partitions in the output of `scontrol --oneliner --all show partition`.

    Parameters
    ----------
    qos: the QOSs; asked only where the site preempts by them.
    submitter: as whom pilots are submitted; None: nobody knows, so no partition refuses them.
    """
    found = list(lines(text, "PartitionName"))
    tiers = [_tier(line, words) for line, words in found]
    exempt = _exempt(site, qos)
    return tuple(
        _partition(
            line,
            words,
            why_not=_why_not(tier, tiers, site, qos) or _not_soon(exempt) or _not_all(site),
            refuses=refusal(words, submitter, qos.name) if submitter is not None else "",
            grace=_grace(site, qos),
            exempt=exempt,
            is_whole=site.gives_whole_nodes or gives_whole_nodes(words),
        )
        for (line, words), tier in zip(found, tiers, strict=True)
    )


def _exempt(site: SiteConfig, qos: PilotQos) -> timedelta:
    """Return how long a pilot runs before it may be evicted: the QOS's time where it has one, else the cluster's."""
    own = None if qos.own is None else qos.own.exempt_time
    return site.exempt_time if own is None else own


def _not_soon(exempt: timedelta) -> str:
    if exempt <= _BEARABLE:
        return ""
    return f"its batch jobs are evicted only after they have run for {exempt.total_seconds():g} s (PreemptExemptTime)"


def _not_all(site: SiteConfig) -> str:
    if not site.exempt_priority:
        return ""
    return (
        f"batch jobs of priority {site.exempt_priority} or more are not evicted (min_exempt_priority), and nobody knows"
        " a pilot's in advance"
    )


def _why_not(tier: Tier, tiers: list[Tier], site: SiteConfig, qos: PilotQos) -> str:
    match site.preempt_type:
        case "preempt/partition_prio":
            return not_by_tier(tier, tiers, cluster=site.preempt_mode)
        case "preempt/qos":
            return not_by_qos(qos, cluster=site.preempt_mode)
        case other:
            name = "preempt/none" if other in NOTHING else other  # newer versions show "(null)"
            return f"nobody is preempted here (PreemptType is {name})"


def _grace(site: SiteConfig, qos: PilotQos) -> timedelta | None:
    """Return the grace time where the QOS and not the partition gives it."""
    if site.preempt_type != "preempt/qos" or qos.own is None:
        return None
    return qos.own.grace_time


def _tier(line: str, words: dict[str, str]) -> Tier:
    try:
        return Tier(
            name=words["PartitionName"],
            tier=integer(words["PriorityTier"]),
            nodes=frozenset(node_names(words["Nodes"])),
            preempt_mode=words["PreemptMode"],
            takes_turns=words["OverSubscribe"].startswith("FORCE"),
        )
    except (KeyError, ValueError) as error:
        raise malformed("a partition of scontrol", line) from error


def _partition(
    line: str,
    words: dict[str, str],
    *,
    why_not: str,
    refuses: str,
    grace: timedelta | None,
    exempt: timedelta,
    is_whole: bool,
) -> Partition:
    try:
        return Partition(
            name=words["PartitionName"],
            is_up=words["State"] == "UP",
            max_time=duration(words["MaxTime"]),
            grace_time=seconds(words["GraceTime"]) if grace is None else grace,
            is_preemptible=not why_not,
            why_not=why_not,
            is_default=words["Default"] == "YES",
            priority_tier=integer(words["PriorityTier"]),
            refuses=refuses,
            gives_whole_nodes=is_whole,
            most=most_of_a_node(words),
            exempt_time=exempt,
        )
    except (KeyError, ValueError) as error:
        raise malformed("a partition of scontrol", line) from error
