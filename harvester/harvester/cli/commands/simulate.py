"""`harvester simulate`: what a policy would have harvested of a recorded cluster.

Owns the commands. The simulator is imported by the command that runs, so that `harvester --help` does not pay for it.
"""

from __future__ import annotations

from typing import Annotated

import typer

from harvester.cli.commands.simulate_options import (
    LENGTHS,
    Block,
    Boot,
    Cut,
    Cycle,
    Delay,
    DiesAt,
    File,
    Files,
    Functions,
    Grace,
    Grain,
    Lengths,
    Margin,
    Mode,
    Model,
    ModeName,
    Nodes,
    Orphan,
    Pending,
    Plot,
    PolicyName,
    Seed,
    StrictInput,
    Tick,
    TimeMin,
)
from harvester.cli.session import AsJson

app = typer.Typer(help="Simulate what a policy would have harvested on a recorded cluster.", no_args_is_help=True)


@app.command(name="idle-log")
def idle_log(  # noqa: PLR0917 - typer makes the options from the parameters
    file: File,
    policy: PolicyName,
    from_: Annotated[
        str | None, typer.Option("--from", metavar="T", help="First moment: Unix seconds, or an ISO time.")
    ] = None,
    to: Annotated[str | None, typer.Option("--to", metavar="T", help="End: the first moment that is left out.")] = None,
    lengths: Lengths = LENGTHS,
    model: Annotated[Model, typer.Option(help="published: the clairvoyant model of HPC-Whisk.")] = Model.DAEMON,
    foresight: Annotated[float, typer.Option(help="Share of gap ends (0..1) that the scheduler's plan knows.")] = 0.0,
    nodes: Annotated[int | None, typer.Option(help="Nodes of the cluster. Default: as in the log.")] = None,
    cycle: Cycle = 10.0,
    boot: Boot = 12.5,
    tick: Tick = 2.0,
    grain: Grain = 1.0,
    max_pending: Pending = 200,
    time_min: Cut = TimeMin.MINIMUM,
    seed: Seed = 1,
    functions: Functions = None,
    plot: Plot = None,
    strict_input: StrictInput = False,
    as_json: AsJson = False,
) -> None:
    """Simulate pilots on a log of idle nodes."""
    from harvester.cli.commands import simulation  # noqa: PLC0415 - `harvester --help` must not pay for the simulator

    with simulation.clear_errors():
        parameters = simulation.parameters(
            lengths, time_min, nodes=nodes, foresight=foresight, cycle_s=cycle, boot_s=boot, tick_s=tick,
            granularity_s=grain, max_pending=max_pending, seed=seed,
        )  # fmt: skip
        log = simulation.read_idle_log(file, from_, to, strict=strict_input)
        reports = simulation.on_idle_log(log, policy, parameters, is_published=model is Model.PUBLISHED)
        simulation.tell(reports, as_json=as_json, functions=functions, plot=plot)


@app.command()
def swf(  # noqa: PLR0917 - typer makes the options from the parameters
    file: File,
    nodes: Nodes,
    policy: PolicyName = "gap",
    mode: ModeName = Mode.PREEMPTIBLE,
    lengths: Lengths = LENGTHS,
    procs_per_node: Annotated[int, typer.Option(help="Processors of the trace that make a node.")] = 1,
    cycle: Cycle = 10.0,
    boot: Boot = 12.5,
    tick: Tick = 2.0,
    grain: Grain = 1.0,
    sched_delay: Delay = 3.0,
    grace: Grace = 60.0,
    margin: Margin = 60.0,
    daemon_dies_at: DiesAt = None,
    orphan: Orphan = 30.0,
    max_pending: Pending = 200,
    time_min: Cut = TimeMin.MINIMUM,
    block: Block = None,
    seed: Seed = 1,
    functions: Functions = None,
    plot: Plot = None,
    strict_input: StrictInput = False,
    as_json: AsJson = False,
) -> None:
    """Simulate a cluster under a trace in the Standard Workload Format, and pilots in what it leaves idle."""
    from harvester.cli.commands import simulation  # noqa: PLC0415 - `harvester --help` must not pay for the simulator

    with simulation.clear_errors():
        parameters = simulation.parameters(
            lengths, time_min, mode, nodes=nodes, cycle_s=cycle, boot_s=boot, tick_s=tick, granularity_s=grain,
            sched_delay_s=sched_delay, grace_s=grace, margin_s=margin, max_pending=max_pending, block=block, seed=seed,
            daemon_dies_at=daemon_dies_at, orphan_s=orphan or None,
        )  # fmt: skip
        trace = simulation.read_swf(file, procs_per_node=procs_per_node, strict=strict_input)
        reports = simulation.on_cluster(trace.on(nodes, strict=strict_input), policy, parameters, mode)
        simulation.tell(reports, as_json=as_json, functions=functions, plot=plot)


