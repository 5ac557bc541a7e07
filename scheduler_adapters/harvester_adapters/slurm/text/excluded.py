"""The nodes that pending batch jobs exclude, on a Slurm before 24.05, whose `squeue --Format` cannot show them.

`squeue --format=%x` can, in a command of its own. So it is asked only when somebody waits for nodes of whom it is not
known yet, and remembered by id. Not safe for threads: the adapter has the lock.
"""

from __future__ import annotations

import msgspec

from harvester.domain.cluster.snapshot import BatchJob, BatchState, WaitsFor
from harvester_adapters.slurm.text.words import malformed, node_names


def excluded_arguments(nonce: str) -> tuple[str, ...]:
    """Return the arguments for squeue whose output `excluded_nodes` reads."""
    return ("--all", "--states=PENDING", f"--format=%A\x1f{nonce}%x\x1e{nonce}")


def excluded_nodes(text: str, nonce: str) -> dict[str, tuple[str, ...]]:
    """Return, by id, the nodes that pending batch jobs exclude."""
    *records, rest = text.split(f"\x1e{nonce}")
    rows = [record.strip().split(f"\x1f{nonce}") for record in records]
    if not rows or rows[0][0] != "JOBID" or rest.strip() or any(len(row) != 2 for row in rows):
        raise malformed("squeue's answer about excluded nodes", text)
    try:
        return {batch_job_id: node_names(words) for batch_job_id, words in rows[1:]}
    except ValueError as error:
        raise malformed("squeue's answer about excluded nodes", text) from error


class ExcludedNodes:
    """What is known of them, by id."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[str, ...]] = {}

    def lacks(self, batch_jobs: tuple[BatchJob, ...]) -> bool:
        """Return whether somebody waits for nodes of whom it is not known."""
        return any(
            batch.batch_job_id not in self._known
            for batch in batch_jobs
            if batch.state is BatchState.PENDING and batch.waits_for is not WaitsFor.OTHER
        )

    def learn(self, known: dict[str, tuple[str, ...]]) -> None:
        """Remember an answer in the place of the last one."""
        self._known = known

    def added(self, batch_jobs: tuple[BatchJob, ...]) -> tuple[BatchJob, ...]:
        """Return the batch jobs with the nodes that they exclude."""
        return tuple(
            msgspec.structs.replace(batch, excluded_nodes=names)
            if batch.state is BatchState.PENDING and (names := self._known.get(batch.batch_job_id, ()))
            else batch
            for batch in batch_jobs
        )
