"""The arguments of a request: read, checked, and put where they belong, large ones into files.

Owns the way from a body to what an `Order` carries. A large body is written down as it comes, chunk by chunk, and never
held whole; a batch of lines is checked line by line. Raises `Refusal` and `StoreError`.
"""

from __future__ import annotations

import asyncio
from functools import partial

import msgspec
from fastapi import Request

from harvester.domain.blobs import BlobRef, blob_name
from harvester.domain.functions import Encoding, FunctionVersion
from harvester.store.store import StoreError
from harvester_api.arguments import batch_items, check_line, check_payload, encoding_of
from harvester_api.blobs import Blobs, Draft, NoDraft
from harvester_api.bodies import check_length, chunks_of, read_body
from harvester_api.encodings import LINES_TYPE, media_type
from harvester_api.parameters import DRAFT, headers_of
from harvester_api.pressure import Held
from harvester_api.problems import invalid, too_large, too_many
from harvester_api.repeats import fresh_ids
from harvester_api.settings import GatewaySettings

Arguments = bytes | BlobRef


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """What a request brought."""

    encoding: Encoding
    arguments: Arguments
    invocation_id: str | None = None  # under whose name they were written down


class TakenBatch(msgspec.Struct, frozen=True, kw_only=True):
    """What a batch brought."""

    encoding: Encoding
    arguments: list[bytes]


async def read_one(
    request: Request, function: FunctionVersion, settings: GatewaySettings, blobs: Blobs | None, held: Held
) -> Taken:
    """Return the arguments of one invocation. `held` counts what of it is in memory."""
    encoding = encoding_of(headers_of(request), function, settings.offers)
    limit = settings.payload_limit_bytes
    declared = check_length(request, limit, "arguments")
    name = headers_of(request).get("harvester-draft")
    if name is not None:
        if declared:
            raise invalid(DRAFT.name, "there is a body too", "Send a draft or a body.")
        return await asyncio.to_thread(_adopted, name, encoding, limit, blobs)
    if blobs is not None and (declared is None or declared >= blobs.least):
        body = await _streamed(request, limit, blobs)
        if isinstance(body, Draft):
            return await asyncio.to_thread(_kept, body, encoding, blobs)
    else:
        body = await read_body(request, limit, held=held)
    if not body and encoding is Encoding.JSON:
        body = b"{}"
    else:
        check_payload(encoding, body)
    return Taken(encoding=encoding, arguments=body)


def _adopted(name: str, encoding: Encoding, limit: int, blobs: Blobs | None) -> Taken:
    """Return the arguments that a client has written into the directory itself. Blocks."""
    if blobs is None:
        raise invalid(DRAFT.name, "this gateway keeps no payloads in files", "Send the body itself.")
    try:
        draft = blobs.adopted(name)
    except NoDraft as error:
        raise invalid(DRAFT.name, str(error), "Write it anew under another name, or send the body itself.") from None
    if draft.size > limit:
        draft.discard()
        raise too_large("arguments", draft.size, limit)
    return _kept(draft, encoding, blobs)


def _kept(draft: Draft, encoding: Encoding, blobs: Blobs) -> Taken:
    (invocation_id,) = fresh_ids(1)
    arguments = blobs.place(draft, blob_name(invocation_id, "args"), partial(check_payload, encoding))
    return Taken(encoding=encoding, arguments=arguments, invocation_id=invocation_id)


async def _streamed(request: Request, limit: int, blobs: Blobs) -> bytes | Draft:
    """Return a body, as a file once it is known to be large."""
    head = bytearray()
    draft: Draft | None = None
    size = 0
    try:
        async for chunk in chunks_of(await request.receive(), request.receive):
            size += len(chunk)
            _check_size(size, limit, "arguments")
            if draft is not None:
                draft.write(chunk)
                continue
            head += chunk
            if size >= blobs.least:
                draft = blobs.draft()
                draft.write(bytes(head))
                head.clear()
    except BaseException:  # whatever ends it, also a caller who goes away
        if draft is not None:
            draft.discard()
        raise
    return bytes(head) if draft is None else draft


def _check_size(size: int, limit: int, field: str) -> None:
    if size > limit:
        raise too_large(field, None, limit)


async def read_batch(request: Request, function: FunctionVersion, settings: GatewaySettings, held: Held) -> TakenBatch:
    """Return the arguments of each invocation of a batch."""
    if headers_of(request).get("harvester-draft") is not None:
        raise invalid(DRAFT.name, "a batch is sent as a body", "Send the body itself.")
    encoding = encoding_of(headers_of(request), function, settings.offers, is_batch=True)
    if media_type(headers_of(request)) == LINES_TYPE:
        items = await _lines(request, settings, held)
    else:
        items = batch_items(encoding, await read_body(request, settings.batch_limit_bytes, "batch", held))
    if len(items) > settings.batch_limit:
        raise too_many(len(items), settings.batch_limit)
    largest = max(map(len, items), default=0)
    if largest > settings.payload_limit_bytes:
        raise too_large("arguments of one invocation in the batch", largest, settings.payload_limit_bytes)
    return TakenBatch(encoding=encoding, arguments=items)


async def _lines(request: Request, settings: GatewaySettings, held: Held) -> list[bytes]:
    """Return the lines of a batch, each checked as it comes; empty ones are passed over."""
    limit = settings.batch_limit_bytes
    check_length(request, limit, "batch")
    items: list[bytes] = []
    number = size = 0
    rest = bytearray()

    def take(line: bytes) -> None:
        nonlocal number
        number += 1
        if line.strip():
            check_line(line, number)
            items.append(line)

    async for chunk in chunks_of(await request.receive(), request.receive):
        size += len(chunk)
        _check_size(size, limit, "batch")
        held.grow(size)
        rest += chunk
        if b"\n" in chunk:
            *whole, last = bytes(rest).split(b"\n")
            for line in whole:
                take(line)
            rest = bytearray(last)
        if len(items) > settings.batch_limit:
            raise too_many(None, settings.batch_limit)
    take(bytes(rest))
    return items


async def set_aside(items: list[bytes], ids: list[str], blobs: Blobs) -> list[Arguments]:
    """Return the arguments of a batch with the large ones written down, all or none."""
    return await asyncio.to_thread(_set_aside, items, ids, blobs)


def _set_aside(items: list[bytes], ids: list[str], blobs: Blobs) -> list[Arguments]:
    placed: list[Arguments] = []
    try:
        for item, invocation_id in zip(items, ids, strict=True):
            is_large = len(item) >= blobs.least
            placed.append(blobs.write_now(blob_name(invocation_id, "args"), item) if is_large else item)
    except StoreError:
        blobs.delete(item for item in placed if isinstance(item, BlobRef))
        raise
    return placed
