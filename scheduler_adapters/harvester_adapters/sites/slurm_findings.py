"""What a Slurm's configuration and accounting mean for pilots.

Pure: text in, findings out. A setting that is missing or not understood is not told: versions differ in them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import msgspec

from harvester.domain.fitness.findings import Finding, Topic, error, note, ok, warning
from harvester.domain.fitness.sentences import listed, span
from harvester_adapters.slurm.text.qos import qos_table
from harvester_adapters.slurm.text.words import NOTHING, duration, malformed

OLDEST = (22, 5)  # tested: 22.05, 24.11, 26.05
_REMEMBERED = timedelta(seconds=120)  # two looks at rest: an ended pilot should be remembered as long
_BATCH_SCHED_DELAY_S = 3  # Slurm's defaults
_BF_INTERVAL_S = 30

Words = dict[str, str]


def configuration(text: str) -> Words:
    """Return the settings in the output of `scontrol show config`."""
    found = (line.partition("=") for line in text.split("\n"))
    return {key.strip(): value.strip() for key, is_there, value in found if is_there}


def told_at(text: str) -> float | None:
    """Return when the controller answered, by its own clock: in whole seconds, asked in UTC."""
    match = re.match(r"Configuration data as of (\S+)", text)
    try:
        return datetime.fromisoformat(match[1]).replace(tzinfo=UTC).timestamp() if match else None
    except ValueError:
        return None


def parameter(config: Words, name: str) -> int | None:
    """Return a number of SchedulerParameters."""
    match = re.search(rf"(?:^|,){name}=(\d{{1,9}})(?:,|$)", config.get("SchedulerParameters", ""))
    return int(match[1]) if match else None


def cycle(config: Words) -> timedelta | None:
    """Return how often backfill looks at the queue; None where there is no backfill."""
    if config.get("SchedulerType") != "sched/backfill":
        return None
    return timedelta(seconds=parameter(config, "bf_interval") or _BF_INTERVAL_S)


def hides_batch_jobs(config: Words) -> bool:
    """Return whether users see only their own batch jobs."""
    return "jobs" in config.get("PrivateData", "").lower().split(",")


def has_accounting(config: Words) -> bool:
    """Return whether there is a database with limits."""
    return config.get("AccountingStorageType", "").endswith("slurmdbd")


def enforces_associations(config: Words) -> bool:
    """Return whether a user without an association may not submit."""
    return not {"associations", "limits", "qos", "all"}.isdisjoint(
        config.get("AccountingStorageEnforce", "").lower().split(",")
    )


def rehearsed(words: str) -> str:
    """Return what `sbatch --test-only` says, without its own id and name."""
    match = re.search(r"to start at (\S+).*? on nodes? (\S+)", words)
    return f"it would start at {match[1].replace('T', ' ')} on {match[2]}" if match else words


def of_the_configuration(config: Words) -> Iterator[Finding]:
    """Yield what the settings of slurm.conf mean for pilots."""
    yield from _version(config)
    yield from _scheduling(config)
    yield from _eviction(config)
    if (age := _seconds(config, "MinJobAge")) is not None and age < _REMEMBERED:
        text = f"Slurm forgets ended batch jobs after {span(age)} (MinJobAge), so how a pilot ended may stay unknown"
        yield warning(Topic.SCHEDULER, text, "let the site set MinJobAge to 300 s", "MinJobAge")
    powers_down = not config.get("SuspendTime", "").startswith(("INF", "NONE"))
    if powers_down and config.get("SuspendProgram", "") not in NOTHING:
        text = "idle nodes are powered down here (SuspendProgram); pilots wake them only with scheduler.slurm.wake"
        yield note(Topic.PARTITIONS, text, about="SuspendProgram")
    if (plugins := config.get("JobSubmitPlugins", "")) not in NOTHING:
        text = f"submissions pass {listed(plugins.split(','))} (JobSubmitPlugins), which may change or refuse a pilot"
        yield note(Topic.RIGHTS, text, about="JobSubmitPlugins")


def _version(config: Words) -> Iterator[Finding]:
    version = config.get("SLURM_VERSION", "")
    numbers = tuple(int(part) for part in re.findall(r"\d{1,9}", version)[:2])
    if numbers and numbers < OLDEST:
        text = f"Slurm {version} is older than what the harvester is tested with (22.05 to 26.05)"
        yield warning(Topic.VERSIONS, text, "try it on a few nodes first (harvest.max_nodes)")


def _scheduling(config: Words) -> Iterator[Finding]:
    if (kind := config.get("SchedulerType", "")) and kind != "sched/backfill":
        text = f"there is no backfill here (SchedulerType={kind}), so no window has a known end"
        remedy = "use mode = preemptible or yielding: strict harvests nothing here"
        yield warning(Topic.SCHEDULER, text, remedy, "SchedulerType")
    delay_s = parameter(config, "batch_sched_delay")
    delay_s = _BATCH_SCHED_DELAY_S if delay_s is None else delay_s
    if delay_s > 1:
        text = f"a prime job that takes a pilot's node waits {delay_s} s for Slurm's next run (batch_sched_delay)"
        remedy = "let the site set SchedulerParameters=batch_sched_delay=0 or 1: prime jobs then start seconds sooner"
        yield note(Topic.EVICTION, text, remedy, "batch_sched_delay")
    if config.get("SelectType", "").endswith("linear"):
        text = "Slurm gives out whole nodes only (SelectType), so pilots take whole nodes too"
        yield note(Topic.PARTITIONS, text, about="SelectType")


def _eviction(config: Words) -> Iterator[Finding]:
    if config.get("PreemptType", "preempt/none") not in {"preempt/none", *NOTHING} and (
        wait := _seconds(config, "KillWait")
    ):
        text = f"a pilot that does not leave is killed {span(wait)} after the grace time (KillWait)"
        yield ok(Topic.EVICTION, text, "KillWait")


def _seconds(config: Words, key: str) -> timedelta | None:
    match = re.match(r"(\d{1,9})\b", config.get(key, ""))
    return timedelta(seconds=int(match[1])) if match else None


# ---- accounting


class UserLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What the accounting allows a user in one account."""

    account: str
    max_jobs: int | None = None  # running at a time
    max_submit: int | None = None  # running and pending
    max_wall: timedelta | None = None


