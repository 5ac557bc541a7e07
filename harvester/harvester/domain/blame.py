"""Blame: a node on which pilots fail again and again is left alone for a while; the queue goes on elsewhere.

Pure. Counts pilots that FAILED, never those that were evicted. A pilot that registers on a node clears it.
"""

from __future__ import annotations

from datetime import timedelta

import msgspec

FAILURES = 3  # on one node, with no pilot that registered there in between
FIRST = timedelta(hours=1)  # for which it is left alone
LONGEST = timedelta(days=1)
_MEMORY = timedelta(hours=6)  # failures further apart than this have nothing to do with each other


class Suspect(msgspec.Struct, frozen=True, kw_only=True):
    """What is held against one node."""

    failures: int
    failed_at: float
    reason: str  # of the newest
    until_at: float = 0.0  # left alone until then


class Blame(msgspec.Struct, frozen=True, kw_only=True):
    """What is held against the nodes."""

    suspects: dict[str, Suspect] = {}

    def failed(self, node: str, reason: str, now: float) -> Blame:
        """Return the state after one more pilot failed on `node`."""
        before = self.suspects.get(node)
        is_fresh = before is None or now - max(before.failed_at, before.until_at) > _MEMORY.total_seconds()
        failures = 1 if before is None or is_fresh else before.failures + 1
        until_at = 0.0
        if failures >= FAILURES:
            # Once it is tried again, the next failure is enough, and it is left alone for twice as long.
            left = min(FIRST.total_seconds() * 2 ** (failures - FAILURES), LONGEST.total_seconds())
            until_at = now + left
        suspect = Suspect(failures=failures, failed_at=now, reason=reason, until_at=until_at)
        return Blame(suspects={**self.suspects, node: suspect})

    def cleared(self, node: str, at: float) -> Blame:
        """Return the state after a pilot registered on `node` at `at`."""
        suspect = self.suspects.get(node)
        if suspect is None or suspect.failed_at >= at:
            return self
        return Blame(suspects={name: other for name, other in self.suspects.items() if name != node})

    def forgiven(self, at: float) -> Blame:
        """Return the state after an admin resumed at `at`: what is older is forgotten."""
        return Blame(suspects={name: suspect for name, suspect in self.suspects.items() if suspect.failed_at >= at})

    def excluded(self, now: float) -> dict[str, str]:
        """Return the nodes that are left alone, and why."""
        return {
            node: f"{suspect.failures} pilots in a row failed on it (the last: {suspect.reason}); it is tried again in "
            f"{(suspect.until_at - now) / 60:.0f} min"
            for node, suspect in self.suspects.items()
            if suspect.until_at > now
        }
