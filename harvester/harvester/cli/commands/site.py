"""`harvester check` and `harvester init`: their options. What they do is in `harvester.cli.site`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harvester.cli.extras import needing
from harvester.cli.options import Scheduler
from harvester.cli.session import AsJson, duration, pair
from harvester.cli.site.options import CheckOptions, InitOptions

_HERE = "The scheduler; default: the one whose commands are here."


def check(  # noqa: PLR0917 - typer makes the options from the parameters
    config: Annotated[Path | None, typer.Option(help="The configuration file (TOML) that `up` is to have.")] = None,
    scheduler: Annotated[Scheduler | None, typer.Option(help=_HERE)] = None,
    probe: Annotated[
        bool, typer.Option("--probe", help="Submit a small batch job that looks at a compute node, and wait for it.")
    ] = False,
    wait: Annotated[
        float, typer.Option(parser=duration, metavar="SECONDS", help="How long to wait for each probe.")
    ] = 120.0,
    partition: Annotated[str | None, typer.Option(help="Partition to which pilots are to be submitted.")] = None,
    state: Annotated[Path | None, typer.Option(help="State folder that `up` is to have.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port that the gateway is to have.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any setting of the configuration file; may be repeated."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Tell whether this site is fit for pilots, and what to do where it is not."""
    options = CheckOptions(
        config=config,
        scheduler=scheduler,
        partition=partition,
        state=state,
        port=port,
        settings=tuple(pair(text) for text in settings or ()),
        probe=probe,
        wait_s=wait,
        as_json=as_json,
    )
    with needing("gateway", "daemon", "worker", "slurm"):
        from harvester.cli.site.check import run_check  # noqa: PLC0415 - it needs more than a user's laptop has

        code = run_check(options)
    raise typer.Exit(code)


def init(
    scheduler: Annotated[Scheduler | None, typer.Option(help=_HERE)] = None,
    output: Annotated[Path, typer.Option(help="The file to write; -: print it.")] = Path("harvester.toml"),
    partition: Annotated[str | None, typer.Option(help="Partition that pilots are to use.")] = None,
    state: Annotated[Path | None, typer.Option(help="State folder: a folder that compute nodes see too.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
) -> None:
    """Write a configuration for this site, with comments."""
    options = InitOptions(scheduler=scheduler, output=output, partition=partition, state=state, force=force)
    with needing("daemon", "slurm"):
        from harvester.cli.site.init import run_init  # noqa: PLC0415 - as in `check`

        code = run_init(options)
    raise typer.Exit(code)
