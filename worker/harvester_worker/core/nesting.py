"""Nesting: runs that wait for others which they have submitted, and lend their CPUs meanwhile.

Pure, on the pilot's leases. A waiting run keeps its process, its memory and its devices, so only so many are lent at
a time; the next one is lent when one of them goes on. The gateway is told of each, because it keeps the same count.
"""

from harvester_worker.core.effects import Effect, Key, TakeBack
from harvester_worker.core.leases import Leases
from harvester_worker.core.reporter import Reporter

LENT = 16
"""Waiting runs for each CPU of the pilot whose CPUs are lent: each is a process of some 20 MB and more."""


class WaitingRuns:
    """The waiting runs of one pilot.

    Parameters
    ----------
    leases: its leases and its free capacity.
    reporter: what it tells the gateway.
    effects: the core's.
    """

    def __init__(self, leases: Leases, reporter: Reporter, effects: list[Effect]) -> None:
        self._leases, self._reporter, self._effects = leases, reporter, effects
        self._most = LENT * max(1, leases.capacity.cpus)

    def waits(self, key: Key) -> None:
        """Record that a run waits."""
        leases = self._leases
        activation = leases.running.get(key)
        if activation is None or key in leases.waits:
            return
        leases.waits[key] = activation
        activation.at.is_closed = True
        if activation.at.queue:
            self._effects.append(TakeBack(key=key))
        if leases.lent >= self._most:
            self._reporter.waits(key, is_lent=False)

    def goes_on(self, key: Key) -> None:
        """Record that a run waits no longer."""
        leases = self._leases
        if key in leases.waits:
            leases.go_on(leases.waits[key])
            self._reporter.goes_on(key)

    def lend(self) -> None:
        """Lend the CPUs of as many as may be lent."""
        leases = self._leases
        if len(leases.waits) == leases.lent:
            return
        for key, activation in leases.waits.items():
            if leases.lent >= self._most:
                return
            if not activation.at.is_lent:
                leases.lend(activation)
                self._reporter.waits(key, is_lent=True)

    def tell_again(self) -> None:
        """Tell a gateway what waits: it may have restarted, or be another one."""
        for key, activation in self._leases.waits.items():
            self._reporter.waits(key, is_lent=activation.at.is_lent)
