"""The functions that invocations name, kept in memory so that a call reads nothing from the store.

Owns what is remembered, and for how long it is believed. What a name means is `visibility`'s to say, whether a function
may be registered at all `validation.functions`'.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from functools import partial

import msgspec

from harvester.domain.model.functions import FunctionVersion, Sharing, full_name, split_name
from harvester.store.records import ListedFunction
from harvester.store.store import Store
from harvester_api.functions.code_cache import CodeCache
from harvester_api.functions.visibility import FunctionNames
from harvester_api.http.auth import Caller
from harvester_api.problems import refusal
from harvester_api.settings import Role

FRESH_S = 2.0  # another gateway on the same store may register too: a newest version is believed this long
PINNED_FRESH_S = 60.0  # a version is always the same one, but it may be deleted, or shared no longer
MEANINGS = 4096  # of names that are remembered

_Key = tuple[str, bool, str, int | None]  # caller, whether they are an admin, name, version


class Catalog:
    """The functions of one store.

    Parameters
    ----------
    admins: names of callers who are admins.
    code: the bodies at hand.
    clock: monotonic, in seconds.
    """

    def __init__(
        self,
        store: Store,
        admins: Iterable[str] = (),
        *,
        code: CodeCache | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._names = store, FunctionNames(store, frozenset(admins))
        self._code = CodeCache() if code is None else code
        self._clock = clock
        self._meant: dict[_Key, tuple[str, float]] = {}  # what a name means, and until when that is believed
        self._changes = 0  # of what names mean: an answer from before a change is not remembered
        self._registering = asyncio.Lock()
        self.used: set[str] = set()  # versions that were invoked since somebody took them from here

    async def find(self, caller: Caller, name: str, version: int | None = None) -> FunctionVersion:
        """Return the version that a caller means, the newest for None. Raises `Refusal` (404, 409)."""
        key = (caller.name, caller.role is Role.ADMIN, name, version)
        meant = self._meant.get(key)
        if meant is not None and self._clock() < meant[1]:
            function = self._code.get(meant[0])
            if function is not None:
                return function
        changes = self._changes
        function_id = await asyncio.to_thread(self._names.function_id_of, caller, name, version)
        function = self._code.get(function_id)
        if function is None:
            read = await asyncio.to_thread(self._store.function_by_id, function_id)
            if read is None:  # dropped in between, so now the name means another one, or none
                return await self.find(caller, name, version)
            function = self._code.put(read)
        if changes == self._changes:
            self._believe(key, function_id)
        return function

    def by_id(self, function_id: str) -> FunctionVersion | None:
        """Return what an invocation names. May look into the store: at recovery, where an id comes the first time."""
        function = self._code.get(function_id)
        if function is None:
            read = self._store.function_by_id(function_id)
            function = None if read is None else self._code.put(read)
        return function

    async def listed(self, caller: Caller, name: str, version: int | None = None) -> ListedFunction:
        """Return a version with what belongs to its name. Raises `Refusal` (404, 409)."""
        return await asyncio.to_thread(self._listed, caller, name, version)

    async def page(self, caller: Caller, after: str, limit: int) -> list[ListedFunction]:
        """Return functions that a caller may call, by name and owner, in their newest versions; those behind `after`.

        An admin is shown everybody's.
        """
        seen_by = None if caller.role is Role.ADMIN else caller.name
        return await asyncio.to_thread(partial(self._store.functions, after, limit, seen_by=seen_by))

    async def versions(self, caller: Caller, name: str, before: int | None, limit: int) -> list[ListedFunction]:
        """Return versions of a function, the newest first; those older than `before`. Raises `Refusal` (404, 409)."""
        return await asyncio.to_thread(self._versions, caller, name, before, limit)

    # ---- changes ----

    async def register(
        self, caller: Caller, draft: FunctionVersion, sharing: Sharing | None, now: float
    ) -> tuple[ListedFunction, bool]:
        """Add a function of the caller's, or a version of it; return it, and whether it is new.

        `sharing` None leaves it as it is. Raises `Refusal` (409).
        """
        draft = msgspec.structs.replace(draft, owner=caller.name)
        async with self._registering:
            function, is_new = await asyncio.to_thread(self._register, caller, draft, sharing, now)
        self._code.put(function)
        self._changed(draft.name)
        return await self.listed(caller, function.full_name, function.version), is_new

    async def share(self, caller: Caller, name: str, sharing: Sharing) -> ListedFunction:
        """Say who may call a function; return its newest version. Raises `Refusal` (403, 404, 409)."""
        async with self._registering:
            owner, name = await asyncio.to_thread(self._share, caller, name, sharing)
        self._changed(name)
        return await self.listed(caller, full_name(owner, name))

    async def delete(self, caller: Caller, name: str, version: int, now: float) -> ListedFunction:
        """Delete a version; return it as it was. Raises `Refusal` (403, 404, 409)."""
        gone = await asyncio.to_thread(self._delete, caller, name, version, now)
        self.forget([gone.function.function_id])
        return gone

    def forget(self, function_ids: Iterable[str]) -> None:
        """Let go of versions that were deleted; open invocations keep their own."""
        gone = set(function_ids)
        for function_id in gone:
            self._code.forget(function_id)
        self._changes += 1
        self._meant = {key: meant for key, meant in self._meant.items() if meant[0] not in gone}

    def take_used(self) -> set[str]:
        """Return the versions that were invoked since the last call."""
        used, self.used = self.used, set()
        return used

    def _believe(self, key: _Key, function_id: str) -> None:
        fresh_s = FRESH_S if key[-1] is None else PINNED_FRESH_S
        self._meant.pop(key, None)
        self._meant[key] = function_id, self._clock() + fresh_s
        if len(self._meant) > MEANINGS:
            del self._meant[next(iter(self._meant))]  # the one that was looked up first

    def _changed(self, name: str) -> None:
        """Believe nothing any more of what a name means, whoever's."""
        self._changes += 1
        self._meant = {key: meant for key, meant in self._meant.items() if split_name(key[2])[1] != name}

    # ---- in a thread ----

    def _listed(self, caller: Caller, text: str, version: int | None) -> ListedFunction:
        owner, name = self._names.owner_of(caller, text)
        function_id = self._store.function_id_of(name, version, owner=owner)
        found = None if function_id is None else self._store.listed(function_id)
        if found is None:
            raise self._names.unknown_version(owner, name, text, version)
        return found

    def _versions(self, caller: Caller, text: str, before: int | None, limit: int) -> list[ListedFunction]:
        owner, name = self._names.owner_of(caller, text)
        return self._store.function_versions(name, owner=owner, before=before, limit=limit)

    def _register(
        self, caller: Caller, draft: FunctionVersion, sharing: Sharing | None, now: float
    ) -> tuple[FunctionVersion, bool]:
        if sharing is not None:
            self._names.check_sharing(caller, draft.owner, draft.name, sharing)
        before = self._store.function_id_of(draft.name, owner=draft.owner)
        function = self._store.add_function(draft, now, sharing)
        return function, function.function_id != before

    def _share(self, caller: Caller, text: str, sharing: Sharing) -> tuple[str, str]:
        owner, name = self._names.owned(caller, text)
        self._names.check_sharing(caller, owner, name, sharing)
        self._store.share(name, sharing, owner=owner)
        return owner, name

    def _delete(self, caller: Caller, text: str, version: int, now: float) -> ListedFunction:
        self._names.owned(caller, text)
        found = self._listed(caller, text, version)
        function_id = found.function.function_id
        if open_ := self._store.delete_function(function_id, now):
            raise refusal(
                409,
                "in-use",
                f"{function_id} is in use: {open_} of its invocations have not ended",
                field="version",
                remedy="Wait until they have ended, or cancel them, then delete it.",
            )
        return found
