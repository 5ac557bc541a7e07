"""`harvester up` and `harvester demo`: their options.

What they do is in `harvester.cli.up.up` and `harvester.cli.commands.demo`, imported when they run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harvester.cli.extras import needing
from harvester.cli.options import DemoOptions, DemoScheduler, Scheduler, UpOptions
from harvester.cli.session import AsJson, pair


def up(  # noqa: PLR0917 - typer makes the options from the parameters
    config: Annotated[Path | None, typer.Option(help="The configuration file (TOML).")] = None,
    scheduler: Annotated[Scheduler | None, typer.Option(help="The scheduler whose nodes are harvested.")] = None,
    nodes: Annotated[int | None, typer.Option(min=1, help="local: number of emulated nodes.")] = None,
    cpus: Annotated[int | None, typer.Option(min=1, help="local: CPUs of each node.")] = None,
    gpus: Annotated[int | None, typer.Option(min=0, help="local: GPUs of each node.")] = None,
    state: Annotated[Path | None, typer.Option(help="State folder: everything that must survive a restart.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port to listen on; 0: any free port.")] = None,
    partition: Annotated[str | None, typer.Option(help="Partition to which pilots are submitted.")] = None,
    ready: Annotated[int | None, typer.Option(min=0, help="Pilots kept ready without work.")] = None,
    max_pilots: Annotated[int | None, typer.Option(min=0, help="Most pilots at the same time.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any setting of the configuration file; may be repeated."),
    ] = None,
) -> None:
    """Run gateway and daemon in the foreground, until Ctrl-C."""
    options = UpOptions(
        config=config,
        scheduler=scheduler,
        nodes=nodes,
        cpus=cpus,
        gpus=gpus,
        state=state,
        host=host,
        port=port,
        partition=partition,
        ready=ready,
        max_pilots=max_pilots,
        settings=tuple(pair(text) for text in settings or ()),
    )
    with needing("gateway", "daemon", "worker", "slurm"):
        from harvester.cli.up.up import run_up  # noqa: PLC0415 - it needs more than a user's laptop has

        code = run_up(options)
    raise typer.Exit(code)


def demo(
    scheduler: Annotated[
        DemoScheduler, typer.Option(help="Where it runs; auto: the Slurm or PBS that answers here, else local.")
    ] = DemoScheduler.AUTO,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the system running afterwards.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show the whole system at work: register, invoke, evict, resume, result."""
    options = DemoOptions(scheduler=scheduler, keep=keep, as_json=as_json)
    with needing("all"):
        from harvester.cli.commands.demo import run_demo  # noqa: PLC0415 - as in `up`

        code = run_demo(options)
    raise typer.Exit(code)
