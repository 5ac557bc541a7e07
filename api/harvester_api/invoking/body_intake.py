"""The arguments of one invocation: read, checked, and put where they belong, large ones into files.

Owns the way from a body to an id and the arguments under it; `batch_intake` has the same for many. A large body is
written down as it comes, chunk by chunk, and never held whole; JSON that would take long to decode is read by
`large_bodies`. Raises `Refusal` and `StoreError`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

import uuid_utils
from fastapi import Request

from harvester.domain.model.functions import Encoding
from harvester.domain.payload.blobs import BlobRef, blob_name
from harvester_api.http.bodies import COUNTED_BYTES, check_length, check_size, chunks_of, is_quick, read_body
from harvester_api.http.body_spool import KEPT_BYTES, Spool
from harvester_api.http.parameters import DRAFT, headers_of
from harvester_api.invoking.limits import HeldBytes, Pressure
from harvester_api.problems import invalid, too_large
from harvester_api.settings import GatewaySettings
from harvester_api.storage.blobs import Blobs, NoDraft, UnfinishedBlob
from harvester_api.validation.arguments import check_payload
from harvester_api.validation.large_bodies import BodiesOf

Arguments = bytes | BlobRef


def fresh_id() -> str:
    """Return an id for an invocation, or for the first one of a batch."""
    return str(uuid_utils.uuid7())


class Reception(HeldBytes):
    """What one request's body is read with, and the bytes of it that are held; given back behind the `with` block."""

    __slots__ = ("blobs", "large", "settings")

    def __init__(self, pressure: Pressure, settings: GatewaySettings, blobs: Blobs | None, large: BodiesOf) -> None:
        self._pressure, self._bytes = pressure, 0
        self.settings, self.blobs, self.large = settings, blobs, large


async def read_one(request: Request, encoding: Encoding, reception: Reception) -> tuple[str, Arguments]:
    """Return a new id, and the arguments of the invocation that gets it."""
    settings, blobs = reception.settings, reception.blobs
    headers, limit = headers_of(request), settings.payload_limit_bytes
    declared = check_length(headers, limit, "arguments")
    name = headers.get("harvester-draft")
    if name is not None:
        if declared:
            raise invalid(DRAFT.name, "there is a body too", "Send a draft or a body.")
        return await _kept(await asyncio.to_thread(_adopted, name, limit, blobs), encoding, reception)
    if declared is not None and declared <= KEPT_BYTES and (blobs is None or declared < blobs.least):
        if declared > COUNTED_BYTES:
            reception.grow(declared)
        return fresh_id(), await _small(await read_body(request, limit), encoding, reception)
    with Spool() as spool:
        draft = await _streamed(request, limit, spool, reception)
        if draft is not None:
            return await _kept(draft, encoding, reception)
        if spool.is_small:
            return fresh_id(), await _small(spool.small(), encoding, reception)
        if encoding is Encoding.JSON:
            await reception.large.check_one(spool)
        else:
            await asyncio.to_thread(check_payload, encoding, spool.mapped())
        return fresh_id(), await asyncio.to_thread(spool.read, 0, spool.size)


async def _small(body: bytes, encoding: Encoding, reception: Reception) -> bytes:
    """Return arguments that lie in memory, once they are checked; no body is no arguments."""
    if not body and encoding is Encoding.JSON:
        return b"{}"
    if encoding is Encoding.JSON and not is_quick(body):
        with Spool.of(body) as spool:
            await reception.large.check_one(spool)
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
        raise invalid(DRAFT.name, str(error), "Write it again under another name, or send the body itself.") from None
    if draft.size > limit:
        draft.discard()
        raise too_large("arguments", draft.size, limit)
    return draft


async def _kept(draft: UnfinishedBlob, encoding: Encoding, reception: Reception) -> tuple[str, Arguments]:
    check: Callable[[memoryview], None] | None = partial(check_payload, encoding)
    if encoding is Encoding.JSON and draft.size > KEPT_BYTES:
        try:
            await reception.large.check_one(draft)
        except BaseException:  # whatever ends it, also a caller who goes away
            draft.discard()
            raise
        check = None
    assert reception.blobs is not None  # noqa: S101 - the draft is of its directory
    invocation_id = fresh_id()
    name = blob_name(invocation_id, "args")
    return invocation_id, await asyncio.to_thread(reception.blobs.place, draft, name, check)


async def _streamed(request: Request, limit: int, spool: Spool, reception: Reception) -> UnfinishedBlob | None:
    """Read a body into `spool`; return it as a draft instead once it is known to be as large as those."""
    blobs = reception.blobs
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
                    reception.grow(size)
                continue
            draft = blobs.draft()
            draft.write(spool.small() if spool.is_small else spool.mapped())
    except BaseException:  # whatever ends it, also a caller who goes away
        if draft is not None:
            draft.discard()
        raise
    return draft
