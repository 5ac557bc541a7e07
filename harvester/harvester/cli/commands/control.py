"""Commands of an admin to the daemon: `harvester pause` and `resume`, the kill switch; `harvester drain` and `undrain`.

Owns the wait for the daemon: what is printed is what the daemon does, not only what was requested.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from harvester.cli.render.drained import pilots_on
from harvester.cli.session import AsJson, connected, print_json
from harvester.domain.cluster import nodelist

if TYPE_CHECKING:
    from harvester.sdk.client import Client
    from harvester.sdk.payload.payloads import Document

Nodes = Annotated[str, typer.Option("--nodes", metavar="LIST", help="The nodes, for example n[1-4,7].")]

_PATIENCE_S = 10.0  # a daemon ticks every second or so; a slow scheduler delays it


def pause(
    ctx: typer.Context,
    reason: Annotated[str, typer.Option(help="Why, shown by `harvester status` and `harvester explain`.")] = "",
    as_json: AsJson = False,
) -> None:
    """Submit no more pilots until `harvester resume` (admins). Running pilots continue."""
    with connected(ctx) as client:
        said = client.pause(reason)
        if as_json:
            print_json(said)
            return
        daemon = _heard(client)
    if daemon.get("has_heard"):
        typer.echo("paused: no pilot is submitted until `harvester resume`; running pilots continue")
    else:
        typer.echo(f"the pause is recorded and starts at the daemon's next tick; {_silence(daemon)}")


def resume(ctx: typer.Context, as_json: AsJson = False) -> None:
    """End the pause, and all pauses after failures (admins)."""
    with connected(ctx) as client:
        said = client.resume()
        if as_json:
            print_json(said)
            return
        daemon = _heard(client)
    note = daemon.get("note") or {}
    if not daemon.get("has_heard"):
        typer.echo(f"the end of the pause is recorded and starts at the daemon's next tick; {_silence(daemon)}")
    elif note.get("paused"):
        typer.echo(f"the pause has ended, but the daemon is still paused: {note.get('reason')}")
    else:
        typer.echo("resumed: pilots are submitted again when work or settings require them")


def drain(ctx: typer.Context, nodes: Nodes = "", as_json: AsJson = False) -> None:
    """Make pilots leave nodes and keep out until `undrain` (admins). Without --nodes: list the drained nodes."""
    with connected(ctx) as client:
        if nodes:
            said = client.drain(nodes)
            if as_json:
                print_json(said)
                return
            daemon = _heard(client)
            if not daemon.get("has_heard"):
                typer.echo(f"the drain is recorded and starts at the daemon's next tick; {_silence(daemon)}")
        else:
            daemon = client.daemon()
        drained = tuple((daemon.get("control") or {}).get("drained") or ())
        there = pilots_on(drained, client.pilots())
    if as_json:
        print_json({"drained": drained, "pilots": {node: sorted(there[node]) for node in sorted(there)}})
        return
    typer.echo(f"drained: {nodelist.fold(drained)}" if drained else "no node is drained")
    for node in sorted(there):
        typer.echo(f"  {node} still has {', '.join(sorted(there[node]))}")


def undrain(ctx: typer.Context, nodes: Nodes, as_json: AsJson = False) -> None:
    """Let pilots use drained nodes again (admins)."""
    with connected(ctx) as client:
        said = client.undrain(nodes)
        if as_json:
            print_json(said)
            return
        daemon = _heard(client)
    drained = tuple((daemon.get("control") or {}).get("drained") or ())
    typer.echo(f"still drained: {nodelist.fold(drained)}" if drained else "no node is drained")
    if not daemon.get("has_heard"):
        typer.echo(f"the change is recorded and starts at the daemon's next tick; {_silence(daemon)}")


def _heard(client: Client) -> Document:
    """Return the daemon's status as soon as it has heard the command, or when `_PATIENCE_S` are over."""
    give_up_at = time.monotonic() + _PATIENCE_S
    while True:
        daemon = client.daemon()
        is_hopeless = not daemon.get("is_alive")
        if daemon.get("has_heard") or is_hopeless or time.monotonic() > give_up_at:
            return daemon
        time.sleep(0.2)


def _silence(daemon: Document) -> str:
    age_s = daemon.get("age_s")
    if age_s is None:
        return "it has not ticked yet"
    return f"its last tick was {age_s:.0f} s ago"
