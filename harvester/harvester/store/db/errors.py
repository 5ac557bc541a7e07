"""What can go wrong in the store, by who must act; and the one place that reads a driver's error codes."""

from __future__ import annotations

import sqlite3

from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError, OperationalError


class StoreError(Exception):
    """The database did not do what was asked; nothing of that was kept. The message says what to do."""


class CommitUnknown(StoreError):
    """The connection broke during the commit: everything was kept, or nothing. Write it again, as `is_again`."""


class Unstorable(StoreError):
    """No other write would have failed: one of the rows is at fault, and trying again is no use."""


class StoreFull(StoreError):
    """No space is left where the database lies. Writes succeed again once there is some."""


class AlreadyThere(Unstorable):
    """A row with that id or idempotency key exists: read it instead."""


class NotFound(StoreError, LookupError):
    """What was to be changed does not exist."""


class FunctionNotFound(NotFound):
    """No such function or version. The store's own reads answer None; this is for those who must have one."""


class PilotNotFound(NotFound):
    """No such pilot."""


_PG_DISK_FULL = "53100"
_PG_READ_ONLY = "25006"  # the server is a standby now
_PG_CONFLICTS = ("40001", "40P01")  # serialization failure, deadlock


def translated(error: BaseException, doing: str) -> StoreError:
    """Return `error`, met while `doing` something, in the words of the store.

    The driver's message is kept, its statement and parameters are not: they hold what users sent.
    """
    if isinstance(error, StoreError):
        return error
    cause = getattr(error, "orig", None) or error
    told = str(cause).partition("\n")[0] or type(cause).__name__  # PostgreSQL goes on with details, rows among them
    if _is_full(cause):
        return StoreFull(
            f"{doing}: no space left for the database ({told}); free some space, then writes succeed again"
        )
    if isinstance(error, IntegrityError | sqlite3.IntegrityError):
        return AlreadyThere(f"{doing}: {told}")
    if isinstance(cause, sqlite3.OperationalError) and _sqlite_code(cause) in (
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
    ):
        return StoreError(
            f"{doing}: another process keeps the database locked ({told}); end it, or use PostgreSQL where "
            "several processes write"
        )
    return (StoreError if concerns_the_database(error) else Unstorable)(f"{doing}: {told}")


def concerns_the_database(error: BaseException) -> bool:
    """Return whether `error` is about the database as a whole (full, locked, gone) rather than about one row in it."""
    cause = getattr(error, "orig", None) or error
    return (
        isinstance(
            error, CommitUnknown | OperationalError | InterfaceError | sqlite3.OperationalError | sqlite3.InterfaceError
        )
        or (isinstance(error, DBAPIError) and error.connection_invalidated)
        or type(cause) is sqlite3.DatabaseError  # a damaged file; its subclasses are about a row
        or getattr(cause, "sqlstate", None) == _PG_READ_ONLY
    )


def is_conflict(error: BaseException) -> bool:
    """Return whether PostgreSQL ended the transaction in favour of another one, so that it can be tried again."""
    return getattr(getattr(error, "orig", None), "sqlstate", None) in _PG_CONFLICTS


def _is_full(cause: BaseException) -> bool:
    return _sqlite_code(cause) == sqlite3.SQLITE_FULL or getattr(cause, "sqlstate", None) == _PG_DISK_FULL


def _sqlite_code(cause: BaseException) -> int | None:
    code = getattr(cause, "sqlite_errorcode", None)
    return None if code is None else int(code) & 0xFF  # the low byte of an extended code is the primary one
