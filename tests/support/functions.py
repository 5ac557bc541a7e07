"""Functions in memory, as the store keeps them: for whoever must know what a name means, without a database."""

from msgspec import structs

from harvester.domain.model.functions import FunctionKind, FunctionVersion, Sharing, function_id
from harvester.store.records import ListedFunction


def draft(name: str = "f", body: bytes = b"m:f", owner: str = "") -> FunctionVersion:
    return FunctionVersion(function_id="", owner=owner, name=name, version=0, kind=FunctionKind.MODULE, body=body)


class FunctionStore:
    """The part of `harvester.store.store.Store` that is about functions."""

    def __init__(self) -> None:
        self.there: dict[tuple[str, str], dict[int, FunctionVersion]] = {}
        self.by_id: dict[str, FunctionVersion] = {}
        self.given: dict[tuple[str, str], int] = {}
        self.sharing: dict[tuple[str, str], Sharing] = {}
        self.busy: set[str] = set()
        self.reads = 0  # of bodies

    def add_function(self, draft: FunctionVersion, _at: float, sharing: Sharing | None = None) -> FunctionVersion:
        key = draft.owner, draft.name
        versions = self.there.setdefault(key, {})
        if sharing is not None:
            self.sharing[key] = sharing
        newest = versions[max(versions)] if versions else None
        if newest is not None and newest.body == draft.body:
            return newest
        version = self.given[key] = self.given.get(key, 0) + 1
        fresh = function_id(draft.name, version, draft.owner)
        versions[version] = self.by_id[fresh] = structs.replace(draft, version=version, function_id=fresh)
        return versions[version]

    def function_id_of(self, name: str, version: int | None = None, *, owner: str = "") -> str | None:
        versions = self.there.get((owner, name), {})
        found = versions.get(version or max(versions, default=0))
        return None if found is None else found.function_id

    def function_by_id(self, function_id: str) -> FunctionVersion | None:
        self.reads += 1
        found = self.by_id.get(function_id)
        return None if found is None else structs.replace(found)  # read anew, it is another object

    def function_versions(
        self, name: str, *, owner: str = "", before: int | None = None, limit: int | None = None
    ) -> list[ListedFunction]:
        versions = self.there.get((owner, name), {})
        numbers = [number for number in sorted(versions, reverse=True) if before is None or number < before]
        return [self._listed(versions[number]) for number in numbers[:limit]]

    def listed(self, function_id: str) -> ListedFunction | None:
        found = self.function_by_id(function_id)
        return None if found is None else self._listed(found)

    def function_names(self, seen_by: str | None, limit: int) -> list[tuple[str, str]]:
        seen = [key for key in self.there if seen_by in {None, key[0]} or key[0] in self.sharers(key[1])]
        return seen[:limit]

    def sharers(self, name: str) -> list[str]:
        return sorted(o for (o, n), sharing in self.sharing.items() if n == name and sharing is Sharing.ALL)

    def share(self, name: str, sharing: Sharing, *, owner: str = "") -> None:
        self.sharing[owner, name] = sharing

    def delete_function(self, function_id: str, _at: float) -> int:
        if function_id in self.busy:
            return 1
        gone = self.by_id.pop(function_id)
        key = gone.owner, gone.name
        del self.there[key][gone.version]
        if not self.there[key]:
            del self.there[key]
            self.sharing[key] = Sharing.NONE
        return 0

    def _listed(self, function: FunctionVersion) -> ListedFunction:
        sharing = self.sharing.get((function.owner, function.name), Sharing.NONE)
        return ListedFunction(function=structs.replace(function, body=b""), sharing=sharing, added_at=0.0, used_at=0.0)
