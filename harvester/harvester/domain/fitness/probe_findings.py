"""Findings of a probe: what came of a small batch job that looked at a compute node as a pilot would. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import assert_never

import msgspec

from harvester.domain.fitness.cluster_findings import clock
from harvester.domain.fitness.findings import Finding, Topic, error, note, ok, warning
from harvester.domain.fitness.sentences import listed
from harvester.domain.fitness.site_facts import HearsBy
from harvester.domain.protocol.site_probe import Dial, ProbeReport
from harvester.domain.supervision import pilot_output

_AT_ALL = ("HOME", "PATH")  # variables that a pilot's functions expect
_LOW_MB = 512


class ProbeAnswered(msgspec.Struct, frozen=True, kw_only=True):
    """A probe ran and has reported."""

    report: ProbeReport
    waited_s: float


class ProbeRefused(msgspec.Struct, frozen=True, kw_only=True):
    """The scheduler did not take it."""

    why: str
    is_answer: bool = True  # False: nobody answered


class ProbeWaits(msgspec.Struct, frozen=True, kw_only=True):
    """It did not start in time."""

    reason: str  # the scheduler's word; empty where it has none
    waited_s: float


class ProbeSilent(msgspec.Struct, frozen=True, kw_only=True):
    """It started, and no report came."""

    reason: str  # how it ended, as the scheduler says; empty where nobody knows
    output: str | None  # of the batch job; None where there is no file
    has_ended: bool = True


ProbeOutcome = ProbeAnswered | ProbeRefused | ProbeWaits | ProbeSilent


class Expected(msgspec.Struct, frozen=True, kw_only=True):
    """What a probe in some partition should find."""

    partition: str
    user: str
    uid: int
    python: str  # the minor version that pilots are said to have: "3.11"; empty where nobody said
    harvester: str  # the version here
    state: str  # the state folder
    hears_by: HearsBy


def of_the_probe(outcome: ProbeOutcome, expected: Expected) -> Iterator[Finding]:
    """Yield what a probe found out."""
    where = f'a compute node of "{expected.partition}"'
    match outcome:
        case ProbeRefused(why=why, is_answer=is_answer):
            remedy = "see that the scheduler's commands are on the PATH here, and that its controller answers"
            if is_answer:
                remedy = "correct account, QOS or partition as the scheduler says, or ask for the right to submit there"
            yield error(Topic.NODES, f'the probe was refused in "{expected.partition}": {why}', remedy)
        case ProbeWaits(reason=reason, waited_s=waited_s):
            why = f" (it says: {reason})" if reason else ""
            text = f'the probe did not start in "{expected.partition}" within {waited_s:.0f} s{why}'
            yield warning(Topic.NODES, text, "repeat it when a node there is free, or wait for longer with --wait")
        case ProbeSilent():
            yield from _silent(outcome, expected, where)
        case ProbeAnswered(report=report, waited_s=waited_s):
            text = f"{where} ({report.host}) has reported after {waited_s:.1f} s and sees the state folder"
            yield ok(Topic.NODES, text)
            yield from _python(report, expected)
            yield from _identity(report, expected)
            yield from _signal(report, expected)
            for dial in report.dials:
                yield from _dialled(dial, report)
        case _:
            assert_never(outcome)


def _silent(outcome: ProbeSilent, expected: Expected, where: str) -> Iterator[Finding]:
    if not outcome.has_ended:
        text = f"the probe runs on {where}, but its report is not seen here"
        yield error(Topic.NODES, text, "set `state` to a folder that the compute nodes and this host share")
        return
    whole = pilot_output.ending(outcome.reason or "it ended", outcome.output, expected.state)
    line = pilot_output.telling_line(outcome.output or "")
    remedy = pilot_output.remedy(line)
    if outcome.output is None:
        remedy = (
            "set `state` to a folder on a filesystem that the compute nodes share with this host, and that your user "
            "may write to from there"
        )
        whole = f"{outcome.reason or 'it ended'}; it wrote no output, so the nodes do not see the state folder"
    text = f"no pilot could work on {where}: {whole.removesuffix(f'; {remedy}')}"
    yield error(Topic.NODES, text, remedy or "see the line above, and start a pilot's command there by hand")


def _python(report: ProbeReport, expected: Expected) -> Iterator[Finding]:
    minor = ".".join(report.python.split(".")[:2])
    told = f"Python {report.python} ({report.executable}) with harvester {report.harvester or 'of unknown version'}"
    if report.missing:
        text = f"nodes have {told}, but a pilot cannot import {listed(report.missing)}"
        remedy = "install it for that Python where compute nodes see it: pip install 'hpc-harvester[worker]'"
        yield error(Topic.NODES, text, remedy)
    elif report.harvester and report.harvester != expected.harvester:
        text = f"nodes have {told}, and this host has harvester {expected.harvester}"
        yield warning(Topic.NODES, text, "install the same version on both")
    elif expected.python and minor != expected.python:
        text = f"nodes have {told}, and the configuration says {expected.python}"
        yield warning(Topic.NODES, text, f'write python_version = "{minor}" in [[pilot]]')
    else:
        yield ok(Topic.NODES, f"nodes have {told}")


def _identity(report: ProbeReport, expected: Expected) -> Iterator[Finding]:
    if report.uid != expected.uid:
        text = f"pilots run as {report.user} (uid {report.uid}), and this is {expected.user} (uid {expected.uid})"
        remedy = "start the harvester as the user whom pilots run as: both read and write the state folder"
        yield warning(Topic.NODES, text, remedy)
    else:
        yield ok(Topic.NODES, f"pilots run as {report.user} (uid {report.uid}), as this check does")
    if absent := [name for name in _AT_ALL if name not in report.variables]:
        text = f"pilots have no {listed(absent)} in their environment"
        yield warning(Topic.NODES, text, "add it to `export` of the scheduler's table, where it has one")
    if report.free_mb is not None and report.free_mb < _LOW_MB:
        text = f"nodes have {report.free_mb} MB left for temporary files"
        yield warning(Topic.NODES, text, "make room in their TMPDIR: slots and functions write there")


def _signal(report: ProbeReport, expected: Expected) -> Iterator[Finding]:
    match expected.hears_by:
        case HearsBy.STEP if not report.is_step:
            text = "the probe did not run in a step, so pilots hear of an eviction only when the grace time is over"
            yield warning(Topic.EVICTION, text, "find out what on this site takes srun out of batch scripts")
        case HearsBy.SESSION_LEADER if not report.is_session_leader:
            text = "the probe was not the leader of its session, so its batch job ends seconds after the pilot has left"
            yield warning(Topic.EVICTION, text, "find out which hook of this site starts batch jobs in a shell")
        case HearsBy.STEP | HearsBy.SESSION_LEADER:
            yield ok(Topic.EVICTION, f"the probe ran as {expected.hears_by}, as pilots will")
        case HearsBy.PROCESS:
            return
        case _:
            assert_never(expected.hears_by)


def _dialled(dial: Dial, report: ProbeReport) -> Iterator[Finding]:
    if dial.trouble:
        text = f"no gateway can be reached at {dial.url} from {report.host}: {dial.trouble}"
        yield error(Topic.GATEWAY, text, dial.remedy, "gateway.url")
        return
    who = "this check" if dial.is_check else "a gateway"
    yield ok(Topic.GATEWAY, f"{report.host} reaches {who} at {dial.url} in {dial.took_s * 1000:.0f} ms", "gateway.url")
    if dial.skew_s is None:
        yield note(Topic.CLOCK, f"what answers at {dial.url} does not tell its time")
    else:
        yield clock(dial.skew_s, f"node {report.host}", grain_s=max(dial.grain_s, 0.5))
