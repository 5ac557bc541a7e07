"""The daemon's silence: when the daemon was last known to live, and when a pilot has waited for it too long.

Where no scheduler evicts pilots, only the daemon takes a node back. A pilot that nobody could take away must not stay.
Pure arithmetic on one clock. The core decides about leaving.
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
        """Record how long ago a gateway heard of the daemon; None: that gateway never has."""
        if daemon_age_s is not None:
            self._lived_at = max(self._lived_at, now - max(0.0, daemon_age_s))

    @property
    def orphaned_at(self) -> float:
        """When the pilot has to leave, if nothing is heard of the daemon until then."""
        return self._lived_at + self._orphan_after_s
