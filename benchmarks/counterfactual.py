"""Are prime jobs as early with harvest as without? The same seeded load on a real Slurm, with harvest and without.

Needs root and Debian's Slurm packages; each run has a one-machine cluster of its own. Without harvest the load is
played several times (`--controls`): how much those differ is what the comparison cannot tell. A wait is counted from
the submission, or from the end of the prime job that it depends on. Ready share: node-time on which no prime job ran,
and of it the part with a READY pilot, over the minutes of the load.

The exit code is 1 where a prime job was later than its mode may be, and no control was as late.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec

from benchmarks import figures
from benchmarks.prime import load, player
from benchmarks.prime.load import PrimeJob
from benchmarks.prime.player import Play
from benchmarks.site import node_time
from benchmarks.site.delays import LATE_S, Delay, Summary, Waits, delays, summary
from benchmarks.site.harvest_up import HarvestUp, harvest_up, settings
from benchmarks.site.room import Room, rooms
from benchmarks.site.slurm import Site, SiteKind, site

SETTLE_S = 15.0  # the pilots are there before the load begins
SITES = {"preemptible": "", "strict": "no-preemption", "yielding": "no-preemption"}
CYCLE_S = {"": 2, "tuned": 2, "default": 30}  # bf_interval of each clock
MEDIAN_S, P99_S = 2.0, 8.0  # preemptible, tuned


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """What is run once. `mode` is empty for a control."""

    seed: int
    site: str
    clock: str
    mode: str = ""
    number: int = 0  # of the control


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a case."""

    case: Case
    waits_s: dict[str, float]
    rooms: dict[str, Room]
    play: Play  # in full, to find the cause of a delay
    ready_share: float = 0.0
    idle_node_min: float = 0.0
    commands: dict[str, int] = {}
    commands_a_minute: float = 0.0
    pilots: dict[str, int] = {}  # by how they ended


def main() -> None:
    chosen = _options()
    cases = _cases(chosen)
    print(f"{len(cases)} runs of {chosen.minutes:g} minutes, {chosen.parallel} at a time", file=sys.stderr)
    with ThreadPoolExecutor(chosen.parallel) as pool:
        outcomes = list(pool.map(lambda case: _run(case, chosen), cases))
    tables = [_table(mode, clock, outcomes, chosen) for clock in chosen.clocks for mode in chosen.modes]
    print(_markdown(tables))
    if chosen.json:
        document = {"machine": figures.machine(), "tables": tables, "outcomes": outcomes, "options": _said(chosen)}
        figures.write(chosen.json, msgspec.to_builtins(document))
    sys.exit(any(table["violations"] for table in tables))


def _options() -> argparse.Namespace:
    parser = figures.slurm_options(__doc__)
    parser.add_argument("--seeds", type=_numbers, default=[1, 2, 3], help="1,2,3")
    parser.add_argument("--modes", type=_words, default=["preemptible"], help="preemptible,strict,yielding")
    parser.add_argument("--clocks", type=_words, default=[""], help="tuned,default: bf_interval 2 and 30 s")
    parser.add_argument("--minutes", type=float, default=7.0)
    parser.add_argument("--nodes", type=int, default=8)
    parser.add_argument("--controls", type=int, default=2, help="runs without harvest, of each seed")
    parser.add_argument("--parallel", type=int, default=1, help="runs side by side, each on its own cluster")
    parser.add_argument("--max-delay", type=float, default=15.0, help="yielding: the bound, in seconds")
    parser.add_argument("--site", help="cluster.py's word for the site of all modes; else as the mode needs it")
    return parser.parse_args()


def _numbers(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]


def _words(text: str) -> list[str]:
    return text.split(",")


def _said(chosen: argparse.Namespace) -> dict[str, Any]:
    return {name: str(value) if isinstance(value, Path) else value for name, value in vars(chosen).items()}


def _site_of(mode: str, chosen: argparse.Namespace) -> str:
    return SITES[mode] if chosen.site is None else str(chosen.site)


