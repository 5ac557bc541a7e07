"""Notes: small documents that daemon and gateway leave for each other."""

from __future__ import annotations

from sqlalchemy import Connection

from harvester.store.db.dialect import inserting
from harvester.store.db.tables import NOTES, NoteRow
from harvester.store.reads.reader import StoreReader


class Notes(StoreReader):
    """The room of notes."""

    def put_note(self, key: str, value: bytes) -> None:
        """Keep `value` (JSON) under `key`, in the place of what was there. Returns after the commit."""

        def put(connection: Connection) -> None:
            statement = inserting(connection, NOTES).values(key=key, value=value)
            changed = {"value": statement.excluded.value}
            connection.execute(statement.on_conflict_do_update(index_elements=["key"], set_=changed))

        self._commit(put)

    def note(self, key: str) -> bytes | None:
        """Return what lies under `key`."""
        with self._reading_rows() as session:
            row = session.get(NoteRow, key)
            return None if row is None else row.value
