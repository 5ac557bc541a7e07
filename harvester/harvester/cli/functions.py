"""`harvester functions`: list the registered functions, register another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harvester.cli.session import AsJson, connected, duration, print_json

if TYPE_CHECKING:
    from harvester.sdk.shipping import Shipment, Traits

app = typer.Typer(help="List the registered functions, or register one.")


@app.callback(invoke_without_command=True)
def functions(ctx: typer.Context, as_json: AsJson = False) -> None:
    """List the registered functions, or register one."""
    if ctx.invoked_subcommand is not None:
        return
    with connected(ctx) as client:
        items = client.functions()
    if as_json:
        print_json(items)
        return
    from rich.console import Console  # noqa: PLC0415 - rich's tables cost start-up time

    from harvester.cli import render  # noqa: PLC0415 - as above

    Console().print(render.functions(items) if items else "no functions are registered")


@app.command()
def register(  # noqa: PLR0917 - typer makes the options from the parameters
    ctx: typer.Context,
    target: Annotated[
        str,
        typer.Argument(
            metavar="FILE.py:FUNCTION|MODULE:FUNCTION",
            help="The code: a file of yours, or a module of the compute node.",
        ),
    ],
    name: Annotated[str | None, typer.Option(help="Its name; the function's own unless given.")] = None,
    cpus: Annotated[int, typer.Option(min=1, help="Cores for one run.")] = 1,
    gpus: Annotated[int, typer.Option(min=0, help="GPUs for one run.")] = 0,
    memory_mb: Annotated[int, typer.Option(min=0, help="MiB for one run.")] = 0,
    walltime: Annotated[
        float | None, typer.Option(parser=duration, metavar="SECONDS", help="Upper bound of one run.")
    ] = None,
    checkpoints: Annotated[bool, typer.Option("--checkpoints", help="It resumes from its checkpoints.")] = False,
    max_retries: Annotated[int, typer.Option(min=0, help="Runs after an exception of its own.")] = 0,
    max_running: Annotated[int | None, typer.Option(min=1, help="Runs at a time, over all pilots and users.")] = None,
    as_json: AsJson = False,
) -> None:
    """Register a function from a Python file, or one that the compute node can import."""
    from harvester.domain.resources import Resources  # noqa: PLC0415 - as in functions
    from harvester.sdk.shipping import Traits  # noqa: PLC0415 - cloudpickle costs start-up time

    traits = Traits(
        name=name or target.rpartition(":")[2].rpartition(".")[2],
        resources=Resources(cpus=cpus, gpus=gpus, memory_mb=memory_mb),
        walltime_s=walltime,
        checkpoints=checkpoints,
        max_retries=max_retries,
        max_running=max_running,
    )
    with connected(ctx) as client:
        registration = client.register(_shipment(target, traits))
    print_json(registration) if as_json else typer.echo(
        f"{registration.name} is registered, version {registration.version}"
    )


def _shipment(target: str, traits: Traits) -> Shipment:
    from harvester.sdk.shipping import from_reference, from_source  # noqa: PLC0415 - as in register

    where, _, entry = target.rpartition(":")
    if where.endswith(".py"):
        return from_source(Path(where), entry, traits)
    return from_reference(target, traits)
