"""From an older schema to the present one, one step for each version. Data is kept.

A step is written once and never changed: it speaks of the tables as they were then, not of `tables`. Steps run in the
transaction that opens the store, so that a process that dies on the way leaves the older schema as it was.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping

from sqlalchemy import Connection, text

from harvester.store.db.errors import StoreError


def migrate(connection: Connection, found: int, version: int) -> None:
    """Bring the tables from schema `found` to schema `version`. Raises `StoreError` where no step leads on."""
    for step in range(found, version):
        if step not in _STEPS:
            raise StoreError(
                f"its schema has version {step}, which this version cannot upgrade; choose another database"
            )
        _STEPS[step](connection)


def _to_2(connection: Connection) -> None:
    """Options, blobs and retention; the demand as counters.

    In SQLite the new columns come after the result here, before it in a new database: nothing relies on the order.
    """
    text = "TEXT" if connection.dialect.name == "sqlite" else 'TEXT COLLATE "C"'
    is_open = "(state = 'accepted' OR state = 'leased' OR state = 'running')"
    columns = "(state, function_id, accepted_at, invocation_id)"
    counts = ", ".join(f"sum(CASE WHEN state = 'accepted' THEN {x} ELSE {y} END)" for x, y in ((1, 0), (0, 1)))
    for statement in (
        "ALTER TABLE function ADD COLUMN max_running INTEGER",
        "ALTER TABLE invocation ADD COLUMN priority INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE invocation ADD COLUMN start_by FLOAT",
        "ALTER TABLE invocation ADD COLUMN end_by FLOAT",
        "ALTER TABLE invocation ADD COLUMN purged_at FLOAT",
        f"ALTER TABLE invocation ADD COLUMN result_blob {text}",
        "ALTER TABLE invocation ADD COLUMN result_size BIGINT",
        f"ALTER TABLE arguments ADD COLUMN blob {text}",
        "ALTER TABLE arguments ADD COLUMN size BIGINT",
        "DROP INDEX ix_invocation_open",
        f"CREATE INDEX ix_invocation_open ON invocation {columns} WHERE {is_open}",
        "CREATE INDEX ix_invocation_ended ON invocation (ended_at) WHERE ended_at IS NOT NULL AND purged_at IS NULL",
        "CREATE INDEX ix_invocation_purged ON invocation (ended_at) WHERE purged_at IS NOT NULL",
        "CREATE INDEX ix_invocation_blob ON invocation (result_blob) WHERE result_blob IS NOT NULL",
        "CREATE INDEX ix_arguments_blob ON arguments (blob) WHERE blob IS NOT NULL",
        f"CREATE TABLE demand (function_id {text} NOT NULL PRIMARY KEY, waiting BIGINT NOT NULL, held BIGINT NOT NULL)",
        f"INSERT INTO demand SELECT function_id, {counts} FROM invocation WHERE {is_open} GROUP BY function_id",  # noqa: S608 - of constants
    ):
        connection.exec_driver_sql(statement)


NOBODYS = "admin"
"""Owner of functions of which nobody knows whose they are: every gateway of ours has an admin of this name."""


def _to_3(connection: Connection) -> None:
    """Functions belong to their owners; they can be deleted. Ids stay, since invocations and pilots refer to them."""
    kind = "TEXT" if connection.dialect.name == "sqlite" else 'TEXT COLLATE "C"'
    names = ", ".join(f"{column} {kind} NOT NULL" for column in ("owner", "name", "sharing"))
    for statement in (
        f"ALTER TABLE function ADD COLUMN owner {kind} NOT NULL DEFAULT ''",
        "ALTER TABLE function ADD COLUMN used_at FLOAT NOT NULL DEFAULT 0",
        "ALTER TABLE function ADD COLUMN deleted_at FLOAT",
        f"CREATE TABLE function_name ({names}, versions INTEGER NOT NULL, PRIMARY KEY (owner, name))",
        "CREATE INDEX ix_function_name_shared ON function_name (name, sharing)",
        "DROP INDEX ix_function_name",
    ):
        connection.exec_driver_sql(statement)
    versions: dict[str, list[str]] = defaultdict(list)
    for function_id, name in connection.exec_driver_sql("SELECT function_id, name FROM function ORDER BY version"):
        versions[name].append(function_id)
    callers: dict[str, set[str]] = defaultdict(set)
    for function_id, caller in connection.exec_driver_sql("SELECT DISTINCT function_id, owner FROM invocation"):
        callers[function_id].add(caller)
    owners = [
        {"id": function_id, "owner": owner, "at": time.time()}  # nobody knows when it was used last: it counts from now
        for ids in versions.values()
        for function_id, owner in owners_of(ids, callers).items()
    ]
    if owners:
        connection.execute(text("UPDATE function SET owner = :owner, used_at = :at WHERE function_id = :id"), owners)
    connection.exec_driver_sql("CREATE UNIQUE INDEX ix_function_name ON function (owner, name, version)")
    connection.execute(
        text(
            "INSERT INTO function_name (owner, name, versions, sharing) SELECT owner, name, max(version), "
            "CASE WHEN owner = :nobodys THEN 'all' ELSE 'none' END FROM function GROUP BY owner, name"
        ),
        {"nobodys": NOBODYS},
    )


def owners_of(function_ids: Collection[str], callers: Mapping[str, set[str]]) -> dict[str, str]:
    """Return whose the versions of one name are: the old schema did not keep who registered them, but who called them.

    A name that one user alone has called is theirs. Where each version that was called has one caller, users have
    registered over one another: each version is its caller's, and what nobody has called is nobody's. Where a version
    has several callers, they use the name together: all of it stays together, shared, so that it goes on to mean what
    it meant.
    """
    called = {function_id: callers[function_id] for function_id in function_ids if callers.get(function_id)}
    everybody = set().union(*called.values())
    if len(everybody) == 1:
        return dict.fromkeys(function_ids, everybody.pop())
    if any(len(each) > 1 for each in called.values()):
        return dict.fromkeys(function_ids, NOBODYS)
    return {
        function_id: next(iter(called[function_id])) if function_id in called else NOBODYS
        for function_id in function_ids
    }


_STEPS: dict[int, Callable[[Connection], None]] = {1: _to_2, 2: _to_3}