def _cases(chosen: argparse.Namespace) -> list[Case]:
    """Return the runs: the controls of each site, clock and seed once, then each mode."""
    found: dict[Case, None] = {}
    for seed in chosen.seeds:
        for clock in chosen.clocks:
            for mode in chosen.modes:
                where = _site_of(mode, chosen)
                for number in range(chosen.controls):
                    found[Case(seed=seed, site=where, clock=clock, number=number)] = None
                found[Case(seed=seed, site=where, clock=clock, mode=mode)] = None
    return list(found)


# ---- one run


def _jobs(case: Case, chosen: argparse.Namespace) -> list[PrimeJob]:
    return load.draw(case.seed, chosen.minutes, chosen.nodes, SiteKind().cpus)


def _run(case: Case, chosen: argparse.Namespace) -> Outcome:
    jobs = _jobs(case, chosen)
    name = case.mode or f"control {case.number + 1}"
    print(f"seed {case.seed}, {name} {case.clock} …", file=sys.stderr, flush=True)
    with site(SiteKind(nodes=chosen.nodes, site=case.site, clock=case.clock)) as slurm:
        if not case.mode:
            time.sleep(SETTLE_S)
            play = player.play(slurm, jobs)
            return Outcome(case=case, waits_s=play.waits(jobs), rooms=_rooms(jobs, play, slurm), play=play)
        with harvest_up(slurm, *_wishes(case, chosen)) as harvest:
            time.sleep(SETTLE_S)
            play = player.play(slurm, jobs)
            if chosen.keep:
                harvest.keep(chosen.keep / f"{case.mode}-{case.clock or 'tuned'}-seed{case.seed}")
            return _harvested(case, chosen, slurm, harvest, play)


def _rooms(jobs: list[PrimeJob], play: Play, slurm: Site) -> dict[str, Room]:
    return rooms(jobs, play, slurm.nodes, slurm.kind.cpus)


def _waits(outcome: Outcome) -> Waits:
    return Waits(waits_s=outcome.waits_s, rooms_s={key: room.room_s for key, room in outcome.rooms.items()})


def _wishes(case: Case, chosen: argparse.Namespace) -> list[str]:
    return [
        *settings(
            policy=chosen.policy,
            mode=case.mode,
            everything=True,
            partition="harvest",
            max_pending=2 * chosen.nodes,
            cycle_s=CYCLE_S[case.clock],
        ),
        *(settings(max_delay_s=chosen.max_delay) if case.mode == "yielding" else []),
        *(word for pair in chosen.set for word in ("--set", pair)),
    ]


def _harvested(case: Case, chosen: argparse.Namespace, slurm: Site, harvest: HarvestUp, play: Play) -> Outcome:
    jobs = _jobs(case, chosen)
    span = (play.begun_at, play.begun_at + 60 * chosen.minutes)
    with harvest.client() as client:
        pilots = client.pilots(all=True)
    busy = play.busy(jobs)
    idle = {node: node_time.without([span], busy.get(node, ())) for node in slurm.nodes}
    commands = harvest.commands.between(*span)
    return Outcome(
        case=case,
        waits_s=play.waits(jobs),
        rooms=_rooms(jobs, play, slurm),
        play=play,
        ready_share=node_time.share(idle, node_time.ready(pilots, span[1])),
        idle_node_min=sum(map(node_time.length_s, idle.values())) / 60,
        commands=dict(commands),
        commands_a_minute=commands.total() / chosen.minutes,
        pilots=dict(Counter(pilot["state"] for pilot in pilots)),
    )


# ---- what is told


