"""Classic PBS (TORQUE and its like): qsub's options with `nodes=1:ppn=`, and what `qstat -f` says.

PSI/J asks for JSON, which these do not have, so the plain text of `qstat -f` is read here. PBS Pro and OpenPBS have an
adapter of their own.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

from packaging.version import Version
from psij.executors.batch.pbs_classic import PBSClassicJobExecutor

from harvester.domain.cluster.ports import PilotOrder
from harvester.domain.cluster.snapshot import BatchJob, BatchState
from harvester_adapters.psij.batch import BatchPilots, clock, hint
from harvester_adapters.scheduler_command import CommandResult

_NAME_LENGTH = 15  # longer names are refused
_STATES = {
    "Q": BatchState.PENDING,
    "H": BatchState.PENDING,
    "W": BatchState.PENDING,
    "T": BatchState.PENDING,
    "R": BatchState.RUNNING,
    "E": BatchState.COMPLETING,
    "S": BatchState.SUSPENDED,
}
_ENDED = frozenset("CF")
_BLOCK = re.compile(r"^Job Id: *(\S+) *$", re.MULTILINE)
_STATE = re.compile(r"^ +job_state = (\w)", re.MULTILINE)
_EXIT = re.compile(r"^ +exit_status = (-?\d+)", re.MULTILINE | re.IGNORECASE)


class ClassicPbsPilots(BatchPilots, PBSClassicJobExecutor):
    """PSI/J's executor of classic PBS for pilots."""

    _NAME_ = "pbs-classic-pilots"
    _VERSION_ = Version("1.0.0")
    ID_VARIABLE: ClassVar = "PBS_JOBID"
    ID: ClassVar = re.compile(r"\d+(\[\])?(\.[\w.-]+)?")

    def options(self, order: PilotOrder) -> list[str]:
        """Return qsub's options: never started a second time by itself."""
        resources = order.resources
        gpus = f":gpus={resources.gpus}" if resources.gpus else ""
        found = ["-N", _short(order.name), "-q", order.partition, "-r", "n", "-j", "oe", "-o", "/dev/null"]
        found += ["-l", f"nodes=1:ppn={resources.cpus}{gpus}", "-l", f"walltime={clock(order)}"]
        if resources.memory_mb:
            found += ["-l", f"mem={resources.memory_mb}mb"]
        return found

    def id_in(self, out: str) -> str:
        """Return the last word that qsub prints."""
        return PBSClassicJobExecutor.job_id_from_submit_output(self, out)

    def get_status_command(self, native_ids: Any) -> list[str]:  # noqa: ANN401 - as PSI/J has it
        """Return the question for batch jobs."""
        return ["qstat", "-f", *native_ids]

    def read_states(self, answer: CommandResult) -> tuple[BatchJob, ...]:
        """Return the batch jobs in the answer; it goes with an error where one of several is unknown."""
        _, *parts = _BLOCK.split(answer.stdout)
        return tuple(
            hint(batch_job_id, _state(text)) for batch_job_id, text in zip(parts[::2], parts[1::2], strict=True)
        )


def _short(name: str) -> str:
    """Return the end of a pilot's name, which is unique, short enough for -N; it begins with a letter."""
    return name if len(name) <= _NAME_LENGTH else "hv-" + name[3 - _NAME_LENGTH :]


def _state(text: str) -> BatchState:
    found = _STATE.search(text)
    if found is None:
        return BatchState.UNKNOWN
    if found[1] not in _ENDED:
        return _STATES.get(found[1], BatchState.UNKNOWN)
    code = _EXIT.search(text)
    return BatchState.COMPLETED if code is None or code[1] == "0" else BatchState.FAILED
