"""Which probes a configuration deserves, who answers them, and what their reports are held against."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from harvester.cli.site.listener import listening
from harvester.cli.site.probe import ProbeSettings, Say, run_probe
from harvester.cli.up import build_address
from harvester.config import Config
from harvester.daemon.settings import DaemonSettings
from harvester.domain.cluster.ports import SchedulerAdapter
from harvester.domain.fitness import probe_findings
from harvester.domain.fitness.findings import Finding, Topic, error
from harvester.domain.fitness.host_findings import HostFacts
from harvester.domain.fitness.probe_findings import Expected
from harvester.domain.fitness.site_facts import HearsBy
from harvester.domain.harvest.planning import Shape


class Probing(msgspec.Struct, frozen=True, kw_only=True):
    """What the probes of one check share."""

    config: Config
    host: HostFacts
    daemon: DaemonSettings
    hears_by: HearsBy
    wait_s: float


def probed(probing: Probing, shapes: tuple[Shape, ...], adapter: SchedulerAdapter, say: Say) -> Iterator[Finding]:
    """Send a probe for each partition and Python that pilots would have, and yield what they found."""
    kinds = {(shape.partition, probing.daemon.orders[shape.name].interpreter): shape for shape in shapes}
    for shape in kinds.values():
        nonce = secrets.token_urlsafe(16)
        try:
            with _answering(probing, nonce) as gateways:
                outcome = run_probe(_settings(probing, shape, gateways, nonce), adapter, say)
        except OSError as problem:
            text = f"the probe could not be made: {problem.strerror or problem}"
            yield error(Topic.NODES, text, "correct what is said of the state folder and the gateway's port")
            continue
        yield from probe_findings.of_the_probe(outcome, _expected(probing, shape))


def _settings(probing: Probing, shape: Shape, gateways: tuple[str, ...], nonce: str) -> ProbeSettings:
    daemon = probing.daemon
    return ProbeSettings(
        partition=shape.partition,
        interpreter=daemon.orders[shape.name].interpreter,
        gateways=gateways,
        tls_ca=daemon.tls_ca,
        state=daemon.state_dir,
        nonce=nonce,
        account=daemon.account,
        qos=daemon.qos,
        nice=daemon.nice,
        wait_s=probing.wait_s,
    )


def _expected(probing: Probing, shape: Shape) -> Expected:
    return Expected(
        partition=shape.partition,
        user=probing.host.user,
        uid=os.getuid(),
        python=shape.python,
        harvester=dict(probing.host.versions)["harvester"],
        state=probing.host.state,
        hears_by=probing.hears_by,
    )


@contextmanager
def _answering(probing: Probing, nonce: str) -> Iterator[tuple[str, ...]]:
    """Yield the gateway's addresses, with somebody who answers there: a gateway that runs, or this check."""
    if probing.host.port.is_taken:
        yield (build_address.pilots_url(probing.config, probing.config.gateway.port),)
        return
    with listening(probing.config, nonce) as port:
        yield (build_address.pilots_url(probing.config, port),)
