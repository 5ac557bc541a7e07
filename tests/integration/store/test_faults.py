"""A fault at any statement of the writer: it is told, nothing is kept by half, and the next group starts clean.

Each statement fails in turn, until there are no more: alone, or with all that come after it until the fault is
mended, a ROLLBACK and the opening of another connection among them.
"""

import sqlite3
from collections.abc import Callable
from enum import StrEnum
from typing import Any

import pytest
from sqlalchemy import event

from harvester.domain.model.invocations import InvocationState
from harvester.domain.model.pilots import PilotEvent
from harvester.store.store import CommitUnknown, Store, StoreError
from harvester.store.writes.changes import PilotMoved, PilotSeen

OF_THE_POOL = {"ROLLBACK", ";"}  # before and after use: a connection that cannot do that is replaced


class Kind(StrEnum):
    """What a fault is like."""

    FULL = "full"  # the statement does nothing, the transaction is still there
    UNDONE = "undone"  # the database ends the transaction, as SQLite does after some errors of the disk
    CUT = "cut"  # the connection breaks before the statement
    LATE = "late"  # the statement is done, and the connection breaks before the answer comes


class Faults:
    """Counts the statements of one store's connections, and has the n-th fail."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._at, self._kind, self._lasts = -1, Kind.FULL, False

    def arm(self, at: int, kind: Kind, *, lasts: bool) -> None:
        self.texts, self._at, self._kind, self._lasts = [], at, kind, lasts

    def mend(self) -> None:
        self.texts, self._at, self._lasts = [], -1, False

    def told(self, text: str) -> Kind | None:
        number = len(self.texts)
        self.texts.append(text)
        return self._kind if number == self._at or (self._lasts and -1 < self._at < number) else None


def sqlite_connection(faults: Faults) -> type[sqlite3.Connection]:
    def run(connection: sqlite3.Connection, text: str, really: Callable[[], Any]) -> Any:
        kind = faults.told(text)
        if kind is None:
            return really()
        if kind is Kind.UNDONE and connection.in_transaction:
            sqlite3.Connection.execute(connection, "ROLLBACK").close()
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    class Cursor(sqlite3.Cursor):
        def execute(self, text: str, *more: Any) -> Any:
            return run(self.connection, text, lambda: super(Cursor, self).execute(text, *more))

        def executemany(self, text: str, *more: Any) -> Any:
            return run(self.connection, text, lambda: super(Cursor, self).executemany(text, *more))

    class Connection(sqlite3.Connection):
        def cursor(self, factory: Any = Cursor) -> Any:
            return super().cursor(factory)

        def execute(self, text: str, *more: Any) -> Any:
            return run(self, text, lambda: super(Connection, self).execute(text, *more))

        def commit(self) -> None:
            run(self, "COMMIT", super().commit)

        def rollback(self) -> None:
            run(self, "ROLLBACK", super().rollback)

    return Connection


def postgres_connection(faults: Faults) -> Any:
    import psycopg

    def run(connection: Any, text: str, really: Callable[[], Any]) -> Any:
        kind = faults.told(text)
        if kind is None:
            return really()
        if kind is Kind.FULL:
            if text not in {"COMMIT", "ROLLBACK"}:  # the server would have aborted the transaction
                connection.pgconn.exec_(b"DO $$ BEGIN RAISE disk_full; END $$")
            raise psycopg.errors.DiskFull("could not extend file")
        if kind is Kind.LATE:
            really()
        connection.pgconn.finish()
        raise psycopg.OperationalError("server closed the connection unexpectedly")

    class Cursor(psycopg.Cursor):
        def execute(self, query: Any, *more: Any, **options: Any) -> Any:
            return run(self.connection, str(query), lambda: super(Cursor, self).execute(query, *more, **options))

    class Connection(psycopg.Connection):
        def __init__(self, *more: Any) -> None:
            super().__init__(*more)
            self.cursor_factory = Cursor

        def commit(self) -> None:
            run(self, "COMMIT", super().commit)

        def rollback(self) -> None:
            run(self, "ROLLBACK", super().rollback)

    return Connection


@pytest.fixture
def faults(url: str, store: Store) -> Faults:
    """Faults of the connections that `store` opens from now on."""
    faults = Faults()
    if url.startswith("sqlite"):
        factory = sqlite_connection(faults)

        def connect(_dialect: Any, _record: Any, arguments: list[Any], options: dict[str, Any]) -> Any:
            return sqlite3.connect(*arguments, factory=factory, **options)
    else:
        made = postgres_connection(faults)

        def connect(_dialect: Any, _record: Any, arguments: list[Any], options: dict[str, Any]) -> Any:
            return made.connect(*arguments, **options)

    event.listen(store._engine, "do_connect", connect)
    store._writer.call(lambda connection: connection.invalidate()).exception(timeout=20)
    store._engine.dispose()
    store.write([]).exception(timeout=20)  # finds its connection gone, and takes another one
    store.write([]).result(timeout=20)
    return faults


def life(make, name: str, *, is_again: bool = False) -> list[Any]:
    """Writes that reach every table of the hot path, and pilots."""
    return [
        make.new(name, arguments=b"a", is_again=is_again),
        make.granted(name),
        make.started(name),
        make.kept(name, 1, b"s"),
        make.requeued(name),
        make.granted(name, fence=2, attempt=2),
        PilotMoved(pilot_id="p1", event=PilotEvent.SUBMITTED, at=2.0, batch_job_id="7"),
        PilotSeen(pilot_id="p1", at=3.0, ends_at=9.0, activations=1, idle_since=None),
    ]


def end(make, name: str) -> list[Any]:
    return [make.started(name, fence=2), make.kept(name, 1, b"t", fence=2), make.concluded(name, fence=2, value=b"v")]


def steps(store: Store, make, name: str) -> dict[str, Callable[[], Any]]:
    """Everything that writes, by what it is; each may be repeated."""
    return {
        "life": lambda: store.write(life(make, name, is_again=True)).result(timeout=20),
        "end": lambda: store.write(end(make, name)).result(timeout=20),
        "note": lambda: store.put_note("n", name.encode()),
        "function": lambda: store.add_function(make.function(f"f{name}"), at=1.0),
        "epoch": store.next_epoch,
        "purge": lambda: store.purge(100.0, 10),
        "nothing": lambda: store.write([]).result(timeout=20),
    }


SQLITE = [(kind, lasts) for kind in (Kind.FULL, Kind.UNDONE) for lasts in (False, True)]
POSTGRES = [(Kind.FULL, False), (Kind.CUT, False), (Kind.CUT, True), (Kind.LATE, False)]


@pytest.mark.timeout(600)  # a hundred databases; a loaded machine takes two minutes
def test_a_fault_at_any_statement_leaves_the_writer_sound(url, store, make, faults):
    store.add_pilot(make.pilot("p1"))
    for kind, lasts in SQLITE if url.startswith("sqlite") else POSTGRES:
        numbers = iter(range(1000))
        while broken(store, make, faults, next(numbers), kind, lasts=lasts):
            pass
        assert next(numbers) > 30, "few statements were counted"


def broken(store: Store, make, faults: Faults, number: int, kind: Kind, *, lasts: bool) -> bool:
    """Do everything with a fault at one statement, mend it, and do it again; False where there are not as many."""
    name = f"{kind}-{lasts}-{number}"
    faults.arm(number, kind, lasts=lasts)
    failed = 0
    for what, step in steps(store, make, name).items():
        error = failure_of(step)
        assert store.trouble is error
        failed += error is not None
        if what == "life" and error is not None and not isinstance(error, CommitUnknown):
            assert on_disk(store, faults, name) is None, f"{name}: refused, and kept"
    is_reached = len(faults.texts) > number
    is_harmless = is_reached and faults.texts[number] in OF_THE_POOL
    assert failed or is_harmless or not is_reached, f"{name}: nobody was told that {faults.texts[number]!r} failed"
    assert failed <= 1 or lasts, f"{name}: a fault was not over with its group"
    faults.mend()
    for step in steps(store, make, name).values():
        step()
    assert store.trouble is None
    assert store.invocation(name).state is InvocationState.SUCCEEDED
    assert [attempt.attempt for attempt in store.activations(name)] == [1, 2]
    assert store.note("n") == name.encode()
    assert store.demand() == []
    return is_reached


def failure_of(step: Callable[[], Any]) -> StoreError | None:
    try:
        step()
    except StoreError as error:
        return error
    return None


def on_disk(store: Store, faults: Faults, name: str) -> Any:
    """What somebody sees whom no fault concerns."""
    at, faults._at = faults._at, -1
    try:
        return store.invocation(name)
    finally:
        faults._at = at
