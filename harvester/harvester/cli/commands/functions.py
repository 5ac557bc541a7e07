"""`harvester functions`: list, register, share and delete functions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harvester.cli.session import AsJson, connected, duration, print_json
from harvester.sdk.errors import HarvesterError

if TYPE_CHECKING:
    from harvester.sdk.payload.shipping import Shipment, Traits

Name = Annotated[str, typer.Argument(metavar="NAME", help="Your function; admins may name any, as OWNER/NAME.")]
Target = Annotated[
    str,
    typer.Argument(
        metavar="FILE.py:FUNCTION|MODULE:FUNCTION",
        help="The code: a function in a local file, or in a module that compute nodes can import.",
    ),
]
Walltime = Annotated[
    float | None, typer.Option(parser=duration, metavar="SECONDS", help="Longest duration of one run.")
]

app = typer.Typer(help="List the functions that you may call; register, share and delete your own.")


@app.callback(invoke_without_command=True)
def functions(ctx: typer.Context, as_json: AsJson = False) -> None:
    """List the functions that you may call; register, share and delete your own."""
    if ctx.invoked_subcommand is not None:
        return
    with connected(ctx) as client:
        items = client.functions()
    if as_json:
        print_json(items)
        return
    from rich.console import Console  # noqa: PLC0415 - rich's tables cost start-up time

    from harvester.cli.render import tables  # noqa: PLC0415 - as above

    Console().print(
        tables.functions(items)
        if items
        else "you have no functions, and none are shared with you; `harvester functions register` adds one"
    )


@app.command()
def register(  # noqa: PLR0917 - typer makes the options from the parameters
    ctx: typer.Context,
    target: Target,
    name: Annotated[
        str | None, typer.Option(help="Name of the registered function. Default: the function's own name.")
    ] = None,
    cpus: Annotated[int, typer.Option(min=1, help="CPUs for one run.")] = 1,
    gpus: Annotated[int, typer.Option(min=0, help="GPUs for one run.")] = 0,
    memory_mb: Annotated[int, typer.Option(min=0, help="Memory for one run, in MiB; 0: no limit is declared.")] = 0,
    walltime: Walltime = None,
    checkpoints: Annotated[
        bool, typer.Option("--checkpoints", help="The function saves checkpoints and resumes from them.")
    ] = False,
    max_retries: Annotated[
        int, typer.Option(min=0, help="How often a run is repeated after an exception of the function.")
    ] = 0,
    max_running: Annotated[
        int | None, typer.Option(min=1, help="Most runs at the same time, over all pilots and users.")
    ] = None,
    share: Annotated[bool, typer.Option("--share", help="Every user of the gateway may call it.")] = False,
    as_json: AsJson = False,
) -> None:
    """Register a function from a Python file, or from a module that compute nodes can import."""
    from harvester.domain.model.resources import Resources  # noqa: PLC0415 - as in functions
    from harvester.sdk.payload.shipping import Traits  # noqa: PLC0415 - cloudpickle costs start-up time

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
        if share:
            client.share(registration.full_name)
    print_json(registration) if as_json else typer.echo(
        f"{registration.full_name} is registered, version {registration.version}{', shared with all' if share else ''}"
    )


@app.command()
def share(ctx: typer.Context, name: Name, as_json: AsJson = False) -> None:
    """Share a function: every user of the gateway may call all its versions."""
    _share(ctx, name, "all", as_json)


@app.command()
def unshare(ctx: typer.Context, name: Name, as_json: AsJson = False) -> None:
    """Stop sharing a function: only its owner and admins may call it."""
    _share(ctx, name, "none", as_json)


def _share(ctx: typer.Context, name: str, with_whom: str, as_json: bool) -> None:
    with connected(ctx) as client:
        said = client.share(name, with_whom)
    how = "shared with all" if with_whom == "all" else "no longer shared"
    print_json(said) if as_json else typer.echo(f"{said['owner']}/{said['name']} is {how}")


@app.command()
def delete(
    ctx: typer.Context,
    name: Name,
    versions: Annotated[list[int] | None, typer.Argument(metavar="VERSION", help="The versions to delete.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Delete all versions.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete versions of a function that have no open invocation. Results stay."""
    if bool(versions) == every:
        raise HarvesterError(f"no version of {name} is named: give VERSION…, or --all for every version")
    gone = []
    with connected(ctx) as client:
        for version in versions or [each["version"] for each in client.function_versions(name)]:
            gone.append(client.delete_function(name, version))
            if not as_json:
                typer.echo(f"{gone[-1]['function_id']} is deleted")
    if as_json:
        print_json(gone)


def _shipment(target: str, traits: Traits) -> Shipment:
    from harvester.sdk.payload.shipping import from_reference, from_source  # noqa: PLC0415 - as in register

    where, _, entry = target.rpartition(":")
    if where.endswith(".py"):
        return from_source(Path(where), entry, traits)
    return from_reference(target, traits)
