"""The functions that invocations name, kept at hand so that a call costs no look into the store.

Owns the cache, and the refusals for names and versions that do not exist. Whether a function may be registered at all
is `admission`'s to say.
"""

from __future__ import annotations

import asyncio
import difflib
import time

from harvester.domain.functions import FunctionVersion
from harvester.store.store import Store
from harvester_api.problems import Refusal, refusal

FRESH_S = 2.0  # another gateway on the same store may register too: a newest version is believed this long


class Catalog:
    """The functions of one store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._by_id: dict[str, FunctionVersion] = {}
        self._newest: dict[str, tuple[FunctionVersion, float]] = {}
        self._registering = asyncio.Lock()

    async def register(self, draft: FunctionVersion, now: float) -> tuple[FunctionVersion, bool]:
        """Add a function or a version of it; return it, and whether it is new."""
        async with self._registering:
            before = await asyncio.to_thread(self._store.function, draft.name, None)
            function = await asyncio.to_thread(self._store.add_function, draft, now)
        self._remember(function)
        return function, before is None or before.version != function.version

    async def find(self, name: str, version: int | None = None) -> FunctionVersion:
        """Return a version of a function, the newest for None. Raises `Refusal` (404)."""
        if version is None:
            cached, fresh_until = self._newest.get(name, (None, 0.0))
            if cached is not None and time.monotonic() < fresh_until:
                return cached
        else:
            known = self._by_id.get(f"{name}@{version}")
            if known is not None:
                return known
        function = await asyncio.to_thread(self._store.function, name, version)
        if function is None:
            raise await asyncio.to_thread(self._unknown, name, version)
        self._by_id[function.function_id] = function
        if version is None:
            self._remember(function)
        return function

    def by_id(self, function_id: str) -> FunctionVersion | None:
        """Return what a lease names. May look into the store: at recovery, where an id is asked for the first time."""
        function = self._by_id.get(function_id)
        if function is None:
            function = self._store.function_by_id(function_id)
            if function is not None:
                self._by_id[function_id] = function
        return function

    def _remember(self, function: FunctionVersion) -> None:
        self._by_id[function.function_id] = function
        self._newest[function.name] = (function, time.monotonic() + FRESH_S)

    def _unknown(self, name: str, version: int | None) -> Refusal:
        versions = self._store.function_versions(name)
        if versions:
            numbers = sorted(known.version for known in versions)
            listed = ", ".join(map(str, numbers[-10:]))
            return refusal(
                404,
                "unknown-version",
                f"function {name!r} has no version {version}; it has {'…, ' if len(numbers) > 10 else ''}{listed}",
                field="version",
                remedy="Leave the version out for the newest one.",
            )
        names = [function.name for function in self._store.functions(limit=1000)]
        close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
        hint = f"; close to it: {', '.join(close)}" if close else ""
        return refusal(
            404,
            "unknown-function",
            f"there is no function {name!r}{hint}",
            field="name",
            remedy="GET /v1/functions lists what is registered; register it with POST /v1/functions.",
        )
