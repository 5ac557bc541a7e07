"""Documents of the gateway as tables for a terminal. Pure: documents in, something printable out.

Takes documents as they come: a field that a gateway leaves out is an empty cell, never an error.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from rich.table import Table
from rich.text import Text

Document = Mapping[str, Any]


def table(title: str, columns: Iterable[str], rows: Iterable[Iterable[object]]) -> Table:
    """Return a table; `None` is an empty cell."""
    made = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for column in columns:
        made.add_column(column, overflow="fold")
    for row in rows:
        # As `Text`, because "n[1-4]" and the like must not be read as markup.
        made.add_row(*(Text("" if cell is None else str(cell)) for cell in row))
    return made


def resources(said: object) -> str:
    """Return resources as the gateway writes them, in words."""
    if not isinstance(said, Mapping):
        return ""
    words = [f"{said.get('cpus', 0)} CPU"]
    if said.get("gpus"):
        words.append(f"{said['gpus']} GPU")
    if said.get("memory_mb"):
        words.append(f"{said['memory_mb']} MB")
    return ", ".join(words)


def instant(at: float | None) -> str:
    """Return Unix seconds in local time."""
    return "" if at is None else datetime.fromtimestamp(at, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def pilots(items: Iterable[Document]) -> Table:
    """Return the pilots, one a line."""
    rows = (
        (
            each.get("pilot_id"),
            each.get("state"),
            each.get("node"),
            each.get("partition"),
            each.get("batch_job_id"),
            resources(each.get("resources")),
            instant(each.get("ends_at")),
            each.get("reason"),
        )
        for each in items
    )
    return table(
        "pilots", ("pilot", "state", "node", "partition", "batch job", "resources", "leaves by", "reason"), rows
    )


def functions(items: Iterable[Document]) -> Table:
    """Return the functions, one a line."""
    rows = (
        (
            each.get("name"),
            each.get("version"),
            each.get("kind"),
            each.get("python"),
            resources(each.get("resources")),
            "yes" if each.get("checkpoints") else "no",
        )
        for each in items
    )
    return table("functions", ("function", "version", "kind", "python", "resources", "checkpoints"), rows)


def status(said: Document) -> list[Table | Text]:
    """Return what `harvester status` prints."""
    cluster = said.get("cluster") or {}
    daemon = cluster.get("daemon") or {}
    parts: list[Table | Text] = [
        Text(f"gateway    {said.get('gateway')}, as {said.get('user')}"),
        Text(f"scheduler  {cluster.get('scheduler') or 'unknown'}, seen {instant(cluster.get('taken_at')) or 'never'}"),
    ]
    if daemon.get("paused"):
        parts.append(Text(f"paused: {daemon.get('reason') or 'no reason told'}", style="bold red"))
    parts += [Text(f"error: {error}", style="red") for error in daemon.get("errors") or ()]
    counts = Counter(str(each.get("state")) for each in said.get("pilots") or ())
    parts.append(table("\npilots", ("state", "count"), sorted(counts.items())) if counts else Text("\nno pilots"))
    parts.append(_queues(cluster.get("demand") or ()))
    nodes = cluster.get("nodes") or ()
    rows = ((n.get("name"), n.get("state"), resources(n.get("free")), resources(n.get("total"))) for n in nodes)
    parts.append(table("\nnodes", ("node", "state", "free", "in all"), rows) if nodes else Text("\nno nodes are known"))
    return parts


def _queues(demand: Iterable[Document]) -> Table | Text:
    rows = [(each.get("function_id"), each.get("waiting"), each.get("held")) for each in demand]
    return table("\nwaiting work", ("function", "waiting", "running"), rows) if rows else Text("\nno work waits")
