"""What the embedded local scheduler tells of its site: that there is none."""

from __future__ import annotations

from harvester.domain.cluster.ports import PilotOrder
from harvester.domain.fitness.findings import Topic, note
from harvester.domain.fitness.site_facts import SiteFacts


class LocalSite:
    """A `SiteTeller` for the emulated cluster."""

    def site(self) -> SiteFacts:
        """Say that it is an emulation."""
        text = "this cluster is emulated: pilots are processes of this machine, and only the CPUs here are real"
        return SiteFacts(source="memory", findings=(note(Topic.SCHEDULER, text),))

    def rehearse(self, order: PilotOrder) -> None:
        """Judge nothing: every order that fits is taken."""
