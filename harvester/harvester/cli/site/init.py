"""`harvester init`: looks once, and writes a configuration that `harvester up` starts with."""

from __future__ import annotations

import sys
import tempfile
from datetime import timedelta
from pathlib import Path

import msgspec
from rich.console import Console

import harvester
from harvester.cli.site.options import InitOptions
from harvester.cli.site.teller import answering_kind, aside, site_teller
from harvester.cli.up import build, build_adapter, build_address
from harvester.cli.up.state_folder import is_there
from harvester.config import FIBONACCI_MIN, Config
from harvester.config_file import ConfigError, load_config
from harvester.domain.cluster.ports import SchedulerError, SchedulerUnavailable
from harvester.domain.cluster.snapshot import ClusterSnapshot
from harvester.domain.fitness.configuration import Premises, configuration
from harvester.domain.fitness.proposal import NoProposal, Proposal, propose
from harvester.domain.fitness.site_facts import SiteFacts
from harvester.domain.harvest.planning import HarvestMode
from harvester.sdk.errors import HarvesterError

_STDOUT = Path("-")


def run_init(options: InitOptions) -> int:
    """Write the configuration and tell what was assumed; return the exit code. Raises `HarvesterError`."""
    path = options.output
    if path != _STDOUT and is_there(path) and not options.force:
        raise HarvesterError(f"{path} is there already; name another with --output, or overwrite it with --force")
    kind = options.scheduler or answering_kind()
    try:
        config = load_config(None, {"scheduler.kind": kind, "state": options.state and str(options.state)})
        partition = options.partition or ("harvest" if kind == "local" else "")  # its only one for pilots
        snapshot, proposal = _proposed(config, partition)
    except (ConfigError, SchedulerError, NoProposal) as error:
        raise HarvesterError(str(error)) from error
    text = configuration(proposal, _premises(config, snapshot))
    if path == _STDOUT:
        sys.stdout.write(text)
        return 0
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise HarvesterError(f"{path} cannot be written ({error.strerror}); name another with --output") from error
    _tell(path, kind, proposal)
    return 0


def _proposed(config: Config, partition: str) -> tuple[ClusterSnapshot, Proposal]:
    """Return a look and what it leads to; under the first QOS with which pilots are evicted, where QOSs decide."""
    snapshot, facts = _looked(config)
    proposal = propose(snapshot, facts, lengths_min=FIBONACCI_MIN, partition=partition)
    for qos in facts.qos if facts is not None and proposal.mode is not HarvestMode.PREEMPTIBLE else ():
        slurm = msgspec.structs.replace(config.scheduler.slurm, qos=qos)
        scheduler = msgspec.structs.replace(config.scheduler, slurm=slurm)
        snapshot, facts = _looked(msgspec.structs.replace(config, scheduler=scheduler))
        other = propose(snapshot, facts, lengths_min=FIBONACCI_MIN, partition=partition, qos=qos)
        if other.mode is HarvestMode.PREEMPTIBLE:
            return snapshot, other
    return snapshot, proposal


def _looked(config: Config) -> tuple[ClusterSnapshot, SiteFacts | None]:
    with tempfile.TemporaryDirectory(prefix="harvester-init-") as folder:
        adapter = build_adapter.adapter(aside(config, Path(folder)))
        try:
            snapshot = adapter.snapshot()
            teller = site_teller(config, adapter)
            try:
                facts = None if teller is None else teller.site()
            except SchedulerUnavailable:  # the look is enough for a configuration
                facts = None
        finally:
            if config.scheduler.kind == "local":
                build_adapter.shut_down(adapter, timedelta(0))
            else:
                adapter.close()
    return snapshot, facts


def _premises(config: Config, snapshot: ClusterSnapshot) -> Premises:
    local = config.scheduler.local
    return Premises(
        kind=config.scheduler.kind,
        scheduler=snapshot.scheduler,
        version=harvester.__version__,
        state=str(build.state_dir(config)),
        url=build_address.pilots_url(config, config.gateway.port),
        port=config.gateway.port,
        interpreter=sys.executable,
        local=(
            ("nodes", local.nodes),
            ("cpus", local.cpus),
            ("gpus", local.gpus),
            ("memory_mb", local.memory_mb),
        ),
    )


def _tell(path: Path, kind: str, proposal: Proposal) -> None:
    out = Console(highlight=False, markup=False)
    out.print(f"wrote {path} for {kind}:")
    for words in proposal.assumed:
        out.print(f"- {words}")
    out.print(f"next: harvester check --config {path} --probe\n      harvester up --config {path}", soft_wrap=True)
