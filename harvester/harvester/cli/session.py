"""What the commands share: the connection that the global options describe, and JSON on stdout."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

if TYPE_CHECKING:
    from harvester.sdk.client import Client

PATIENCE_S = 2.0  # somebody waits at a terminal
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


class Connection(msgspec.Struct, frozen=True, kw_only=True):
    """The global options."""

    url: str | None
    token: str | None


@contextmanager
def connected(ctx: typer.Context) -> Iterator[Client]:
    """Open a client for one command."""
    from harvester.sdk.client import Client  # noqa: PLC0415 - `harvester --help` must not pay for an HTTP client

    connection: Connection = ctx.obj
    with Client(connection.url, connection.token, patience_s=PATIENCE_S) as client:
        yield client


def print_json(value: Any) -> None:  # noqa: ANN401 - whatever JSON can hold
    """Print a value as indented JSON."""
    typer.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())
