"""Statements over many rows of parameters: one execution writes many of them. Knows no table.

Each step of SQLite gives the interpreter's lock away and has to get it back from the gateway's event loop, so the steps
of a group are kept few: a statement takes its rows as VALUES, in the sizes whose texts the driver keeps prepared.
PostgreSQL's driver spends its time on each parameter, so there all rows of a statement are one parameter, as JSON.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from itertools import chain
from typing import Any

import msgspec

from harvester.store.writes.session import WriterSession

_ANY = 32  # up to as many rows are one statement
_SIZES = (64, *range(_ANY, 0, -1))
_FEW = 8
_JSON_ROWS, _JSON_BYTES = 1000, 16 * 1024 * 1024  # of one parameter; its own limit is 256 MiB


class ColumnType(StrEnum):
    """The type of a column, in PostgreSQL's words; SQLite asks for none."""

    TEXT = "text"
    INT = "bigint"
    FLOAT = "double precision"
    BYTES = "bytea"
    FLAG = "boolean"


class Bulk:
    """A statement with its rows in the middle.

    Parameters
    ----------
    head, tail: the text before and after the rows. It holds no "%", which a driver would read as a parameter.
    columns: the columns' types, in the order of a row.
    constants: what each row ends in, as SQL.
    single: what SQLite executes for one row, where that is less work than the same statement over one.
    """

    def __init__(
        self,
        head: str,
        columns: Sequence[ColumnType],
        tail: str = "",
        *,
        constants: Sequence[str] = (),
        single: str | None = None,
    ) -> None:
        row = f"({', '.join(['?'] * len(columns) + list(constants))})"
        self._values = {size: f"{head} VALUES {', '.join([row] * size)} {tail}" for size in _SIZES}
        if single is not None:
            self._values[1] = single
        read = ", ".join([*(_from_json(number, kind) for number, kind in enumerate(columns)), *constants])
        source = f"SELECT {read} FROM jsonb_array_elements(CAST(%s AS jsonb)) AS t(r)"  # noqa: S608 - of constants
        # PostgreSQL takes a function for 100 rows, and would scan a table of a few thousand for them; a LIMIT tells it
        # of how few they are, so that it looks each up by its key.
        self._few, self._many = f"{head} {source} LIMIT {_FEW} {tail}", f"{head} {source} {tail}"

    def run(self, session: WriterSession, rows: Sequence[tuple[Any, ...]]) -> None:
        """Execute the statement over `rows`, none of which may concern what another one changes."""
        if not session.is_sqlite:
            for page in _pages(rows):
                text = self._few if len(page) <= _FEW else self._many
                session.execute(text, (msgspec.json.encode(page).decode(),))
            return
        at, left = 0, len(rows)
        while left:
            size = left if left <= _ANY else next(size for size in _SIZES if size <= left)
            some = rows[at : at + size]
            session.execute(self._values[size], some[0] if size == 1 else tuple(chain.from_iterable(some)))
            at, left = at + size, left - size


def _from_json(number: int, kind: ColumnType) -> str:
    """Return the expression for a field of a row; bytes come in Base64."""
    return f"decode(r->>{number}, 'base64')" if kind is ColumnType.BYTES else f"CAST(r->>{number} AS {kind})"


def _pages(rows: Sequence[tuple[Any, ...]]) -> Iterator[Sequence[tuple[Any, ...]]]:
    start = size = 0
    for end, row in enumerate(rows):
        size += sum(len(value) for value in row if isinstance(value, bytes))
        if end > start and (size > _JSON_BYTES or end - start == _JSON_ROWS):
            yield rows[start:end]
            start = end
            size = sum(len(value) for value in row if isinstance(value, bytes))
    if start < len(rows):
        yield rows[start:]
