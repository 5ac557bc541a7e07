"""Findings from one look at the cluster: partitions, evictions, limits, and what the look cost.

Pure. Knows no scheduler's own words; those are in the facts that its adapter tells.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from datetime import timedelta

from harvester.domain.cluster.snapshot import ClusterSnapshot, Node, NodeState, Partition
from harvester.domain.fitness.findings import Finding, Topic, error, note, ok, warning
from harvester.domain.fitness.sentences import counted, span
from harvester.domain.fitness.site_facts import HearsBy, SiteFacts
from harvester.domain.harvest.planning import HarvestMode, HarvestSettings, Shape
from harvester.domain.harvest.shapes import why_not_untold

SLOW_S = 1.0  # a look that takes longer is told: strict looks every second
_OUT_OF_SERVICE = frozenset({NodeState.DRAINED, NodeState.DOWN, NodeState.UNKNOWN})
_SHORT_NOTICE = timedelta(seconds=5)  # what a function with checkpoints may take to reach its next one, by default


def of_the_look(snapshot: ClusterSnapshot, facts: SiteFacts | None) -> Iterator[Finding]:
    """Yield that the scheduler answers, and from where."""
    source = f", read from {facts.source}" if facts is not None else ""
    if not snapshot.knowledge.nodes:
        ours = counted(len(snapshot.batch_jobs), "batch job")
        yield ok(Topic.SCHEDULER, f"{snapshot.scheduler} answers{source}: {ours} of the harvester's")
        return
    text = (
        f"{snapshot.scheduler} answers{source}: {counted(len(snapshot.nodes), 'node')}, "
        f"{counted(len(snapshot.partitions), 'partition')}, {counted(len(snapshot.batch_jobs), 'batch job')}"
    )
    yield ok(Topic.SCHEDULER, text)


def of_what_is_not_seen(snapshot: ClusterSnapshot) -> Iterator[Finding]:
    """Yield what the adapter cannot tell, and what follows."""
    for words in snapshot.knowledge.lost:
        yield note(Topic.VISIBILITY, words.removesuffix("."))


def of_the_times(looks: Sequence[float], glances: Sequence[float], *, timeout_s: float) -> Iterator[Finding]:
    """Yield how long the scheduler's commands take. `looks`, `glances`: seconds of each."""
    told = [
        f"a {name} takes {_took(statistics.median(times))} (median of {len(times)})"
        for name, times in (("look", looks), ("glance", glances))
        if times
    ]
    if not told:
        return
    slowest = max((*looks, *glances))
    if slowest > timeout_s / 2:
        remedy = f"raise scheduler.timeout_s (now {timeout_s:g}) well above that, or find out why the scheduler is slow"
        yield warning(Topic.COMMANDS, f"{' and '.join(told)}; the slowest took {_took(slowest)}", remedy)
    elif statistics.median((*looks, *glances)) > SLOW_S:
        remedy = "raise harvest.look_s, so that the daemon does not add to the load of a slow scheduler"
        yield warning(Topic.COMMANDS, " and ".join(told), remedy)
    else:
        yield ok(Topic.COMMANDS, " and ".join(told))


