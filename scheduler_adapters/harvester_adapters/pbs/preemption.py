"""Who is preempted on a PBS: whether whoever wants a queue's nodes evicts pilots from them.

Pure. Follows the rules of PBS's scheduler: batch jobs have levels (`preempt_prio`), a higher level preempts a lower one
(`preempt_targets` may narrow whom), and `preempt_order` says how. Every answer is the reason why not, in words that end
a sentence; empty where pilots are preempted. In doubt they are not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import timedelta

import msgspec

from harvester_adapters.pbs.site import PbsSched
from harvester_adapters.pbs.words import limits

KILL_DELAY = timedelta(seconds=10)
"""From SIGTERM to SIGKILL where a queue has no kill_delay of its own."""

RECIPE = "set max_run_soft=[o:PBS_ALL=0] on it, and queue_softlimits behind normal_jobs in preempt_prio"
"""What makes ordinary batch jobs evict pilots: every pilot is over its queue's soft limit."""

_EXPRESS, _NORMAL, _SOFT = "express_queue", "normal_jobs", "queue_softlimits"


class PbsQueue(msgspec.Struct, frozen=True, kw_only=True):
    """One execution queue."""

    name: str
    priority: int = 0
    is_open: bool = True  # enabled and started
    max_walltime: timedelta | None = None
    kill_delay: timedelta = KILL_DELAY
    targets: str | None = None  # resources_default.preempt_targets: whom its batch jobs may preempt; None: whomever
    soft_limits: Mapping[str, str] = {}  # max_run_soft, max_run_res_soft.ncpus, …
    properties: Mapping[str, str] = {}  # default_chunk resources that are no amounts: what its nodes must match
    refuses: str = ""  # why it takes no pilots of ours
    sched_partition: str = ""  # of PBS's meaning: which of several schedulers has it

    def is_express(self, sched: PbsSched) -> bool:
        """Whether its batch jobs are of the level `express_queue`."""
        return self.priority >= sched.preempt_queue_prio and _EXPRESS in _levels(sched)

    def may_target(self, other: PbsQueue) -> bool:
        """Return whether its batch jobs may preempt those of `other`, as far as `preempt_targets` goes."""
        if self.targets is None:
            return True
        wanted = re.split(r"[,\s]+", self.targets)
        return any(re.fullmatch(rf"queue={re.escape(other.name)}", word, re.IGNORECASE) for word in wanted)


def _levels(sched: PbsSched) -> list[str]:
    return [word.strip() for word in sched.preempt_prio.split(",") if word.strip()]


def level(queue: PbsQueue, sched: PbsSched, *, is_over: bool) -> int:
    """Return how high the batch jobs of a queue stand; the higher preempts the lower.

    Parameters
    ----------
    is_over: they are over their queue's soft limit.
    """
    names = _levels(sched)
    own = ([_EXPRESS] if queue.is_express(sched) else []) + ([_SOFT] if is_over and _is_listed(_SOFT, names) else [])
    place = next((place for place, name in enumerate(names) if set(name.split("+")) == set(own)), None)
    if place is None:
        # Of two levels that are not listed together the better counts: nobody shall be taken for a victim in error.
        places = [names.index(name) for name in own if name in names]
        place = min(places) if places else names.index(_NORMAL) if _NORMAL in names else len(names)
    return len(names) - place


def _is_listed(name: str, names: Iterable[str]) -> bool:
    return any(name in entry.split("+") for entry in names)


def why_not_over(queue: PbsQueue, user: str) -> str:
    """Return why a pilot of `user` is not over its queue's soft limits; empty where the first one already is."""
    least = ""
    for name, text in queue.soft_limits.items():
        found = limits(text)
        has_own = any((kind, entity) == ("u", user) for kind, entity, _ in found)
        for kind, entity, number in found:
            of_us = entity in {"PBS_ALL", user} or (entity == "PBS_GENERIC" and not (kind == "u" and has_own))
            if of_us and number == 0:
                return ""
            if of_us:
                least = f"its soft limit {name}={text} leaves pilots ordinary batch jobs up to {number}: make it 0"
    return least or "it has no soft limit"


def not_by_order(order: str) -> str:
    """Return why `preempt_order` does not end pilots.

    It may differ by the share of the walltime that is left: `SCR 80 SC 50 S`. Pilots are submitted with `-c n`, so C
    never applies to them, and the next letter does.
    """
    for letters in order.split()[::2] or [""]:
        methods = [letter for letter in letters.upper() if letter in "SRD"]
        if not methods:
            return f"batch jobs are neither deleted nor requeued (preempt_order={order})"
        if methods[0] == "S":
            return f"its pilots would be suspended, not ended (preempt_order={order}), and would keep the node's memory"
    return ""


def is_rerunnable(order: str) -> bool:
    """Return whether pilots are submitted as rerunnable: unless D stands behind R wherever R does.

    One that is not rerunnable is spared by R, and whoever wants its node waits without a word; with D behind it, it is
    deleted, which is quicker and starts nothing a second time. An order without R may get one while pilots run.
    """
    parts = [letters.upper() for letters in order.split()[::2] if "R" in letters.upper()]
    return not parts or any("D" not in letters for letters in parts)


def not_preempted(queue: PbsQueue, others: Iterable[PbsQueue], sched: PbsSched, user: str) -> str:
    """Return why pilots of `user` in `queue` are not evicted by whoever wants their nodes.

    Parameters
    ----------
    others: the queues that share nodes with it.
    """
    if reason := not_by_order(sched.preempt_order):
        return reason
    if queue.is_express(sched):
        return f"it is an express queue itself (its Priority is {queue.priority}, from {sched.preempt_queue_prio} on)"
    not_over = why_not_over(queue, user)
    own = level(queue, sched, is_over=not not_over)
    above = [other for other in others if other.name != queue.name and other.is_open]
    evicting = [other for other in above if level(other, sched, is_over=False) > own and other.may_target(queue)]
    # Whoever is over a soft limit of nothing gives way to all, by the site's own word; a low Priority does not say so.
    waiting = [other.name for other in above if other not in evicting and not _is_lowest(other, sched)]
    remedy = "" if not not_over and _is_listed(_SOFT, _levels(sched)) else f"; {RECIPE}"
    if not evicting:
        return f"no batch job evicts its pilots ({_why_level(not_over, sched)}){remedy}"
    if waiting:
        names = ", ".join(queue.name for queue in evicting)
        return f"only batch jobs of {names} evict its pilots, those of {', '.join(waiting)} wait for them{remedy}"
    return ""


def _is_lowest(queue: PbsQueue, sched: PbsSched) -> bool:
    """Return whether all batch jobs of a queue, whoever's, are over its soft limit."""
    return _is_listed(_SOFT, _levels(sched)) and not why_not_over(queue, "")


def _why_level(not_over: str, sched: PbsSched) -> str:
    if not_over:
        return not_over
    return f"preempt_prio={sched.preempt_prio} has no {_SOFT} below {_NORMAL}"
