"""Pauses: why nothing is submitted now, for all shapes or for one, and how to resume.

Owns the back-off of each shape, the blame of each node, and the words about them. Knows neither scheduler nor store.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from datetime import timedelta

from harvester.domain.model.pilots import BROKEN_UNDER_WORK, PilotState
from harvester.domain.protocol.control import Control
from harvester.domain.supervision.backoff import CLEAR, SUBMISSIONS, Backoff, Ladder
from harvester.domain.supervision.blame import Blame
from harvester.store.records import PilotRecord

log = logging.getLogger(__name__)

RESUME = "to resume: harvester resume"
STEADY = timedelta(seconds=10)  # a pilot that has lived so long since it called shows that its shape works


class Pauses:
    """What is held back. `is_off`: the config says paused."""

    def __init__(self, *, is_off: bool) -> None:
        self._is_off = is_off
        self._control = Control()
        self._shapes: dict[str, Backoff] = {}
        self._blame = Blame()
        self._charged: dict[str, frozenset[str]] = {}  # by shape: whose work was on each of the pilots that died last

    def hear(self, said: Control) -> None:
        """Take an admin's word. A resume ends every automatic pause that is older than it."""
        self._control = said
        if said.paused:
            return
        self._blame = self._blame.forgiven(said.at)
        for shape, backoff in list(self._shapes.items()):
            if backoff.failed_at < said.at:
                log.warning("daemon.resume shape=%s: after %d failures", shape, backoff.failures)
                del self._shapes[shape]

    def ended(
        self, pilot: PilotRecord, now: float, *, is_survived: bool = False, owners: frozenset[str] = frozenset()
    ) -> None:
        """Take a pilot's end. Only FAILED counts: evictions and cancellations are the normal way out.

        Parameters
        ----------
        is_survived: another pilot of its shape has called and is alive.
        owners: whose work it held.
        """
        self._heard(pilot, now)
        if pilot.state is not PilotState.FAILED:
            return
        if pilot.registered_at is not None and self._charge(pilot, owners):
            log.warning("daemon.pauses pilot=%s: died under work, which is charged with it", pilot.name)
            self.blame(pilot.node, pilot.reason, now, pilot.shape)  # a bad node kills what runs there, too
            return
        lived_s = 0.0 if pilot.registered_at is None else now - pilot.registered_at
        if pilot.registered_at is None or not (is_survived or lived_s >= STEADY.total_seconds()):
            self.failed(pilot.shape, pilot.reason, planned_at=pilot.planned_at, now=now, node=pilot.node)
        else:
            self.blame(pilot.node, pilot.reason, now, pilot.shape)

    def _charge(self, pilot: PilotRecord, owners: frozenset[str]) -> bool:
        """Note whose work a pilot died under; return whether that work is charged with the death, and not the shape.

        The dispatcher charges that work, and fails it in the end. One user must not get a shape paused for everybody:
        so a death counts against the shape only where no user had work on this pilot and on those that died before it.
        """
        if pilot.reason == BROKEN_UNDER_WORK:
            return True
        common = self._charged.get(pilot.shape, owners) & owners
        self._charged[pilot.shape] = common or owners
        return bool(common)

    def failed(
        self,
        shape: str,
        reason: str,
        *,
        planned_at: float,
        now: float,
        node: str = "",
        ladder: Ladder = SUBMISSIONS,
    ) -> None:
        """Count a failure of a shape's pilot. Those planned before the last failure belong to the same wave.

        A second failure on the same `node` while others work is held against the node, not against the shape.
        """
        if self.blame(node, reason, now, shape):
            return
        before = self._shapes.get(shape, CLEAR)
        if planned_at < before.failed_at:
            return
        after = before.failed(ladder, reason, now)
        self._shapes[shape] = after
        if after.is_paused and not before.is_paused:
            log.error("daemon.pause: %s", self._paused(shape, after))

    def blame(self, node: str, reason: str, now: float, shape: str = "") -> bool:
        """Hold a pilot's failure against the node it was on; tell whether the node is to blame, and not for once."""
        if not node:
            return False
        self._blame = self._blame.failed(node, shape, reason, now)
        why = self._blame.excluded(now).get(node)
        if why is not None:
            log.warning("daemon.exclude node=%s: %s", node, why)
        return self._blame.is_against(node) and self._blame.suspects[node].failures > 1

    def see(self, pilots: Iterable[PilotRecord], now: float) -> None:
        """Forget the failures of a shape, and of a node, whose pilots have called since."""
        for pilot in pilots:
            if pilot.registered_at is None:
                continue
            if pilot.node:
                self._blame = self._blame.registered(pilot.node, pilot.shape, pilot.registered_at)
            self._heard(pilot, now)

    def _heard(self, pilot: PilotRecord, now: float) -> None:
        """Hold a shape back no longer once a pilot of it has called; forget its failures when that one has lasted."""
        backoff = self._shapes.get(pilot.shape)
        if backoff is None or pilot.registered_at is None or pilot.registered_at <= backoff.failed_at:
            return
        if now - pilot.registered_at >= STEADY.total_seconds():
            del self._shapes[pilot.shape]
        else:
            self._shapes[pilot.shape] = backoff.answered()

    def closed(self, now: float) -> dict[str, str]:
        """Return the shapes that are held back now, and why."""
        return {
            shape: self._words(shape, backoff, now)
            for shape, backoff in self._shapes.items()
            if not backoff.allows(now)
        }

    def doubts(self, now: float) -> tuple[str, ...]:
        """Return, a sentence each, why shapes that are tried again now have failed: it is told until a pilot calls."""
        return tuple(
            f"Shape {shape} is tried again after {self._failures(shape, backoff)}."
            for shape, backoff in self._shapes.items()
            if backoff.allows(now) and not backoff.is_answered
        )

    def bad_nodes(self, now: float, nodes: Collection[str] = ()) -> dict[str, str]:
        """Return the nodes that pilots keep out of for now, and why.

        Parameters
        ----------
        nodes: all in service that pilots could go to. Where they are told, pilots go elsewhere after a failure whose
            fault nobody knows yet.
        """
        return self._blame.avoided(now, nodes) | self._blame.excluded(now)

    @property
    def off_reason(self) -> str:
        """Why nothing at all is submitted; empty while something may be."""
        if self._is_off:
            return "harvest.paused is true in the config; set it to false and restart"
        if self._control.paused:
            return f"{self._control.reason or 'an admin paused harvesting'}; {RESUME}"
        return ""

    @property
    def reason(self) -> str:
        """Everything that is paused until somebody acts, in words; empty where nothing is."""
        words = [self.off_reason] if self.off_reason else []
        words += [self._paused(shape, backoff) for shape, backoff in self._shapes.items() if backoff.is_paused]
        return " | ".join(words)

    def _paused(self, shape: str, backoff: Backoff) -> str:
        return f"shape {shape} is paused after {self._failures(shape, backoff)}; {RESUME}"

    def _failures(self, shape: str, backoff: Backoff) -> str:
        """Return how often a shape failed, on how many nodes, and why: it is the shape or the site, not a node."""
        many = "1 failure" if backoff.failures == 1 else f"{backoff.failures} failures in a row"
        nodes = len(self._blame.failing(shape))
        where = f" on {nodes} nodes, so it is not one node's fault" if nodes > 1 else ""
        return f"{many}{where}: {backoff.reason}"

    def _words(self, shape: str, backoff: Backoff, now: float) -> str:
        if backoff.is_paused:
            return f"paused after {self._failures(shape, backoff)}; {RESUME}."
        return f"tried again in {backoff.until_at - now:.0f} s after {self._failures(shape, backoff)}."
