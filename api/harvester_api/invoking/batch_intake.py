"""The arguments of a batch: read, counted, checked, and put where they belong.

Owns the way from a body to the ids and the arguments of its invocations. However the body is made, the event loop goes
on in between: elements are counted before they are decoded, what would make many objects is read by `large_bodies`, and
the rest is looked at in pieces. Raises `Refusal` and `StoreError`.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Sequence
from typing import cast

from fastapi import Request

from harvester.domain.model.functions import Encoding
from harvester.domain.payload.blobs import BlobRef, blob_name
from harvester.store.store import StoreError
from harvester_api.http.bodies import COUNTED_BYTES, check_length, check_size, chunks_of, is_quick
from harvester_api.http.body_spool import KEPT_BYTES, Spool
from harvester_api.http.parameters import DRAFT, headers_of
from harvester_api.invoking.body_intake import Arguments, Reception, fresh_id
from harvester_api.invoking.idempotency import all_ids
from harvester_api.media_types import LINES_TYPE, media_type
from harvester_api.problems import invalid, too_large, too_many
from harvester_api.storage.blobs import Blobs
from harvester_api.validation.arguments import check_line, json_items, packed_items, packed_spans
from harvester_api.validation.large_bodies import Span

PIECE = 250
"""Invocations that are taken in at a time: a few milliseconds of the event loop."""

Part = bytes | memoryview


async def pieces(count: int) -> AsyncIterator[int]:
    """Yield where each piece of `count` items begins, and let others have the event loop in between."""
    for begin in range(0, count, PIECE):
        if begin:
            await asyncio.sleep(0)
        yield begin


async def read_batch(request: Request, encoding: Encoding, reception: Reception) -> tuple[list[str], list[Arguments]]:
    """Return new ids, and the arguments of the invocations of a batch that get them."""
    headers, settings = headers_of(request), reception.settings
    if headers.get("harvester-draft") is not None:
        raise invalid(DRAFT.name, "a batch is sent as a body", "Send the body itself.")
    check_length(headers, settings.batch_limit_bytes, "batch")
    with Spool() as spool:
        await _read(request, settings.batch_limit_bytes, spool, reception)
        if encoding is not Encoding.JSON:
            items = await _packed(spool, encoding, reception)
        elif media_type(headers) == LINES_TYPE:
            items = await _lines(spool, reception)
        else:
            items = await _array(spool, reception)
    if len(items) > settings.batch_limit:
        raise too_many(len(items), settings.batch_limit)
    largest = max(map(len, items), default=0)
    if largest > settings.payload_limit_bytes:
        raise too_large("arguments of one invocation in the batch", largest, settings.payload_limit_bytes)
    ids = await all_ids(fresh_id(), len(items))
    blobs = reception.blobs
    if blobs is None or largest < blobs.least:
        return ids, cast("list[Arguments]", items)  # a part that is a view is as large as those in files
    return ids, await asyncio.to_thread(_set_aside, items, ids, blobs)


async def _read(request: Request, limit: int, spool: Spool, reception: Reception) -> None:
    async for chunk in chunks_of(await request.receive(), request.receive):
        size = spool.size + len(chunk)
        check_size(size, limit, "batch")
        if size > COUNTED_BYTES:
            reception.grow(size)
        spool.write(chunk)


async def _array(spool: Spool, reception: Reception) -> list[Part]:
    if spool.is_small and is_quick(spool.small()):
        return list(json_items(spool.small()))
    return await _parts(spool, await reception.large.spans_of_array(spool, reception.settings.batch_limit), reception)


async def _lines(spool: Spool, reception: Reception) -> list[Part]:
    """Return the lines of a batch; empty ones are passed over."""
    if not (spool.is_small and is_quick(spool.small())):
        return await _parts(
            spool, await reception.large.spans_of_lines(spool, reception.settings.batch_limit), reception
        )
    items: list[Part] = []
    for number, line in enumerate(spool.small().split(b"\n"), 1):
        if line.strip():
            check_line(line, number)
            items.append(line)
    return items


async def _packed(spool: Spool, encoding: Encoding, reception: Reception) -> list[Part]:
    most = reception.settings.batch_limit
    if not spool.is_small:
        spans = await asyncio.to_thread(lambda: list(packed_spans(encoding, spool.mapped(), most)))
        return await _parts(spool, spans, reception)
    items: list[Part] = []
    for piece in packed_items(encoding, spool.small(), most, PIECE):
        if items:
            await asyncio.sleep(0)
        items += piece
    return items


async def _parts(spool: Spool, spans: Sequence[Span], reception: Reception) -> list[Part]:
    """Return parts of a body: the bytes, but views of what is large enough to go into a file."""
    least = math.inf if reception.blobs is None else reception.blobs.least
    view = spool.mapped()

    def part(begin: int, end: int) -> Part:
        if end - begin >= least:
            return view[begin:end]
        return bytes(view[begin:end]) if end - begin <= KEPT_BYTES else spool.read(begin, end)

    return await asyncio.to_thread(lambda: [part(begin, end) for begin, end in spans])


def _set_aside(items: Sequence[Part], ids: Sequence[str], blobs: Blobs) -> list[Arguments]:
    placed: list[Arguments] = []
    try:
        for item, invocation_id in zip(items, ids, strict=True):
            if len(item) >= blobs.least:
                placed.append(blobs.write_now(blob_name(invocation_id, "args"), item))
            else:
                placed.append(bytes(item))
    except StoreError:
        blobs.delete(item for item in placed if isinstance(item, BlobRef))
        raise
    return placed
