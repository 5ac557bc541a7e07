"""What a PBS's server, scheduler, queues and batch jobs mean for pilots.

Pure: text in, findings out. Whether a queue's pilots are evicted at all is the adapter's to say (`pbs.preemption`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta

from harvester.domain.fitness.findings import Finding, Topic, error, note, ok, warning
from harvester.domain.fitness.sentences import span
from harvester_adapters.asking import malformed
from harvester_adapters.pbs.records import PbsRecord, blocks, dsv
from harvester_adapters.pbs.words import duration, limits

_LONG_KILL_DELAY = timedelta(minutes=1)
_LIMITS = {"max_queued": "have in a queue", "max_run": "run"}


def server_of(text: str) -> PbsRecord:
    """Return the server in the answer to `qmgr -c 'list server'`. Raises `SchedulerUnavailable`."""
    found = blocks(text, "Server")
    if not found:
        raise malformed("qmgr's answer about the server", text)
    return found[0]


def scheds_of(text: str) -> list[PbsRecord]:
    """Return the schedulers in the answer to `qmgr -c 'list sched'`. Raises `SchedulerUnavailable`."""
    return blocks(text, "Sched")


def queues_of(text: str) -> list[PbsRecord]:
    """Return the execution queues in qstat's answer. Raises `SchedulerUnavailable`."""
    return [queue for queue in dsv(text, "Queue") if queue.get("queue_type") != "Route"]


def hides_batch_jobs(server: PbsRecord, user: str) -> bool:
    """Return whether the user sees only their own batch jobs: operators and managers see all."""
    sees_all = any(_is_listed(user, server.get(key)) for key in ("operators", "managers"))
    return server.get("query_other_jobs") != "True" and not sees_all


def of_the_server(server: PbsRecord, *, is_root: bool, is_strict: bool) -> Iterator[Finding]:
    """Yield what the server's attributes mean for pilots."""
    if is_root and not _is_listed("root", server.get("acl_roots")):
        text = "this is root, and PBS refuses batch jobs of root (Bad UID for job execution)"
        yield error(Topic.RIGHTS, text, "start the harvester as an ordinary user", "acl_roots")
    else:
        text = "PBS cannot judge a submission without making it"
        yield note(Topic.RIGHTS, text, "run `harvester check --probe`, which submits one small batch job")
    if server.get("scheduling") == "False":
        text = "PBS starts nothing at present (scheduling = False)"
        yield warning(Topic.SCHEDULER, text, 'qmgr -c "set server scheduling = True"', "scheduling")
    if server.get("job_history_enable") != "True":
        text = "PBS forgets batch jobs as they end (job_history_enable), so only a pilot itself tells how it ended"
        yield warning(Topic.SCHEDULER, text, 'qmgr -c "set server job_history_enable = True"', "job_history_enable")
    # Unset means 1: PBS plans for one of those that wait, where sched_config says strict_ordering.
    if (depth := server.get("backfill_depth")) in {"", "0"}:
        planned = "no starts" if depth else "the start of one batch job at most"
        text = f"PBS plans {planned} (backfill_depth is {depth or 'not set'}), so hardly a window has a known end"
        remedy = "let the site set backfill_depth, and strict_ordering in sched_config, or use another mode than strict"
        found = warning if is_strict else note
        yield found(Topic.SCHEDULER, text, remedy, "backfill_depth")


