"""Which of PSI/J's executors can be named, what each can tell, and how one is made.

Owns the list and the words about what is lost. PSI/J is imported when one is made, not before.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from harvester.domain.cluster.knowledge import Knowledge
from harvester_adapters.asking import SchedulerCommands
from harvester_adapters.psij.carrier import PilotCarrier, PsijSite

_NODES = (
    "is reached through PSI/J alone, which shows no nodes: there are no windows, policy demand follows the work that "
    "waits, and new pilots cannot be kept off a node."
)
_PRIMES = (
    "Prime jobs are not seen: that pilots are evicted for them is what scheduler.psij.preemptible says, and nothing "
    "checks it."
)
_HINTS = (
    "A pilot's state in the queue is a hint: it is given up when its heartbeat ends, or when its walltime has passed "
    "without one."
)
_NAMES = (
    "A submission without an answer cannot be found by its name: it counts as a pilot that waits until its walltime "
    "has passed."
)


# Not all of PBS's: those of a batch job that `harvester up` may run in are its own.
_PBS = ("PBS_CONF_FILE", "PBS_DEFAULT", "PBS_EXEC", "PBS_HOME", "PBS_SERVER")


class ExecutorKind(msgspec.Struct, frozen=True, kw_only=True):
    """One executor of PSI/J that can be named."""

    title: str
    exports: tuple[str, ...]  # beginnings of the names of variables that its commands need
    names: bool  # whether it lists our batch jobs with their names
    make: Callable[[PsijSite, SchedulerCommands], PilotCarrier]

    def knowledge(self) -> Knowledge:
        """Return what an adapter can tell through this executor."""
        lost = (f"{self.title} {_NODES}", _PRIMES, _HINTS, *(() if self.names else (_NAMES,)))
        return Knowledge(nodes=False, names=self.names, states=False, lost=lost)


def _lsf(site: PsijSite, commands: SchedulerCommands) -> PilotCarrier:
    from harvester_adapters.psij.lsf import LsfPilots  # noqa: PLC0415 - brings PSI/J

    return LsfPilots(site, commands)


def _cobalt(site: PsijSite, commands: SchedulerCommands) -> PilotCarrier:
    from harvester_adapters.psij.cobalt import CobaltPilots  # noqa: PLC0415 - brings PSI/J

    return CobaltPilots(site, commands)


def _pbs_classic(site: PsijSite, commands: SchedulerCommands) -> PilotCarrier:
    from harvester_adapters.psij.pbs_classic import ClassicPbsPilots  # noqa: PLC0415 - brings PSI/J

    return ClassicPbsPilots(site, commands)


def _flux(site: PsijSite, commands: SchedulerCommands) -> PilotCarrier:
    from harvester_adapters.psij.flux import flux_pilots  # noqa: PLC0415 - brings PSI/J, and Flux's own Python package

    return flux_pilots(site, commands)


KINDS: dict[str, ExecutorKind] = {
    "cobalt": ExecutorKind(title="Cobalt", exports=("COBALT_",), names=False, make=_cobalt),
    "flux": ExecutorKind(title="Flux", exports=("FLUX_",), names=False, make=_flux),
    "lsf": ExecutorKind(title="LSF", exports=("LSF_", "EGO_"), names=True, make=_lsf),
    "pbs_classic": ExecutorKind(title="PBS (classic)", exports=_PBS, names=False, make=_pbs_classic),
}
"""By the name that a configuration gives."""
