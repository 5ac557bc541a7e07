"""Commands of a user: show the system, invoke functions, wait for results, cancel."""

from __future__ import annotations

import time
from typing import Annotated, Any

import msgspec
import typer

from harvester.cli.session import AsJson, awaited, connected, duration, patience, print_json
from harvester.domain.model.invocations import InvocationState
from harvester.domain.payload.decoding import UNREADABLE
from harvester.sdk.errors import HarvesterError

InvocationId = Annotated[str, typer.Argument(metavar="ID", help="Id of the invocation.")]


def status(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Show the gateway, the daemon, the pilots, the waiting work and the nodes."""
    with connected(ctx) as client:
        said: dict[str, Any] = {
            "gateway": client.url,
            "user": client.whoami().get("name"),
            "pilots": client.pilots(),
            "cluster": client.cluster(),
            "daemon": client.daemon(),
        }
    if as_json:
        print_json(said)
        return
    from harvester.cli.render import tables  # noqa: PLC0415 - rich's tables cost start-up time

    for part in tables.status(said):
        _console().print(part)


def whoami(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Show whose token this is, its role, and the gateway."""
    with connected(ctx) as client:
        said = {**client.whoami(), "url": client.url}
    if as_json:
        print_json(said)
        return
    typer.echo(
        f"{said.get('name')} ({said.get('role')}) at {said['url']}, harvester {said.get('version') or 'unknown'}"
    )


def invoke(  # noqa: PLR0917 - typer makes the options from the parameters
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="Your function, or a shared one; OWNER/NAME is its full name.")],
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="JSON…", help="Positional arguments, each as JSON.")
    ] = None,
    kwargs: Annotated[str, typer.Option(metavar="JSON", help="Keyword arguments, as a JSON object.")] = "{}",
    version: Annotated[int | None, typer.Option(help="Version of the function. Default: the newest.")] = None,
    wait: Annotated[bool, typer.Option(help="Wait for the result, or only print the invocation's id.")] = True,
    timeout: Annotated[
        float | None, typer.Option(parser=patience, metavar="SECONDS", help="Longest wait for the result.")
    ] = None,
    priority: Annotated[
        int | None,
        typer.Option(min=-1000, max=1000, help="Order among your waiting invocations: higher first. Default: 0."),
    ] = None,
    ttl: Annotated[
        float | None,
        typer.Option(parser=duration, metavar="SECONDS", help="Expires if not begun after this time."),
    ] = None,
    deadline: Annotated[
        float | None,
        typer.Option(parser=duration, metavar="SECONDS", help="Expires if not ended after this time."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Invoke a function and print its result."""
    args = [_json(text, f"argument {number}") for number, text in enumerate(arguments or (), 1)]
    named = _json(kwargs, "--kwargs")
    if not isinstance(named, dict):
        raise HarvesterError(f"""--kwargs must be a JSON object, such as {{"n": 3}}, not {kwargs}""")
    with connected(ctx) as client:
        invocation_id = client.start(name, args, named, version=version, priority=priority, ttl=ttl, deadline=deadline)
        if not wait:
            print_json({"invocation_id": invocation_id}) if as_json else typer.echo(invocation_id)
            return
        value = awaited(client, invocation_id, timeout)
    print_json({"invocation_id": invocation_id, "result": value} if as_json else value)


def invocations(
    ctx: typer.Context,
    state: Annotated[InvocationState | None, typer.Option(help="Only invocations in this state.")] = None,
    function: Annotated[str | None, typer.Option(help="Only invocations of this function.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many to list at most.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List your invocations, newest first; an admin sees those of all users."""
    with connected(ctx) as client:
        items = client.invocations(state=state, function=function, limit=limit)
    if as_json:
        print_json(items)
        return
    from harvester.cli.render import tables  # noqa: PLC0415 - as in status

    _console().print(tables.invocations(items, time.time()) if items else "no invocations")


def result(
    ctx: typer.Context,
    invocation_id: InvocationId,
    timeout: Annotated[
        float | None, typer.Option(parser=patience, metavar="SECONDS", help="Longest wait for the result.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Wait for an invocation and print its result."""
    with connected(ctx) as client:
        value = awaited(client, invocation_id, timeout)
    try:
        print_json({"invocation_id": invocation_id, "result": value} if as_json else value)
    except (TypeError, ValueError) as error:
        if as_json:
            raise HarvesterError(
                f"the result cannot be written as JSON ({error}): leave --json out, or use the SDK"
            ) from error
        typer.echo(repr(value))


def cancel(ctx: typer.Context, invocation_id: InvocationId, as_json: AsJson = False) -> None:
    """Cancel an invocation. If it runs, it is stopped."""
    with connected(ctx) as client:
        document = client.cancel(invocation_id)
    if as_json:
        print_json(document)
        return
    state = document.get("state")
    had_ended = state in {InvocationState.SUCCEEDED, InvocationState.FAILED, InvocationState.EXPIRED}
    typer.echo(f"{invocation_id} had already ended: {state}" if had_ended else f"{invocation_id} is {state}")


def explain(ctx: typer.Context, invocation_id: InvocationId, as_json: AsJson = False) -> None:
    """Explain why an invocation waits, and why there is no pilot for it."""
    with connected(ctx) as client:
        said = client.explain(invocation_id)
    if as_json:
        print_json(said)
        return
    typer.echo(f"{invocation_id}: {said.get('summary')}")
    for detail in said.get("details") or ():
        typer.echo(f"  {detail}")


def pilots(
    ctx: typer.Context,
    every: Annotated[bool, typer.Option("--all", help="Also list pilots that have ended.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the pilots."""
    with connected(ctx) as client:
        items = client.pilots(all=every)
    if as_json:
        print_json(items)
        return
    from harvester.cli.render import tables  # noqa: PLC0415 - as in status

    _console().print(tables.pilots(items, time.time()) if items else "no pilots; `harvester status` shows why")


def evict(
    ctx: typer.Context,
    pilot: Annotated[str, typer.Argument(metavar="PILOT", help="Id of the pilot, or its last characters.")],
    as_json: AsJson = False,
) -> None:
    """Ask a pilot to hand over its work and leave (admins)."""
    with connected(ctx) as client:
        alive = [str(each["pilot_id"]) for each in client.pilots() if str(each["pilot_id"]).endswith(pilot)]
        if len(alive) > 1:
            raise HarvesterError(
                f"{len(alive)} pilots have an id that ends in {pilot}: {', '.join(alive)}; give more characters"
            )
        pilot_id = alive[0] if alive else pilot  # the gateway says what is wrong with one that is not alive
        said = client.evict(pilot_id)
    print_json(said) if as_json else typer.echo(f"{pilot_id} was asked to leave")


def _json(text: str, where: str) -> Any:  # noqa: ANN401 - any JSON value
    try:
        return msgspec.json.decode(text)
    except UNREADABLE as error:
        raise HarvesterError(
            f"""{where} is not valid JSON: {text} ({error}); a text needs quotes: '"text"'"""
        ) from error


def _console() -> Any:  # noqa: ANN401 - rich is imported here only
    from rich.console import Console  # noqa: PLC0415 - as in status

    return Console(soft_wrap=False)
