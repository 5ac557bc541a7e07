"""What a Slurm tells of its site: asked with commands that change nothing, and `sbatch --test-only`.

Owns the commands. What they print is read by `slurm_findings`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from datetime import timedelta

from harvester.domain.cluster.ports import PilotOrder, SchedulerUnavailable
from harvester.domain.fitness.findings import Finding, Topic, note, warning
from harvester.domain.fitness.site_facts import HearsBy, SiteFacts
from harvester_adapters.scheduler_command import CommandResult, own_name, run
from harvester_adapters.sites import slurm_findings
from harvester_adapters.slurm.adapter import asking
from harvester_adapters.slurm.submission import EXPORTED, judge_submission, sbatch_arguments
from harvester_adapters.slurm.text.qos import QOS_ARGUMENTS, admin_arguments, is_operator


class SlurmSite:
    """A `SiteTeller` for Slurm.

    Parameters
    ----------
    source: what the adapter reads its snapshots from, "commands" or "pyslurm"; and why not pyslurm, where it may.
    wants_library: the configuration asks for pyslurm.
    account: what pilots are submitted with; empty: the user's default one.
    max_pilots: how many pilots there may be at a time, to compare the user's limits with.
    longest: how long a pilot may be, for the same.
    timeout: for each command.
    exported: the variables of this process's environment that a submission gets.
    """

    def __init__(
        self,
        *,
        source: tuple[str, str],
        wants_library: bool = False,
        account: str = "",
        max_pilots: int,
        longest: timedelta = timedelta(0),
        timeout: timedelta = timedelta(seconds=10),
        exported: Sequence[str] = EXPORTED,
    ) -> None:
        self._source, self._why_commands = source
        self._wants_library = wants_library
        self._account = account
        self._max_pilots = max_pilots
        self._longest = longest
        self._timeout = timeout
        self._exported = (*exported, "SLURM_CONF")

    def site(self) -> SiteFacts:
        """Ask for the configuration and the user's limits. Raises `SchedulerUnavailable`."""
        asked_at = time.time()
        text = self._ask(("scontrol", "show", "config")).expect_success()
        here_at = (asked_at + time.time()) / 2
        config = slurm_findings.configuration(text)
        told_at = slurm_findings.told_at(text)
        user = own_name()
        return SiteFacts(
            source="squeue and scontrol" if self._source == "commands" else f"{self._source} (squeue for glances)",
            hears_by=HearsBy.STEP,
            # It tells whole seconds, cut off: half a second later on average.
            clock_offset_s=None if told_at is None else told_at + 0.5 - here_at,
            hides_batch_jobs=slurm_findings.hides_batch_jobs(config) and not self._is_operator(user),
            qos=self._evictable(user) if config.get("PreemptType") == "preempt/qos" else (),
            cycle=slurm_findings.cycle(config),
            findings=(
                *self._of_the_source(),
                *slurm_findings.of_the_configuration(config),
                *self._limits(config, user),
            ),
        )

    def rehearse(self, order: PilotOrder) -> str:
        """Let Slurm judge a submission (`sbatch --test-only`) and return when and where it would start."""
        argv = ("sbatch", "--test-only", *sbatch_arguments(order, time.time()), "--wrap=true")
        environment = {name: os.environ[name] for name in self._exported if name in os.environ}
        answer = run(argv, timeout=self._timeout, environment=environment)
        judge_submission(order.name, answer)
        return slurm_findings.rehearsed(answer.words)

    def _of_the_source(self) -> tuple[Finding, ...]:
        if not self._why_commands:
            return ()
        text = f"pyslurm is not used, because {self._why_commands}"
        if self._wants_library:
            remedy = 'install a pyslurm that matches this Slurm, or write source = "commands" in [scheduler.slurm]'
            return (warning(Topic.VERSIONS, text, remedy, "pyslurm"),)
        return (note(Topic.VERSIONS, text, about="pyslurm"),)

    def _limits(self, config: dict[str, str], user: str) -> tuple[Finding, ...]:
        """Return what the accounting limits; without an answer, that it gave none."""
        if not slurm_findings.has_accounting(config):
            return ()
        try:
            asked = slurm_findings.limit_arguments(user, config.get("ClusterName", ""))
            text = self._ask(asked).expect_success()
            limits = slurm_findings.limits(text, self._account)
        except SchedulerUnavailable as error:
            return (note(Topic.LIMITS, f"the limits of user {user} are not known: {error}"),)
        if not limits and slurm_findings.enforces_associations(config):
            return (slurm_findings.of_no_association(user, self._account),)
        if not slurm_findings.enforces_limits(config):
            return ()
        return tuple(slurm_findings.of_the_limits(limits, user, max_pilots=self._max_pilots, longest=self._longest))

    def _evictable(self, user: str) -> tuple[str, ...]:
        try:
            qos = self._ask(QOS_ARGUMENTS).expect_success()
            return slurm_findings.evictable(qos, self._ask(slurm_findings.own_qos_arguments(user)).expect_success())
        except SchedulerUnavailable:
            return ()

    def _is_operator(self, user: str) -> bool:
        """Return whether PrivateData does not hold for the user; in doubt it does."""
        if os.geteuid() == 0:
            return True
        try:
            return is_operator(self._ask(admin_arguments(user)).expect_success())
        except SchedulerUnavailable:
            return False

    def _ask(self, argv: Sequence[str]) -> CommandResult:
        return run(argv, timeout=self._timeout, environment=asking())
