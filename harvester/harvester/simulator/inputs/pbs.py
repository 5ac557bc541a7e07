"""PBS accounting logs: `MM/DD/YYYY HH:MM:SS;type;id;key=value …`, a file for each day, in `server_priv/accounting`.

A run is from a start (S) to an end (E), a requeue (R), or the deletion (D) where no end was written. Its time is taken
from `start` and `end`, which are Unix seconds; the date before them is local time, and counts only for D, z and r. Time
in which a batch job was suspended (z to r) is taken off, since others had its nodes. Array parents (`88[]`), and what
never ran or still runs, are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import msgspec

from harvester.simulator.errors import SimulationError
from harvester.simulator.inputs.jobs import JobTrace, PrimeJob, trace
from harvester.simulator.inputs.trace_file import Complaints, Skipped, lines

_STAMP = "%m/%d/%Y %H:%M:%S"
_SHOWN = 5  # complaints of all files that are kept to be shown
_PROBED = 1000  # lines of a file in which a date must come
_SPAN = re.compile(r"(?:(\d+):)?(?:(\d+):)?(\d+)(?:\.\d+)?")
_HOST = re.compile(r"[^/:+()]+")
_CHUNKS = re.compile(r"(?:^|\+)(\d+)(?=$|:|\+)")
_LONGEST_S = 366 * 86_400.0  # no walltime: for a scheduler that must plan with something
_ZONE_S = 900  # zones are multiples of a quarter of an hour from UTC
_FARTHEST_S = 15 * 3600  # and at most 14 hours
_IGNORED = frozenset("ABCFKLMPTUYack")  # dependencies, reservations, licences, checkpoints, changes, provisioning


class _Run(msgspec.Struct):
    """A run that has begun and not ended."""

    fields: dict[str, str]
    line: int
    suspended_s: float = 0.0
    suspended_at: float | None = None  # by the log's local clock
    deleted_at: float | None = None  # Unix seconds


def read(paths: Sequence[Path], *, strict: bool = False, queues: frozenset[str] = frozenset()) -> JobTrace:
    """Read accounting logs, plain or .gz, in the order of their dates; of a folder all files.

    Parameters
    ----------
    strict: refuse a malformed line instead of skipping it.
    queues: keep only batch jobs of these; empty keeps all.

    Raises `SimulationError` where a file cannot be read, none holds a batch job that ran, or `strict` finds a malformed
    line.
    """
    files = _in_order(paths)
    reader = _Reader(queues)
    skipped = Skipped()
    for path in files:
        complaints = Complaints(str(path), strict=strict)
        for number, line in lines(path):
            if line:
                reader.take(number, line, complaints)
        skipped = _added(skipped, complaints.result(), path.name if len(files) > 1 else "")
    reader.finish()
    source = files[0].name if len(files) == 1 else f"{files[0].name} to {files[-1].name}"
    found = trace(source, reader.jobs, machine=0, never_ran=reader.never_ran, skipped=skipped)
    return msgspec.structs.replace(found, named_nodes=len(reader.hosts))


def _in_order(paths: Iterable[Path]) -> list[Path]:
    """Return all files in the order of their first dates. Raises `SimulationError`."""
    files: list[Path] = []
    for path in paths:
        if not path.is_dir():
            files.append(path)
            continue
        inside = sorted(each for each in path.iterdir() if each.is_file() and not each.name.startswith("."))
        if not inside:
            raise SimulationError(f"{path} has no file; name the folder of PBS's accounting, server_priv/accounting")
        files += inside
    return sorted(files, key=_first_date)


def _first_date(path: Path) -> datetime:
    for _, line in islice(lines(path), _PROBED):
        stamp = _stamp(line)
        if stamp is not None:
            return stamp
    raise SimulationError(
        f"{path} is not an accounting log of PBS: no line begins like 03/17/2026 12:00:00;E;17.server;…; "
        "leave the file out"
    )


def _stamp(line: str) -> datetime | None:
    try:
        return datetime.strptime(line.partition(";")[0], _STAMP).replace(tzinfo=UTC)
    except ValueError:
        return None


def _added(before: Skipped, more: Skipped, name: str) -> Skipped:
    examples = (f"{name}, {words}" if name else words for words in more.examples)
    return Skipped(count=before.count + more.count, examples=(*before.examples, *examples)[:_SHOWN])


class _Reader:
    """Puts records together to runs."""

    def __init__(self, queues: frozenset[str]) -> None:
        self.jobs: list[PrimeJob] = []
        self.hosts: set[str] = set()
        self.never_ran = 0
        self._queues = queues
        self._waiting: set[str] = set()
        self._running: dict[str, _Run] = {}
        self._again_at: dict[str, float] = {}  # when a batch job was put back into the queue
        self._seen: set[tuple[str, str]] = set()  # ends: id and start
        self._zone_s = 0.0  # how far the log's clock is ahead of UTC, as the last start or end told

    def take(self, number: int, line: str, complaints: Complaints) -> None:
        """Take one line."""
        stamp = _stamp(line)
        parts = line.split(";", 3)
        if stamp is None or len(parts) != 4:
            complaints.add(
                number, f"no record; may belong to the comment above it, which had a line break: {line[:40]!r}"
            )
            return
        _, kind, job_id, words = parts
        if kind in _IGNORED or "[]" in job_id:
            return
        fields = dict(word.partition("=")[::2] for word in words.split(" ") if "=" in word)
        if self._queues and fields.get("queue", self._queue_of(job_id)) not in self._queues:
            return
        try:
            self._record(kind, job_id, fields, stamp.timestamp(), number)
        except ValueError as error:
            complaints.add(number, f"batch job {job_id[:40]}: {error}")

    def finish(self) -> None:
        """End what was deleted without another word; the rest had not ended."""
        for job_id, run in self._running.items():
            has_run = False
            if run.deleted_at is not None:
                with suppress(ValueError):  # its end was told already, or the two clocks contradict each other
                    has_run = self._ends(job_id, run.fields, run.deleted_at, run)
            self.never_ran += not has_run
        self.never_ran += len(self._waiting)

    def _queue_of(self, job_id: str) -> str:
        run = self._running.get(job_id)
        return "" if run is None else run.fields.get("queue", "")

    def _record(self, kind: str, job_id: str, fields: dict[str, str], local_at: float, number: int) -> None:
        """Take one record. Raises `ValueError` with what is wrong with it."""
        run = self._running.get(job_id)
        match kind:
            case "Q" if run is None:
                self._waiting.add(job_id)
            case "S":
                self._learn_zone(local_at, _seconds(fields, "start"))
                self._running[job_id] = _Run(fields=fields, line=number)
                self._waiting.discard(job_id)
            case "E" | "R":
                self._end(kind, job_id, fields, local_at, number)
            case "D" if run is not None:
                run.deleted_at = local_at - self._zone_s
            case "z" if run is not None:
                run.suspended_at = local_at
            case "r":
                _resume(run, local_at)
            case "Q" | "D" | "z":
                pass  # it was put into another queue, was deleted while it waited, or the log begins after its start
            case _:
                raise ValueError(f"{kind[:20]!r} is not a type of record that is known")

    def _end(self, kind: str, job_id: str, fields: dict[str, str], local_at: float, number: int) -> None:
        run = self._running.pop(job_id, None) or _Run(fields=fields, line=number)
        self._waiting.discard(job_id)
        _resume(run, local_at)
        if not fields.get("start", "0").strip("0"):
            self.never_ran += 1  # it was deleted before it started
            return
        end = _seconds(fields, "end")
        self._learn_zone(local_at, end)
        run.line = number
        ran = self._ends(job_id, fields, end, run)
        if kind == "R":
            self._again_at[job_id] = end
        elif not ran:
            self.never_ran += 1

    def _ends(self, job_id: str, fields: dict[str, str], end: float, run: _Run) -> bool:
        """Add a run; return whether it lasted for any time. Raises `ValueError`."""
        start = _seconds(fields, "start")
        if end < start:
            raise ValueError(f"it ends at {end:.0f}, before its start at {start:.0f}")
        key = (job_id, fields["start"])
        if key in self._seen:
            raise ValueError("its end is told twice; is a file given twice?")
        self._seen.add(key)
        hosts = _hosts(fields) or _hosts(run.fields)
        lasted = end - start - run.suspended_s
        if lasted <= 0:
            return False
        self.hosts |= hosts
        limit = _limit(fields) or _limit(run.fields) or _LONGEST_S
        submit = min(start, max(_submitted(fields), self._again_at.get(job_id, 0.0)))
        self.jobs.append(
            PrimeJob(
                job_id=job_id,
                submit_at=submit,
                run_s=min(lasted, limit),
                limit_s=limit,
                nodes=len(hosts) or _asked(fields),
                line=run.line,
            )
        )
        return True

    def _learn_zone(self, local_at: float, at: float) -> None:
        if abs(local_at - at) < _FARTHEST_S:  # an end may be written down long after it was
            self._zone_s = round((local_at - at) / _ZONE_S) * _ZONE_S


def _resume(run: _Run | None, local_at: float) -> None:
    if run is not None and run.suspended_at is not None:
        run.suspended_s += max(0.0, local_at - run.suspended_at)
        run.suspended_at = None


def _submitted(fields: dict[str, str]) -> float:
    """Return when a batch job could first have started: `etime`, else when it came into the queue."""
    for name in ("etime", "qtime", "ctime"):
        if fields.get(name, "0").strip("0"):
            return _seconds(fields, name)
    return 0.0


def _seconds(fields: dict[str, str], name: str) -> float:
    text = fields.get(name, "")
    if not re.fullmatch(r"\d{1,12}", text):
        raise ValueError(f"{name}={text[:30]} is not a time in Unix seconds" if text else f"it has no {name}=")
    return float(text)


def _limit(fields: dict[str, str]) -> float | None:
    text = fields.get("Resource_List.walltime", "")
    if not text:
        return None
    found = _SPAN.fullmatch(text)
    if found is None:
        raise ValueError(f"Resource_List.walltime={text[:30]} is not a time like 12:30:00")
    first, second, seconds = found.groups()
    hours, minutes = (first, second) if second is not None else (None, first)
    return (int(hours or 0) * 60 + int(minutes or 0)) * 60.0 + int(seconds) or None


def _hosts(fields: dict[str, str]) -> set[str]:
    """Return the hosts of a run: of `exec_host` (n1/0*8+n2/0*8), else the vnodes of `exec_vnode`."""
    text = fields.get("exec_host") or fields.get("exec_vnode", "")
    found: set[str] = set()
    for part in text.split("+"):
        host = _HOST.search(part)
        if host is not None:
            found.add(host[0])
    return found


def _asked(fields: dict[str, str]) -> int:
    """Return for how many nodes a batch job asked, where the log does not say which it had."""
    nodes = fields.get("Resource_List.nodect", "")
    if nodes.isdecimal() and len(nodes) < 9:
        return max(1, int(nodes))
    chunks = _CHUNKS.findall(fields.get("Resource_List.select", ""))
    return max(1, sum(int(count) for count in chunks if len(count) < 9))
