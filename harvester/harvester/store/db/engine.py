"""From a URL to connections: which database, how durable, how it is tuned. Knows no table.

SQLite runs in WAL mode: readers never wait for the writer. `durability` says what a commit waits for: `fsync` (the
default) for the disk, `os` for the operating system only, which survives a killed process but not a power cut.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from harvester.store.db.errors import StoreError

_BUSY_TIMEOUT_S = 5.0
_CACHE_KIB = 16 * 1024
_PREPARED = 512  # statements that a connection keeps: each of the writer's is there in every size
# A server that vanishes without a word is noticed within half a minute; by itself TCP would wait for hours.
_PG_CONNECTION: dict[str, Any] = {
    "application_name": "harvester",
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,
}
_WAL_LIMIT_BYTES = 64 * 1024 * 1024  # a WAL that a burst has grown is cut back to this


def make_engine(url: str) -> Engine:
    """Return the engine for `url`. Raises `StoreError` that names the part of the URL that is wrong."""
    parsed = _parse(url)
    durability = parsed.query.get("durability", "fsync")
    if durability not in ("fsync", "os"):
        raise StoreError(f"database URL {shown(parsed)}: durability is {durability!r}; it is 'fsync' or 'os'")
    parsed = parsed.difference_update_query(["durability"])
    if parsed.get_backend_name() == "sqlite":
        return _sqlite(parsed, is_durable=durability == "fsync")
    return _postgresql(parsed, is_durable=durability == "fsync")


def shown(url: URL) -> str:
    """Return `url` for a message: without its password."""
    return url.render_as_string(hide_password=True)


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise StoreError(
            f"database URL {url.partition('@')[0].partition(':')[0] or url!r}…: not a URL; write "
            "sqlite:////absolute/path/harvester.db or postgresql+psycopg://user:password@host/database"
        ) from error
    if parsed.drivername in ("postgresql", "postgres"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername not in ("sqlite", "sqlite+pysqlite", "postgresql+psycopg"):
        raise StoreError(
            f"database URL {shown(parsed)}: {parsed.drivername} is not supported; use sqlite or postgresql"
        )
    return parsed


def _sqlite(url: URL, *, is_durable: bool) -> Engine:
    if not url.database or url.database == ":memory:":
        raise StoreError("database URL sqlite: needs a file, as in sqlite:////absolute/path/harvester.db")
    _make_private_file(Path(url.database))
    engine = create_engine(
        url,
        hide_parameters=True,  # they hold what users sent; errors and logs must not
        pool_size=8,
        max_overflow=32,
        connect_args={"timeout": _BUSY_TIMEOUT_S, "check_same_thread": False, "cached_statements": _PREPARED},
    )

    def tune(connection: sqlite3.Connection, _record: object) -> None:
        # No implicit BEGIN: the writer begins by itself, and a read is one statement.
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {'FULL' if is_durable else 'NORMAL'}")
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        connection.execute(f"PRAGMA journal_size_limit = {_WAL_LIMIT_BYTES}")
        connection.execute("PRAGMA temp_store = MEMORY")

    event.listen(engine, "connect", tune)
    return engine


def _make_private_file(path: Path) -> None:
    """Create the database file, readable by its owner only: arguments and results are the users'."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except FileNotFoundError as error:
        raise StoreError(f"database {path}: the folder {path.parent} does not exist; create it") from error
    except OSError as error:
        raise StoreError(f"database {path}: cannot be opened for writing ({error.strerror})") from error


def _postgresql(url: URL, *, is_durable: bool) -> Engine:
    arguments: dict[str, Any] = _PG_CONNECTION | dict(url.query)
    if not is_durable:
        arguments["options"] = f"{arguments.get('options', '')} -c synchronous_commit=off"
    try:
        return create_engine(
            url,
            hide_parameters=True,
            pool_size=8,
            max_overflow=8,
            pool_pre_ping=True,  # a server that was restarted costs one ping, not one lost group
            connect_args=arguments,
        )
    except (ModuleNotFoundError, NoSuchModuleError) as error:
        raise StoreError(
            f"database URL {shown(url)}: the PostgreSQL driver is not installed; pip install 'hpc-harvester[postgres]'"
        ) from error
