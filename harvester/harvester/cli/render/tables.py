"""Documents of the gateway as tables for a terminal. Pure.

Takes documents as they come: a field that a gateway leaves out is an empty cell, never an error.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.table import Table
from rich.text import Text

from harvester.cli.render.drained import pilots_on
from harvester.domain.cluster import nodelist
from harvester.domain.model.resources import Resources

Document = Mapping[str, Any]
MOST_NODES = 20  # that a terminal shows one by one


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
    """Return resources of a document in words."""
    if not isinstance(said, Mapping):
        return ""
    counts = {name: said.get(name) or 0 for name in ("cpus", "gpus", "memory_mb")}
    return str(Resources(**counts))


def instant(at: float | None) -> str:
    """Return Unix seconds in local time."""
    return "" if at is None else datetime.fromtimestamp(at, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def short(pilot_id: object) -> str:
    """Return the end of a pilot's id, which is also in its batch job's name; `evict` takes it."""
    return str(pilot_id or "").rpartition("-")[2]


def remaining(ends_at: float | None, now: float) -> str:
    """Return the time left, as `1 h 29 min`; empty where it is unknown."""
    if ends_at is None:
        return ""
    hours, minutes = divmod(max(0, round((ends_at - now) / 60)), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def pilot_state(pilot: Document) -> str:
    """Return a pilot's state; "busy" where it is ready and has no free CPU."""
    free = pilot.get("free")
    is_full = isinstance(free, Mapping) and not free.get("cpus")
    return "busy" if is_full and pilot.get("state") == "ready" else str(pilot.get("state") or "")


def pilots(items: Iterable[Document], now: float) -> Table:
    """Return the pilots, one a line."""
    rows = (
        (
            short(each.get("pilot_id")),
            pilot_state(each),
            each.get("node"),
            each.get("batch_job_id"),
            resources(each.get("resources")),
            "" if each.get("ended_at") else remaining(each.get("ends_at"), now),
            each.get("reason"),
        )
        for each in items
    )
    return table("pilots", ("pilot", "state", "node", "batch job", "resources", "time left", "reason"), rows)


def invocations(items: Iterable[Document], now: float) -> Table:
    """Return the invocations, one a line; an id is whole, because other commands take it so."""
    rows = (
        (
            each.get("invocation_id"),
            each.get("function_id"),
            each.get("state"),
            _ago(each.get("accepted_at"), now),
            _lasted(each, now),
        )
        for each in items
    )
    return table("invocations", ("invocation", "function", "state", "accepted", "ran"), rows)


def _ago(at: float | None, now: float) -> str:
    return "" if at is None else f"{duration(max(0.0, now - at))} ago"


def _lasted(each: Document, now: float) -> str:
    """Return how long an invocation has run since its first start, waits in between included."""
    started = each.get("started_at")
    return "" if started is None else duration(max(0.0, (each.get("ended_at") or now) - started))


def functions(items: Iterable[Document]) -> Table:
    """Return the functions, one a line."""
    rows = (
        (
            each.get("name"),
            each.get("owner"),
            each.get("version"),
            "all" if each.get("share") == "all" else "",
            each.get("kind"),
            each.get("python"),
            resources(each.get("resources")),
            "yes" if each.get("checkpoints") else "no",
        )
        for each in items
    )
    columns = ("function", "owner", "version", "shared", "kind", "python", "resources", "checkpoints")
    return table("functions", columns, rows)


def status(said: Document) -> list[Table | Text]:
    """Return what `harvester status` prints."""
    cluster, daemon = said.get("cluster") or {}, said.get("daemon") or {}
    rows = [
        ("gateway", Text(f"{said.get('gateway')}, as {said.get('user')}")),
        (
            "scheduler",
            Text(f"{cluster.get('scheduler') or 'unknown'}, seen {instant(cluster.get('taken_at')) or 'never'}"),
        ),
        *_daemon(daemon),
        *_drained((daemon.get("control") or {}).get("drained") or (), said.get("pilots") or ()),
    ]
    head = Table.grid(padding=(0, 2, 0, 0))
    head.add_column(no_wrap=True)
    head.add_column(overflow="fold")
    for label, words in rows:
        head.add_row(label, words)
    parts: list[Table | Text] = [head]
    counts = Counter(pilot_state(each) for each in said.get("pilots") or ())
    parts.append(table("\npilots", ("state", "count"), sorted(counts.items())) if counts else Text("\nno pilots"))
    parts.append(_queues(cluster.get("demand") or (), cluster.get("demand_of_others") or {}))
    if _knowledge(daemon.get("note") or {}).get("nodes", True):
        parts.append(_nodes(cluster.get("nodes") or ()))
    return parts


