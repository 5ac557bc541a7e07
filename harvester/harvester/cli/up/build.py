"""Concrete objects out of a configuration: the store, the pilots' shapes, the daemon's settings.

The heavy imports (SQL, PSI/J, FastAPI) are inside the functions, so that a command that needs none of them is quick.
"""

from __future__ import annotations

import math
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import platformdirs

from harvester.cli.up.build_address import authorities, pilots_url
from harvester.cli.up.build_looks import look_settings
from harvester.config import Config, PilotConfig, SlurmConfig
from harvester.config_file import ConfigError
from harvester.daemon.settings import DaemonSettings, Orders
from harvester.domain.cluster import nodelist
from harvester.domain.cluster.snapshot import ClusterSnapshot
from harvester.domain.harvest import quiet_hours
from harvester.domain.harvest.planning import HarvestMode, HarvestSettings, Shape
from harvester.domain.harvest.shapes import whole_nodes, why_not_untold
from harvester.domain.model.resources import Resources

if TYPE_CHECKING:
    from harvester.store.store import Store

# Strict promises prime jobs two seconds at most. PBS's scheduler stands still until a pilot that it evicts has gone:
# everybody waits for it, not only whoever evicts it.
_HURRIED_HANDOVER_S = 0.5
# A word of an eviction takes so long: pilot, store, daemon, scontrol. PBS needs none: it starts whoever evicts in the
# same turn in which the pilots go, so that no pilot that waits can come between.
_LINGER = timedelta(seconds=0.25)
_START_AND_LEAVE = timedelta(seconds=15)  # of a pilot's walltime, beyond what it runs and how early it leaves


def state_dir(config: Config) -> Path:
    """Return the folder for everything that is kept."""
    return Path(config.state or platformdirs.user_state_dir("harvester")).expanduser().resolve()


def open_store(config: Config) -> Store:
    """Open the store. Raises `StoreError`."""
    from harvester.store.store import open_store as open_url  # noqa: PLC0415 - see above

    return open_url(config.store.url or f"sqlite:///{state_dir(config) / 'harvester.db'}")


def shapes(config: Config, snapshot: ClusterSnapshot | None) -> tuple[Shape, ...]:
    """Return the shapes of the pilots, checked against a first look at the cluster where there was one.

    Raises `ConfigError` for a partition that does not exist or does not fit the mode, and where there are neither
    shapes nor a partition that can be taken without being told.
    """
    if config.pilot:
        found = tuple(_shape(pilot) for pilot in config.pilot)
    elif config.scheduler.kind == "local":
        local = config.scheduler.local
        whole = Resources(cpus=local.cpus, gpus=local.gpus, memory_mb=local.memory_mb)
        found = (Shape(name="harvest", partition="harvest", resources=whole, python=_default_pilot("harvest").minor),)
    else:
        python, partition = _default_pilot("any").minor, config.harvest.partition
        found = whole_nodes(snapshot, partition=partition, python=python) if snapshot is not None else ()
    _check_partitions(found, config, snapshot)
    _check_brakes(found, config, snapshot)
    if not any(pilot.ready is not None for pilot in config.pilot):
        ready = config.harvest.ready
        found = tuple(msgspec.structs.replace(shape, ready=ready * (shape is found[0])) for shape in found)
    return found


def _check_partitions(found: tuple[Shape, ...], config: Config, snapshot: ClusterSnapshot | None) -> None:
    names = [part.name for part in snapshot.partitions] if snapshot is not None else []
    has = f"the scheduler has {', '.join(names)}" if names else "the scheduler did not say which it has"
    asked = config.harvest.partition
    if names and asked and asked not in names:
        raise ConfigError("harvest.partition", f'there is no partition "{asked}"', has)
    if not found and snapshot is not None and names:
        raise _no_partition(snapshot, asked)
    if not found:
        problem = "no pilot shape is configured, and no preemptible partition is known"
        raise ConfigError("pilot", problem, f"write a [[pilot]] table with name, partition and cpus ({has})")
    for number, shape in enumerate(found):
        if names and shape.partition not in names:
            problem = f'there is no partition "{shape.partition}"'
            raise ConfigError(f"pilot[{number}].partition", problem, has)
    if config.harvest.ready and config.harvest.ready > config.harvest.max_pilots:
        problem = f"{config.harvest.ready} is more than max_pilots = {config.harvest.max_pilots}"
        raise ConfigError("harvest.ready", problem, "lower it, or raise harvest.max_pilots")


