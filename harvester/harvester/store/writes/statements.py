"""The SQL statements that a group of writes becomes, each over any number of rows. Reads nothing."""

from __future__ import annotations

from collections.abc import Sequence

from harvester.domain.model.invocations import InvocationState
from harvester.store.writes.bulk import Bulk, ColumnType

_TEXT, _INT, _FLOAT, _BYTES, _FLAG = (
    ColumnType.TEXT,
    ColumnType.INT,
    ColumnType.FLOAT,
    ColumnType.BYTES,
    ColumnType.FLAG,
)


def _insert(table: str, constants: dict[str, str] | None = None, /, **columns: ColumnType) -> Bulk:
    """Return the INSERT of rows of `columns`; `constants` are the same in each."""
    given = constants or {}
    names = ", ".join(_quoted(name) for name in [*columns, *given])
    return Bulk(f"INSERT INTO {table} ({names})", list(columns.values()), constants=list(given.values()))


def _update(table: str, key: Sequence[str], changes: dict[str, str], **columns: ColumnType) -> Bulk:
    """Return the UPDATE of `table` by rows of `columns`: those of `key` find the row, `changes` are its SET.

    A change names a row's value in braces.
    """
    names = ", ".join(_quoted(name) for name in columns)

    def update(source: str, values: dict[str, str]) -> str:
        changed = ", ".join(f"{_quoted(name)} = {value.format(**values)}" for name, value in changes.items())
        where = " AND ".join(f"{table}.{name} = {values[name]}" for name in key)
        return f"UPDATE {table} SET {changed} {source} WHERE {where}"  # noqa: S608 - of constants

    return Bulk(
        f"WITH v ({names}) AS (",
        list(columns.values()),
        f") {update('FROM v', {name: f'v.{_quoted(name)}' for name in columns})}",
        single=update("", {name: f"?{number}" for number, name in enumerate(columns, start=1)}),
    )


def _quoted(name: str) -> str:
    return '"end"' if name == "end" else name


INSERT_INVOCATION = _insert(
    "invocation",
    invocation_id=_TEXT,
    function_id=_TEXT,
    function_name=_TEXT,
    owner=_TEXT,
    idempotency_key=_TEXT,
    encoding=_TEXT,
    accepted_at=_FLOAT,
    priority=_INT,
    start_by=_FLOAT,
    end_by=_FLOAT,
    state=_TEXT,
    fence=_INT,
    pilot_id=_TEXT,
    attempts=_INT,
    retries_used=_INT,
    deaths=_INT,
    started_at=_FLOAT,
    ended_at=_FLOAT,
    checkpoint_at=_FLOAT,
    failure=_BYTES,
    result=_BYTES,
    result_blob=_TEXT,
    result_size=_INT,
)
# Of an invocation that only waits: half the columns, and so half the time.
INSERT_WAITING = _insert(
    "invocation",
    {"state": f"'{InvocationState.ACCEPTED}'"} | dict.fromkeys(("fence", "attempts", "retries_used", "deaths"), "0"),
    invocation_id=_TEXT,
    function_id=_TEXT,
    function_name=_TEXT,
    owner=_TEXT,
    idempotency_key=_TEXT,
    encoding=_TEXT,
    accepted_at=_FLOAT,
    priority=_INT,
    start_by=_FLOAT,
    end_by=_FLOAT,
)
INSERT_ARGUMENTS = _insert("arguments", invocation_id=_TEXT, arguments=_BYTES)
INSERT_ARGUMENTS_BLOB = _insert("arguments", invocation_id=_TEXT, arguments=_BYTES, blob=_TEXT, size=_INT)
# An ended row is never changed, so what only an end sets need not be kept from before.
UPDATE_INVOCATION = _update(
    "invocation",
    ["invocation_id"],
    {name: f"{{{name}}}" for name in ("state", "fence", "pilot_id", "attempts", "retries_used", "deaths", "ended_at")}
    | {name: f"{{{name}}}" for name in ("failure", "result", "result_blob", "result_size")}
    | {"started_at": "coalesce(invocation.started_at, {started_at})"}
    | {"checkpoint_at": "coalesce({checkpoint_at}, invocation.checkpoint_at)"},
    invocation_id=_TEXT,
    state=_TEXT,
    fence=_INT,
    pilot_id=_TEXT,
    attempts=_INT,
    retries_used=_INT,
    deaths=_INT,
    started_at=_FLOAT,
    ended_at=_FLOAT,
    checkpoint_at=_FLOAT,
    failure=_BYTES,
    result=_BYTES,
    result_blob=_TEXT,
    result_size=_INT,
)
INSERT_ACTIVATION = _insert(
    "activation",
    invocation_id=_TEXT,
    fence=_INT,
    attempt=_INT,
    pilot_id=_TEXT,
    granted_at=_FLOAT,
    resumed=_FLAG,
    started_at=_FLOAT,
    ended_at=_FLOAT,
    end=_TEXT,
    checkpoints=_INT,
    checkpoint_at=_FLOAT,
)
UPDATE_ACTIVATION = _update(
    "activation",
    ["invocation_id", "fence"],
    {
        "started_at": "coalesce(activation.started_at, {started_at})",
        "ended_at": "{ended_at}",
        "end": "{end}",
        "checkpoints": "activation.checkpoints + {checkpoints}",
        "checkpoint_at": "coalesce({checkpoint_at}, activation.checkpoint_at)",
    },
    invocation_id=_TEXT,
    fence=_INT,
    started_at=_FLOAT,
    ended_at=_FLOAT,
    end=_TEXT,
    checkpoints=_INT,
    checkpoint_at=_FLOAT,
)
UPSERT_CHECKPOINT = Bulk(
    "INSERT INTO checkpoint (invocation_id, fence, seq, state)",
    [_TEXT, _INT, _INT, _BYTES],
    "ON CONFLICT (invocation_id) DO UPDATE SET fence = excluded.fence, seq = excluded.seq, state = excluded.state",
)
DELETE_CHECKPOINT = Bulk("DELETE FROM checkpoint WHERE invocation_id IN (", [_TEXT], ")")
ADD_DEMAND = Bulk(
    "INSERT INTO demand (function_id, waiting, held)",
    [_TEXT, _INT, _INT],
    "ON CONFLICT (function_id) DO UPDATE SET waiting = demand.waiting + excluded.waiting, "
    "held = demand.held + excluded.held",
)
