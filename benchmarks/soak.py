"""A soak on a hostile site: a real one-machine Slurm, kill -9 of everything, drains, reservations, evictions.

Needs root and Debian's Slurm packages. Functions with and without checkpoints, with children, in chunked maps, are
submitted all the time. At the end every accepted invocation must have exactly one right result, and no node may have
been COMPLETING for over 10 s because of a pilot, but where a daemon of Slurm's own was killed. `--seed` repeats the
faults; what they hit still depends on the machine.

The exit code is 1 where something was violated.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks import figures
from benchmarks.hostile import schedule
from benchmarks.hostile.faults import Faults
from benchmarks.hostile.load import Load
from benchmarks.prime import batch_script
from benchmarks.site import completing
from benchmarks.site.completing import Completing, Streak
from benchmarks.site.harvest_up import HarvestUp, harvest_up, settings
from benchmarks.site.slurm import Site, SiteError, SiteKind, site
from harvester.domain.cluster import nodelist

SETTLE_S = 15.0
CALM_S = 240.0  # after the last fault, until every result must be there
LONGEST_S = 10.0  # COMPLETING because of us
GONE_S = 30.0  # after the harvester's end, until every node is idle


def main() -> None:
    chosen = _options()
    faults = schedule.draw(chosen.seed, chosen.minutes, chosen.nodes, chosen.every)
    print(f"seed {chosen.seed}: {len(faults)} faults in {chosen.minutes:g} minutes", file=sys.stderr, flush=True)
    with (
        site(SiteKind(nodes=chosen.nodes)) as slurm,
        tempfile.TemporaryDirectory(prefix="harvester-soak-") as folder,
    ):
        stamps = Path(folder, "stamps")
        stamps.mkdir()
        with harvest_up(slurm, *_wishes(chosen)) as harvest:
            strikes = Faults(slurm, harvest, batch_script.put(Path(folder)), stamps)
            report, violations = _soak(chosen, slurm, harvest, strikes, faults)
            if chosen.keep:
                harvest.keep(chosen.keep)
        violations += _leftovers(slurm)
    print(report.markdown())
    for violation in violations:
        print(f"\n**violated**: {violation}")
    if chosen.json:
        figures.write(chosen.json, report.document() | {"violations": violations})
    sys.exit(bool(violations))


def _options() -> argparse.Namespace:
    parser = figures.slurm_options(__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=random.randrange(1000))  # noqa: S311 - no secret
    parser.add_argument("--nodes", type=int, default=8)
    parser.add_argument("--every", type=float, default=8.0, help="seconds from one fault to the next, on average")
    parser.add_argument("--rate", type=float, default=1.5, help="invocations a second")
    return parser.parse_args()


def _wishes(chosen: argparse.Namespace) -> list[str]:
    return [
        *settings(policy=chosen.policy, everything=True, partition="harvest", max_pending=2 * chosen.nodes, cycle_s=2),
        *(word for pair in chosen.set for word in ("--set", pair)),
    ]


def _soak(
    chosen: argparse.Namespace, slurm: Site, harvest: HarvestUp, strikes: Faults, faults: list[schedule.Fault]
) -> tuple[figures.Report, list[str]]:
    report = figures.Report(f"soak of {chosen.minutes:g} minutes, seed {chosen.seed}")
    with harvest.client() as client, _Watch(slurm) as watch:
        time.sleep(SETTLE_S)
        begun_at = time.time()
        load = Load(client, chosen.seed, chosen.rate, most_s=60 * chosen.minutes + CALM_S)
        strikes.play(faults)
        time.sleep(max(0.0, begun_at + 60 * chosen.minutes - time.time()))
        load.stop()
        ended_at = time.time()
        violations = load.judge(CALM_S)
        _tell_load(report, load, violations)
        ended = Counter(str(pilot["state"]) for pilot in client.pilots(all=True))
    ours, excused = _streaks(watch.completing, strikes)
    violations += [
        f"{streak.node} was COMPLETING for {streak.length_s:.0f} s because of pilot {streak.batch_job_id}"
        for streak in ours
        if streak.length_s > LONGEST_S
    ]
    violations += strikes.failed_starts
    report.add("a node COMPLETING because of a pilot", "s", [each.length_s for each in ours] or 0.0)
    report.add("the same while a daemon of Slurm was missing", "s", [each.length_s for each in excused] or 0.0)
    _tell_faults(report, strikes)
    commands = harvest.commands.between(begun_at, ended_at)
    report.add("commands to Slurm", "a minute", commands.total() * 60 / (ended_at - begun_at))
    report.note(f"Commands: {_counts(commands)}.")
    report.note(f"Pilots: {_counts(ended)}.")
    return report, violations


def _tell_load(report: figures.Report, load: Load, wrong: list[str]) -> None:
    counts = load.counts()
    activations, resumed = load.activations()
    report.add("invocations and calls of maps", "accepted", sum(counts.values()))
    report.add("of these without exactly one right result", "wrong", len(wrong), figures.at_most(0))
    report.add("activations of the invocations", "of all", activations)
    report.add("activations that went on from a checkpoint", "of all", resumed)
    report.note(f"Functions: {_counts(counts)}.")


def _tell_faults(report: figures.Report, strikes: Faults) -> None:
    runs = batch_script.read(strikes.stamps)
    waits = [run.started_at - strikes.submitted_at[key] for key, run in runs.items()]
    report.add("prime job submitted until it runs, whatever else was broken", "s", waits or 0.0)
    report.add("drained nodes with a pilot 10 s later", "of all", len(strikes.stayed))
    report.note(f"Faults: {_counts(strikes.done)}. Not possible: {_counts(strikes.refused) or 'none'}.")


def _counts(found: dict[Any, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(found.items(), key=lambda pair: -pair[1]))


def _streaks(seen: Completing, strikes: Faults) -> tuple[list[Streak], list[Streak]]:
    """Return the streaks that are ours to answer for, and the others."""
    ours: list[Streak] = []
    excused: list[Streak] = []
    for streak in seen.all():
        (excused if completing.is_excused(streak, strikes.outages) else ours).append(streak)
    return ours, excused


def _leftovers(slurm: Site) -> list[str]:
    """Return what is still there some time after the harvester's end."""
    deadline = time.monotonic() + GONE_S
    while left := slurm.batch_jobs("harvest"):
        if time.monotonic() > deadline:
            return [f"pilots are still there {GONE_S:.0f} s after the end: {', '.join(left)}"]
        time.sleep(1.0)
    return []


class _Watch:
    """Looks every second which pilots are completing, with a command of its own."""

    def __init__(self, slurm: Site) -> None:
        self._slurm = slurm
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, name="soak-watch", daemon=True)
        self.completing = Completing()

    def __enter__(self) -> _Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._stop.wait(1.0):
            at = time.time()
            try:
                text = self._slurm.run("squeue", "-h", "-p", "harvest", "-t", "CG", "-o", "%i %N", timeout_s=5.0)
            except SiteError:
                continue  # the controller is stopped
            pairs = [line.split() for line in text.splitlines() if len(line.split()) == 2]
            self.completing.sample(at, [(pair[0], node) for pair in pairs for node in nodelist.expand(pair[1])])


if __name__ == "__main__":
    main()
