"""Acceptances whose write failed: refused if nothing has run, in doubt if a pilot may have run them. Pure.

Decision 0010 tells why.
"""

from __future__ import annotations

from collections.abc import Sequence

from harvester.store.store import CommitUnknown, StoreError, Unstorable


class InDoubt(StoreError):
    """Invocations that may run, or have run, are not on disk. They are kept, and written until that succeeds."""

    def __init__(self, invocation_ids: Sequence[str], cause: StoreError) -> None:
        super().__init__(str(cause))
        self.invocation_ids = tuple(invocation_ids)


def judged(invocation_ids: Sequence[str], error: StoreError, *, may_have_run: bool) -> StoreError:
    """Return what the callers of an acceptance hear whose write failed with `error`.

    Anything but `InDoubt` refuses it. `may_have_run`: a pilot has had one of the invocations, which are all accepted or
    none.
    """
    if isinstance(error, Unstorable):  # trying again is no use
        return error
    if may_have_run or isinstance(error, CommitUnknown):
        return InDoubt(invocation_ids, error)
    return error