def of_the_scheduler(scheds: Sequence[PbsRecord]) -> Iterator[Finding]:
    """Yield how whoever is evicted is ended."""
    for sched in scheds:
        where = "" if len(scheds) == 1 else f' of scheduler "{sched.name}"'
        order = sched.get("preempt_order") or "SCR"  # PBS's default
        prio = sched.get("preempt_prio") or "express_queue, normal_jobs"
        first = next((letter for letter in order.upper() if letter in "SRD"), "")
        if first == "D":
            yield ok(Topic.EVICTION, f"who is evicted is deleted (preempt_order = {order}{where})", "preempt_order")
        elif first == "R":
            text = f"who is evicted is put back into its queue (preempt_order = {order}{where})"
            remedy = 'qmgr -c "set sched preempt_order = D" lets prime jobs start a second sooner'
            yield note(Topic.EVICTION, text, remedy, "preempt_order")
        else:
            text = f"who is evicted is suspended (preempt_order = {order}{where}), which no pilot can be"
            remedy = 'qmgr -c "set sched preempt_order = D", or use mode = yielding or strict'
            yield note(Topic.EVICTION, text, remedy, "preempt_order")
        if "queue_softlimits" not in prio:
            text = f"only express queues evict anybody (preempt_prio = {prio}{where})"
            remedy = "qmgr -c 'set sched preempt_prio = \"express_queue, normal_jobs, queue_softlimits\"'"
            yield note(Topic.EVICTION, text, remedy, "preempt_prio")


def of_the_queues(server: PbsRecord, queues: Sequence[PbsRecord], user: str, max_pilots: int) -> Iterator[Finding]:
    """Yield what of the queues' limits, rights and grace times matters to pilots."""
    for queue in queues:
        try:
            kill_delay = duration(queue.get("kill_delay"))
        except ValueError:
            kill_delay = None
        if kill_delay is not None and kill_delay > _LONG_KILL_DELAY:
            text = f'a pilot of "{queue.name}" that hangs stops the scheduler for {span(kill_delay)} (kill_delay)'
            yield warning(Topic.EVICTION, text, f'qmgr -c "set queue {queue.name} kill_delay = 10"', queue.name)
        if queue.get("acl_user_enable") == "True" and not _is_listed(user, queue.get("acl_users")):
            text = f'"{queue.name}" does not take batch jobs of {user} (acl_users)'
            yield note(Topic.RIGHTS, text, f'qmgr -c "set queue {queue.name} acl_users += {user}"', queue.name)
    for place in (server, *queues):
        where = "of the server" if place is server else f'of "{place.name}"'
        for name, verb in _LIMITS.items():
            least = _least(place.get(name), user)
            if least is not None and least < max_pilots:
                text = f"{user} may {verb} {least} batch jobs ({name} {where}), and harvest.max_pilots is {max_pilots}"
                yield note(Topic.LIMITS, text, f"lower harvest.max_pilots to {least} where pilots go there", name)


def _least(limit: str, user: str) -> int | None:
    """Return the least that a limit leaves a user, None where it does not hold for them."""
    numbers = {(kind, entity): number for kind, entity, number in limits(limit)}
    own = numbers.get(("u", user), numbers.get(("u", "PBS_GENERIC")))  # one's own goes before what holds for all
    found = [number for number in (own, numbers.get(("o", "PBS_ALL"))) if number is not None]
    return min(found, default=None)


def _is_listed(user: str, acl: str) -> bool:
    names = {word.strip().lstrip("+").partition("@")[0] for word in acl.split(",")}
    return user in names or "*" in names


def of_the_gpus(text: str) -> Iterator[Finding]:
    """Yield whether PBS counts GPUs, as far as it shows in a batch job that asked for some.

    Parameters
    ----------
    text: qstat's answer about all batch jobs. Raises `SchedulerUnavailable`.
    """
    with_gpus = [
        batch
        for batch in dsv(text, "Job Id")
        if "ngpus" in batch.get("Resource_List.select") and batch.get("exec_vnode")
    ]
    if not with_gpus:
        return
    if any("ngpus" in batch.get("exec_vnode") for batch in with_gpus):
        yield ok(Topic.LIMITS, "PBS counts GPUs (ngpus)", "ngpus")
    else:
        text = "PBS does not count GPUs: batch jobs that asked for ngpus have got none, so two may use the same one"
        remedy = 'add ngpus to the line "resources:" of sched_config, and send the scheduler a HUP'
        yield warning(Topic.LIMITS, text, remedy, "ngpus")


def not_to_be_seen() -> Iterator[Finding]:
    """Yield what PBS shows to no user."""
    text = (
        "not to be seen from here: $usecp of the moms (pilots need none), preemptive_sched and strict_ordering of "
        "sched_config, dedicated time"
    )
    yield note(Topic.VISIBILITY, text)
