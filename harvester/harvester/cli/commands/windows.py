"""`harvester windows`: which nodes are free for how long, and why they are not free longer.

Reads what the daemon noted of its last look, from the gateway; with `--config` or `--scheduler` it asks the scheduler
itself, so that a site can see its windows before anything runs.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from harvester.cli.extras import needing
from harvester.cli.options import Scheduler
from harvester.cli.session import AsJson, connected, print_json
from harvester.domain.cluster.knowledge import Knowledge
from harvester.domain.cluster.survival import GapFigures
from harvester.domain.cluster.windows import WindowGroup, compute, grouped
from harvester.sdk.errors import HarvesterError


def windows(
    ctx: typer.Context,
    config: Annotated[
        Path | None, typer.Option(help="Ask the scheduler of this configuration file, not the gateway.")
    ] = None,
    scheduler: Annotated[Scheduler | None, typer.Option(help="Ask this scheduler, not the gateway.")] = None,
    ahead: Annotated[
        float, typer.Option(min=0, metavar="MINUTES", help="How far to look ahead; with --config or --scheduler.")
    ] = 0.0,
    as_json: AsJson = False,
) -> None:
    """Show the backfill windows: which nodes are free until when, and why each ends."""
    gaps: GapFigures | None = None
    if config is None and scheduler is None:
        found, taken_at, gaps, knowledge = _of_gateway(ctx)
    else:
        with needing("daemon", "slurm"):
            found, taken_at, knowledge = _of_scheduler(config, scheduler, timedelta(minutes=ahead))
    if as_json:
        each = [window for group in found for window in _one_by_one(group)]
        shown = None if not knowledge.nodes else each
        print_json({"taken_at": taken_at, "windows": shown, "gaps": gaps, "not_seen": knowledge.lost})
        return
    if not knowledge.nodes:
        raise HarvesterError(" ".join(("there are no windows to show:", *knowledge.lost[:1])))
    from rich.console import Console  # noqa: PLC0415 - rich's tables cost start-up time

    from harvester.cli.render import windows  # noqa: PLC0415 - brings them

    console = Console(soft_wrap=False)
    console.print(windows.table_of(found, time.time()) if found else "no node is free")
    if gaps is not None and gaps.seen:
        console.print(windows.learned(gaps))


def _of_gateway(ctx: typer.Context) -> tuple[Sequence[WindowGroup], float | None, GapFigures | None, Knowledge]:
    with connected(ctx) as client:
        document = client.cluster()
    noted = document.get("daemon") or {}
    if "windows" not in noted:
        raise HarvesterError(
            "the daemon has recorded no windows: check that `harvester up` runs, or ask a scheduler with --scheduler"
        )
    gaps = msgspec.convert(noted.get("gaps"), GapFigures | None)
    knowledge = msgspec.convert(noted.get("knowledge") or {}, Knowledge)
    return msgspec.convert(noted["windows"], list[WindowGroup]), document.get("taken_at"), gaps, knowledge


def _of_scheduler(
    path: Path | None, scheduler: Scheduler | None, ahead: timedelta
) -> tuple[Sequence[WindowGroup], float, Knowledge]:
    from harvester.cli import plugins  # noqa: PLC0415 - as below
    from harvester.cli.up import build_adapter  # noqa: PLC0415 - an adapter needs more than a user's laptop has
    from harvester.config_file import ConfigError, load_config  # noqa: PLC0415 - as above
    from harvester.domain.cluster.ports import SchedulerError  # noqa: PLC0415 - as above

    try:
        plugins.offer_policies()
        config = load_config(path, {"scheduler.kind": scheduler})
        if config.scheduler.kind == "local":
            raise HarvesterError("the local scheduler runs inside `harvester up`: leave out --config and --scheduler")
        adapter = build_adapter.adapter(config)
        try:
            snapshot = adapter.snapshot()
        finally:
            adapter.close()
    except (ConfigError, plugins.PluginError, SchedulerError) as error:
        raise HarvesterError(str(error)) from error
    found = grouped(compute(snapshot, snapshot.taken_at, horizon=ahead))
    return found, snapshot.taken_at, snapshot.knowledge


def _one_by_one(group: WindowGroup) -> list[dict[str, Any]]:
    lasts = None if group.until_at is None else group.until_at - group.from_at
    rest: dict[str, Any] = msgspec.to_builtins(group)
    nodes = rest.pop("nodes")
    return [{"node": node, **rest, "lasts_s": lasts} for node in nodes]
