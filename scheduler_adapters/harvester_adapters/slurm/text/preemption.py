"""Who is preempted on a site: whether whoever wants a partition's nodes evicts pilots from them.

Pure. What `scontrol show partition` says of a partition's PreemptMode is not it: where the cluster's mode is CANCEL and
partitions have none of their own, every one shows CANCEL, that of the highest tier too. So this follows the rules of
Slurm's plugins preempt/partition_prio and preempt/qos. Every answer is the reason why not, in words that end a
sentence; empty where pilots are preempted. In doubt they are not.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from harvester_adapters.slurm.text.qos import Qos

_ENDS = frozenset({"CANCEL", "REQUEUE"})


class PilotQos(msgspec.Struct, frozen=True, kw_only=True):
    """The QOSs of a site, and which one pilots run under."""

    name: str = ""  # empty: it could not be known
    table: tuple[Qos, ...] = ()
    why_unknown: str = ""  # why there is no answer, in words that end a sentence

    @property
    def own(self) -> Qos | None:
        """The QOS that pilots run under."""
        return next((qos for qos in self.table if qos.name.lower() == self.name.lower()), None)


class Tier(msgspec.Struct, frozen=True, kw_only=True):
    """A partition, as far as preemption by priority tiers goes."""

    name: str
    tier: int
    nodes: frozenset[str]
    preempt_mode: str  # as shown: its own, or the cluster's
    takes_turns: bool = False  # OverSubscribe=FORCE: with GANG, batch jobs are suspended in turn


def not_by_mode(mode: str, *, cluster: str) -> str:
    """Return why a mode does not end pilots.

    GANG and WITHIN say who takes turns with whom; of those that are preempted, the rest of the words decides. PRIORITY
    (from 25.11) lets only batch jobs of a higher priority preempt, and nobody knows a pilot's in advance.

    Parameters
    ----------
    mode: the mode of the partition or QOS that pilots are in.
    cluster: the cluster's, whose PRIORITY holds for all.
    """
    words = set(mode.upper().split(","))
    if "PRIORITY" in words | set(cluster.upper().split(",")):
        return f"only batch jobs of a higher priority than a pilot's evict it there (PreemptMode={mode})"
    if "SUSPEND" in words or "ON" in words:
        return f"its pilots would be suspended, not ended (PreemptMode={mode}), and would keep the node's memory"
    if not words & _ENDS:
        return f"its batch jobs are never preempted (PreemptMode={mode})"
    return ""


def not_by_tier(part: Tier, others: Iterable[Tier], *, cluster: str) -> str:
    """Return why pilots in `part` are not preempted under preempt/partition_prio."""
    if reason := not_by_mode(part.preempt_mode, cluster=cluster):
        return reason
    if part.takes_turns and "GANG" in cluster.upper().split(","):
        return (
            f"its batch jobs take turns (PreemptMode={cluster}, OverSubscribe=FORCE), so its pilots would be suspended,"
            " not ended"
        )
    above = [other for other in others if other.tier > part.tier and other.nodes & part.nodes]
    if not above:
        return "no partition of a higher PriorityTier shares its nodes"
    if all("PRIORITY" in other.preempt_mode.upper().split(",") for other in above):
        return "partitions of a higher PriorityTier evict only batch jobs of a lower priority (PreemptMode=PRIORITY)"
    return ""


def not_by_qos(qos: PilotQos, *, cluster: str) -> str:
    """Return why pilots are not preempted under preempt/qos, whatever their partition."""
    if qos.why_unknown:
        return f"its Slurm preempts by QOS (PreemptType=preempt/qos), and {qos.why_unknown}"
    own = qos.own
    if own is None:
        return f'its Slurm preempts by QOS (PreemptType=preempt/qos), and there is no QOS "{qos.name}"'
    mode = cluster if own.preempt_mode.lower() in {"cluster", "off"} else own.preempt_mode
    above = [other for other in qos.table if own.name in other.preempts and other.name != own.name]
    if not above:
        preempted = sorted({name for other in qos.table for name in other.preempts if name != other.name})
        remedy = f" (scheduler.slurm.qos may name {' or '.join(preempted)}, which others preempt)" if preempted else ""
        return f'no QOS has "{own.name}", which pilots run under, in its Preempt list{remedy}'
    if reason := not_by_mode(mode, cluster=cluster):
        return reason
    if all("PRIORITY" in other.preempt_mode.upper().split(",") for other in above):
        return f'the QOSs that preempt "{own.name}" evict only batch jobs of a lower priority (PreemptMode=PRIORITY)'
    return ""