def enforces_limits(config: Words) -> bool:
    """Return whether the limits of accounts hold; where they do not, they are numbers in a database."""
    return not {"limits", "safe", "all"}.isdisjoint(config.get("AccountingStorageEnforce", "").lower().split(","))


def limit_arguments(user: str, cluster: str) -> tuple[str, ...]:
    """Return the command that tells a user's limits. `cluster`: the name of this one; a database may have several."""
    return (
        "sacctmgr", "--noheader", "--parsable2", "show", "user", f"name={user}", "withassoc",
        *([f"cluster={cluster}"] if cluster else []), "format=defaultaccount,account,maxjobs,maxsubmit,maxwall",
    )  # fmt: skip


def limits(text: str, account: str) -> tuple[UserLimits, ...]:
    """Return a user's limits in `account`; empty: in the default one. Raises `SchedulerUnavailable`."""
    found = []
    for line in text.splitlines():
        if not line.strip():
            continue
        try:
            default, name, jobs, submit, wall = line.split("|")
            one = UserLimits(
                account=name,
                max_jobs=_count(jobs),
                max_submit=_count(submit),
                max_wall=duration(wall),
            )
        except ValueError as problem:
            raise malformed("the limits of sacctmgr", line) from problem
        if name and name == (account or default or name):
            found.append(one)
    return tuple(found)


def _count(word: str) -> int | None:
    return int(word) if word.strip() else None


def of_no_association(user: str, account: str) -> Finding:
    """Return that a user is in no account, or not in the one that is named, where Slurm insists on one."""
    what = f'is not in the account "{account}"' if account else "has no account"
    text = f"user {user} {what} here, and Slurm refuses batch jobs without an association"
    return error(Topic.RIGHTS, text, "let the site add an association, or correct scheduler.slurm.account")


def of_the_limits(
    found: tuple[UserLimits, ...], user: str, *, max_pilots: int, longest: timedelta
) -> Iterator[Finding]:
    """Yield whether the accounting lets a user have as many and as long pilots as configured."""
    for name, least in (("MaxSubmit", _least(found, "max_submit")), ("MaxJobs", _least(found, "max_jobs"))):
        if least is not None and least < max_pilots:
            text = f"user {user} may have {least} batch jobs at a time ({name}), and harvest.max_pilots is {max_pilots}"
            yield warning(Topic.LIMITS, text, f"lower harvest.max_pilots to {least}, or ask for more", name)
    walls = [each.max_wall for each in found if each.max_wall is not None]
    if walls and (least_wall := min(walls)) < longest:
        text = (
            f"batch jobs of user {user} may run for {span(least_wall)} at most (MaxWall): a longer pilot, as the "
            f"{span(longest)} of the configuration, waits for ever, and no other one of its kind is submitted meanwhile"
        )
        remedy = "leave longer ones out of harvest.lengths_min, and set harvest.longest_min to no more"
        yield warning(Topic.LIMITS, text, remedy, "MaxWall")
    elif walls:
        text = f"batch jobs of user {user} may run for {span(min(walls))} at most (MaxWall)"
        yield ok(Topic.LIMITS, text, "MaxWall")


def _least(found: tuple[UserLimits, ...], field: str) -> int | None:
    return min((value for each in found if (value := getattr(each, field)) is not None), default=None)


def own_qos_arguments(user: str) -> tuple[str, ...]:
    """Return the command that tells which QOSs a user may have."""
    return ("sacctmgr", "--noheader", "--parsable2", "show", "assoc", f"user={user}", "format=qos")


def evictable(qos: str, own: str) -> tuple[str, ...]:
    """Return the QOSs of a user that others preempt, out of the answers about all QOSs and about the user's.

    Raises `SchedulerUnavailable`.
    """
    preempted: set[str] = set()
    for one in qos_table(qos):
        preempted.update(name for name in one.preempts if name != one.name)
    may_have = {word for line in own.splitlines() for word in line.strip().split(",")}
    return tuple(sorted(preempted & may_have))
