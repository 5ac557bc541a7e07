"""Where SQLite and PostgreSQL differ, or SQLAlchemy does not spell what they share: beginning, locking, ON CONFLICT."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Table, text

if TYPE_CHECKING:
    from sqlalchemy.dialects.sqlite import Insert

# PostgreSQL's advisory locks are numbers: this one is any number, the same in every harvester.
_LOCK = text("SELECT pg_advisory_xact_lock(1751216758)")


def begin_writing(connection: Connection) -> None:
    """Begin a transaction that will write.

    SQLite: take the write lock now, since a transaction that began as a reader's cannot wait for it later. PostgreSQL
    begins by itself.
    """
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def lock_out_others(connection: Connection) -> None:
    """Let no other process past this call until the transaction ends; SQLite has only one writer anyway."""
    if connection.dialect.name != "sqlite":
        connection.execute(_LOCK)


def inserting(connection: Connection, table: Table) -> Insert:
    """Return an INSERT into `table` that has `on_conflict_do_update`, for the database at the other end.

    The two dialects' constructs have the same methods; only the one that is needed is imported.
    """
    module = import_module(f"sqlalchemy.dialects.{connection.dialect.name}")
    statement: Insert = module.insert(table)
    return statement
