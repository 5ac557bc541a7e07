"""Blame: whose fault it is that pilots fail, a node's or the whole site's.

Pure. A failure is held against a node only where other nodes are known to work: a pilot of that shape has registered on
one of them, and nothing has failed there since. Else the shape is at fault, which its back-off knows. So never are all
nodes blamed. Counts pilots that FAILED, never those that were evicted. A pilot that registers on a node clears it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import timedelta

import msgspec

FAILURES = 3  # on one node while others work, with no pilot that registered there in between
SEVERAL = 3  # nodes on which a shape failed since it last worked anywhere: it is not the nodes any more
FIRST = timedelta(hours=1)  # for which a node is left alone
LONGEST = timedelta(days=1)
TRIAL = timedelta(minutes=10)  # for which pilots go elsewhere after a failure, to see whether it was the node
_MEMORY = timedelta(hours=6)  # failures further apart than this have nothing to do with each other


class Suspect(msgspec.Struct, frozen=True, kw_only=True):
    """A node whose newest pilot failed."""

    shape: str  # of the newest pilot that failed on it
    failed_at: float
    reason: str  # of the newest failure
    failures: int = 0  # in a row, while other nodes worked
    until_at: float = 0.0  # left alone until then


class Blame(msgspec.Struct, frozen=True, kw_only=True):
    """What is held against the nodes."""

    suspects: dict[str, Suspect] = {}
    worked: dict[str, dict[str, float]] = {}  # by shape, by node: when a pilot last registered there

    def failed(self, node: str, shape: str, reason: str, now: float) -> Blame:
        """Return the state after one more pilot failed on `node`."""
        before = self.suspects.get(node)
        if before is not None and now - max(before.failed_at, before.until_at) > _MEMORY.total_seconds():
            before = None
        failures, until_at = (0, 0.0) if before is None else (before.failures, before.until_at)
        suspect = Suspect(shape=shape, failed_at=now, reason=reason, failures=failures, until_at=until_at)
        after = self._with(node, suspect)
        if not after.is_against(node):
            return after
        failures += 1
        if failures >= FAILURES:
            # Once it is tried again, the next failure is enough, and it is left alone for twice as long.
            left = min(FIRST.total_seconds() * 2 ** (failures - FAILURES), LONGEST.total_seconds())
            until_at = now + left
        return self._with(
            node, Suspect(shape=shape, failed_at=now, reason=reason, failures=failures, until_at=until_at)
        )

    def registered(self, node: str, shape: str, at: float) -> Blame:
        """Return the state after a pilot registered on `node` at `at`."""
        known = self.worked.get(shape, {})
        worked = self.worked
        if known.get(node, 0.0) < at:
            worked = {**worked, shape: {**known, node: at}}
        suspects = self.suspects
        if node in suspects and suspects[node].failed_at < at:
            suspects = {name: other for name, other in suspects.items() if name != node}
        return Blame(suspects=suspects, worked=worked)

    def forgiven(self, at: float) -> Blame:
        """Return the state after an admin resumed at `at`: what is older is forgotten."""
        kept = {name: suspect for name, suspect in self.suspects.items() if suspect.failed_at >= at}
        return Blame(suspects=kept, worked=self.worked)

    def is_against(self, node: str) -> bool:
        """Return whether the newest failure on `node` is the node's fault: others work, and few fail at once."""
        suspect = self.suspects.get(node)
        if suspect is None or len(self.failing(suspect.shape)) >= SEVERAL:
            return False
        return any(other != node and other not in self.suspects for other in self.worked.get(suspect.shape, {}))

    def failing(self, shape: str) -> tuple[str, ...]:
        """Return the nodes on which a shape's pilots have failed since one last registered anywhere."""
        worked_at = max(self.worked.get(shape, {}).values(), default=0.0)
        return tuple(
            node for node, suspect in self.suspects.items() if suspect.shape == shape and suspect.failed_at > worked_at
        )

    def excluded(self, now: float) -> dict[str, str]:
        """Return the nodes that are left alone, and why."""
        return {
            node: f"{suspect.failures} pilots in a row failed on it (the last: {suspect.reason}); it is tried again in "
            f"{(suspect.until_at - now) / 60:.0f} min"
            for node, suspect in self.suspects.items()
            if suspect.until_at > now and self.is_against(node)
        }

    def avoided(self, now: float, nodes: Collection[str]) -> dict[str, str]:
        """Return the nodes that the next pilots keep out of, to see whether a failure was the node's, and why.

        Parameters
        ----------
        nodes: all that pilots could go to; where no other would be left, nothing is avoided.
        """
        found = dict(self._doubtful(now))
        taken = {*found, *self.excluded(now)}
        return found if any(node not in taken for node in nodes) else {}

    def _doubtful(self, now: float) -> Iterator[tuple[str, str]]:
        for node, suspect in self.suspects.items():
            is_new = now - suspect.failed_at < TRIAL.total_seconds()
            if is_new and not suspect.failures and 0 < len(self.failing(suspect.shape)) < SEVERAL:
                yield (
                    node,
                    f"a pilot failed on it ({suspect.reason}); the next one goes to another node",
                )

    def _with(self, node: str, suspect: Suspect) -> Blame:
        return Blame(suspects={**self.suspects, node: suspect}, worked=self.worked)