def _no_partition(snapshot: ClusterSnapshot, asked: str) -> ConfigError:
    """Return the error for a cluster without a configured partition, where none can be chosen automatically."""
    if asked:
        return ConfigError("harvest.partition", f'partition "{asked}" has no nodes', "name another partition")
    reasons = ((part.name, why_not_untold(snapshot, part) or "it has no nodes") for part in snapshot.partitions)
    why = "; ".join(f"{name}: {reason}" for name, reason in reasons)
    problem = f"no partition is configured, and none can be chosen automatically ({why})"
    modes = 'harvest.mode = "yielding" or "strict" where pilots are not evicted from it'
    return ConfigError("harvest.partition", problem, f'write harvest.partition = "NAME", and {modes}')


def _check_brakes(found: tuple[Shape, ...], config: Config, snapshot: ClusterSnapshot | None) -> None:
    harvest = config.harvest
    names = excluded_nodes(config)
    if snapshot is None:
        return
    unknown = sorted(names.difference(node.name for node in snapshot.nodes))
    if unknown:
        problem = f'there is no node "{unknown[0]}", so excluding it would exclude nothing'
        raise ConfigError("harvest.excluded_nodes", problem, "correct the name, or leave it out")
    known = {part.name for part in snapshot.partitions}
    for name in harvest.excluded_partitions:
        if name not in known:
            problem = f'there is no partition "{name}", so excluding it would exclude nothing'
            raise ConfigError("harvest.excluded_partitions", problem, f"the scheduler has {', '.join(sorted(known))}")
    if harvest.mode == "preemptible":
        for shape in found:
            partition = snapshot.partition(shape.partition)
            if partition is not None and not partition.is_preemptible:
                why = f": {partition.why_not}" if partition.why_not else ""
                problem = f'"preemptible", but pilots are not evicted from partition "{shape.partition}"{why}'
                remedy = 'write harvest.mode = "yielding" or "strict", or name a partition from which they are'
                raise ConfigError("harvest.mode", problem, remedy)


def _default_pilot(partition: str) -> PilotConfig:
    return PilotConfig(name=partition, partition=partition)


def _shape(pilot: PilotConfig) -> Shape:
    return Shape(
        name=pilot.name,
        partition=pilot.partition,
        resources=Resources(cpus=pilot.cpus, gpus=pilot.gpus, memory_mb=pilot.memory_mb),
        ready=pilot.ready or 0,
        python=pilot.minor,
    )


def harvest_settings(config: Config, found: tuple[Shape, ...], *, margin: timedelta) -> HarvestSettings:
    """Return what the planner must keep to. `margin`: beyond a declared walltime, for start and drain of a pilot."""
    harvest = config.harvest
    return HarvestSettings(
        shapes=found,
        lengths=tuple(timedelta(minutes=length) for length in harvest.lengths_min),
        max_pilots=harvest.max_pilots,
        max_pending=harvest.max_pending,
        patience=timedelta(seconds=harvest.patience_s),
        idle=timedelta(seconds=harvest.idle_s),
        margin=margin,
        mode=HarvestMode(harvest.mode),
        window_margin=timedelta(seconds=harvest.window_margin_s),
        boot=timedelta(seconds=harvest.boot_s),
        cycle=timedelta(seconds=harvest.cycle_s),
        is_unbounded=harvest.everything,
        longest=timedelta(minutes=harvest.longest_min),
        max_delay=timedelta(seconds=harvest.max_delay_s),
        max_nodes=harvest.max_nodes,
        max_share=harvest.max_share,
        excluded_nodes=excluded_nodes(config),
        excluded_partitions=frozenset(harvest.excluded_partitions),
        quiet_hours=tuple(quiet_hours.parse(text, harvest.time_zone) for text in harvest.quiet_hours),
    )


