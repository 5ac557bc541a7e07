"""Cobalt: qsub's options, by PSI/J's Cobalt executor. What qstat says is read by PSI/J.

Cobalt gives whole nodes and takes a walltime in minutes.
"""

from __future__ import annotations

from typing import ClassVar

from packaging.version import Version
from psij.executors.batch.cobalt import CobaltJobExecutor

from harvester.domain.cluster.ports import PilotOrder
from harvester_adapters.psij.batch import BatchPilots, minutes


class CobaltPilots(BatchPilots, CobaltJobExecutor):
    """PSI/J's Cobalt executor for pilots."""

    _NAME_ = "cobalt-pilots"
    _VERSION_ = Version("1.0.0")
    ID_VARIABLE: ClassVar = "COBALT_JOBID"

    def options(self, order: PilotOrder) -> list[str]:
        """Return qsub's options."""
        return [
            f"--jobname={order.name}",
            f"--queue={order.partition}",
            "--nodecount=1",
            "--proccount=1",
            f"--time={minutes(order)}",
            f"--cwd={order.output.parent}",
            "--output=/dev/null",
            "--error=/dev/null",
        ]

    def id_in(self, out: str) -> str:
        """Return the number that qsub prints."""
        return CobaltJobExecutor.job_id_from_submit_output(self, out)
