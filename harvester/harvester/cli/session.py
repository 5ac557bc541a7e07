"""What all commands share: the connection of the global options, durations, and JSON on stdout."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from harvester.sdk.errors import HarvesterError

if TYPE_CHECKING:
    from harvester.sdk.client import Client

PATIENCE_S = 2.0  # a user waits at a terminal
INTERRUPTED = 130  # the exit code after Ctrl-C, as shells have it
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class GlobalOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The global options."""

    url: str | None
    token: str | None


@contextmanager
def connected(ctx: typer.Context) -> Iterator[Client]:
    """Open a client for one command."""
    from harvester.sdk.client import Client  # noqa: PLC0415 - `harvester --help` must not pay for an HTTP client

    connection: GlobalOptions = ctx.obj
    with Client(connection.url, connection.token, patience_s=PATIENCE_S) as client:
        yield client


def awaited(client: Client, invocation_id: str, timeout: float | None) -> Any:  # noqa: ANN401 - any result
    """Return an invocation's result. Ctrl-C leaves it running, and prints its id and the commands for it."""
    try:
        return client.result(invocation_id, timeout)
    except KeyboardInterrupt:
        typer.echo(
            f"invocation {invocation_id} continues: `harvester result {invocation_id}` waits for it, "
            f"`harvester cancel {invocation_id}` stops it",
            err=True,
        )
        raise typer.Exit(INTERRUPTED) from None


def duration(text: str) -> float:
    """Return a duration in seconds, more than 0. Raises `typer.BadParameter`, which names the option."""
    return _seconds(text, math.ulp(0.0), "more than 0, ")


def patience(text: str) -> float:
    """Return a duration in seconds; 0: do not wait. Raises `typer.BadParameter`."""
    return _seconds(text, 0.0, "")


def _seconds(text: str, least: float, bounds: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not least <= found < math.inf:
        raise typer.BadParameter(f"{text!r} is not a duration: write seconds, {bounds}for example 600")
    return found


def pair(text: str) -> tuple[str, str]:
    """Return the key and the value of a `--set KEY=VALUE`. Raises `HarvesterError`."""
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise HarvesterError(f"--set {text}: there is no KEY=VALUE in it; write for example --set harvest.ready=2")
    return key.strip(), value.strip()


def print_json(value: Any) -> None:  # noqa: ANN401 - whatever JSON can hold
    """Print a value as indented JSON."""
    typer.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())
