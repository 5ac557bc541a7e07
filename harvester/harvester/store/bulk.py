"""Statements over many rows of parameters: one execution writes many of them. Knows no table.

Each step of SQLite gives the interpreter's lock away and has to get it back from the gateway's event loop, so the steps
of a group are kept few: a statement takes its rows as VALUES, in the few sizes whose texts the driver keeps prepared.
PostgreSQL's driver spends its time on each parameter, so there all rows of a statement are one parameter, as JSON.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from itertools import chain
from typing import Any

import msgspec
from sqlalchemy import Connection

_SIZES = (64, 8, 1)
_FEW = 8
_JSON_ROWS, _JSON_BYTES = 1000, 16 * 1024 * 1024  # of one parameter; its own limit is 256 MiB


class Kind(StrEnum):
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
    """

    def __init__(self, head: str, columns: Sequence[Kind], tail: str = "") -> None:
        row = f"({', '.join('?' * len(columns))})"
        self._values = {size: f"{head} VALUES {', '.join([row] * size)} {tail}" for size in _SIZES}
        read = ", ".join(_from_json(number, kind) for number, kind in enumerate(columns))
        source = f"SELECT {read} FROM jsonb_array_elements(CAST(%s AS jsonb)) AS t(r)"  # noqa: S608 - of constants
        # PostgreSQL takes a function for 100 rows, and would scan a table of a few thousand for them; a LIMIT tells it
        # of how few they are, so that it looks each up by its key.
        self._few, self._many = f"{head} {source} LIMIT {_FEW} {tail}", f"{head} {source} {tail}"

    def run(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Execute the statement over `rows`, none of which may concern what another one changes."""
        if connection.dialect.name != "sqlite":
            for page in _pages(rows):
                text = self._few if len(page) <= _FEW else self._many
                connection.exec_driver_sql(text, (msgspec.json.encode(page).decode(),))
            return
        at, left = 0, len(rows)
        for size in _SIZES:
            while left >= size:
                connection.exec_driver_sql(self._values[size], tuple(chain.from_iterable(rows[at : at + size])))
                at, left = at + size, left - size


def _from_json(number: int, kind: Kind) -> str:
    """Return the expression for a field of a row; bytes come in Base64."""
    return f"decode(r->>{number}, 'base64')" if kind is Kind.BYTES else f"CAST(r->>{number} AS {kind})"


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
