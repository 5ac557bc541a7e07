"""What a function's name means to a caller: their own function, else one that is shared with them.

Owns the order in which a name is looked up, and the refusals. What is neither a caller's own nor shared with them looks
as if it did not exist, also in suggestions. All of it looks into the store and blocks.
"""

from __future__ import annotations

import difflib

from harvester.domain.model.functions import Sharing, full_name, split_name
from harvester.store.store import Store
from harvester_api.http.auth import Caller
from harvester_api.problems import Refusal, refusal
from harvester_api.settings import Role

_SHOWN = 300  # characters of a name that was asked for; the longest there are have fewer
_LISTED = 10  # versions that are told where another was asked for
HINTS = 1000  # names that a misspelt one is held against


class FunctionNames:
    """The names of one store."""

    def __init__(self, store: Store, admins: frozenset[str] = frozenset()) -> None:
        """`admins` are the names of callers whose shared functions nobody may get in the way of."""
        self._store, self._admins = store, admins

    def owner_of(self, caller: Caller, text: str) -> tuple[str, str]:
        """Return owner and name of what "name" or "owner/name" means. Raises `Refusal` (404, 409)."""
        owner, name = split_name(text)
        if owner:
            may_see = caller.may_see(owner) or owner in self._store.sharers(name)
            if may_see and self._store.function_id_of(name, owner=owner) is not None:
                return owner, name
            raise self._unknown(caller, text)
        if self._store.function_id_of(name, owner=caller.name) is not None:
            return caller.name, name
        sharers = self._store.sharers(name)
        if len(sharers) > 1:
            raise _ambiguous(name, sharers)
        if not sharers:
            raise self._unknown(caller, text)
        return sharers[0], name

    def function_id_of(self, caller: Caller, text: str, version: int | None) -> str:
        """Return the id of the version that a caller means, the newest for None. Raises `Refusal` (404, 409)."""
        owner, name = self.owner_of(caller, text)
        found = self._store.function_id_of(name, version, owner=owner)
        if found is None:
            raise self.unknown_version(owner, name, text, version)
        return found

    def owned(self, caller: Caller, text: str) -> tuple[str, str]:
        """Return owner and name of a function that is the caller's to change. Raises `Refusal` (403, 404, 409)."""
        owner, name = self.owner_of(caller, text)
        if not caller.may_see(owner):
            raise refusal(
                403,
                "not-yours",
                f"{full_name(owner, name)} belongs to {owner}; only its owner and admins may change it",
                field="name",
                remedy="Register a function of your own under this name; your calls then use that one.",
            )
        return owner, name

    def check_sharing(self, caller: Caller, owner: str, name: str, sharing: Sharing) -> None:
        """Check that a function may be shared so. Raises `Refusal` (409).

        A name that an admin shares is what the whole site calls: a second one would make all those calls ambiguous.
        """
        if sharing is Sharing.NONE or caller.role is Role.ADMIN:
            return
        others = self._admins.intersection(self._store.sharers(name)) - {owner}
        if others:
            other = full_name(min(others), name)
            raise refusal(
                409,
                "name-taken",
                f"everybody who calls {name!r} means {other}, which an admin shares",
                field="share",
                remedy="Register yours under another name, then share it.",
            )

    def unknown_version(self, owner: str, name: str, text: str, version: int | None) -> Refusal:
        """Return the refusal (404) for a version that a function does not have."""
        newest = self._store.function_versions(name, owner=owner, limit=_LISTED + 1)
        numbers = sorted(known.function.version for known in newest)
        listed = ("…, " if len(numbers) > _LISTED else "") + ", ".join(map(str, numbers[-_LISTED:]))
        return refusal(
            404,
            "unknown-version",
            f"function {text[:_SHOWN]!r} has no version {version}; it has {listed}",
            field="version",
            remedy="Leave the version out for the newest one.",
        )

    def _unknown(self, caller: Caller, text: str) -> Refusal:
        seen_by = None if caller.role is Role.ADMIN else caller.name
        shown: dict[str, str] = {}  # by what may have been meant
        for owner, name in self._store.function_names(seen_by, HINTS):
            best = name if owner == caller.name else full_name(owner, name)
            shown[best] = best
            shown.setdefault(name, best)
        close = dict.fromkeys(shown[each] for each in difflib.get_close_matches(text, shown, n=3, cutoff=0.5))
        hint = f"; close to it: {', '.join(close)}" if close else ""
        return refusal(
            404,
            "unknown-function",
            f"there is no function {text[:_SHOWN]!r} of yours, and none is shared with you{hint}",
            field="name",
            remedy="GET /v1/functions lists what you may call; register it with POST /v1/functions.",
        )


def _ambiguous(name: str, owners: list[str]) -> Refusal:
    full = [full_name(owner, name) for owner in owners]
    return refusal(
        409,
        "ambiguous-name",
        f"you have no function {name!r}, and {len(full)} are shared with you: {', '.join(full)}",
        field="name",
        remedy=f"Name one fully: {full[0]}.",
    )