def excluded_nodes(config: Config) -> frozenset[str]:
    """Return the names in `harvest.excluded_nodes`, lists such as `n[1-4]` spelled out. Raises `ConfigError`."""
    if not any("[" in name for name in config.harvest.excluded_nodes):
        return frozenset(config.harvest.excluded_nodes)
    expand = nodelist.expand
    if config.scheduler.kind == "slurm":  # whose lists may have several brackets: "r[1-3]n[1-4]"
        from harvester_adapters.slurm.text.words import node_names as expand  # noqa: PLC0415 - see above

    found: set[str] = set()
    for number, name in enumerate(config.harvest.excluded_nodes):
        try:
            found.update(expand(name))
        except ValueError:
            field, remedy = f"harvest.excluded_nodes[{number}]", 'write for example "n[1-4,7]"'
            raise ConfigError(field, f'"{name}" is not a list of nodes', remedy) from None
    return frozenset(found)


def daemon_settings(config: Config, found: tuple[Shape, ...], port: int) -> DaemonSettings:
    """Return the daemon's settings for the shapes that `shapes` found. `port`: where the gateway listens."""
    harvest, scheduler = config.harvest, config.scheduler
    pilots = _pilots(config, found)
    tick = harvest.tick_s or (1.0 if scheduler.kind == "local" else 0.1)
    submission = scheduler.submission
    return DaemonSettings(
        state_dir=state_dir(config),
        gateways=(pilots_url(config, port),),
        tls_ca=authorities(config),
        harvest=harvest_settings(
            config,
            found,
            margin=margin(config, found),
        ),
        policy=harvest.policy,
        orders={name: _orders(pilot, config) for name, pilot in pilots.items()},
        tick=timedelta(seconds=tick),
        looks=look_settings(config),
        linger=_LINGER if scheduler.kind == "slurm" and harvest.mode == "preemptible" else timedelta(0),
        orphan=None if harvest.mode == "preemptible" else timedelta(seconds=harvest.orphan_s),
        paused=harvest.paused,
        result_limit_bytes=config.gateway.payload_limit_mb * 1024 * 1024,
        nice=submission.nice,
        account=submission.account,
        qos=submission.qos if isinstance(submission, SlurmConfig) else "",
    )


def _pilots(config: Config, found: tuple[Shape, ...]) -> dict[str, PilotConfig]:
    configured = {pilot.name: pilot for pilot in config.pilot}
    return {shape.name: configured.get(shape.name) or _default_pilot(shape.partition) for shape in found}


def is_own_python(config: Config, shape: Shape) -> bool:
    """Whether pilots of a shape run the interpreter that runs this, with the same packages."""
    return _pilots(config, (shape,))[shape.name].interpreter == sys.executable


def margin(config: Config, found: tuple[Shape, ...]) -> timedelta:
    """Return what a pilot's walltime must have beyond a run's."""
    pilots = _pilots(config, found).values()
    return timedelta(seconds=max(pilot.leave_before_s for pilot in pilots)) + _START_AND_LEAVE


def _orders(pilot: PilotConfig, config: Config) -> Orders:
    is_hurried = config.harvest.mode == "strict" or config.scheduler.kind == "pbs"
    most_s = _HURRIED_HANDOVER_S if is_hurried else math.inf
    return Orders(
        interpreter=pilot.interpreter,
        finish_s=min(pilot.finish_s, most_s),
        handover_s=min(pilot.handover_s, most_s),
        checkpoint_interval_s=pilot.checkpoint_interval_s,
        leave_before_s=pilot.leave_before_s,
        warm_slots=pilot.warm_slots,
    )
