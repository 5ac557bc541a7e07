"""A policy and a scheduler adapter, as a site would write its own."""

from datetime import timedelta

from harvester.domain.cluster.ports import AdapterSettings, SchedulerAdapter
from harvester.domain.harvest.planning import Plan, Situation, SubmitPilot
from harvester.domain.model.resources import Resources
from harvester_adapters.local.adapter import LocalAdapter


class OnePilot:
    """One pilot of the first shape, always; the longest that there is."""

    def plan(self, situation: Situation) -> Plan:
        """Return what to submit."""
        if situation.pilots:
            return Plan(notes=("policy one: there is a pilot",))
        shape = situation.settings.shapes[0]
        longest = max(situation.settings.lengths)
        return Plan(effects=(SubmitPilot(shape=shape.name, walltime=longest, why="one: there was no pilot"),))


def make_house(settings: AdapterSettings) -> SchedulerAdapter:
    """Return an adapter to this house's scheduler, which is the emulated one under another name."""
    unknown = set(settings.options) - {"nodes"}
    if unknown:
        raise ValueError(f"the house scheduler does not know the option {min(unknown)!r}")
    return LocalAdapter(
        state_dir=settings.folder,
        nodes=int(settings.options.get("nodes", 1)),
        node_resources=Resources(cpus=2, memory_mb=1000),
        grace=timedelta(seconds=2),
    )
