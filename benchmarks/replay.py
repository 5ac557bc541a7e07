"""Reality against simulation: a stretch of a real idle log, replayed uncompressed on a real one-machine Slurm.

Needs root and Debian's Slurm packages. Prime jobs are the complement of the log's gaps: each is submitted when the
log's nodes become busy, to those nodes, and ends when they become idle, however late it began. So no end of a gap is
known beforehand: a foresight of 0. `harvester up` harvests everything with one policy. Ready node-time counts inside
the log's gaps only; the simulator is given the same gaps, the same clock, and the boot as measured here.

The exit code is 1 where the two shares differ by more than 0.03, or the measured one is below 0.90.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import msgspec

from benchmarks import figures
from benchmarks.prime import batch_script
from benchmarks.prime.batch_script import PrimeRun
from benchmarks.site import controller_log, idle_stretch, node_time
from benchmarks.site.harvest_up import HarvestUp, harvest_up, settings
from benchmarks.site.idle_stretch import Busy, Stretch
from benchmarks.site.slurm import Site, SiteKind, site
from harvester.domain.harvest import policies
from harvester.simulator.inputs import idle_log
from harvester.simulator.model.daemon_model import simulate_idle_log
from harvester.simulator.parameters import Parameters
from harvester.simulator.report.report import Report

LEAD_S = 40.0  # all nodes busy, while harvester up starts and its first pilots wait
SPARE_S = 10.0  # a prime job's limit is so much beyond its end, and in whole minutes
LONGEST = timedelta(minutes=120)  # MaxTime of cluster.py's partition `harvest`
DIFFERENCE, LEAST = 0.03, 0.90


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen on the real Slurm."""

    ready_share: float
    lost_s: dict[str, list[float]]  # of each gap, by what: until the first pilot is ready, and later
    boots_s: list[float]  # from the controller's start of a pilot until it has registered
    prime_late_s: list[float]  # from the log's moment until a prime job ran
    prime_missed: int  # prime jobs that never ran
    pilots: dict[str, int]
    commands: dict[str, int]
    commands_a_minute: float


def main() -> None:
    chosen = _options()
    log = idle_log.read(chosen.log)
    stretch = idle_stretch.pick(log, seconds=60 * chosen.minutes, nodes=chosen.nodes, seed=chosen.seed, lead_s=LEAD_S)
    gaps = stretch.log.gaps()
    lengths = [gap.length_s for gap in gaps]
    print(
        f"{log.source} from {stretch.from_at:.0f}: {len(gaps)} gaps on {chosen.nodes} nodes, median "
        f"{statistics.median(lengths):.0f} s, mean {statistics.mean(lengths):.0f} s, idle "
        f"{sum(lengths) / 60:.1f} node-minutes; distance from the whole log {stretch.distance:.3f}",
        file=sys.stderr,
        flush=True,
    )
    measured = replay(stretch, chosen)
    boot_s = statistics.median(measured.boots_s) if measured.boots_s else chosen.boot
    predicted = simulate(stretch, chosen, boot_s)
    report = _report(stretch, chosen, measured, predicted, boot_s)
    print(report.markdown())
    if chosen.json:
        figures.write(chosen.json, report.document() | {"measured": msgspec.to_builtins(measured)})
    difference = abs(measured.ready_share - predicted.ready_share)
    sys.exit(difference > DIFFERENCE or measured.ready_share < LEAST)


def _options() -> argparse.Namespace:
    parser = figures.slurm_options(__doc__)
    parser.add_argument("log", type=Path, help="an idle log, as `harvester simulate idle-log` reads it")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--nodes", type=int, default=24)
    parser.add_argument("--seed", type=int, default=1, help="of the stretch and its nodes")
    parser.add_argument("--clock", default="", help="cluster.py's word: tuned, default")
    parser.add_argument(
        "--cycle", type=float, default=2.0, help="seconds between the scheduler's looks, as told to both"
    )
    parser.add_argument("--tick", type=float, default=2.0, help="the simulated daemon's look, in seconds")
    parser.add_argument("--boot", type=float, default=3.0, help="a pilot's boot as the daemon is told, in seconds")
    return parser.parse_args()


# ---- the real one


def replay(stretch: Stretch, chosen: argparse.Namespace) -> Measured:
    """Replay a stretch and return what was seen."""
    kind = SiteKind(nodes=chosen.nodes, clock=chosen.clock)
    with site(kind) as slurm, tempfile.TemporaryDirectory(prefix="harvester-replay-") as folder:
        stamps = Path(folder, "stamps")
        stamps.mkdir()
        player = _Player(slurm, batch_script.put(Path(folder)), stamps, idle_stretch.busy(stretch.log))
        player.begin()  # all nodes are busy before the harvester comes
        with harvest_up(slurm, *_wishes(chosen)) as harvest:
            player.finish(until_s=stretch.log.ends_at)
            if chosen.keep:
                harvest.keep(chosen.keep)
            return _measured(stretch, slurm, harvest, player)


def _wishes(chosen: argparse.Namespace) -> list[str]:
    return [
        *settings(
            policy=chosen.policy,
            everything=True,
            partition="harvest",
            max_pending=_max_pending(chosen),
            cycle_s=chosen.cycle,
            boot_s=chosen.boot,
        ),
        *(word for pair in chosen.set for word in ("--set", pair)),
    ]


def _max_pending(chosen: argparse.Namespace) -> int:
    return 2 * int(chosen.nodes)


