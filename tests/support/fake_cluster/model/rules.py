"""What differs between schedulers in how batch jobs end and begin: delays and modes, as they were measured."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum


class Eviction(StrEnum):
    """What a scheduler does to a batch job whose nodes another one gets."""

    CANCEL = "cancel"  # Slurm's CANCEL, PBS's D
    REQUEUE = "requeue"  # Slurm's REQUEUE, PBS's R
    SUSPEND = "suspend"  # Slurm's SUSPEND, PBS's S


@dataclass(frozen=True, kw_only=True)
class Rules:
    """How one scheduler does it."""

    eviction: Eviction = Eviction.CANCEL
    tells_after_s: float = 0.0  # from a submission to the signals for its victims
    frees_after_s: float = 0.0  # from the last process's end until the nodes are free and the end is told
    requeues_after_s: float = 0.0  # the same, where it is put back into the queue
    kill_wait_s: float = 30.0  # from SIGTERM to SIGKILL where it is not evicted; PBS: the queue's grace time
    queue_kills: bool = False  # the queue's grace time holds for every end (PBS's kill_delay)
    limit_noticed_after_s: float = 0.0  # PBS looks at walltimes in its polls only
    node_fail_s: float = 60.0  # from a node's failure until it is told of the batch job
    forgets_after_s: float = 300.0  # ended batch jobs are known so long
    waits_for_victims: bool = False  # nothing starts while batch jobs are being evicted (PBS's cycle)
    takes_impossible: bool = False  # what no node is large enough for is not refused, and waits for ever
    plan_depth: int = 20  # so many pending batch jobs get a planned start; 0: none


SLURM = Rules()
PBS = Rules(
    tells_after_s=0.1,
    frees_after_s=1.1,
    requeues_after_s=2.3,
    queue_kills=True,
    limit_noticed_after_s=10.0,
    node_fail_s=310.0,
    forgets_after_s=7200.0,
    waits_for_victims=True,
    takes_impossible=True,
)


def with_eviction(rules: Rules, eviction: Eviction) -> Rules:
    """Return the same rules with another way to evict."""
    return replace(rules, eviction=eviction)
