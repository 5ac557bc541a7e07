"""The writer's connection: its transactions, and the short way to the driver for the statements of the hot path.

Knows no table. Reads have connections of their own (`reads.reader`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any, Protocol, cast

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from harvester.store.db.errors import CommitUnknown, concerns_the_database

# Of a lone life's commit the driver and the disk take a third, SQLAlchemy took the most of the rest: so the hot
# statements of SQLite go to one cursor of one connection that is kept. PostgreSQL's go through SQLAlchemy: a server may
# drop a connection at any time, and the pool notices.


class WriterSession(Protocol):
    """What the writer works with, from one thread."""

    is_sqlite: bool

    @property
    def connection(self) -> Connection:
        """The transaction's connection with all of SQLAlchemy's means, for what is rare."""

    def transaction(self) -> AbstractContextManager[None]:
        """Begin; commit at the end of the block, or undo all of it where anything fails. The next one starts clean.

        Raises `CommitUnknown` where the database did not say what became of the commit.
        """

    def execute(self, text: str, parameters: Sequence[Any]) -> None:
        """Execute a statement in the driver's words."""

    def value(self, text: str, parameters: Sequence[Any]) -> str | int:
        """Execute a statement that finds one row of one column, and return that."""

    def data_version(self) -> str | int | None:
        """Return what changes with every commit of somebody else, and with none of ours; None where that is unknown.

        For within a transaction, so that nobody else commits meanwhile.
        """

    def close(self) -> None:
        """Let go of the connection."""


def make_session(engine: Engine) -> WriterSession:
    """Return the writer's session of the database behind `engine`; it connects with its first transaction."""
    return _Sqlite(engine) if engine.dialect.name == "sqlite" else _Postgresql(engine)


class _Sqlite:
    is_sqlite = True

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._held: Connection | None = None
        self._cursor: sqlite3.Cursor

    @property
    def connection(self) -> Connection:
        if self._held is None:
            held = self._engine.connect()
            self._cursor = cast("sqlite3.Cursor", held.connection.cursor())
            self._held = held
        return self._held

    @contextmanager
    def transaction(self) -> Iterator[None]:
        connection = self.connection
        try:
            # The write lock now, since a transaction that began as a reader's cannot wait for it later.
            self._cursor.execute("BEGIN IMMEDIATE")
            yield
            if connection.in_transaction():  # SQLAlchemy's own view, once somebody used it
                connection.commit()
            else:
                self._cursor.execute("COMMIT")
        except BaseException as error:
            self._undo(connection, is_sound=not concerns_the_database(error))
            raise

    def execute(self, text: str, parameters: Sequence[Any]) -> None:
        self._cursor.execute(text, parameters)

    def value(self, text: str, parameters: Sequence[Any]) -> str | int:
        found: str | int = self._cursor.execute(text, parameters).fetchone()[0]
        return found

    def data_version(self) -> str | int | None:
        # Changes with the commits of every other connection, of this process or another one, never with our own.
        return self.value("PRAGMA data_version", ())

    def close(self) -> None:
        if self._held is not None:
            self._held.close()
            self._held = None

    def _undo(self, connection: Connection, *, is_sound: bool) -> None:
        """Roll back. A connection that is not `is_sound`, or that cannot roll back, is given up for another one.

        After a full or failing disk a new one also finds what was mended meanwhile: a file system that is writable
        again, a database that was put back.
        """
        try:
            # Not `in_transaction()`: after a commit that failed SQLAlchemy's transaction is no longer active, and yet
            # refuses every statement until it is rolled back.
            if connection.get_transaction() is not None:
                connection.rollback()
            if self._cursor.connection.in_transaction:  # where the database has not done so by itself
                self._cursor.execute("ROLLBACK")
        except (sqlite3.Error, SQLAlchemyError):
            is_sound = False
        if not is_sound:
            self._held = None
            with suppress(sqlite3.Error, SQLAlchemyError):
                connection.invalidate()
                connection.close()


class _Postgresql:
    is_sqlite = False

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.connection: Connection  # there within a transaction

    @contextmanager
    def transaction(self) -> Iterator[None]:
        with self._engine.connect() as self.connection, self.connection.begin() as transaction:
            yield
            try:
                transaction.commit()
            except DBAPIError as error:
                is_broken = error.connection_invalidated
                self.connection.invalidate()  # else the pool gets it back without a rollback
                if is_broken:
                    raise CommitUnknown(f"the connection broke during the commit ({error.orig})") from error
                raise

    def execute(self, text: str, parameters: Sequence[Any]) -> None:
        self.connection.exec_driver_sql(text, tuple(parameters))

    def value(self, text: str, parameters: Sequence[Any]) -> str | int:
        found: str | int = self.connection.exec_driver_sql(text, tuple(parameters)).scalar_one()
        return found

    def data_version(self) -> str | int | None:
        return None

    def close(self) -> None:
        pass