@app.command()
def sacct(  # noqa: PLR0917 - typer makes the options from the parameters
    file: File,
    nodes: Nodes,
    policy: PolicyName = "gap",
    mode: ModeName = Mode.PREEMPTIBLE,
    lengths: Lengths = LENGTHS,
    partition: Annotated[
        list[str] | None, typer.Option(help="Only batch jobs of this partition; may be repeated.")
    ] = None,
    cycle: Cycle = 10.0,
    boot: Boot = 12.5,
    tick: Tick = 2.0,
    grain: Grain = 60.0,
    sched_delay: Delay = 3.0,
    grace: Grace = 60.0,
    margin: Margin = 60.0,
    daemon_dies_at: DiesAt = None,
    orphan: Orphan = 30.0,
    max_pending: Pending = 200,
    time_min: Cut = TimeMin.MINIMUM,
    block: Block = None,
    seed: Seed = 1,
    functions: Functions = None,
    plot: Plot = None,
    strict_input: StrictInput = False,
    as_json: AsJson = False,
) -> None:
    """Simulate a cluster under a `sacct --parsable2` dump, and pilots in what it leaves idle."""
    from harvester.cli.commands import simulation  # noqa: PLC0415 - `harvester --help` must not pay for the simulator

    with simulation.clear_errors():
        parameters = simulation.parameters(
            lengths, time_min, mode, nodes=nodes, cycle_s=cycle, boot_s=boot, tick_s=tick, granularity_s=grain,
            sched_delay_s=sched_delay, grace_s=grace, margin_s=margin, max_pending=max_pending, block=block, seed=seed,
            daemon_dies_at=daemon_dies_at, orphan_s=orphan or None,
        )  # fmt: skip
        trace = simulation.read_sacct(file, partition or [], strict=strict_input)
        reports = simulation.on_cluster(trace.on(nodes, strict=strict_input), policy, parameters, mode)
        simulation.tell(reports, as_json=as_json, functions=functions, plot=plot)


@app.command()
def pbs(  # noqa: PLR0917 - typer makes the options from the parameters
    files: Files,
    nodes: Annotated[int | None, typer.Option(help="Nodes of the cluster. Default: those that the log names.")] = None,
    policy: PolicyName = "gap",
    mode: ModeName = Mode.PREEMPTIBLE,
    lengths: Lengths = LENGTHS,
    queue: Annotated[list[str] | None, typer.Option(help="Only batch jobs of this queue; may be repeated.")] = None,
    cycle: Cycle = 10.0,
    boot: Boot = 12.5,
    tick: Tick = 2.0,
    grain: Grain = 1.0,
    sched_delay: Delay = 3.0,
    grace: Grace = 60.0,
    margin: Margin = 60.0,
    daemon_dies_at: DiesAt = None,
    orphan: Orphan = 30.0,
    max_pending: Pending = 200,
    time_min: Cut = TimeMin.MINIMUM,
    block: Block = None,
    seed: Seed = 1,
    functions: Functions = None,
    plot: Plot = None,
    strict_input: StrictInput = False,
    as_json: AsJson = False,
) -> None:
    """Simulate a cluster under the accounting logs of a PBS server, and pilots in what it leaves idle."""
    from harvester.cli.commands import simulation  # noqa: PLC0415 - `harvester --help` must not pay for the simulator

    with simulation.clear_errors():
        trace, count = simulation.read_pbs(files, queue or [], nodes, strict=strict_input)
        parameters = simulation.parameters(
            lengths, time_min, mode, nodes=count, cycle_s=cycle, boot_s=boot, tick_s=tick, granularity_s=grain,
            sched_delay_s=sched_delay, grace_s=grace, margin_s=margin, max_pending=max_pending, block=block, seed=seed,
            daemon_dies_at=daemon_dies_at, orphan_s=orphan or None,
        )  # fmt: skip
        reports = simulation.on_cluster(trace, policy, parameters, mode)
        simulation.tell(reports, as_json=as_json, functions=functions, plot=plot)