def _took(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


def of_the_partitions(snapshot: ClusterSnapshot, settings: HarvestSettings) -> Iterator[Finding]:
    """Yield, for each partition, whether it can be harvested, and why not."""
    for part in snapshot.partitions:
        nodes = [node for node in snapshot.nodes if part.name in node.partitions]
        longest = f"at most {span(part.max_time)}" if part.max_time else "any walltime"
        size = f"{counted(len(nodes), 'node')}, {longest}"
        is_used = any(shape.partition == part.name for shape in settings.shapes)
        head = f'"{part.name}"' + (" (pilots go here)" if is_used else "")
        if not snapshot.knowledge.nodes:
            yield ok(Topic.PARTITIONS, f"{head} is taken as you say it is: nobody can be asked", about=part.name)
        elif not nodes:
            yield note(Topic.PARTITIONS, f"{head} has no nodes", about=part.name)
        elif why_not := _why_not(snapshot, part, settings.mode, is_used=is_used):
            text = f"{head} is not harvested: {why_not} ({size})"
            if is_used and not part.is_up:
                remedy = "let the site open it, or name another one: until then no pilot can start"
                yield warning(Topic.PARTITIONS, text, remedy, part.name)
            else:
                yield note(Topic.PARTITIONS, text, about=part.name)
        elif part.is_preemptible:
            grace = span(part.grace_time) if part.grace_time else "none"
            text = f"{head} can be harvested: pilots are evicted from it, grace time {grace} ({size})"
            yield ok(Topic.PARTITIONS, text, about=part.name)
        else:
            text = f"{head} can be harvested, mode = {settings.mode}: nobody evicts pilots from it ({size})"
            yield ok(Topic.PARTITIONS, text, about=part.name)


def _why_not(snapshot: ClusterSnapshot, part: Partition, mode: HarvestMode, *, is_used: bool) -> str:
    if not part.is_up:
        return "it is not up"
    if part.refuses:
        return part.refuses
    if mode is HarvestMode.PREEMPTIBLE:
        if is_used:  # the site has said so: it may be the default one
            return "" if part.is_preemptible else part.why_not
        return why_not_untold(snapshot, part)
    return "" if is_used else "no pilot is configured for it"


def of_evictions(snapshot: ClusterSnapshot, settings: HarvestSettings, facts: SiteFacts | None) -> Iterator[Finding]:
    """Yield whether pilots are evicted for prime jobs, with which notice, and whether they hear of it at once."""
    names = dict.fromkeys(shape.partition for shape in settings.shapes)
    for part in filter(None, map(snapshot.partition, names)):
        yield from _eviction(part, settings)
        if part.exempt_time and part.is_preemptible:
            text = f'pilots are not evicted from "{part.name}" in their first {span(part.exempt_time)}: prime jobs wait'
            remedy = "let the site exempt nobody, or not the QOS of the pilots (PreemptExemptTime)"
            yield warning(Topic.EVICTION, text, remedy, part.name)
    if facts is not None and settings.mode is HarvestMode.PREEMPTIBLE and names:
        yield from _early_signal(facts.hears_by)


def _eviction(part: Partition, settings: HarvestSettings) -> Iterator[Finding]:
    where = f'"{part.name}"'
    match settings.mode, part.is_preemptible:
        case HarvestMode.PREEMPTIBLE, True:
            if part.grace_time >= _SHORT_NOTICE:
                text = f"pilots are evicted from {where} for prime jobs, with a grace time of {span(part.grace_time)}"
                yield ok(Topic.EVICTION, text, part.name)
            else:
                grace = span(part.grace_time) if part.grace_time else "no grace time"
                text = f"pilots are evicted from {where} with {grace}; only the time until the kill is left"
                remedy = (
                    f"give {where} a grace time of a minute: it delays nobody, because pilots leave within a second"
                )
                yield note(Topic.EVICTION, text, remedy, part.name)
        case HarvestMode.PREEMPTIBLE, False:
            why = f": {part.why_not}" if part.why_not else ""
            remedy = 'write harvest.mode = "yielding" or "strict", or name a partition from which they are evicted'
            yield error(Topic.EVICTION, f"pilots are not evicted from {where}{why}", remedy, part.name)
        case _, True:
            text = f"pilots are evicted from {where}, so mode = {settings.mode} gives more away than it must"
            yield note(Topic.EVICTION, text, 'write harvest.mode = "preemptible" to use every window', part.name)
        case _, False:
            why = f" ({part.why_not})" if part.why_not else ""
            text = f"pilots are not evicted from {where}{why}; mode = {settings.mode} keeps them out of the way"
            yield ok(Topic.EVICTION, text, part.name)


def _early_signal(hears_by: HearsBy) -> Iterator[Finding]:
    if hears_by is not HearsBy.PROCESS:
        text = f"a pilot is started as {hears_by}, so it hears of its eviction at once"
        yield ok(Topic.EVICTION, text)


def of_the_limits(snapshot: ClusterSnapshot, settings: HarvestSettings) -> Iterator[Finding]:
    """Yield whether pilots of each shape fit the nodes and the longest walltime of their partition."""
    for shape in settings.shapes:
        part = snapshot.partition(shape.partition)
        if part is None:
            continue
        if part.refuses:
            text = f'"{part.name}" takes no pilots of ours: {part.refuses}'
            yield error(Topic.RIGHTS, text, "name another partition, or ask for the right to submit there", part.name)
        yield from _walltime(part, settings, shape)
        yield from _room(snapshot, shape)


def _walltime(part: Partition, settings: HarvestSettings, shape: Shape) -> Iterator[Finding]:
    shortest, longest = min(settings.lengths), max(settings.lengths)
    most = part.max_time
    if most is not None and most < shortest:
        text = f'"{part.name}" allows {span(most)}, and the shortest of harvest.lengths_min is {span(shortest)}'
        yield error(Topic.LIMITS, text, "add a shorter length to harvest.lengths_min", shape.name)
    elif most is not None and most < longest:
        text = f'"{part.name}" allows {span(most)}: longer pilots of harvest.lengths_min are never submitted there'
        yield note(Topic.LIMITS, text, about=shape.name)


def _room(snapshot: ClusterSnapshot, shape: Shape) -> Iterator[Finding]:
    there = [node for node in snapshot.nodes if shape.partition in node.partitions]
    fit = [node for node in there if shape.resources.fits(node.total)]
    in_service = [node for node in fit if _is_in_service(node)]
    if there and not fit:
        most = max(there, key=_size).total
        text = f'no node of "{shape.partition}" has {shape.resources} for pilot "{shape.name}"; the largest has {most}'
        yield error(Topic.LIMITS, text, "lower cpus, gpus or memory_mb of that [[pilot]]", shape.name)
    elif fit and not in_service:
        text = f'all nodes of "{shape.partition}" that fit pilot "{shape.name}" are out of service'
        yield warning(Topic.LIMITS, text, "put nodes back into service, or choose another partition", shape.name)
    elif in_service and all(node.is_asleep for node in in_service):
        text = f'all nodes of "{shape.partition}" that fit pilot "{shape.name}" are powered down'
        yield warning(
            Topic.LIMITS, text, "write wake = true in [scheduler.slurm], or wait until others wake some", shape.name
        )
    elif fit:
        text = f'pilot "{shape.name}" takes {shape.resources}; {counted(len(in_service), "node")} in service fit it'
        yield ok(Topic.LIMITS, text, shape.name)


def _is_in_service(node: Node) -> bool:
    return node.state not in _OUT_OF_SERVICE and not node.leaving


def _size(node: Node) -> tuple[int, int, int]:
    return node.total.cpus, node.total.gpus, node.total.memory_mb


def is_hidden(snapshot: ClusterSnapshot, facts: SiteFacts | None) -> bool:
    """Return whether other users' batch jobs are hidden, as a look or the site itself tells."""
    return bool(snapshot.hidden) or (facts is not None and facts.hides_batch_jobs)


def of_hidden_batch_jobs(
    snapshot: ClusterSnapshot, settings: HarvestSettings, facts: SiteFacts | None
) -> Iterator[Finding]:
    """Yield whether other users' batch jobs can be seen."""
    if not snapshot.knowledge.nodes:
        return
    if not is_hidden(snapshot, facts):
        yield ok(Topic.VISIBILITY, "other users' batch jobs can be seen")
        return
    text = "other users' batch jobs are hidden from this user, so nobody knows when windows end"
    remedy = "give the user that runs the harvester the right to see all batch jobs"
    if settings.mode is HarvestMode.PREEMPTIBLE:
        yield warning(Topic.VISIBILITY, text, remedy)
    else:
        text += f"; mode = {settings.mode} cannot keep pilots out of the way of batch jobs that it does not see"
        yield error(Topic.VISIBILITY, text, f"{remedy}, or name a partition from which pilots are evicted")


def of_the_controllers_clock(facts: SiteFacts) -> Iterator[Finding]:
    """Yield how far the controller's clock is from ours. It tells whole seconds."""
    if facts.clock_offset_s is None:
        return
    yield clock(facts.clock_offset_s, "the scheduler's controller", grain_s=1.5)


def clock(offset_s: float, whose: str, *, grain_s: float) -> Finding:
    """Return how far another clock is from ours. `grain_s`: less than this cannot be told."""
    if abs(offset_s) <= grain_s:
        return ok(Topic.CLOCK, f"the clock of {whose} agrees with this host's within {grain_s:g} s")
    way = "ahead of" if offset_s > 0 else "behind"
    text = f"the clock of {whose} is {abs(offset_s):.1f} s {way} this host's"
    return warning(Topic.CLOCK, text, "let NTP or chrony set both: pilots leave by the clock before their time is over")
