"""`harvester up` and `harvester demo`: their options.

What they do is in `cli.up` and `cli.demo`, which are imported when they run.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Annotated, Any

import typer

from harvester.cli.options import DemoOptions, DemoScheduler, Scheduler, UpOptions
from harvester.cli.session import AsJson
from harvester.sdk.errors import HarvesterError


def up(  # noqa: PLR0917 - typer makes the options from the parameters
    config: Annotated[Path | None, typer.Option(help="The config file (TOML).")] = None,
    scheduler: Annotated[Scheduler | None, typer.Option(help="Whose nodes are harvested.")] = None,
    nodes: Annotated[int | None, typer.Option(min=1, help="local: emulated nodes.")] = None,
    cpus: Annotated[int | None, typer.Option(min=1, help="local: CPUs of each node.")] = None,
    gpus: Annotated[int | None, typer.Option(min=0, help="local: GPUs of each node.")] = None,
    state: Annotated[Path | None, typer.Option(help="Folder for what must survive a restart.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen at.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port to listen at; 0 takes a free one.")] = None,
    partition: Annotated[str | None, typer.Option(help="Partition of the pilots.")] = None,
    ready: Annotated[int | None, typer.Option(min=0, help="Pilots kept ready beyond the waiting work.")] = None,
    max_pilots: Annotated[int | None, typer.Option(min=0, help="Pilots at most.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any setting of the config file; may be repeated."),
    ] = None,
) -> None:
    """Start gateway and daemon in the foreground, until Ctrl-C."""
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
        settings=tuple(_pair(text) for text in settings or ()),
    )
    raise typer.Exit(int(_load("harvester.cli.up").run_up(options)))


def demo(
    scheduler: Annotated[DemoScheduler, typer.Option(help="Where it runs.")] = DemoScheduler.AUTO,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the system running afterwards.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show the whole story: register, invoke, evict, resume, result."""
    options = DemoOptions(scheduler=scheduler, keep=keep, as_json=as_json)
    raise typer.Exit(int(_load("harvester.cli.demo").run_demo(options)))


def _load(module: str) -> Any:  # noqa: ANN401 - a module whose functions are called by name
    """Import what starts processes, which needs more than a user's laptop has."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise HarvesterError(
            f"{error.name} is not installed here: "
            "pip install 'hpc-harvester[all]' brings what a gateway and a daemon need"
        ) from error


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise HarvesterError(f"--set {text}: write KEY=VALUE")
    return key.strip(), value.strip()
