"""The table of all policies on all traces: `python -m benchmarks.policies`.

Writes it between the marks in docs/simulator.md, and every figure to build/policies.json. Traces of others are taken
from HARVESTER_TRACES, or from shared/traces beside the repository; where they are missing, only the made-up ones are
simulated, and docs/simulator.md is left alone unless --write says otherwise.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

from msgspec.structs import replace

from harvester.domain.harvest import policies
from harvester.domain.harvest.planning import HarvestMode
from harvester.simulator.inputs import idle_log, swf
from harvester.simulator.model.cluster_model import simulate_jobs
from harvester.simulator.model.daemon_model import simulate_idle_log
from harvester.simulator.parameters import Parameters, TimeMin
from harvester.simulator.report.report import Report

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs/simulator.md"
BEGIN, END = "<!-- policies: begin -->", "<!-- policies: end -->"
PROMETHEUS, THETA = "prometheus-2022-03-17-idle-nodes.txt.gz", "theta-2023.swf.gz"
DAY = (1647471600.0, 1647558000.0)
FORESIGHTS = (0.0, 0.5, 1.0)
NAMES = ("demand", "fib", "var", "var, largest", "gap")
SEEDS = (1, 2, 3)


def main() -> None:
    options = _options()
    folder = Path(os.environ.get("HARVESTER_TRACES", ROOT.parent / "shared/traces"))
    began = time.monotonic()
    rows = [*_idle_logs(folder), *_clusters(folder, options.jobs)]
    text = "\n".join(_document(rows))
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps([_plain(*row) for row in rows], indent=1) + "\n")
    print(text)
    if options.write or ((folder / PROMETHEUS).exists() and (folder / THETA).exists() and not options.jobs):
        _put(text)
    print(f"{len(rows)} simulations in {time.monotonic() - began:.0f} s", file=sys.stderr)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, default=ROOT / "build/policies.json", help="where every figure goes")
    parser.add_argument("--jobs", type=int, help="only so many batch jobs of each job trace, for a quick look")
    parser.add_argument("--write", action="store_true", help="write docs/simulator.md although traces are missing")
    return parser.parse_args()


# ---- what is simulated

Row = tuple[str, str, Report, float]  # trace, policy, what came out, seconds that it took


def _idle_logs(folder: Path) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as scratch:
        made_up = Path(scratch) / "made-up.txt"
        made_up.write_text(made_up_idle_log(seed=7))
        logs = {"made-up idle log": idle_log.read(made_up)}
    if (folder / PROMETHEUS).exists():
        logs = {"Prometheus, 17 March 2022": idle_log.read(folder / PROMETHEUS).between(*DAY), **logs}
    for title, log in logs.items():
        for variant in _variants():
            for name in NAMES:
                yield _timed(title, name, lambda name=name, variant=variant, log=log: simulate_idle_log(
                    log, _policy(name), _adapted(name, variant), name=name
                ))  # fmt: skip


def _variants() -> Iterator[Parameters]:
    for foresight in FORESIGHTS:
        yield Parameters(foresight=foresight)
    for seed in SEEDS[1:]:
        yield Parameters(foresight=0.5, seed=seed)
    yield Parameters(foresight=0.5, granularity_s=60.0)
    yield Parameters(foresight=0.5, cycle_s=30.0)
    yield Parameters(foresight=0.5, boot_s=2.0)


def _clusters(folder: Path, most: int | None) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as scratch:
        made_up = Path(scratch) / "made-up.swf"
        made_up.write_text(made_up_swf(seed=7))
        traces = {"made-up cluster": (swf.read(made_up), 128)}
    if (folder / THETA).exists():
        traces = {"Theta, 2023": (swf.read(folder / THETA), 4360), **traces}
    for title, (trace, nodes) in traces.items():
        part = replace(trace, jobs=trace.jobs[:most]) if most else trace
        for mode in HarvestMode:
            # `demand` keeps to lengths that fit, one by one: without bound on a large cluster that takes half an hour.
            for name in NAMES[nodes > 1000 :]:
                parameters = _adapted(name, Parameters(nodes=nodes, mode=mode))
                yield _timed(title, name, lambda name=name, part=part, parameters=parameters: simulate_jobs(
                    part, _policy(name), parameters, name=name
                ))  # fmt: skip


def _policy(name: str) -> policies.Policy:
    return policies.by_name(name.partition(",")[0])


def _adapted(name: str, parameters: Parameters) -> Parameters:
    return replace(parameters, time_min=TimeMin.LARGEST) if name.endswith("largest") else parameters


def _timed(title: str, name: str, run: Callable[[], Report]) -> Row:
    print(f"{title}: {name} …", file=sys.stderr, flush=True)
    began = time.monotonic()
    report = run()
    return title, name, replace(report, history=None), time.monotonic() - began


# ---- traces for a machine that has none


def made_up_idle_log(*, seed: int, nodes: int = 200, hours: float = 12.0) -> str:
    """Return an idle log: gaps of log-normal lengths (median 2 min) that open one by one and in bursts."""
    random = Random(seed)  # noqa: S311 - no secret
    steps = int(hours * 360)
    until = dict.fromkeys(range(1, nodes + 1), -1)
    lines = []
    for step in range(steps):
        opening = int(random.random() < 0.15) + (random.randint(5, 15) if random.random() < 0.002 else 0)
        for _ in range(opening):
            node = random.randint(1, nodes)
            if until[node] < step:
                until[node] = step + max(1, int(random.lognormvariate(2.5, 1.5)))
        idle = ",".join(f"n{node:03}" for node, end in until.items() if end > step)
        sinfo = f"low up 12:00:00 1 idle {idle}\n" if idle else ""
        lines.append(f"{1_700_000_000 + step * 10}\ninvokers: \n{sinfo}----\n")
    return "".join(lines)


def made_up_swf(*, seed: int, nodes: int = 128, jobs: int = 1500) -> str:
    """Return a job trace of about three weeks at about four fifths of a cluster of `nodes`."""
    random = Random(seed)  # noqa: S311 - no secret
    at = 1_700_000_000.0
    lines = [f"; MaxProcs: {nodes}"]
    for number in range(1, jobs + 1):
        at += random.expovariate(1 / 1200)
        size = min(nodes, 2 ** random.randint(0, 6))
        limit = random.choice((1800, 3600, 7200, 14_400, 43_200))
        run = max(10, int(limit * random.betavariate(1.2, 1.5)))
        lines.append(f"{number} {int(at)} -1 {run} {size} -1 -1 {size} {limit} -1 1 1 1 -1 -1 -1 -1 -1")
    return "\n".join(lines) + "\n"


# ---- what is told


def _document(rows: list[Row]) -> Iterator[str]:
    yield "Idle logs, daemon model. Parameters unless the row says otherwise: " + _parameters(Parameters()) + "."
    yield ""
    yield "| trace | foresight | changed | policy | bound | ready | of the bound | warming | pilots | evictions |"
    yield "|---|---:|---|---|---:|---:|---:|---:|---:|---:|"
    for title, name, report, _ in rows:
        if report.model == "daemon":
            yield (
                f"| {title} | {report.parameters['foresight']:g} | {_changed(report)} | {name} | {_figures(report)} |"
            )
    yield ""
    yield "Clusters under a job trace, EASY backfill. The same parameters, and: " + _waiting(Parameters()) + "."
    yield ""
    yield (
        "| trace | mode | policy | bound | ready | of the bound | warming | pilots | evictions | prime jobs | "
        "delayed | at most by | simulated in |"
    )
    yield "|---|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|"
    for title, name, report, took in rows:
        if report.model == "cluster":
            yield (
                f"| {title} | {report.mode} | {name} | {_figures(report)} | {report.prime_jobs:,} | "
                f"{report.prime_delayed:,} | {report.prime_delay_max_s:g} s | {took:.0f} s |"
            )


def _figures(report: Report) -> str:
    part = report.ready_share / report.ready_bound if report.ready_bound else 0.0
    return (
        f"{report.ready_bound:.4f} | {report.ready_share:.4f} | {part:.2%} | {report.warming_share:.4f} | "
        f"{report.pilots:,} | {report.evictions:,}"
    )


def _changed(report: Report) -> str:
    usual = Parameters().document()
    words = {"granularity_s": "walltimes in steps of {:g} s", "cycle_s": "cycle {:g} s", "boot_s": "boot {:g} s"}
    values = report.parameters
    found = [form.format(values[key]) for key, form in words.items() if values[key] != usual[key]]
    if report.seed != Parameters().seed:
        found.append(f"seed {report.seed}")
    return ", ".join(found)


def _parameters(usual: Parameters) -> str:
    lengths = ", ".join(f"{length / timedelta(minutes=1):g}" for length in usual.lengths)
    return (
        f"cycle {usual.cycle_s:g} s, boot {usual.boot_s:g} s, tick {usual.tick_s:g} s, lengths {lengths} min, "
        f"at most {usual.max_pending} pending, walltimes in steps of {usual.granularity_s:g} s, seed {usual.seed}"
    )


def _waiting(usual: Parameters) -> str:
    return (
        f"grace {usual.grace_s:g} s, pilots leave within {usual.leave_s:g} s, margin {usual.margin_s:g} s, "
        f"the scheduler acts {usual.sched_delay_s:g} s after a submission or an end"
    )


def _plain(title: str, name: str, report: Report, took: float) -> dict[str, Any]:
    return {**report.document(), "trace": title, "policy": name, "took_s": round(took, 2)}


def _put(text: str) -> None:
    """Write the table between the marks of the document."""
    before, _, rest = DOCUMENT.read_text().partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        sys.exit(f"{DOCUMENT} lacks the marks {BEGIN} and {END}")
    DOCUMENT.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")


if __name__ == "__main__":
    main()
