"""Run claims: which run a slot has begun, in memory that agent and slot share.

Runs are sent to a slot ahead. The slot claims each before it begins it, and the agent can take back those that are not
claimed yet, at once, even if the slot is deep in a function. After a slot's death its memory tells which run is to
blame, whatever the slot had not sent yet.
"""

import fcntl
import mmap
import os
import struct
from typing import NamedTuple, Self

_BEGUN, _ENDED, _KEPT, _TAKEN = (8 * index for index in range(4))
_SIZE = 32
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
_NUMBER = struct.Struct("<Q")
_ATTEMPTS = 100
"""The slot holds the lock for microseconds; but it may be stopped in the middle of them."""


class RunClaim(NamedTuple):
    """How far a slot has come, by the numbers of its runs."""

    begun: int
    ended: int

    def blamed(self, first: int, last: int) -> int | None:
        """Return the run that a slot was at when it died, None if it was between two.

        `first` and `last` are the oldest and the newest one that it had. The first run is
        blamed for a slot that died before it began any, or slots would be started for it for ever; and for one whose
        claims are impossible.
        """
        if not 0 < self.begun <= last or self.ended > self.begun:
            return first
        return self.begun if self.ended != self.begun else None


class Claims:
    """One slot's claims.

    Parameters
    ----------
    descriptor: of the shared memory; owned by this object from now on.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._memory = mmap.mmap(descriptor, _SIZE)

    @classmethod
    def create(cls) -> Self:
        """Return the claims of a slot that is to be started."""
        descriptor = os.memfd_create("harvester-claims", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(descriptor, _SIZE)
        # A function can reach this memory. Who makes it shorter would have the agent killed at its next look.
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
        return cls(descriptor)

    def fileno(self) -> int:
        """Return the descriptor, to be sent to the slot."""
        return self._descriptor

    def close(self) -> None:
        """Release the memory."""
        self._memory.close()
        os.close(self._descriptor)

    # ---- the slot ----------------------------------------------------------------------------------------------------

    def begin(self, number: int) -> bool:
        """Claim a run; return whether it is still the slot's to run."""
        fcntl.lockf(self._descriptor, fcntl.LOCK_EX)  # not a word of its own alone: the agent looks at two
        try:
            if number <= self._read(_TAKEN) and number != self._read(_KEPT):
                return False
            _NUMBER.pack_into(self._memory, _BEGUN, number)
            return True
        finally:
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN)

    def end(self, number: int) -> None:
        """Note that a run is over."""
        _NUMBER.pack_into(self._memory, _ENDED, number)

    # ---- the agent ---------------------------------------------------------------------------------------------------

    def look(self) -> RunClaim:
        """Return how far the slot has come."""
        return RunClaim(self._read(_BEGUN), self._read(_ENDED))

    def take_back(self, keep: int, last: int) -> int:
        """Take back the runs up to `last` that the slot has not begun, except `keep`, which is its next or its present.

        Returns the number of the last run that stays with the slot; `last` where the slot cannot be asked now.
        """
        if not self._lock():
            return last
        try:
            kept = max(keep, self._read(_BEGUN))
            _NUMBER.pack_into(self._memory, _KEPT, kept)
            _NUMBER.pack_into(self._memory, _TAKEN, last)
            return kept
        finally:
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN)

    def _lock(self) -> bool:
        for _ in range(_ATTEMPTS):
            try:
                fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.sched_yield()
            else:
                return True
        return False

    def _read(self, offset: int) -> int:
        number: int = _NUMBER.unpack_from(self._memory, offset)[0]
        return number