def _daemon(daemon: Document) -> Iterator[tuple[str, Text]]:
    """Yield labels and words of the daemon's status, the worst first."""
    control, note = daemon.get("control") or {}, daemon.get("note") or {}
    if control.get("paused"):
        heard = "" if daemon.get("has_heard") else "; the daemon has not heard it yet"
        why = control.get("reason") or "paused by an admin without a reason"
        yield "paused", Text(f"{why} (since {instant(control.get('at'))}{heard})", style="bold red")
        yield "", Text("to resume: `harvester resume`", style="bold red")
    elif note.get("paused"):
        yield "paused", Text(str(note.get("reason") or "no reason is given"), style="bold red")
    if daemon.get("store"):
        yield "store", Text(str(daemon["store"]), style="bold red")
    age_s = daemon.get("age_s")
    if age_s is None:
        yield "daemon", Text("has never ticked; check that `harvester up` runs", style="red")
    elif not daemon.get("is_alive"):
        yield "daemon", Text(f"has not ticked for {duration(age_s)}; check that `harvester up` runs", style="red")
    else:
        yield "daemon", Text(_looked(note, age_s))
    if note.get("delayed"):
        words = (
            f"{note['delayed']} prime jobs waited for pilots, the longest for {note.get('worst_delay_s', 0.0):.1f} s"
        )
        yield "delays", Text(words, style="yellow")
    for error in note.get("errors") or ():
        yield "error", Text(str(error), style="red")
    # Of a daemon that an admin paused, the planner's only note is that it is paused.
    for words in () if control.get("paused") else note.get("notes") or ():
        yield "note", Text(str(words))
    for words in _knowledge(note).get("lost") or ():
        yield "not seen", Text(str(words))


def _knowledge(note: Document) -> Document:
    """Return what this scheduler's adapter can tell; empty where the daemon has not noted it."""
    found: Document = note.get("knowledge") or {}
    return found


def _looked(note: Document, age_s: float) -> str:
    """Return when the daemon last looked and why, its mode, and how many commands it sent to the scheduler."""
    if not note.get("looked_at"):
        return f"ticked {duration(age_s)} ago, and has not seen the cluster yet"
    ago_s = max(0.0, note.get("last_tick_at", 0.0) - note["looked_at"]) + age_s
    cause = f" ({note['look_cause']})" if note.get("look_cause") else ""
    asked = f"; {note.get('commands_per_minute', 0)} scheduler commands in the last minute"
    return f"looked {duration(ago_s)} ago{cause}; mode {note.get('mode') or 'preemptible'}{asked}"


def _drained(nodes: Sequence[str], items: Iterable[Document]) -> Iterator[tuple[str, Text]]:
    """Yield the nodes that an admin has drained, and which of them still have pilots."""
    if not nodes:
        return
    there = pilots_on(nodes, items)
    still = f"; pilots are still on {nodelist.fold(there)}" if there else "; no pilots are left there"
    yield "drained", Text(f"{nodelist.fold(nodes)}{still} (to use them again: `harvester undrain --nodes …`)")


def duration(seconds: float) -> str:
    """Return a length of time in its largest sensible unit."""
    for unit, name in ((86_400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:.0f} s"


def _nodes(nodes: Sequence[Document]) -> Table | Text:
    """Return the nodes, one a line, or by state where they are too many to read."""
    if not nodes:
        return Text("\nno nodes are known yet")
    if len(nodes) > MOST_NODES:
        states = Counter(str(node.get("state")) for node in nodes)
        return table(f"\n{len(nodes)} nodes", ("state", "count"), states.most_common())
    rows = ((n.get("name"), n.get("state"), resources(n.get("free")), resources(n.get("total"))) for n in nodes)
    return table("\nnodes", ("node", "state", "free", "total"), rows)


def _queues(demand: Iterable[Document], of_others: Document) -> Table | Text:
    rows = [(each.get("function_id"), each.get("waiting"), each.get("held")) for each in demand]
    if of_others.get("waiting") or of_others.get("held"):
        rows.append(("others' functions", of_others.get("waiting"), of_others.get("held")))
    return table("\nwaiting work", ("function", "waiting", "running"), rows) if rows else Text("\nno waiting work")
