"""What `harvester check` found, as text for a terminal. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import assert_never

from rich.console import Group
from rich.table import Table
from rich.text import Text

from harvester.domain.fitness.findings import Finding, Severity, Topic, exit_code, verdict


def table_of(findings: Iterable[Finding], where: str) -> Group:
    """Return the findings, those of a topic together, each with its remedy below. `where`: "as ann on login1"."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    last: Topic | None = None
    for finding in findings:
        words = Text(finding.text)
        if finding.remedy:
            words.append(f"\n→ {finding.remedy}", style="bold")
        topic = "" if finding.topic is last else finding.topic.value
        grid.add_row(Text(topic), Text(finding.severity.value, style=_style(finding.severity)), words)
        last = finding.topic
    return Group(Text(f"harvester check {where}".rstrip() + "\n", style="bold"), grid)


def summary(findings: Iterable[Finding]) -> Text:
    """Return the last line."""
    found = tuple(findings)
    return Text(f"\n{verdict(found)}", style="bold red" if exit_code(found) else "bold")


def _style(severity: Severity) -> str:
    match severity:
        case Severity.OK:
            return "green"
        case Severity.NOTE:
            return "cyan"
        case Severity.WARNING:
            return "yellow"
        case Severity.ERROR:
            return "bold red"
        case _:
            assert_never(severity)
