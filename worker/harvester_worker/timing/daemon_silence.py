"""The daemon's word: when it was last known to live, and when a pilot has gone without it for too long.

Where no scheduler evicts pilots, only the daemon takes a node back. A pilot that nobody could take away must not stay.
Pure arithmetic on one clock. Leaving is the session's decision.
"""

from math import inf


class DaemonWord:
    """What one pilot knows of the daemon.

    Parameters
    ----------
    orphan_after_s: how long it may stay without word of a live daemon; None: for ever.
    now: the pilot's start, from which it counts until there is word.
    """

    def __init__(self, orphan_after_s: float | None, now: float) -> None:
        self._orphan_after_s = inf if orphan_after_s is None else orphan_after_s
        self._lived_at = now

    def heard(self, daemon_age_s: float | None, now: float) -> None:
        """A gateway said how long ago the daemon had said that it lives; None: never, as far as that gateway knows."""
        if daemon_age_s is not None:
            self._lived_at = max(self._lived_at, now - max(0.0, daemon_age_s))

    @property
    def orphaned_at(self) -> float:
        """When the pilot is on its own, if there is no word until then."""
        return self._lived_at + self._orphan_after_s
