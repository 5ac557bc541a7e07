"""Whether the gateway can take work: the store answers and writes.

Owns the question to the store. The last write of anybody counts, the daemon's too; while that failed the store is made
to write something each time that somebody asks, so that the answer is never older than the question.
"""

from __future__ import annotations

import asyncio

from harvester.domain.protocol.daemon_notes import DAEMON_NOTE
from harvester.store.store import Store, StoreError
from harvester_api.runtime.journal import Journal

PATIENCE_S = 5.0  # for an answer of the store


async def missing(journal: Journal, store: Store) -> str:
    """Return why no work can be taken, in words; empty where it can."""
    if store.busy_s > PATIENCE_S:
        return f"the store has not answered a write for {store.busy_s:.0f} s"
    try:
        async with asyncio.timeout(PATIENCE_S):
            if store.trouble is not None:
                await asyncio.wrap_future(store.write([]))
            await asyncio.to_thread(store.note, DAEMON_NOTE)
    except StoreError as error:
        return f"the store fails: {error}"
    except TimeoutError:
        return f"the store has not answered for {PATIENCE_S:.0f} s"
    return trouble(journal, store)


def trouble(journal: Journal, store: Store) -> str:
    """Return why the last write failed, in words, without asking; empty where it did not."""
    found = journal.trouble or store.trouble
    return "" if found is None else f"the store did not take the last writes: {found}"