def _table(mode: str, clock: str, outcomes: list[Outcome], chosen: argparse.Namespace) -> dict[str, Any]:
    """Return the figures of a mode under a clock over all seeds."""
    where = _site_of(mode, chosen)
    mine = [each for each in outcomes if (each.case.site, each.case.clock) == (where, clock)]
    found: list[tuple[int, Delay]] = []
    for seed in chosen.seeds:
        controls = [_waits(each) for each in mine if each.case.seed == seed and not each.case.mode]
        (harvested,) = [_waits(each) for each in mine if (each.case.seed, each.case.mode) == (seed, mode)]
        case = Case(seed=seed, site=where, clock=clock)
        found += [(seed, delay) for delay in delays(_jobs(case, chosen), controls, harvested)]
    runs = [each for each in mine if each.case.mode == mode]
    rows = {
        "with harvest less control": _row(delay.extra_s for _, delay in found),
        "control less control": _row(delay.spread_s for _, delay in found),
        "with harvest less the longest control": _row(delay.unexplained_s for _, delay in found),
        "of that, with room for the job": _row(delay.harm_s for _, delay in found),
        "first in the queue, with room: with harvest": _row(_first(each for each in mine if each.case.mode == mode)),
        "first in the queue, with room: control": _row(_first(each for each in mine if not each.case.mode)),
    }
    return {
        "mode": mode,
        "clock": clock or "tuned",
        "rows": rows,
        "ready_share": sum(run.ready_share * run.idle_node_min for run in runs)
        / max(1e-9, sum(run.idle_node_min for run in runs)),
        "commands_a_minute": sum(run.commands_a_minute for run in runs) / len(runs),
        "commands": dict(sum((Counter(run.commands) for run in runs), Counter[str]())),
        "pilots": dict(sum((Counter(run.pilots) for run in runs), Counter[str]())),
        "violations": violations(mode, clock, rows, [delay for _, delay in found], chosen.max_delay),
        "delays": [{"seed": seed, **msgspec.to_builtins(delay), "extra_s": delay.extra_s} for seed, delay in found],
    }


def _first(outcomes: Iterable[Outcome]) -> list[float]:
    return [room.first_s for outcome in outcomes for room in outcome.rooms.values()]


def _row(values: Iterable[float | None]) -> Summary:
    return summary([value for value in values if value is not None])


def violations(
    mode: str, clock: str, rows: dict[str, Summary], found: Iterable[Delay], max_delay_s: float
) -> list[str]:
    """Return what is against the promise of `mode`, in sentences."""
    bound = {"strict": LATE_S, "yielding": max_delay_s}.get(mode)
    told = [f"{delay.key} ({delay.kind}) never began before it was cancelled" for delay in found if delay.is_missed]
    if bound is not None:
        told += [
            f"{delay.key} ({delay.kind}) began {late:.1f} s later than in any control, with room for it; "
            f"{bound:g} s are the most"
            for delay in found
            if (late := delay.harm_s) is not None and late > bound
        ]
    extra = rows["with harvest less control"]
    if mode == "preemptible" and CYCLE_S[clock] == CYCLE_S["tuned"]:
        told += [f"the median is {extra.median_s:.1f} s later; {MEDIAN_S:g} s are the most"] * (
            extra.median_s > MEDIAN_S
        )
        told += [f"the 99th percentile is {extra.p99_s:.1f} s later; {P99_S:g} s are the most"] * (extra.p99_s > P99_S)
    return told


def _markdown(tables: list[dict[str, Any]]) -> str:
    lines = [
        "| mode, clock | delay | n | median, s | p99, s | max, s | > 2 s | ready share | commands a minute | pilots |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---|",
    ]
    for table in tables:
        ended = ", ".join(f"{count} {state}" for state, count in sorted(table["pilots"].items()))
        figure = f"{table['ready_share']:.3f} | {table['commands_a_minute']:.1f} | {ended}"
        for what, row in table["rows"].items():
            lines.append(
                f"| {table['mode']}, {table['clock']} | {what} | {row.n} | {row.median_s:.2f} | {row.p99_s:.2f} | "
                f"{row.max_s:.2f} | {row.late} | {figure} |"
            )
            figure = " | | "
    return "\n".join([*lines, *(f"\n**{table['mode']}**: {told}" for table in tables for told in table["violations"])])


if __name__ == "__main__":
    main()
