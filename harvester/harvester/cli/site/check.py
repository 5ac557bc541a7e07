"""`harvester check`: asks everything once, and tells what was found.

Owns the order of the questions, and that an answer that does not come is a finding and not the end.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import tempfile
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec
from rich.console import Console
from rich.status import Status
from rich.text import Text

from harvester.cli import plugins
from harvester.cli.render import findings as render
from harvester.cli.session import INTERRUPTED, print_json
from harvester.cli.site.host import host_facts
from harvester.cli.site.looks import look
from harvester.cli.site.options import CheckOptions
from harvester.cli.site.probe import Say
from harvester.cli.site.probing import Probing, probed
from harvester.cli.site.teller import answering_kind, aside, site_teller
from harvester.cli.up import build, build_adapter
from harvester.cli.up.first_look import check_knowledge
from harvester.config import Config
from harvester.config_file import ConfigError, load_config
from harvester.daemon.settings import DaemonSettings
from harvester.domain.cluster.ports import (
    PilotOrder,
    SchedulerAbsent,
    SchedulerAdapter,
    SchedulerError,
    SchedulerUnavailable,
    SubmissionRejected,
    knowledge_of,
)
from harvester.domain.cluster.snapshot import ClusterSnapshot
from harvester.domain.fitness import cluster_findings, host_findings, window_cost
from harvester.domain.fitness.cluster_findings import is_in_service
from harvester.domain.fitness.findings import Finding, Topic, error, exit_code, note, ok, ordered, verdict
from harvester.domain.fitness.host_findings import HostFacts
from harvester.domain.fitness.site_facts import HearsBy, SiteFacts, SiteTeller
from harvester.domain.harvest.planning import HarvestSettings, Shape

_REHEARSED = timedelta(minutes=10)  # of a rehearsed submission, where the partition allows it


def run_check(options: CheckOptions) -> int:
    """Check a site, print what was found, and return the exit code: 1 where something forbids a start."""
    progress = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)
    _end_in_order()
    try:
        with _telling(progress) as say:
            found, host = _found(options, say)
    except KeyboardInterrupt:
        progress.print("harvester check: interrupted")
        return INTERRUPTED
    findings = ordered(found)
    if options.as_json:
        print_json(_document(findings, host))
    else:
        out = Console(highlight=False)
        where = f"as {host.user} on {host.host}" if host is not None else ""
        out.print(render.table_of(findings, where))
        out.print(render.summary(findings))
    return exit_code(findings)


def _end_in_order() -> None:
    """Let the first signal end the check so that its probe does not stay behind; further ones do not disturb that."""
    signals = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup: it goes on without its terminal
        signals.append(signal.SIGHUP)

    def end(number: int, frame: FrameType | None) -> None:
        for each in signals:
            signal.signal(each, lambda _number, _frame: None)
        signal.default_int_handler(number, frame)

    for each in signals:
        signal.signal(each, end)


def _document(findings: tuple[Finding, ...], host: HostFacts | None) -> dict[str, Any]:
    return {
        "exit_code": exit_code(findings),
        "verdict": verdict(findings),
        "checked_at": time.time(),
        "host": host.host if host is not None else socket.gethostname(),
        "user": host.user if host is not None else None,
        "findings": findings,
    }


@contextlib.contextmanager
def _telling(console: Console) -> Iterator[Say]:
    """Yield what tells of the progress: one line that changes on a terminal, a line each elsewhere."""
    if not console.is_terminal:
        yield lambda words: console.print(f"harvester check: {words} …")
        return
    with Status("…", console=console) as status:
        yield lambda words: status.update(Text(f"{words} …"))  # a scheduler's words are no markup


def _found(options: CheckOptions, say: Say) -> tuple[list[Finding], HostFacts | None]:
    try:
        plugins.offer_policies()
        config = load_config(options.config, options.overrides)
        if options.config is None and options.scheduler is None:
            config = load_config(None, options.overrides | {"scheduler.kind": answering_kind()})
    except (ConfigError, plugins.PluginError) as problem:
        return [_of_the_config(problem)], None
    found = []
    if options.config is not None:
        found.append(ok(Topic.CONFIGURATION, f"{options.config} can be read"))
    say("looking at this host")
    host = host_facts(config)
    found += host_findings.of_the_host(host, is_seen=options.probe or config.scheduler.kind == "local")
    with tempfile.TemporaryDirectory(prefix="harvester-check-") as folder:
        try:
            adapter = build_adapter.adapter(aside(config, Path(folder)))
        except ConfigError as problem:
            return [*found, _of_the_config(problem)], host
        except SchedulerError as problem:
            return [*found, _no_scheduler(problem)], host
        try:
            found += _Site(config, adapter, host, say).findings(options)
        finally:
            if config.scheduler.kind == "local":
                build_adapter.shut_down(adapter, timedelta(seconds=2))
            else:
                adapter.close()
    return found, host


def _of_the_config(problem: ConfigError | plugins.PluginError) -> Finding:
    field = getattr(problem, "field", "")
    text = f"{field}: {problem.problem}" if field else problem.problem
    return error(Topic.CONFIGURATION, text, problem.remedy, field)


def _no_scheduler(problem: SchedulerError) -> Finding:
    remedy = "see that its commands are on the PATH here, and that its controller answers"
    return error(Topic.SCHEDULER, f"the scheduler does not answer: {problem}", remedy)


class _Site:
    """One site, as it is asked."""

    def __init__(self, config: Config, adapter: SchedulerAdapter, host: HostFacts, say: Say) -> None:
        self._config = config
        self._adapter = adapter
        self._host = host
        self._say = say
        self._is_emulated = config.scheduler.kind == "local"

    def findings(self, options: CheckOptions) -> list[Finding]:
        """Ask, and return what was found."""
        self._say("looking at the cluster")
        try:
            # Glances are for modes in which nobody evicts pilots; what is emulated or not seen takes no time.
            has_glances = self._config.harvest.mode != "preemptible"
            is_timed = not self._is_emulated and knowledge_of(self._adapter).nodes
            looked = look(self._adapter, count=3 if is_timed else 0, has_glances=has_glances)
        except SchedulerUnavailable as problem:
            return [_no_scheduler(problem)]
        snapshot = looked.snapshot
        found: list[Finding] = []
        shapes = self._shapes(snapshot, found)
        settings = build.harvest_settings(self._config, shapes, margin=timedelta(0))
        teller = site_teller(self._config, self._adapter)
        facts = self._facts(teller, found)
        found += cluster_findings.of_the_look(snapshot, facts)
        timeout_s = self._config.scheduler.timeout_s
        found += cluster_findings.of_the_times(looked.looks, looked.glances, timeout_s=timeout_s)
        found += cluster_findings.of_what_is_not_seen(snapshot)
        if snapshot.knowledge.nodes:
            found += cluster_findings.of_the_partitions(snapshot, settings)
            found += cluster_findings.of_evictions(snapshot, settings, facts)
            found += window_cost.of_the_windows(snapshot, settings)
        found += cluster_findings.of_the_limits(snapshot, settings)
        found += cluster_findings.of_hidden_batch_jobs(snapshot, settings, facts)
        if facts is not None:
            found += cluster_findings.of_the_controllers_clock(facts)
            found += facts.findings
        if not shapes:
            text = "no compute node was asked, because the configuration gives no pilot a shape"
            found.append(note(Topic.NODES, text))
        else:
            daemon = build.daemon_settings(self._config, shapes, self._config.gateway.port)
            if teller is not None:
                found += self._rehearsed(teller, snapshot, settings, daemon)
            found += self._probed(options, facts, shapes, daemon)
        return found

    def _shapes(self, snapshot: ClusterSnapshot, found: list[Finding]) -> tuple[Shape, ...]:
        try:
            check_knowledge(self._config, snapshot.knowledge)
            return build.shapes(self._config, snapshot)
        except ConfigError as problem:
            finding = _of_the_config(problem)
            if problem.field == "harvest.partition":
                finding = msgspec.structs.replace(
                    finding, remedy=f"{finding.remedy}; `harvester init` writes such a file"
                )
            found.append(finding)
            return ()

    def _facts(self, teller: SiteTeller | None, found: list[Finding]) -> SiteFacts | None:
        self._say("asking the scheduler about itself")
        try:
            return None if teller is None else teller.site()
        except SchedulerUnavailable as problem:
            found.append(note(Topic.SCHEDULER, f"the scheduler did not tell about itself: {problem}"))
            return None

    def _rehearsed(
        self, teller: SiteTeller, snapshot: ClusterSnapshot, settings: HarvestSettings, daemon: DaemonSettings
    ) -> Iterator[Finding]:
        """Yield whether the scheduler would take a pilot of each shape."""
        for shape in settings.shapes:
            part = snapshot.partition(shape.partition)
            most = part.max_time if part is not None and part.max_time is not None else _REHEARSED
            order = PilotOrder(
                pilot_id="check",
                name="hv-check",
                partition=shape.partition,
                resources=shape.resources,
                walltime=min(_REHEARSED, most),
                command=("true",),
                output=daemon.state_dir / "output.txt",
                nice=daemon.nice,
                account=daemon.account,
                qos=daemon.qos,
            )
            try:
                words = teller.rehearse(order)
            except SubmissionRejected as problem:
                if not any(shape.partition in node.partitions and is_in_service(node) for node in snapshot.nodes):
                    # Slurm refuses to rehearse there what it would take into the queue.
                    text = f'whether pilot "{shape.name}" may be submitted is not known while no node is in service'
                    yield note(Topic.RIGHTS, f"{text}: {problem}", about=shape.name)
                    continue
                remedy = "correct the shape, account or QOS as it says, or ask for the right to submit there"
                yield error(Topic.RIGHTS, f'no pilot "{shape.name}" may be submitted: {problem}', remedy, shape.name)
            except SchedulerAbsent as problem:
                remedy = "put the scheduler's commands on the PATH of `harvester up`"
                yield error(Topic.RIGHTS, f'no pilot "{shape.name}" can be submitted: {problem}', remedy, shape.name)
            except SchedulerUnavailable as problem:
                yield note(Topic.RIGHTS, f'whether pilot "{shape.name}" may be submitted is not known: {problem}')
            else:
                if words is not None:
                    text = f'{self._host.user} may submit pilot "{shape.name}": {words}'
                    yield ok(Topic.RIGHTS, text, shape.name)

    def _probed(
        self, options: CheckOptions, facts: SiteFacts | None, shapes: tuple[Shape, ...], daemon: DaemonSettings
    ) -> Iterator[Finding]:
        if not options.probe:
            text = "no compute node was asked: whether nodes see the gateway, the state folder and Python is not known"
            yield note(Topic.NODES, text, "run `harvester check --probe`, which submits one small batch job")
            return
        probing = Probing(
            config=self._config,
            host=self._host,
            daemon=daemon,
            hears_by=facts.hears_by if facts is not None else HearsBy.PROCESS,
            wait_s=options.wait_s,
        )
        yield from probed(probing, shapes, self._adapter, self._say)
