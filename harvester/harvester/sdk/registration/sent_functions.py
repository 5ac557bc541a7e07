"""The functions that were sent, and whether they still are what they were then.

Owns when a function is checked again, and what its user is told where a change may have been missed. Sends nothing.
"""

from __future__ import annotations

import sys
import time
import warnings
import weakref
from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec

from harvester.sdk.payload.shipping import Traits
from harvester.sdk.registration.footprint import Footprint
from harvester.sdk.registration.target import Target

LOOK_AGAIN_S = 1.0
COST_SHARE = 20
"""An opaque function is pickled again after this many times what it took: at most 5 % of the time goes into it."""

MANY_VERSIONS = 100


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """A function as it was sent."""

    target: Target  # where its invocations go
    traits: Traits
    packages: frozenset[str]
    footprint: Footprint | None  # None where only a name travelled
    digest: str  # of what travelled
    look_at: float = 0.0  # monotonic seconds, for what the footprint does not show


class SentFunctions:
    """Of one client. Keeps no function alive.

    Parameters
    ----------
    clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._sent: weakref.WeakKeyDictionary[Any, Sent] = weakref.WeakKeyDictionary()
        self._versions: Counter[str] = Counter()

    def target(self, fn: Callable[..., Any]) -> Target | None:
        """Return where invocations of `fn` go; None when it was not sent, or is to be looked at again."""
        sent = self._sent.get(fn)
        if sent is None:
            return None
        if sent.footprint is not None:
            if not sent.footprint.fits():
                return None
            if sent.footprint.unseen and self._clock() >= sent.look_at:
                return None
        return sent.target

    def before(self, fn: Callable[..., Any]) -> Sent | None:
        """Return how `fn` was sent the last time."""
        return self._sent.get(fn)

    def remember(self, fn: Callable[..., Any], sent: Sent, *, took_s: float) -> None:
        """Record a function that was sent, and how long it took to pickle it, which is what a look costs."""
        now = self._clock()
        before = self._sent.get(fn)
        look_at = now + max(LOOK_AGAIN_S, COST_SHARE * took_s)
        self._sent[fn] = msgspec.structs.replace(sent, look_at=look_at)
        if before is not None and before.target.name == sent.target.name and before.digest != sent.digest:
            _tell_unseen(before)

    def count(self, fn: Callable[..., Any]) -> None:
        """Count a new version, and warn when there are many."""
        name = f"{getattr(fn, '__module__', '')}.{getattr(fn, '__qualname__', repr(type(fn)))}"
        self._versions[name] += 1
        if self._versions[name] == MANY_VERSIONS:
            warnings.warn(
                f"{name} has been registered {MANY_VERSIONS} times, each time with other code or other values: the "
                "gateway keeps them all. Pass what changes as arguments, or use harvester.Executor, which sends "
                "closures and lambdas along with their arguments",
                RuntimeWarning,
                stacklevel=_users_level(),
            )


def _tell_unseen(before: Sent) -> None:
    """Warn where a function was found changed that its footprint shows as it was: earlier calls may have missed it."""
    if before.footprint is None or not before.footprint.unseen or not before.footprint.fits():
        return
    changed = ", ".join(dict.fromkeys(before.footprint.unseen))
    warnings.warn(
        f"the function {before.target.name!r} is sent again, because something that it uses was changed in place "
        f"({changed}); calls since the last look, {LOOK_AGAIN_S:g} s ago or more, ran with the old value: pass it as "
        "an argument",
        RuntimeWarning,
        stacklevel=_users_level(),
    )


def _users_level() -> int:
    """Return the `stacklevel` of the code that called the SDK."""
    frame, level = sys._getframe(1), 1  # noqa: SLF001 - as `warnings` does it, which from Python 3.12 on does this too
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("harvester."):
        frame, level = frame.f_back, level + 1
    return level
