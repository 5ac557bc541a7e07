"""The store, whole: opening it, its rooms, the hot path's door, and what the database knows about itself."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from harvester.store.db import schema
from harvester.store.db.engine import make_engine, shown
from harvester.store.db.errors import (
    AlreadyThere,
    CommitUnknown,
    FunctionNotFound,
    NotFound,
    PilotNotFound,
    StoreError,
    StoreFull,
    Unstorable,
    translated,
)
from harvester.store.reads.function_life import FunctionLife
from harvester.store.reads.functions import Functions
from harvester.store.reads.invocations import Invocations
from harvester.store.reads.notes import Notes
from harvester.store.reads.pilots import Pilots
from harvester.store.reads.retention import RetentionStore
from harvester.store.writes.changes import Write
from harvester.store.writes.writer import Writer

__all__ = [
    "AlreadyThere",
    "CommitUnknown",
    "FunctionNotFound",
    "NotFound",
    "PilotNotFound",
    "Store",
    "StoreError",
    "StoreFull",
    "Unstorable",
    "open_store",
]


class Store(Functions, FunctionLife, Invocations, RetentionStore, Pilots, Notes):
    """Everything that is kept. Safe to use from any thread; made by `open_store`.

    Reads are synchronous and short. Of the changes, `write` answers with a future, the others return when they are
    committed. All raise `StoreError` where the database fails.
    """

    def __init__(self, engine: Engine, instance: str, epoch: int) -> None:
        reader = engine
        if engine.dialect.name != "sqlite":
            reader = engine.execution_options(isolation_level="AUTOCOMMIT")
        super().__init__(reader, Writer(engine))
        self._engine = engine
        self.instance = instance  # 8 hexadecimal characters, made with the database
        self.epoch = epoch  # starts of a gateway so far

    def next_epoch(self) -> int:
        """Count one more start of a gateway; return the count once it is committed."""
        self.epoch = self._commit(schema.next_epoch)
        return self.epoch

    def run_secret(self) -> bytes:
        """Return what signs the credentials of runs, the same for as long as this database lives."""
        return bytes.fromhex(self._commit(schema.run_secret))

    def write(self, writes: Sequence[Write]) -> Future[None]:
        """Queue `writes` for the next group commit; all of them are kept, or none.

        The future resolves after the commit, and after that of everything queued before, also for no writes at all.
        It ends in a `StoreError` where nothing was kept: `StoreFull` without space, `AlreadyThere` for an id or
        idempotency key that exists; `CommitUnknown` is the one that leaves that open. It cannot be cancelled. While
        there is `trouble`, no writes at all are one that probes whether the database takes them again.
        """
        return self._writer.write(writes)

    @property
    def backlog(self) -> int:
        """Entries that wait for their commit."""
        return self._writer.backlog

    @property
    def trouble(self) -> StoreError | None:
        """Why the database did not take the last group of writes, of anybody; None when it did."""
        return self._writer.trouble

    @property
    def busy_s(self) -> float:
        """Seconds for which the database has been at the present group of writes."""
        return self._writer.busy_s

    def close(self) -> None:
        """Commit what is queued, then let go of the database. A second call does nothing."""
        self._writer.close()
        self._engine.dispose()


def open_store(url: str) -> Store:
    """Open the store at `url`, making its tables where there are none.

    Parameters
    ----------
    url: "sqlite:////absolute/path/harvester.db" or "postgresql+psycopg://user:password@host/database"; with
        "?durability=os" a commit no longer waits for the disk (default "fsync": it does).

    Raises `StoreError` where file, folder, server or URL cannot be used, or a newer harvester made the tables.
    """
    engine = make_engine(url)
    try:
        instance, epoch = schema.prepare(engine)
    except (SQLAlchemyError, StoreError) as error:
        engine.dispose()
        name = engine.url.database if engine.dialect.name == "sqlite" else shown(engine.url)
        if isinstance(error, StoreError):
            raise StoreError(f"database {name}: {error}") from error
        raise translated(error, f"database {name} cannot be used") from error
    return Store(engine, instance, epoch)
