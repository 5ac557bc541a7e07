"""The scheduler adapter of a configuration: the only place that knows which adapters there are.

The adapters are imported inside the functions, so that a command that needs none of them is quick.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from harvester.cli import plugins
from harvester.cli.up.build import state_dir
from harvester.config import Config
from harvester.config_file import ConfigError
from harvester.domain.cluster.ports import AdapterSettings, SchedulerAdapter
from harvester.domain.model.resources import Resources


def adapter(config: Config) -> SchedulerAdapter:
    """Return the adapter to the configured scheduler. Raises `SchedulerError`, and `ConfigError` for `[scheduler]`."""
    make = _OWN.get(config.scheduler.kind)
    return _of_other_package(config) if make is None else make(config)


def _of_other_package(config: Config) -> SchedulerAdapter:
    kind, own = config.scheduler.kind, tuple(_OWN)
    settings = AdapterSettings(
        folder=state_dir(config) / kind,
        timeout=timedelta(seconds=config.scheduler.timeout_s),
        options=config.scheduler.options,
    )
    try:
        if kind in (kinds := plugins.scheduler_kinds(own)):
            return plugins.make_adapter(kind, settings, own)
    except plugins.PluginError as error:
        raise ConfigError("scheduler.kind", error.problem, error.remedy) from error
    except ValueError as error:
        raise ConfigError("scheduler.options", str(error), "correct [scheduler.options]") from error
    problem = f'there is no scheduler adapter "{kind}"; there are {", ".join(kinds)}'
    raise ConfigError("scheduler.kind", problem, "choose one of them, or install the package that adds it")


def _local(config: Config) -> SchedulerAdapter:
    from harvester_adapters.local.adapter import LocalAdapter  # noqa: PLC0415 - see above

    local = config.scheduler.local
    return LocalAdapter(
        state_dir=state_dir(config) / "local",
        nodes=local.nodes,
        node_resources=Resources(cpus=local.cpus, gpus=local.gpus, memory_mb=local.memory_mb),
        grace=timedelta(seconds=local.grace_s),
    )


def _slurm(config: Config) -> SchedulerAdapter:
    from harvester_adapters.slurm.adapter import SlurmAdapter  # noqa: PLC0415 - see above
    from harvester_adapters.slurm.submission import EXPORTED  # noqa: PLC0415 - see above

    slurm = config.scheduler.slurm
    return SlurmAdapter(
        work_dir=_work_dir(config),
        account=slurm.account,
        qos=slurm.qos,
        command_timeout=timedelta(seconds=config.scheduler.timeout_s),
        exported=EXPORTED if slurm.export is None else slurm.export,
        source=slurm.source,
        wake=slurm.wake,
    )


def _pbs(config: Config) -> SchedulerAdapter:
    from harvester_adapters.pbs.adapter import PbsAdapter  # noqa: PLC0415 - see above
    from harvester_adapters.pbs.submission import EXPORTED, PbsSubmitOptions  # noqa: PLC0415 - see above

    pbs = config.scheduler.pbs
    return PbsAdapter(
        work_dir=_work_dir(config),
        options=PbsSubmitOptions(project=pbs.project, place=pbs.place, extra_select=pbs.extra_select),
        command_timeout=timedelta(seconds=config.scheduler.timeout_s),
        exported=EXPORTED if pbs.export is None else pbs.export,
    )


def _psij(config: Config) -> SchedulerAdapter:
    from harvester_adapters.psij.adapter import PsijAdapter  # noqa: PLC0415 - see above
    from harvester_adapters.psij.carrier import PsijSite  # noqa: PLC0415 - see above
    from harvester_adapters.psij.executors import KINDS  # noqa: PLC0415 - see above

    psij = config.scheduler.psij
    if psij.executor not in KINDS:
        which = f'PSI/J\'s executor "{psij.executor}" cannot be used here' if psij.executor else "it names no executor"
        problem = f"{which}; there are {', '.join(KINDS)}"
        remedy = 'write one of them; Slurm, PBS and the local scheduler have a kind of their own (kind = "pbs")'
        raise ConfigError("scheduler.psij.executor", problem, remedy)
    if not psij.preemptible:
        problem = "it is not true, and nothing here can find out whether pilots are evicted from their queues"
        remedy = "write preemptible = true if the scheduler evicts them for other users; where it does not, use none"
        raise ConfigError("scheduler.psij.preemptible", problem, remedy)
    return PsijAdapter(
        PsijSite(
            executor=psij.executor,
            work_dir=_work_dir(config),
            options=psij.options,
            export=psij.export,
        ),
        queues=[pilot.partition for pilot in config.pilot],
        preemptible=psij.preemptible,
        grace=timedelta(seconds=psij.grace_s),
        timeout=timedelta(seconds=config.scheduler.timeout_s),
    )


def _work_dir(config: Config) -> Path:
    folder = config.scheduler.submission.work_dir
    return Path(folder).expanduser() if folder else state_dir(config) / config.scheduler.kind


_OWN: dict[str, Callable[[Config], SchedulerAdapter]] = {"local": _local, "slurm": _slurm, "pbs": _pbs, "psij": _psij}


def shut_down(local: SchedulerAdapter, patience: timedelta) -> None:
    """End the local scheduler's batch jobs, after `patience` by SIGKILL, and it; the pilots were asked to leave."""
    from harvester_adapters.local.adapter import LocalAdapter  # noqa: PLC0415 - see above

    if isinstance(local, LocalAdapter):
        local.shutdown(patience)
