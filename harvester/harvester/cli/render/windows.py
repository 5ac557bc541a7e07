"""Windows as a table for a terminal. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from rich.table import Table

from harvester.cli.render.tables import instant, table
from harvester.domain.cluster.survival import GapFigures
from harvester.domain.cluster.windows import WindowGroup

_SHOWN = 8  # names of nodes in one line


def table_of(groups: Iterable[WindowGroup], now: float) -> Table:
    """Return the windows, those together that differ by their node only, the longest first."""
    ordered = sorted(groups, key=lambda group: (group.from_at, -(group.until_at or float("inf")), group.nodes))
    rows = (
        (
            names(group.nodes),
            "whole" if group.is_whole else "part",
            group.resources,
            "now" if group.from_at <= now else instant(group.from_at),
            "open" if group.until_at is None else instant(group.until_at),
            "" if group.until_at is None else span(group.until_at - group.from_at),
            group.why,
        )
        for group in ordered
    )
    return table("windows", ("nodes", "", "free", "from", "until", "lasts", "why it ends"), rows)


def learned(gaps: GapFigures) -> str:
    """Return what the daemon has learned about the gaps of this cluster, as a sentence."""
    words = [f"Of the last {gaps.seen} gaps here"]
    if gaps.median_s is not None:
        words.append(f"half lasted longer than {span(gaps.median_s)}")
    if gaps.ninth_decile_s is not None:
        words.append(f"a tenth longer than {span(gaps.ninth_decile_s)}")
    words.append(f"{gaps.foreseen_share:.0%} had a known end when they opened; up to {gaps.burst} opened at once")
    return f"{words[0]}, {', '.join(words[1:])}."


def names(nodes: tuple[str, ...]) -> str:
    """Return nodes' names, the first few of many."""
    shown = ", ".join(nodes[:_SHOWN])
    return shown if len(nodes) <= _SHOWN else f"{shown} … ({len(nodes)} in all)"


def span(seconds: float) -> str:
    """Return a duration in hours, minutes and seconds."""
    whole = round(seconds)
    parts = ((whole // 3600, "h"), (whole // 60 % 60, "min"), (whole % 60, "s"))
    return " ".join(f"{count} {unit}" for count, unit in parts if count) or "0 s"
