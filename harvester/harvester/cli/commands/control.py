"""What an admin tells the daemon: `harvester pause` and `resume`, the kill switch; `harvester drain` and `undrain`.

Owns the wait for the daemon, so that what is printed is what the daemon does, and not only what it was told.
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

Nodes = Annotated[str, typer.Option("--nodes", metavar="LIST", help="Nodes, such as n[1-4,7].")]

_PATIENCE_S = 10.0  # a daemon ticks every second or two; a slow scheduler makes it slower


def pause(
    ctx: typer.Context,
    reason: Annotated[str, typer.Option(help="A sentence for whoever asks why nothing is submitted.")] = "",
    as_json: AsJson = False,
) -> None:
    """Submit no more pilots until `harvester resume` (admins). Those that live go on."""
    with connected(ctx) as client:
        said = client.pause(reason)
        if as_json:
            print_json(said)
            return
        daemon = _heard(client)
    if daemon.get("has_heard"):
        typer.echo("paused: no pilot is submitted until `harvester resume`; pilots that live go on")
    else:
        typer.echo(f"the pause is noted, and holds from the daemon's next look; {_silence(daemon)}")


def resume(ctx: typer.Context, as_json: AsJson = False) -> None:
    """End the pause, and every one after failures (admins)."""
    with connected(ctx) as client:
        said = client.resume()
        if as_json:
            print_json(said)
            return
        daemon = _heard(client)
    note = daemon.get("note") or {}
    if not daemon.get("has_heard"):
        typer.echo(f"the pause is taken back, from the daemon's next look on; {_silence(daemon)}")
    elif note.get("paused"):
        typer.echo(f"the pause is taken back, but the daemon is still paused: {note.get('reason')}")
    else:
        typer.echo("resumed: pilots are submitted where work or settings want them")


def drain(ctx: typer.Context, nodes: Nodes = "", as_json: AsJson = False) -> None:
    """Have pilots leave nodes, and put none there until `undrain` (admins); without --nodes: list the drained ones."""
    with connected(ctx) as client:
        if nodes:
            said = client.drain(nodes)
            if as_json:
                print_json(said)
                return
            daemon = _heard(client)
            if not daemon.get("has_heard"):
                typer.echo(f"it is noted, and holds from the daemon's next look; {_silence(daemon)}")
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
    typer.echo(f"still drained: {nodelist.fold(drained)}" if drained else "no node is drained any more")
    if not daemon.get("has_heard"):
        typer.echo(f"it holds from the daemon's next look; {_silence(daemon)}")


def _heard(client: Client) -> Document:
    """Return how the daemon stands, once it has looked again, or once patience is over."""
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
        return "it has not looked at the cluster yet"
    return f"it last looked {age_s:.0f} s ago"
