"""What every room of the store has: reading connections, and the writer. Translates every error of the database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session

from harvester.store.db.errors import translated
from harvester.store.writes.writer import Writer

T = TypeVar("T")


class StoreReader:
    """Base of the rooms.

    Parameters
    ----------
    reader: an engine whose connections are in no transaction: each statement sees the newest commit.
    writer: the only one that changes anything.
    """

    def __init__(self, reader: Engine, writer: Writer) -> None:
        self._reader = reader
        self._writer = writer

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        try:
            with self._reader.connect() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise translated(error, "cannot read") from error

    @contextmanager
    def _reading_rows(self) -> Iterator[Session]:
        """Yield what reads whole rows as SQLModel's classes, for what is read a few times a second at most."""
        with self._reading() as connection, Session(connection) as session:
            yield session

    def _commit(self, call: Callable[[Connection], T]) -> T:
        """Run `call` on the writer's connection, in its turn, and return its answer once that is committed."""
        return self._writer.call(call).result()
