"""Findings: what was seen at a site, how bad it is, and what to do about it.

Owns their words for severity and topic, and which of them forbid a start. Knows no scheduler.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from enum import StrEnum

import msgspec

from harvester.domain.fitness.sentences import counted


class Severity(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    NOTE = "note"  # good to know
    WARNING = "warning"  # `harvester up` starts, and something will work badly or not at all
    ERROR = "error"  # `harvester up` does not start, or no pilot can ever work


class Topic(StrEnum):
    """What a finding is about, in the order in which they are told."""

    VERSIONS = "versions"
    CONFIGURATION = "configuration"
    SCHEDULER = "scheduler"
    COMMANDS = "commands"
    PARTITIONS = "partitions"
    EVICTION = "eviction"
    LIMITS = "limits"
    RIGHTS = "rights"
    VISIBILITY = "visibility"
    WINDOWS = "windows"
    STATE_FOLDER = "state folder"
    STORE = "store"
    TOKENS = "tokens"
    GATEWAY = "gateway"
    CLOCK = "clock"
    NODES = "nodes"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was seen. A warning and an error have a remedy."""

    topic: Topic
    severity: Severity
    text: str  # one sentence, without a full stop
    remedy: str = ""  # what to do, one sentence without a full stop
    about: str = ""  # the partition, queue or setting that is meant, where it is one


_ORDER = {topic: number for number, topic in enumerate(Topic)}


def ok(topic: Topic, text: str, about: str = "") -> Finding:
    """Return the finding that something is as it should be."""
    return Finding(topic=topic, severity=Severity.OK, text=text, about=about)


def note(topic: Topic, text: str, remedy: str = "", about: str = "") -> Finding:
    """Return a finding that is good to know."""
    return Finding(topic=topic, severity=Severity.NOTE, text=text, remedy=remedy, about=about)


def warning(topic: Topic, text: str, remedy: str, about: str = "") -> Finding:
    """Return the finding that something will work badly."""
    return Finding(topic=topic, severity=Severity.WARNING, text=text, remedy=remedy, about=about)


def error(topic: Topic, text: str, remedy: str, about: str = "") -> Finding:
    """Return a finding that forbids a start."""
    return Finding(topic=topic, severity=Severity.ERROR, text=text, remedy=remedy, about=about)


def ordered(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return findings by topic; those of one topic stay in their order."""
    return tuple(sorted(findings, key=lambda finding: _ORDER[finding.topic]))


def exit_code(findings: Iterable[Finding]) -> int:
    """Return 1 where a finding forbids a start, else 0."""
    return int(any(finding.severity is Severity.ERROR for finding in findings))


def verdict(findings: Iterable[Finding]) -> str:
    """Return the findings as one sentence."""
    counts = Counter(finding.severity for finding in findings)
    errors, warnings = counts[Severity.ERROR], counts[Severity.WARNING]
    also = f", and {counted(warnings, 'warning')}" if warnings else ""
    if errors:
        return f"{counted(errors, 'error')}{also}: correct what is marked as an error before `harvester up`"
    if warnings:
        return f"{counted(warnings, 'warning')}: `harvester up` starts here, but see the remedies"
    return "nothing is in the way of `harvester up`"
