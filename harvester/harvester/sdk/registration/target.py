"""Target: a function at the gateway, as requests name it."""

from __future__ import annotations

import functools
from urllib.parse import quote

import msgspec


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A function at the gateway; without a version, its newest one."""

    name: str  # or "owner/name"
    version: int | None = None
    is_renewable: bool = False  # whether the same content under another number will do; see `renewals`

    @property
    def path(self) -> str:
        """The function's path."""
        return function_path(self.name)

    @property
    def params(self) -> dict[str, str]:
        """The query that pins the version."""
        return {} if self.version is None else {"version": str(self.version)}


@functools.lru_cache(maxsize=1024)
def function_path(name: str) -> str:
    """Return the path of a function, by its name or as owner/name."""
    return f"/v1/functions/{quote(name, safe='/')}"
