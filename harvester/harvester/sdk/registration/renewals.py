"""Versions that the gateway no longer has: what was sent of them, so that it can be sent again.

A client pins the version that a callable was registered as. Where somebody deletes that version, or it expires, the
same content is registered once more and goes by its new number from then on. Owns which targets are gone, and what they
are now. The threads of a user ask, the line's event loop renews: nothing here waits.
"""

from __future__ import annotations

import threading

from harvester.sdk.errors import GatewayError
from harvester.sdk.http.messages import Operation
from harvester.sdk.payload.shipping import Shipment
from harvester.sdk.registration.request import registered
from harvester.sdk.registration.target import Target

MAX_BYTES = 16 * 1024 * 1024
"""Of functions kept: what is sent again is what was sent, whatever has become of the function. The latest ones stay."""

_GONE = frozenset({"unknown-function", "unknown-version"})


def is_gone(error: GatewayError) -> bool:
    """Whether a refusal says that the gateway does not have the function, or the version."""
    return error.status == 404 and error.kind in _GONE


class Renewals:
    """Of one client."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._kept: dict[Target, Shipment] = {}  # the oldest first
        self._bytes = 0
        self._now: dict[Target, Target | None] = {}  # of those that are gone
        self._lock = threading.Lock()

    def keep(self, target: Target, shipment: Shipment) -> None:
        """Record what a target is."""
        with self._lock:
            self._drop(target)
            self._now.pop(target, None)
            self._kept[target] = shipment
            self._bytes += len(shipment.body)
            while self._bytes > self._max_bytes:
                self._drop(next(iter(self._kept)))

    def current(self, target: Target) -> Target | None:
        """Return where invocations of a target go by now; None where it is gone and was not sent again."""
        if self._now:  # as nearly never, and this is asked at each call
            with self._lock:
                while target in self._now:
                    now = self._now[target]
                    if now is None:
                        return None
                    target = now
        return target

    def renew(self, target: Target) -> Operation[Target | None]:
        """Send what the gateway has no longer once more; None where it is not known what it was.

        Raises `GatewayError` when it is refused.
        """
        with self._lock:
            shipment = self._kept.get(target)
            self._drop(target)
            self._now.setdefault(target, None)
        if shipment is None:
            return None
        new = (yield from registered(shipment)).pinned
        self.keep(new, shipment)
        if new != target:
            with self._lock:
                self._now[target] = new
        return new

    def _drop(self, target: Target) -> None:
        dropped = self._kept.pop(target, None)
        self._bytes -= 0 if dropped is None else len(dropped.body)
