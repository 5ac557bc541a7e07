"""Pauses: why nothing is submitted now, for all shapes or for one, and how to resume.

Owns the back-off of each shape, the blame of each node, and the words about them. Knows neither scheduler nor store.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from harvester.domain.backoff import CLEAR, SUBMISSIONS, Backoff
from harvester.domain.blame import Blame
from harvester.domain.control import Control
from harvester.store.records import PilotRecord

log = logging.getLogger(__name__)

RESUME = "to resume: harvester resume"


class Pauses:
    """What is held back. `is_off`: the config says paused."""

    def __init__(self, *, is_off: bool) -> None:
        self._is_off = is_off
        self._control = Control()
        self._shapes: dict[str, Backoff] = {}
        self._blame = Blame()

    def hear(self, said: Control) -> None:
        """Take an admin's word. A resume ends every automatic pause that is older than it."""
        self._control = said
        if said.paused:
            return
        self._blame = self._blame.forgiven(said.at)
        for shape, backoff in list(self._shapes.items()):
            if backoff.failed_at < said.at:
                log.warning("daemon.resume shape=%s after %d failures", shape, backoff.failures)
                del self._shapes[shape]

    def failed(self, shape: str, reason: str, *, planned_at: float, now: float, node: str = "") -> None:
        """Count a failure of a shape's pilot. Those planned before the last failure belong to the same wave.

        A second failure on the same `node` is held against the node, not against the shape.
        """
        if self.blame(node, reason, now):
            return
        before = self._shapes.get(shape, CLEAR)
        if planned_at < before.failed_at:
            return
        after = before.failed(SUBMISSIONS, reason, now)
        self._shapes[shape] = after
        if after.is_paused and not before.is_paused:
            log.error("daemon.pause shape=%s after %d failures: %s; %s", shape, after.failures, reason, RESUME)

    def blame(self, node: str, reason: str, now: float) -> bool:
        """Hold a pilot's failure against the node it was on; tell whether something was held against it before."""
        if not node:
            return False
        was_blamed = node in self._blame.suspects
        self._blame = self._blame.failed(node, reason, now)
        why = self._blame.excluded(now).get(node)
        if why is not None:
            log.warning("daemon.exclude node=%s: %s", node, why)
        return was_blamed

    def see(self, pilots: Iterable[PilotRecord]) -> None:
        """Forget the failures of a shape, and of a node, whose pilots have called since."""
        for pilot in pilots:
            if pilot.node and pilot.registered_at is not None:
                self._blame = self._blame.cleared(pilot.node, pilot.registered_at)
            backoff = self._shapes.get(pilot.shape)
            if backoff is not None and pilot.registered_at is not None and pilot.registered_at > backoff.failed_at:
                del self._shapes[pilot.shape]

    def closed(self, now: float) -> dict[str, str]:
        """Return the shapes that are held back now, and why."""
        return {
            shape: self._words(shape, backoff, now)
            for shape, backoff in self._shapes.items()
            if not backoff.allows(now)
        }

    def bad_nodes(self, now: float) -> dict[str, str]:
        """Return the nodes that pilots keep out of for now, and why."""
        return self._blame.excluded(now)

    @property
    def off_reason(self) -> str:
        """Why nothing at all is submitted; empty while something may be."""
        if self._is_off:
            return "harvest.paused is true in the config; set it to false and restart"
        if self._control.paused:
            return f"{self._control.reason or 'an admin said so'}; {RESUME}"
        return ""

    @property
    def reason(self) -> str:
        """Everything that is paused until somebody acts, in words; empty where nothing is."""
        words = [self.off_reason] if self.off_reason else []
        words += [
            f"shape {shape} is paused after {backoff.failures} failures in a row: {backoff.reason}; {RESUME}"
            for shape, backoff in self._shapes.items()
            if backoff.is_paused
        ]
        return " | ".join(words)

    def _words(self, shape: str, backoff: Backoff, now: float) -> str:
        if backoff.is_paused:
            return f"paused after {backoff.failures} failures in a row ({backoff.reason}); {RESUME}."
        seconds = backoff.until_at - now
        return f"tried again in {seconds:.0f} s after {backoff.failures} failures in a row ({backoff.reason})."
