"""Harm: what pilots cost prime jobs, and the way back to strict mode when that is more than was promised.

Owns the store's note of a fallback, so that a restart does not try again what an admin has not looked at. What counts
as a delay is `domain.delays`'s.
"""

from __future__ import annotations

import logging

import msgspec
from msgspec.structs import replace

from harvester.domain.harvest.planning import HarvestMode, HarvestSettings, Situation
from harvester.domain.protocol.control import Control
from harvester.domain.supervision import delays
from harvester.domain.supervision.delays import Delay
from harvester.store.store import Store

log = logging.getLogger(__name__)

FALLBACK_NOTE = "fallback"


class Fallback(msgspec.Struct, frozen=True, kw_only=True):
    """Why yielding was given up; empty while it was not."""

    reason: str = ""
    at: float = 0.0


class Harm:
    """Watches the delays of prime jobs, in the modes in which the scheduler does not evict pilots."""

    def __init__(self, settings: HarvestSettings, store: Store) -> None:
        self._configured = settings
        self._store = store
        self._fallback: Fallback | None = None
        self._watch = delays.DelayWatch()
        self.delayed = 0  # prime jobs that were seen to wait for pilots
        self.worst_s = 0.0

    @property
    def reason(self) -> str:
        """Why the mode is not the configured one; empty where it is."""
        return "" if self._fallback is None else self._fallback.reason

    def settings(self, said: Control) -> HarvestSettings:
        """Return the settings that hold now; `harvester resume` takes a fallback back. Raises `StoreError`."""
        if self._configured.mode is not HarvestMode.YIELDING:
            return self._configured
        if self._fallback is None:
            text = self._store.note(FALLBACK_NOTE)
            self._fallback = Fallback() if text is None else msgspec.json.decode(text, type=Fallback)
        if self._fallback.reason and not said.paused and said.at > self._fallback.at:
            log.warning("daemon.harm: an admin resumed, so mode = yielding is tried again")
            self._keep(Fallback())
            self._watch = delays.DelayWatch()  # what was seen before is forgiven
        return replace(self._configured, mode=HarvestMode.STRICT) if self._fallback.reason else self._configured

    def beliefs(self, situation: Situation) -> Situation:
        """Return `situation` with what is known of prime jobs that do not start where we think."""
        return replace(situation, doubted=self._watch.doubted, disbelieved=self._watch.disbelieved)

    def glanced(self, now: float) -> None:
        """Note that nothing has changed by now: what the next look shows waiting has begun to wait later than this."""
        self._watch = replace(self._watch, looked_at=now)

    def look(self, situation: Situation) -> bool:
        """Judge a look; return whether yielding was given up because of it. Raises `StoreError`."""
        if situation.settings.mode is HarvestMode.PREEMPTIBLE:
            return False
        seen = delays.watch(self._watch, situation)
        self._watch = seen.watch
        for delay in seen.delays:
            self.worst_s = max(self.worst_s, delay.seconds)
            if delay.is_over:
                self.delayed += 1
                log.info("daemon.harm batch_job=%s: waited %.1f s for pilots", delay.batch_job_id, delay.seconds)
        worst = seen.too_long(situation)
        if worst is None or situation.settings.mode is not HarvestMode.YIELDING:
            return False
        self._give_up(worst, situation.now)
        return True

    def _give_up(self, delay: Delay, now: float) -> None:
        most = self._configured.max_delay.total_seconds()
        waited = "waited" if delay.is_over else "has waited"
        reason = (
            f"mode = yielding fell back to strict: batch job {delay.batch_job_id} {waited} {delay.seconds:.0f} s "
            f"for pilots, and harvest.max_delay_s is {most:g}; to try yielding again: harvester resume"
        )
        log.error("daemon.harm: %s", reason)
        self._keep(Fallback(reason=reason, at=now))

    def _keep(self, fallback: Fallback) -> None:
        self._fallback = fallback
        self._store.put_note(FALLBACK_NOTE, msgspec.json.encode(fallback))