class _Player:
    """Submits prime jobs when the log's nodes become busy. Its second 0 is when it is made, less what `begin` takes."""

    def __init__(self, slurm: Site, script: Path, stamps: Path, jobs: Sequence[Busy]) -> None:
        self._slurm, self._script, self._stamps = slurm, script, stamps
        self.jobs = jobs
        self.begun_at = time.time()

    def begin(self) -> None:
        """Submit the prime jobs that run at the beginning."""
        for index, job in enumerate(self.jobs):
            if job.begin_s <= 0:
                self._submit(index, job)

    def finish(self, until_s: float) -> None:
        """Submit the others in time, and return at the end of the stretch."""
        for index, job in enumerate(self.jobs):
            if job.begin_s > 0:
                time.sleep(max(0.0, self.begun_at + job.begin_s - time.time()))
                self._submit(index, job)
        time.sleep(max(0.0, self.begun_at + until_s - time.time()))

    def runs(self) -> dict[str, PrimeRun]:
        return batch_script.read(self._stamps)

    def _submit(self, index: int, job: Busy) -> None:
        minutes = math.ceil((job.end_s - job.begin_s + SPARE_S) / 60)
        until_us = int((self.begun_at + job.end_s) * 1e6)
        options = [f"--nodes={len(job.nodes)}", f"--nodelist={','.join(job.nodes)}", "--exclusive", f"--time={minutes}"]
        self._slurm.run(
            "sbatch", "--partition=prime", "--output=/dev/null", *options,
            str(self._script), str(self._stamps / str(index)), f"@{until_us}",
        )  # fmt: skip


def _measured(stretch: Stretch, slurm: Site, harvest: HarvestUp, player: _Player) -> Measured:
    with harvest.client() as client:
        pilots = client.pilots(all=True)
    begun_at, until = player.begun_at, player.begun_at + stretch.log.ends_at
    gaps: dict[str, list[node_time.Stretch]] = {}
    for gap in stretch.log.gaps():
        gaps.setdefault(gap.node, []).append((begun_at + gap.opens_at, begun_at + gap.closes_at))
    ready = node_time.ready(pilots, until)
    started = controller_log.starts(slurm.controller_log.read_text().splitlines())
    runs = player.runs()
    commands = harvest.commands.between(begun_at + stretch.lead_s, until)
    return Measured(
        ready_share=node_time.share(gaps, ready),
        lost_s=lost(gaps, ready),
        boots_s=[
            pilot["registered_at"] - started[pilot["batch_job_id"]]
            for pilot in pilots
            if pilot["registered_at"] is not None and pilot["batch_job_id"] in started
        ],
        prime_late_s=[
            runs[str(index)].started_at - begun_at - job.begin_s
            for index, job in enumerate(player.jobs)
            if job.begin_s > 0 and str(index) in runs
        ],
        prime_missed=sum(str(index) not in runs for index in range(len(player.jobs))),
        pilots=dict(Counter(pilot["state"] for pilot in pilots)),
        commands=dict(commands),
        commands_a_minute=commands.total() * 60 / (stretch.log.ends_at - stretch.lead_s),
    )


def lost(gaps: dict[str, list[node_time.Stretch]], ready: dict[str, list[node_time.Stretch]]) -> dict[str, list[float]]:
    """Return the seconds without a ready pilot in each gap: at its beginning, and after that."""
    found: dict[str, list[float]] = {"first": [], "later": []}
    for node, stretches in gaps.items():
        for gap in stretches:
            had = node_time.common([gap], ready.get(node, ()))
            first_s = (had[0][0] if had else gap[1]) - gap[0]
            found["first"].append(first_s)
            found["later"].append(gap[1] - gap[0] - node_time.length_s(had) - first_s)
    return found


# ---- the simulated one


def simulate(stretch: Stretch, chosen: argparse.Namespace, boot_s: float) -> Report:
    """Return what the simulator predicts for the same stretch."""
    parameters = Parameters(
        nodes=chosen.nodes,
        cycle_s=chosen.cycle,
        tick_s=chosen.tick,
        idle_tick_s=chosen.tick,
        boot_s=boot_s,
        granularity_s=60.0,
        max_pending=_max_pending(chosen),
        max_pilots=64,
        max_time=LONGEST,
        foresight=0.0,
    )
    return simulate_idle_log(stretch.log, policies.by_name(chosen.policy), parameters, name=chosen.policy)


def _report(
    stretch: Stretch, chosen: argparse.Namespace, measured: Measured, predicted: Report, boot_s: float
) -> figures.Report:
    gaps = [gap.length_s for gap in stretch.log.gaps()]
    report = figures.Report(f"replay of {stretch.log.source}, {chosen.minutes:g} minutes on {chosen.nodes} nodes")
    report.add("ready share of idle node-time, measured", "share", measured.ready_share, figures.at_least(LEAST))
    report.add("the same as simulated", "share", predicted.ready_share)
    difference = abs(measured.ready_share - predicted.ready_share)
    report.add("difference", "share", difference, figures.at_most(DIFFERENCE))
    report.add("nobody can have more than", "share", predicted.ready_bound)
    report.add("length of a gap", "s", gaps)
    report.add("a gap's opening until its first pilot is ready", "s", measured.lost_s["first"])
    report.add("without a ready pilot later in a gap", "s", measured.lost_s["later"])
    report.add("pilot's start until it is ready", "s", measured.boots_s or boot_s)
    report.add("prime job wanted until it runs", "s", measured.prime_late_s or 0.0)
    report.add("prime jobs that never ran", "of all", measured.prime_missed)
    report.add("commands to Slurm", "a minute", measured.commands_a_minute)
    report.add("pilots, measured", "started", len(measured.boots_s))
    report.add("pilots, simulated", "started", predicted.pilots)
    ended = ", ".join(f"{count} {state}" for state, count in sorted(measured.pilots.items()))
    report.note(f"Pilots: {ended}. From {stretch.from_at:.0f} in the log, seed {chosen.seed}.")
    return report


if __name__ == "__main__":
    main()
