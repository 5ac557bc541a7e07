"""The schema's version, and the facts that a database keeps about itself: instance, epoch, secret."""

from __future__ import annotations

import secrets

from sqlalchemy import Connection, Engine, insert, inspect, select, update

from harvester.store.db.dialect import begin_writing, inserting, lock_out_others
from harvester.store.db.errors import StoreError
from harvester.store.db.migrations import migrate
from harvester.store.db.tables import META, METADATA

VERSION = 3
_VERSION_KEY = "schema_version"
_SIGNING = "run_secret"


def prepare(engine: Engine) -> tuple[str, int]:
    """Make the tables where there are none, bring older ones up to date; return (instance, epoch).

    Raises `StoreError` on a newer schema.
    """
    with engine.begin() as connection:
        begin_writing(connection)
        lock_out_others(connection)  # of two processes that start at once, one makes the tables
        if not inspect(connection).has_table(META.name):
            _create(connection)
        facts = {row.key: row.value for row in connection.execute(select(META))}
        found = _version(facts)
        if found < VERSION:
            migrate(connection, found, VERSION)
            connection.execute(update(META).where(META.c.key == _VERSION_KEY).values(value=str(VERSION)))
    return facts["instance"], int(facts["epoch"])


def next_epoch(connection: Connection) -> int:
    """Count one more start of a gateway, and return the count."""
    where = META.c.key == "epoch"
    found = connection.execute(select(META.c.value).where(where).with_for_update()).scalar_one()
    epoch = int(found) + 1
    connection.execute(update(META).where(where).values(value=str(epoch)))
    return epoch


def run_secret(connection: Connection) -> str:
    """Return what signs the credentials of runs; it is made at the first call, and stays."""
    row = inserting(connection, META).values(key=_SIGNING, value=secrets.token_hex(32))
    connection.execute(row.on_conflict_do_nothing(index_elements=["key"]))
    found: str = connection.execute(select(META.c.value).where(META.c.key == _SIGNING)).scalar_one()
    return found


def _version(facts: dict[str, str]) -> int:
    try:
        found = int(facts[_VERSION_KEY])
    except (KeyError, ValueError) as error:
        raise StoreError(f"its table {META.name} is not a harvester's ({error}); choose another database") from error
    if found > VERSION:
        raise StoreError(
            f"its schema has version {found}, written by a newer harvester; this one knows up to {VERSION}: "
            "upgrade hpc-harvester, or choose another database"
        )
    return found


def _create(connection: Connection) -> None:
    METADATA.create_all(connection)
    facts = {_VERSION_KEY: str(VERSION), "instance": secrets.token_hex(4), "epoch": "0"}
    connection.execute(insert(META), [{"key": key, "value": value} for key, value in facts.items()])
