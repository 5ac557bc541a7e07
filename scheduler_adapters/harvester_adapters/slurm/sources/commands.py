"""The commands as a source: scontrol and squeue, and what this Slurm's squeue cannot show in the same answer."""

from __future__ import annotations

import secrets

from harvester.domain.cluster.snapshot import BatchJob
from harvester_adapters.asking import SchedulerCommands
from harvester_adapters.slurm.sources.source import SlurmLook
from harvester_adapters.slurm.text import squeue
from harvester_adapters.slurm.text.config import SiteConfig
from harvester_adapters.slurm.text.excluded import ExcludedNodes, excluded_arguments, excluded_nodes
from harvester_adapters.slurm.text.nodes import nodes
from harvester_adapters.slurm.text.squeue import batch_jobs

NODES = ("scontrol", "--details", "--oneliner", "--all", "show", "node")


class CommandSource:
    """Two commands a look; before 24.05 a third where somebody new waits for nodes.

    Parameters
    ----------
    run: runs the commands.
    wake: whether pilots may wake nodes that are powered down.
    """

    def __init__(self, run: SchedulerCommands, *, wake: bool) -> None:
        self._run, self._wake = run, wake
        self._excluded = ExcludedNodes()

    def look(self, site: SiteConfig, give_up_at: float) -> SlurmLook:
        """Return nodes and batch jobs. Raises `SchedulerUnavailable`."""
        odd: list[str] = []
        seen = nodes(self._run.ask(NODES, give_up_at), wake=self._wake, odd=odd)
        question = squeue.not_ended(nonce())
        queue = batch_jobs(self._run.ask(("squeue", *question.arguments), give_up_at), question, odd=odd)
        return SlurmLook(nodes=seen, batch_jobs=self._with_excluded(queue, site, give_up_at), odd=tuple(odd))

    def _with_excluded(self, queue: tuple[BatchJob, ...], site: SiteConfig, give_up_at: float) -> tuple[BatchJob, ...]:
        """Return the batch jobs with the nodes that they exclude, where this Slurm has not shown them."""
        if site.shows_excluded:
            return queue
        if self._excluded.lacks(queue):
            fresh = nonce()
            text = self._run.ask(("squeue", *excluded_arguments(fresh)), give_up_at)
            self._excluded.learn(excluded_nodes(text, fresh))
        return self._excluded.added(queue)


def nonce() -> str:
    """Return letters that no name of a batch job holds, since nobody knows them in advance."""
    return "".join(secrets.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(6))
