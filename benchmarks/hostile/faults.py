"""Performs the soak's faults on a site and its harvester, undoes them in time, and remembers what it has done.

Owns the clock of the faults and the outages that they cause. What happens when is `schedule`'s.
"""

from __future__ import annotations

import contextlib
import heapq
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psutil

from benchmarks.hostile.schedule import Fault, Kind
from benchmarks.site.harvest_up import HarvestError, HarvestUp
from benchmarks.site.node_time import Stretch
from benchmarks.site.slurm import Site, SiteError

AGAIN_S = 3.0  # until an undoing that failed is tried again
RECOVERY_S = 15.0  # an outage is over so long after the daemon's start: it must hear of what it has missed
DRAINED_S = 10.0  # a pilot must have left a drained node after this

Undo = Callable[[], None]


class Faults:
    """Strikes `site` and `harvest`."""

    def __init__(self, site: Site, harvest: HarvestUp, script: Path, stamps: Path) -> None:
        self._site, self._harvest, self._script, self.stamps = site, harvest, script, stamps
        self._undoing: list[tuple[float, int, Undo]] = []
        self._number = 0
        self._drained: set[str] = set()
        self.done: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()  # not possible then, and why
        self.outages: dict[str, list[Stretch]] = {}
        self.submitted_at: dict[str, float] = {}  # prime jobs, by key
        self.failed_starts: list[str] = []  # of gateway and daemon
        self.stayed: list[str] = []  # drained nodes that still had a pilot when they were looked at

    def play(self, faults: list[Fault]) -> None:
        """Perform `faults` in time, undo each, and return when nothing is left to undo."""
        begun_at = time.time()
        for fault in faults:
            self._undo_until(begun_at + fault.at_s)
            self._strike(fault)
        while self._undoing:
            self._undo_until(self._undoing[0][0])

    def _undo_until(self, at: float) -> None:
        while self._undoing and self._undoing[0][0] <= at:
            due, _, undo = heapq.heappop(self._undoing)
            time.sleep(max(0.0, due - time.time()))
            try:
                undo()
            except (SiteError, HarvestError) as error:
                if isinstance(error, HarvestError):
                    self.failed_starts.append(str(error))
                self._later(time.time() + AGAIN_S, undo)
        time.sleep(max(0.0, at - time.time()))

    def _later(self, at: float, undo: Undo) -> None:
        self._number += 1
        heapq.heappush(self._undoing, (at, self._number, undo))

    def _strike(self, fault: Fault) -> None:
        try:
            is_done = self._perform(fault)
        except SiteError as error:
            self.refused[f"{fault.kind}: {str(error).rpartition(': ')[2]}"] += 1
            return
        if is_done:
            self.done[fault.kind] += 1
        else:
            self.refused[f"{fault.kind}: there was none"] += 1

    def _perform(self, fault: Fault) -> bool:
        match fault.kind:
            case Kind.SLOT | Kind.AGENT | Kind.ZYGOTE:
                return self._kill(fault)
            case Kind.UP if not self._harvest.is_running:
                return False
            case Kind.UP:
                self._harvest.kill()
                self._later(time.time() + fault.lasts_s, self._harvest.start)
            case Kind.SLURMD:
                self._stop(self._node(fault), fault)
            case Kind.SLURMCTLD:
                self._stop("slurmctld", fault)
            case Kind.DRAIN if self._node(fault) in self._drained:
                return False
            case Kind.DRAIN:
                self._drain(self._node(fault), fault)
            case Kind.RESERVATION:
                self._reserve(fault)
            case Kind.PRIME:
                self._prime(fault)
        return True

    def _node(self, fault: Fault) -> str:
        return self._site.nodes[int(fault.pick * len(self._site.nodes))]

    # ---- ours

    def _kill(self, fault: Fault) -> bool:
        agents = sorted(self._harvest.agents(), key=lambda process: process.pid)
        found = agents if fault.kind is Kind.AGENT else _parts(agents, is_zygote=fault.kind is Kind.ZYGOTE)
        if not found:
            return False
        with contextlib.suppress(psutil.NoSuchProcess):
            found[int(fault.pick * len(found))].kill()
        return True

    # ---- Slurm's

    def _stop(self, name: str, fault: Fault) -> None:
        is_controller = name == "slurmctld"
        node = "" if is_controller else name
        begun_at = time.time()
        self._site.stop(name, gently=is_controller)

        def start() -> None:
            self._site.start(name)
            self.outages.setdefault(node, []).append((begun_at, time.time() + RECOVERY_S))

        self._later(begun_at + fault.lasts_s, start)

    def _drain(self, node: str, fault: Fault) -> None:
        self._site.run("scontrol", "update", f"nodename={node}", "state=drain", "reason=soak")

        def look() -> None:
            if self._site.run("squeue", "-h", "-p", "harvest", "-t", "R", "-w", node, "-o", "%i"):
                self.stayed.append(node)

        self._later(time.time() + DRAINED_S, look)
        self._drained.add(node)
        self._later(time.time() + fault.lasts_s, lambda: self._resume(node))

    def _resume(self, node: str) -> None:
        # Whoever started its slurmd again has resumed it too, and Slurm refuses to do that twice.
        if "drain" in self._site.run("sinfo", "-h", "-n", node, "-o", "%T"):
            self._site.run("scontrol", "update", f"nodename={node}", "state=resume")
        self._drained.discard(node)

    def _reserve(self, fault: Fault) -> None:
        """Every other time over running batch jobs; else Slurm refuses it where a pilot is."""
        name = f"soak{self._number}"
        flags = ["flags=ignore_jobs"] if fault.pick * 1000 % 2 < 1 else []
        self._site.run(
            "scontrol", "create", "reservation", f"reservationname={name}", "starttime=now", "duration=5",
            "users=root", f"nodes={self._node(fault)}", *flags,
        )  # fmt: skip
        self._later(time.time() + fault.lasts_s, lambda: self._unreserve(name))

    def _unreserve(self, name: str) -> None:
        self._site.run("scontrol", "delete", f"reservationname={name}")

    def _prime(self, fault: Fault) -> None:
        key = f"prime{len(self.submitted_at)}"
        self.submitted_at[key] = time.time()
        self._site.run(
            "sbatch", "--partition=prime", "--exclusive", f"--nodes={fault.nodes}", "--time=1", "--output=/dev/null",
            str(self._script), str(self.stamps / key), f"{fault.lasts_s:.1f}",
        )  # fmt: skip


def _parts(agents: list[psutil.Process], *, is_zygote: bool) -> list[psutil.Process]:
    """Return the zygotes or the slots below `agents`."""
    found = []
    for agent in agents:
        with contextlib.suppress(psutil.NoSuchProcess):
            ours = [process for process in agent.children(recursive=True) if process.name().startswith("harvester-")]
            found += [process for process in ours if (process.name() == "harvester-zyg") is is_zygote]
    return found
