"""From an older schema to the present one, a step a version. Data stay.

A step is written once and never changed: it speaks of the tables as they were then, not of `tables`. Steps run in the
transaction that opens the store, so that a process that dies on the way leaves the older schema as it was.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection

from harvester.store.errors import StoreError


def migrate(connection: Connection, found: int, version: int) -> None:
    """Bring the tables from schema `found` to schema `version`. Raises `StoreError` where no step leads on."""
    for step in range(found, version):
        if step not in _STEPS:
            raise StoreError(f"its schema has version {step}, which nothing leads on from; choose another database")
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


_STEPS: dict[int, Callable[[Connection], None]] = {1: _to_2}
