"""The first look at the scheduler before a harvester starts, the wait for it, and what cannot go on without one."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from harvester.config import Config
from harvester.config_file import ConfigError
from harvester.domain.cluster.knowledge import Knowledge
from harvester.domain.cluster.ports import SchedulerAbsent, SchedulerAdapter, SchedulerUnavailable
from harvester.domain.cluster.snapshot import ClusterSnapshot
from harvester.domain.supervision.backoff import ANSWERS, CLEAR

log = logging.getLogger(__name__)


def first_look(
    config: Config,
    adapter: SchedulerAdapter,
    say: Callable[[str], None],
    *,
    wait: Callable[[float], None] = time.sleep,
) -> ClusterSnapshot | None:
    """Look once before anything starts, so that a partition that does not exist is told at once.

    None where the scheduler does not answer and the configuration has `[[pilot]]` tables. Where only
    the scheduler can tell it (its partitions and nodes), it is asked until it answers, so that a host that starts
    before its Slurm controller needs no operator. A scheduler whose commands are missing here is not waited for.
    """
    is_needed = not config.pilot and config.scheduler.kind != "local"
    refusals, told = CLEAR, set[str]()  # of several commands now this one fails first, now that one
    while True:
        try:
            return adapter.snapshot()
        except SchedulerUnavailable as error:
            words = f"the scheduler does not answer, trying again: {error}"
            log.info("up: %s", words)  # `say` is for the terminal
            is_final = not is_needed or isinstance(error, SchedulerAbsent)
            if is_needed and not is_final:
                words += (
                    "; nothing starts until it answers, because no [[pilot]] table is configured (Ctrl-C ends the wait)"
                )
            if words not in told:
                say(words)
                told.add(words)
            if is_final:
                return None
            now = time.monotonic()
            refusals = refusals.failed(ANSWERS, str(error), now)
            wait(refusals.until_at - now)


def check_knowledge(config: Config, knowledge: Knowledge) -> None:
    """Refuse settings that need nodes where the adapter sees none. Raises `ConfigError`."""
    if knowledge.nodes:
        return
    harvest, kind = config.harvest, config.scheduler.kind
    blind = f'a scheduler of kind "{kind}" does not show its nodes'
    refused = (
        ("policy", harvest.policy != "demand", f'"{harvest.policy}" needs windows', 'write policy = "demand"'),
        ("mode", harvest.mode != "preemptible", f'"{harvest.mode}" needs windows', 'write mode = "preemptible"'),
        ("excluded_nodes", bool(harvest.excluded_nodes), "pilots cannot be kept off a node", "leave it out"),
        ("max_share", harvest.max_share is not None, "the share is unknown", "write max_nodes or max_pilots"),
    )
    for name, is_refused, problem, remedy in refused:
        if is_refused:
            raise ConfigError(f"harvest.{name}", f"{problem}, and {blind}", remedy)
    if not config.pilot:
        problem = f"it is missing, and pilots cannot be as large as the nodes: {blind}"
        raise ConfigError("pilot", problem, "write a [[pilot]] table with name, partition (the queue), and cpus")
