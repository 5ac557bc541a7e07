"""What the commands of `harvester simulate` do: read, run with a progress bar, tell. Knows no option of theirs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import typer
from msgspec.structs import replace
from rich.console import Console
from rich.progress import Progress as Bars
from rich.progress import TaskID

from harvester.cli import plugins
from harvester.cli.commands.simulate_options import Mode, TimeMin
from harvester.cli.render import simulations
from harvester.cli.session import print_json
from harvester.domain.harvest import policies
from harvester.domain.harvest.planning import HarvestMode, Policy, PolicyError
from harvester.simulator.errors import SimulationError
from harvester.simulator.inputs import idle_log, pbs, sacct, swf
from harvester.simulator.inputs.idle_log import IdleLog
from harvester.simulator.inputs.jobs import JobTrace
from harvester.simulator.inputs.trace_file import Skipped
from harvester.simulator.model import workload
from harvester.simulator.model.cluster_model import simulate_jobs
from harvester.simulator.model.daemon_model import simulate_idle_log
from harvester.simulator.model.overlay import Progress
from harvester.simulator.model.published import simulate_published
from harvester.simulator.parameters import Parameters
from harvester.simulator.parameters import TimeMin as Cut
from harvester.simulator.report import plots
from harvester.simulator.report.report import Report

_Run = Callable[[str, Policy, Progress | None], Report]


@contextmanager
def clear_errors() -> Iterator[None]:
    """End the command with one line where its input or its parameters are to blame."""
    try:
        yield
    except (SimulationError, PolicyError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None


def parameters(
    lengths: str,
    time_min: TimeMin,
    mode: Mode = Mode.PREEMPTIBLE,
    **numbers: Any,  # noqa: ANN401 - the commands hand on their own options by name
) -> Parameters:
    """Return the parameters that the options name. Raises `SimulationError`."""
    try:
        minutes = tuple(timedelta(minutes=float(word)) for word in lengths.split(",") if word.strip())
    except (ValueError, OverflowError):
        raise SimulationError(f"--lengths {lengths!r} is not a list of minutes; write for example 2,4,8") from None
    return Parameters(
        lengths=minutes,
        time_min=Cut(time_min.value),
        mode=HarvestMode.PREEMPTIBLE if mode is Mode.OFF else HarvestMode(mode.value),
        **numbers,
    )


# ---- reading


def read_idle_log(file: Path, from_: str | None, to: str | None, *, strict: bool) -> IdleLog:
    """Read an idle log, and cut it to a time. Raises `SimulationError`."""
    begin, end = _instant("--from", from_), _instant("--to", to)
    log = idle_log.read(file, strict=strict)
    _warn(log.skipped)
    return log.between(begin, end)


def read_swf(file: Path, *, procs_per_node: int, strict: bool) -> JobTrace:
    """Read a trace in the Standard Workload Format. Raises `SimulationError`."""
    return swf.read(file, strict=strict, procs_per_node=procs_per_node)


def read_sacct(file: Path, partitions: Sequence[str], *, strict: bool) -> JobTrace:
    """Read a dump of sacct. Raises `SimulationError`."""
    return sacct.read(file, strict=strict, partitions=frozenset(partitions))


def read_pbs(files: Sequence[Path], queues: Sequence[str], nodes: int | None, *, strict: bool) -> tuple[JobTrace, int]:
    """Read accounting logs of PBS, and return them with the number of nodes. Raises `SimulationError`."""
    trace = pbs.read(files, strict=strict, queues=frozenset(queues))
    found = trace.named_nodes if nodes is None else nodes
    if not found:
        raise SimulationError(f"{trace.source} names no nodes: give --nodes")
    return trace.on(found, strict=strict), found


def _instant(option: str, text: str | None) -> float | None:
    if text is None:
        return None
    try:
        return float(text)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise SimulationError(f"{option} {text!r} is neither Unix seconds nor a time like 2022-03-17T00:00") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _warn(skipped: Skipped) -> None:
    if skipped.count:
        typer.echo(f"warning: {skipped}", err=True)


# ---- running


def on_idle_log(log: IdleLog, names: str, parameters: Parameters, *, is_published: bool) -> list[Report]:
    """Run policies on an idle log. Raises `SimulationError`."""
    chosen = _policies(names)
    if is_published:
        if list(chosen) != ["fib"]:
            raise SimulationError(
                "--model published is HPC-Whisk's own model of fib: use --policy fib, or --model daemon"
            )
        return [simulate_published(log, parameters.lengths, nodes=parameters.nodes)]

    def run(name: str, policy: Policy, progress: Progress | None) -> Report:
        return simulate_idle_log(log, policy, parameters, name=name, progress=progress)

    return _each(chosen, run)


def on_cluster(trace: JobTrace, names: str, parameters: Parameters, mode: Mode) -> list[Report]:
    """Run policies on a cluster under a trace. Raises `SimulationError`."""
    chosen = _policies(names)
    _warn(trace.skipped)
    if mode is Mode.OFF:
        return [simulate_jobs(trace, None, parameters)]

    def run(name: str, policy: Policy, progress: Progress | None) -> Report:
        return simulate_jobs(trace, policy, parameters, name=name, progress=progress)

    return _each(chosen, run)


def _policies(names: str) -> dict[str, Policy]:
    try:
        plugins.offer_policies()
        return {name: policies.by_name(name) for name in (word.strip() for word in names.split(","))}
    except ValueError as error:
        raise SimulationError(str(error)) from None


def _each(chosen: Mapping[str, Policy], run: _Run) -> list[Report]:
    """Run every policy, with a progress bar on a terminal."""
    if not sys.stderr.isatty():
        return [run(name, policy, None) for name, policy in chosen.items()]
    reports = []
    with Bars(console=Console(stderr=True), transient=True) as bars:
        for name, policy in chosen.items():
            bar = bars.add_task(f"simulating {name}", total=1.0)
            reports.append(run(name, policy, partial(_advance, bars, bar)))
    return reports


def _advance(bars: Bars, bar: TaskID, share: float) -> None:
    bars.update(bar, completed=share)


# ---- telling


def tell(reports: list[Report], *, as_json: bool, functions: Path | None, plot: Path | None) -> None:
    """Print the reports, as JSON (an object; several policies make a list) or as tables, and write the plots."""
    if functions is not None:
        reports = [_with_functions(report, functions) for report in reports]
    if plot is not None:
        plots.write(reports, plot)
    if as_json:
        documents = [report.document() for report in reports]
        print_json(documents[0] if len(documents) == 1 else documents)
        return
    console = Console()
    for table in simulations.tables(reports):
        console.print(table)


def _with_functions(report: Report, path: Path) -> Report:
    history = report.history
    if history is None:
        raise SimulationError("--functions needs pilots that start and end: the published model has none; use daemon")
    figures = workload.run(
        workload.read(path),
        history.intervals,
        from_at=report.from_at,
        to_at=report.to_at,
        seed=report.seed or 0,
        block=history.block,
    )
    return replace(report, functions=figures)
