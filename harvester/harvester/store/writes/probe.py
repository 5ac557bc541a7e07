"""A write that tells whether the database takes writes: rows that nobody needs, of the size of an ordinary group."""

from __future__ import annotations

import os

from sqlalchemy import Connection

from harvester.store.db.dialect import inserting
from harvester.store.db.tables import NOTES

# A commit of nothing succeeds on a full disk, and so does one of a few bytes where the last write left some room.
_BYTES = 64 * 1024


def probe(connection: Connection) -> None:
    """Write something. Other bytes each time: SQLite does not write down what is as it was."""
    statement = inserting(connection, NOTES).values(key="probe", value=os.urandom(_BYTES))
    changed = {"value": statement.excluded.value}
    connection.execute(statement.on_conflict_do_update(index_elements=["key"], set_=changed))
