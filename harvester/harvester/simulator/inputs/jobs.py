"""Prime jobs: other people's batch jobs of a trace. Owns the records that every trace format is read into."""

from __future__ import annotations

import msgspec

from harvester.simulator.errors import SimulationError
from harvester.simulator.inputs.trace_file import Skipped

_YEAR_S = 365.25 * 86_400
_MOST_YEARS = 12  # the longest public logs have five; a wrong time would be simulated for days


class PrimeJob(msgspec.Struct, frozen=True, kw_only=True):
    """One batch job of somebody else's."""

    job_id: str
    submit_at: float
    run_s: float  # at most `limit_s`: the scheduler ends it there
    limit_s: float  # its requested walltime
    nodes: int
    line: int = 0  # of the trace


class JobTrace(msgspec.Struct, frozen=True, kw_only=True):
    """A trace, in the order of submission."""

    source: str
    jobs: tuple[PrimeJob, ...]
    machine: int = 0  # size of the machine as the trace tells it, in the unit of `PrimeJob.nodes`; 0: it does not
    named_nodes: int = 0  # different nodes that its batch jobs ran on, where it names them
    never_ran: int = 0  # cancelled before they started, or of unknown length: nothing to simulate
    skipped: Skipped = Skipped()

    def on(self, nodes: int, *, strict: bool = False) -> JobTrace:
        """Return the trace without what a cluster of `nodes` cannot hold.

        Parameters
        ----------
        strict: refuse such batch jobs instead of leaving them out.

        Raises `SimulationError` where the trace is of a larger machine, or nothing is left.
        """
        if self.machine > nodes:
            raise SimulationError(
                f"{self.source} is of a machine of {self.machine} processors, more than --nodes {nodes}: give its own "
                "size (with --procs-per-node where the trace counts cores)"
            )
        kept = tuple(job for job in self.jobs if job.nodes <= nodes)
        large = [job for job in self.jobs if job.nodes > nodes]
        if not large:
            return self
        words = [f"line {job.line}: batch job {job.job_id} wants {job.nodes} of {nodes} nodes" for job in large]
        if strict or not kept:
            rest = f", and {len(large) - 1} more" if len(large) > 1 else ""
            raise SimulationError(f"{self.source}, {words[0]}{rest}; is --nodes right?")
        skipped = Skipped(count=self.skipped.count + len(large), examples=(*self.skipped.examples, *words)[:5])
        return msgspec.structs.replace(self, jobs=kept, skipped=skipped)


def trace(source: str, jobs: list[PrimeJob], *, machine: int, never_ran: int, skipped: Skipped) -> JobTrace:
    """Return a trace in the order of submission. Raises `SimulationError` where it is empty."""
    if not jobs:
        gone = f"; {never_ran} never ran" if never_ran else ""
        raise SimulationError(f"{source} holds no batch job that ran ({skipped.brief}{gone})")
    ordered = sorted(jobs, key=lambda job: job.submit_at)
    last = max(ordered, key=lambda job: job.submit_at + job.run_s)
    years = (last.submit_at + last.run_s - ordered[0].submit_at) / _YEAR_S
    if years > _MOST_YEARS:
        raise SimulationError(
            f"{source} lasts for {years:.0f} years, from the submission of batch job {ordered[0].job_id} (line "
            f"{ordered[0].line}) to the end of {last.job_id} (line {last.line}); more than {_MOST_YEARS} are not "
            "simulated: correct these lines, or leave them out"
        )
    return JobTrace(source=source, jobs=tuple(ordered), machine=machine, never_ran=never_ran, skipped=skipped)
