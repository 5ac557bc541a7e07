"""Idle logs: which nodes nobody used, sample by sample, and the gaps that follow from that.

A sample is a Unix time, a line `invokers: p0001,…` (nodes that ran pilots; may be empty), `sinfo -h` lines whose fifth
field is the state and sixth the nodes, and `----`. A node is idle when its state is plainly `idle` (`idle~`, `idle%`
and `idle#` are powered down, failing or powering up) or when it ran a pilot.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from harvester.domain.cluster import nodelist
from harvester.simulator.errors import SimulationError
from harvester.simulator.inputs.gaps import Gap
from harvester.simulator.inputs.trace_file import Complaints, Skipped, lines

_PILOTS = "invokers:"
_END = "----"
_LONGEST_S = 12 * 366 * 86_400.0  # a wrong time would be simulated for days


class IdleLog(msgspec.Struct, frozen=True, kw_only=True):
    """A log: for each sample its time and the nodes that were idle."""

    source: str
    times: tuple[float, ...]
    idle: tuple[frozenset[str], ...]
    node_count: int  # what the whole file tells of the size: the highest node number, from 0, or more names than that
    skipped: Skipped = Skipped()

    @property
    def period_s(self) -> float:
        """Mean time between samples, in seconds."""
        return (self.times[-1] - self.times[0]) / (len(self.times) - 1) if len(self.times) > 1 else 0.0

    @property
    def ends_at(self) -> float:
        """When the last sample is over."""
        return self.times[-1] + self.period_s

    def between(self, from_at: float | None, to_at: float | None) -> IdleLog:
        """Return the samples with `from_at` <= time < `to_at`; None leaves that side open.

        Raises `SimulationError` where none is left.
        """
        low = self.times[0] if from_at is None else from_at
        high = self.times[-1] + 1.0 if to_at is None else to_at
        if low >= high:
            raise SimulationError(f"--from {low:.0f} is not before --to {high:.0f}")
        kept = [index for index, time in enumerate(self.times) if low <= time < high]
        if not kept:
            raise SimulationError(
                f"{self.source} has no sample from {low:.0f} to {high:.0f}: it lasts from {self.times[0]:.0f} "
                f"to {self.times[-1]:.0f}"
            )
        if len(kept) == 1:
            raise SimulationError(
                f"{self.source} has one sample in that time, at {self.times[kept[0]]:.0f}, and one sample spans no "
                "time: log for longer"
            )
        part = slice(kept[0], kept[-1] + 1)
        return msgspec.structs.replace(self, times=self.times[part], idle=self.idle[part])

    def gaps(self) -> tuple[Gap, ...]:
        """Return every gap, in the order in which they open."""
        opened: dict[str, int] = {}
        found: list[Gap] = []
        ends = (*self.times, self.ends_at)
        before: frozenset[str] = frozenset()
        for index, now in enumerate((*self.idle, frozenset[str]())):
            found += [self._gap(node, opened.pop(node), index, ends) for node in before - now]
            for node in now - before:
                opened[node] = index
            before = now
        return tuple(sorted(found, key=lambda gap: (gap.opens_at, gap.node)))

    @staticmethod
    def _gap(node: str, first: int, after: int, ends: tuple[float, ...]) -> Gap:
        is_cut = after == len(ends) - 1
        return Gap(node=node, opens_at=ends[first], closes_at=ends[after], samples=after - first, is_cut=is_cut)


def read(path: Path, *, strict: bool = False) -> IdleLog:
    """Read an idle log, plain or .gz.

    Parameters
    ----------
    strict: refuse a malformed line instead of skipping it.

    Raises `SimulationError` where the file cannot be read, is empty, or `strict` finds a malformed line.
    """
    reader = _Reader(Complaints(str(path), strict=strict))
    number = 0
    for number, line in lines(path):
        reader.take(number, line)
    reader.finish(number)
    if not reader.times:
        raise SimulationError(
            f"{path} holds no sample ({reader.complaints.result().brief}). A sample is a Unix time, a line "
            "'invokers: …', the idle lines of sinfo, and '----'"
        )
    return IdleLog(
        source=path.name,
        times=tuple(reader.times),
        idle=tuple(reader.idle),
        node_count=max(reader.highest + 1, len(reader.names)),
        skipped=reader.complaints.result(),
    )


class _Reader:
    """Puts lines together to samples."""

    def __init__(self, complaints: Complaints) -> None:
        self.complaints = complaints
        self.times: list[float] = []
        self.idle: list[frozenset[str]] = []
        self.highest = 0
        self.names: set[str] = set()  # of all samples
        self._time: float | None = None
        self._names: set[str] = set()

    def take(self, number: int, line: str) -> None:
        """Take one line."""
        if not line:
            return
        if line == _END:
            self._close(number)
        elif line.lstrip("-").isdecimal():
            self._open(number, line)
        elif line.startswith(_PILOTS):
            self._add(number, line.removeprefix(_PILOTS).strip())
        else:
            fields = line.split()
            if len(fields) != 6:
                self.complaints.add(number, f"neither a time, nor 'invokers:', nor a line of sinfo: {line[:60]!r}")
            elif fields[4] == "idle":
                self._add(number, fields[5])

    def finish(self, number: int) -> None:
        """Note a sample that the file breaks off in."""
        if self._time is not None:
            self.complaints.add(number, f"the sample of {self._time:.0f} breaks off without '{_END}'")

    def _open(self, number: int, line: str) -> None:
        if self._time is not None:
            self.complaints.add(number, f"the sample of {self._time:.0f} has no '{_END}' before this line")
            self._time = None
        time = float(line)
        if time < 0:
            self.complaints.add(number, f"a negative time: {line}")
        elif self.times and time - self.times[0] > _LONGEST_S:
            self.complaints.add(number, f"time {line[:30]} is more than a dozen years after the first sample")
        elif self.times and time <= self.times[-1]:
            self.complaints.add(number, f"time {line} is not after the sample before, {self.times[-1]:.0f}")
        else:
            self._time = time
            self._names = set()
            return
        self._time = None

    def _add(self, number: int, nodes: str) -> None:
        if self._time is None:
            self.complaints.add(number, "belongs to no sample: no time stands above it")
            return
        try:
            names = nodelist.expand(nodes)
        except ValueError as error:
            self.complaints.add(number, str(error))
            return
        self._names.update(names)
        self.names.update(names)
        self.highest = max(self.highest, max(map(nodelist.number, names), default=0))

    def _close(self, number: int) -> None:
        if self._time is None:
            self.complaints.add(number, f"'{_END}' ends no sample")
            return
        self.times.append(self._time)
        self.idle.append(frozenset(self._names))
        self._time = None
