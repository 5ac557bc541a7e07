"""Nesting: runs that wait for others which they have submitted, and lend their CPUs meanwhile.

Pure, on the pilot's holdings. A waiting run keeps its process, its memory and its devices, so only so many are lent at
a time; the next one is when one of them goes on. The gateway is told of each, because it counts as we do.
"""

from harvester_worker.core.effects import Key, TakeBack
from harvester_worker.core.leases import Holdings
from harvester_worker.core.reporter import Reporter

LENT = 16
"""Waiting runs for each CPU of the pilot whose CPUs are lent: each is a process of some 20 MB and more."""


class WaitingRuns:
    """The waiting runs of one pilot.

    Parameters
    ----------
    holdings: its leases and its room.
    reporter: what it says.
    """

    def __init__(self, holdings: Holdings, reporter: Reporter) -> None:
        self._holdings, self._reporter = holdings, reporter
        self._most = LENT * max(1, holdings.capacity.cpus)

    def waits(self, key: Key) -> None:
        """Take note that a run waits."""
        holdings = self._holdings
        activation = holdings.running.get(key)
        if activation is None or key in holdings.waits:
            return
        holdings.waits[key] = activation
        activation.at.is_closed = True
        if activation.at.queue:
            self._reporter.effects.append(TakeBack(key=key))
        if holdings.lent >= self._most:
            self._reporter.waits(key, is_lent=False)

    def goes_on(self, key: Key) -> None:
        """Take note that a run waits no longer."""
        holdings = self._holdings
        if key in holdings.waits:
            holdings.go_on(holdings.waits[key])
            self._reporter.goes_on(key)

    def lend(self) -> None:
        """Lend the CPUs of as many as may be lent."""
        holdings = self._holdings
        if len(holdings.waits) == holdings.lent:
            return
        for key, activation in holdings.waits.items():
            if holdings.lent >= self._most:
                return
            if not activation.at.is_lent:
                holdings.lend(activation)
                self._reporter.waits(key, is_lent=True)

    def tell_again(self) -> None:
        """Tell a gateway what waits: it has been without word, or is another one."""
        for key, activation in self._holdings.waits.items():
            self._reporter.waits(key, is_lent=activation.at.is_lent)
