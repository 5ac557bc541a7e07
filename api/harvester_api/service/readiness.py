"""Whether the gateway takes work: recovery is done, and the store answers and writes.

Owns the question to the store. The last write of anybody counts, the daemon's too; while that failed the store is made
to write something each time that somebody asks, so that the answer is never older than the question.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from harvester.domain.protocol.daemon_notes import DAEMON_NOTE
from harvester.store.store import StoreError

if TYPE_CHECKING:
    from harvester_api.service.gateway import Gateway

PATIENCE_S = 5.0  # for an answer of the store


async def missing(gateway: Gateway) -> str:
    """Return why the gateway takes no work, in words; empty where it does."""
    if not gateway.is_ready:
        return "it is starting or stopping"
    store = gateway.store
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
    return told(gateway)


def told(gateway: Gateway) -> str:
    """Return why the last write failed, in words, without asking; empty where it did not."""
    trouble = gateway.journal.trouble or gateway.store.trouble
    return "" if trouble is None else f"the store did not take the last writes: {trouble}"
