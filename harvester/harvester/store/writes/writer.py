"""The one thread that writes: takes all that waits, commits it as one group, and answers.

While a commit is on its way to the disk the next group gathers, so nobody waits for a timer, and the busier the store,
the larger its groups. Whatever one group meets, the next one starts clean. Owns the queue, the transaction, and the
word on whether the database takes writes; what a write means is `applying`'s.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar, assert_never

import msgspec
from sqlalchemy import Connection, Engine

from harvester.domain.payload.blobs import BlobRef
from harvester.store.db.errors import StoreError, concerns_the_database, is_conflict, translated
from harvester.store.writes.applying import apply
from harvester.store.writes.changes import (
    CheckpointKept,
    Concluded,
    Granted,
    NewInvocation,
    PilotMoved,
    PilotSeen,
    Requeued,
    Started,
    Write,
)
from harvester.store.writes.probe import probe
from harvester.store.writes.session import make_session
from harvester.store.writes.writer_memory import WriterMemory

T = TypeVar("T")

# A group is closed at either limit, so that a burst or a few huge payloads do not become one endless transaction.
_GROUP_WRITES = 4096
_GROUP_BYTES = 32 * 1024 * 1024


class _Entry(msgspec.Struct):
    """What somebody waits for: some writes, or a call with the open connection."""

    future: Future[Any]
    writes: Sequence[Write] = ()
    call: Callable[[Connection], Any] | None = None


class Writer:
    """A queue, and the thread that empties it.

    Parameters
    ----------
    engine: connections of the database; one of them is the writer's.
    """

    def __init__(self, engine: Engine) -> None:
        self._session = make_session(engine)
        self._memory = WriterMemory()
        self._queue: queue.SimpleQueue[_Entry | None] = queue.SimpleQueue()
        self._door = threading.Lock()  # nothing enters the queue behind the None that ends it
        self._is_closed = False
        self.trouble: StoreError | None = None  # why the database did not take the last group; None when it did
        self._begun_at: float | None = None  # monotonic: when the group under way began
        self._thread = threading.Thread(target=self._run, name="harvester-store-writer", daemon=True)
        self._thread.start()

    @property
    def backlog(self) -> int:
        """Entries that wait for their group."""
        return self._queue.qsize()

    @property
    def busy_s(self) -> float:
        """Seconds that the group under way has taken so far; 0 where there is none."""
        begun_at = self._begun_at
        return 0.0 if begun_at is None else time.monotonic() - begun_at

    def write(self, writes: Sequence[Write]) -> Future[None]:
        """Queue `writes`; the future resolves once they are committed, or with a `StoreError` if none of them is."""
        future: Future[None] = Future()
        self._enter(_Entry(future=future, writes=writes))
        return future

    def call(self, call: Callable[[Connection], T]) -> Future[T]:
        """Queue `call`, which gets the connection in its turn; it may run twice, so it changes nothing else."""
        future: Future[T] = Future()
        self._enter(_Entry(future=future, call=call))
        return future

    def close(self) -> None:
        """Commit what is queued, then end the thread."""
        with self._door:
            if not self._is_closed:
                self._is_closed = True
                self._queue.put(None)
        self._thread.join()

    def _enter(self, entry: _Entry) -> None:
        # A caller who gives up waiting must not take the write with it: a result may be in there.
        entry.future.set_running_or_notify_cancel()
        with self._door:
            if not self._is_closed:
                self._queue.put(entry)
                return
        entry.future.set_exception(StoreError("the store is closed; nothing was written"))

    def _run(self) -> None:
        is_open = True
        while is_open:
            group, is_open = self._gather()
            if group:
                self._begun_at = time.monotonic()
                self._commit(group)
                self._begun_at = None
        self._session.close()

    def _gather(self) -> tuple[list[_Entry], bool]:
        """Wait for the first entry, then take what else is there; False with the last group."""
        group: list[_Entry] = []
        count = size = 0
        while count < _GROUP_WRITES and size < _GROUP_BYTES:
            try:
                entry = self._queue.get(block=not group)
            except queue.Empty:
                break
            if entry is None:
                return group, False
            group.append(entry)
            count += len(entry.writes)
            size += sum(map(_size, entry.writes))
        return group, True

    def _commit(self, group: list[_Entry], *, tries: int = 3) -> None:
        try:
            answers = self._transact(group)
        except Exception as error:  # noqa: BLE001 - outermost loop: whatever one group meets, the writer lives on
            if tries > 1 and is_conflict(error):
                self._commit(group, tries=tries - 1)
                return
            if len(group) > 1 and not concerns_the_database(error):
                # One entry is at fault (an id that exists, text that the database cannot hold): the others are not.
                for entry in group:
                    self._commit([entry])
                return
            failure = translated(error, "cannot write")
            if failure is not error:
                failure.__cause__ = error
            if concerns_the_database(error):
                self.trouble = failure
            for entry in group:
                entry.future.set_exception(failure)
        else:
            self.trouble = None
            for entry, answer in zip(group, answers, strict=True):
                entry.future.set_result(answer)

    def _transact(self, group: list[_Entry]) -> list[Any]:
        answers: list[Any] = []
        waiting: list[Write] = []
        try:
            with self._session.transaction():
                for entry in group:
                    waiting += entry.writes
                    if entry.call is None:
                        answers.append(None)
                        continue
                    apply(self._session, self._memory, waiting)
                    waiting = []
                    answers.append(entry.call(self._session.connection))
                    self._memory.clear()  # a call may change any row
                if waiting:
                    apply(self._session, self._memory, waiting)
                elif self.trouble is not None:
                    probe(self._session.connection)
        except BaseException:
            self._memory.distrust()
            raise
        return answers


def _size(write: Write) -> int:
    """Return the bytes of payload in `write`; what lies in a blob does not count."""
    payload: bytes | BlobRef
    if type(write) is Granted or type(write) is Started:
        return 0
    if type(write) is NewInvocation:
        payload = write.arguments
    elif type(write) is Concluded:
        payload = write.value
    elif type(write) is CheckpointKept:
        payload = write.state
    elif type(write) is Requeued or type(write) is PilotMoved or type(write) is PilotSeen:
        return 0
    else:
        assert_never(write)
    return 0 if isinstance(payload, BlobRef) else len(payload)
