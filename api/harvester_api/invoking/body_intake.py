"""The arguments of one invocation: read, checked, and put where they belong, large ones into files.

Owns the way from a body to what an `Order` carries; `batch_intake` has the same for many. A large body is written down
as it comes, chunk by chunk, and never held whole; JSON that would take long to decode is read by `large_bodies`.
Raises `Refusal` and `StoreError`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

import msgspec
from fastapi import Request

from harvester.domain.model.functions import Encoding, FunctionVersion
from harvester.domain.payload.blobs import BlobRef, blob_name
from harvester_api.http.bodies import COUNTED_BYTES, check_length, check_size, chunks_of, read_body
from harvester_api.http.body_spool import KEPT_BYTES, Spool
from harvester_api.http.parameters import DRAFT, headers_of
from harvester_api.invoking.idempotency import fresh_ids
from harvester_api.invoking.limits import HeldBytes
from harvester_api.problems import invalid, too_large
from harvester_api.settings import GatewaySettings
from harvester_api.storage.blobs import Blobs, NoDraft, UnfinishedBlob
from harvester_api.validation.arguments import check_payload, encoding_of
from harvester_api.validation.large_bodies import BodiesOf, is_quick

Arguments = bytes | BlobRef


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """What a request brought."""

    encoding: Encoding
    arguments: Arguments
    invocation_id: str | None = None  # under whose name they were written down


class Door(msgspec.Struct, frozen=True, kw_only=True):
    """What the bodies of one caller are read with."""

    settings: GatewaySettings
    blobs: Blobs | None
    large: BodiesOf


async def read_one(request: Request, function: FunctionVersion, door: Door, held: HeldBytes) -> Taken:
    """Return the arguments of one invocation. `held` counts what of it is in memory."""
    settings, blobs = door.settings, door.blobs
    encoding = encoding_of(headers_of(request), function, settings.offers)
    limit = settings.payload_limit_bytes
    declared = check_length(request, limit, "arguments")
    name = headers_of(request).get("harvester-draft")
    if name is not None:
        if declared:
            raise invalid(DRAFT.name, "there is a body too", "Send a draft or a body.")
        return await _kept(await asyncio.to_thread(_adopted, name, limit, blobs), encoding, door)
    if declared is not None and declared <= KEPT_BYTES and (blobs is None or declared < blobs.least):
        if declared > COUNTED_BYTES:
            held.grow(declared)
        return Taken(encoding=encoding, arguments=await _small(await read_body(request, limit), encoding, door))
    with Spool() as spool:
        draft = await _streamed(request, limit, blobs, spool, held)
        if draft is not None:
            return await _kept(draft, encoding, door)
        if spool.is_small:
            return Taken(encoding=encoding, arguments=await _small(spool.small(), encoding, door))
        if encoding is Encoding.JSON:
            await door.large.check_one(spool)
        else:
            await asyncio.to_thread(check_payload, encoding, spool.mapped())
        return Taken(encoding=encoding, arguments=await asyncio.to_thread(spool.read, 0, spool.size))


async def _small(body: bytes, encoding: Encoding, door: Door) -> bytes:
    if not body and encoding is Encoding.JSON:
        return b"{}"
    if encoding is Encoding.JSON and not is_quick(body):
        with Spool.of(body) as spool:
            await door.large.check_one(spool)
    else:
        check_payload(encoding, body)
    return body


def _adopted(name: str, limit: int, blobs: Blobs | None) -> UnfinishedBlob:
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
    return draft


async def _kept(draft: UnfinishedBlob, encoding: Encoding, door: Door) -> Taken:
    check: Callable[[memoryview], None] | None = partial(check_payload, encoding)
    if encoding is Encoding.JSON and draft.size > KEPT_BYTES:
        try:
            await door.large.check_one(draft)
        except BaseException:  # whatever ends it, also a caller who goes away
            draft.discard()
            raise
        check = None
    assert door.blobs is not None  # noqa: S101 - the draft is of its directory
    (invocation_id,) = fresh_ids(1)
    arguments = await asyncio.to_thread(door.blobs.place, draft, blob_name(invocation_id, "args"), check)
    return Taken(encoding=encoding, arguments=arguments, invocation_id=invocation_id)


async def _streamed(
    request: Request, limit: int, blobs: Blobs | None, spool: Spool, held: HeldBytes
) -> UnfinishedBlob | None:
    """Read a body into `spool`; return it as a draft instead once it is known to be as large as those."""
    draft: UnfinishedBlob | None = None
    size = 0
    try:
        async for chunk in chunks_of(await request.receive(), request.receive):
            size += len(chunk)
            check_size(size, limit, "arguments")
            if draft is not None:
                draft.write(chunk)
                continue
            spool.write(chunk)
            if blobs is None or size < blobs.least:
                if size > COUNTED_BYTES:
                    held.grow(size)
                continue
            draft = blobs.draft()
            draft.write(spool.small() if spool.is_small else spool.mapped())
    except BaseException:  # whatever ends it, also a caller who goes away
        if draft is not None:
            draft.discard()
        raise
    return draft
