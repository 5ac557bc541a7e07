"""The writer: groups, order, errors that cost nobody else anything, and a kill at any moment."""

import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import wait
from contextlib import contextmanager

import pytest
from sqlalchemy import event

from harvester.domain.model.invocations import ActivationEnd, InvocationState
from harvester.store.store import AlreadyThere, StoreError, StoreFull
from harvester.store.writes.changes import Concluded


@contextmanager
def one_group(store):
    """Make everything that is queued within one group."""
    is_held, go = threading.Event(), threading.Event()

    def hold(_connection):
        is_held.set()
        go.wait(20)

    holding = store._writer.call(hold)
    assert is_held.wait(20)
    try:
        yield
    finally:
        go.set()
        holding.result(timeout=20)


def told(store):
    """The statements that the writer gives the database from now on, commits among them."""
    texts = []
    if store._engine.dialect.name == "sqlite":
        store._writer.call(
            lambda connection: connection.connection.dbapi_connection.set_trace_callback(texts.append)
        ).result(timeout=20)
        texts.clear()  # of the call itself
    else:
        event.listen(store._engine, "before_cursor_execute", lambda *arguments: texts.append(arguments[2]))
        event.listen(store._engine, "commit", lambda _connection: texts.append("COMMIT"))
    return texts


def test_what_is_queued_during_a_commit_becomes_one_group(store, make):
    texts = told(store)
    with one_group(store):
        futures = [store.write([make.new(f"i{number}")]) for number in range(100)]
        assert store.backlog == 100
    wait(futures, timeout=20)
    assert all(future.exception() is None for future in futures)
    assert texts.count("COMMIT") == 2  # the call that held the writer, then the hundred
    assert len(store.invocations(limit=200)) == 100


def test_writing_nothing_resolves_after_everything_before_it(store, make):
    with one_group(store):
        futures = [store.write([make.new(f"i{number}")]) for number in range(3)]
        last = store.write([])
        assert not last.done()
    last.result(timeout=20)
    assert all(future.done() for future in futures)


def test_calls_and_writes_keep_their_order_in_a_group(store, make):
    with one_group(store):
        store.write([make.new("i1")])
        seen = store._writer.call(
            lambda connection: connection.exec_driver_sql("SELECT count(*) FROM invocation").scalar()
        )
        store.write([make.new("i2")])
    assert seen.result(timeout=20) == 1


def test_whole_lives_of_a_group_need_one_statement_a_table(store, make):
    texts = told(store)
    names = [f"i{number:02}" for number in range(64)]
    lives = [[make.new(name), make.granted(name), make.started(name), make.concluded(name)] for name in names]
    store.write([write for life in lives for write in life]).result(timeout=20)
    assert [text.split()[2] for text in texts if text.startswith("INSERT")] == ["invocation", "arguments", "activation"]
    assert not [text for text in texts if not text.startswith(("INSERT", "BEGIN", "COMMIT"))]


@pytest.mark.parametrize("count", [1, 20, 32, 40])
def test_a_group_of_few_needs_few_statements(sqlite_url, opened, make, count):
    store = opened(sqlite_url)
    texts = told(store)
    store.write([make.new(f"i{number}") for number in range(count)]).result(timeout=20)
    tables = [text.split()[2] for text in texts if text.startswith("INSERT")]
    each = 1 if count <= 32 else 2
    assert tables == [*["invocation"] * each, *["arguments"] * each, "demand"]


def test_what_an_earlier_group_wrote_is_not_read_again(sqlite_url, opened, make):
    store = opened(sqlite_url)
    texts = told(store)
    store.write([make.new("i1")]).result(timeout=20)
    store.write([make.granted("i1")]).result(timeout=20)
    texts.clear()
    store.write([make.kept("i1", 1, b"s")]).result(timeout=20)
    store.write([make.kept("i1", 1, b"again"), make.started("i1")]).result(timeout=20)
    store.write([make.concluded("i1")]).result(timeout=20)
    assert not [text for text in texts if text.startswith("SELECT")]
    assert store.invocation("i1").state is InvocationState.SUCCEEDED
    assert store.activations("i1")[0].checkpoints == 1
    assert store.checkpoint("i1") is None


def test_what_another_writer_did_meanwhile_is_seen(url, opened, make):
    store, other = opened(url), opened(url)
    store.write([make.new("i1"), make.granted("i1", fence=1)]).result(timeout=20)
    store.write([make.started("i1", fence=1)]).result(timeout=20)
    other.write([make.requeued("i1", fence=1), make.granted("i1", fence=2)]).result(timeout=20)
    store.write([make.concluded("i1", fence=1, value=b"late")]).result(timeout=20)
    assert (store.invocation("i1").state, store.invocation("i1").fence) == (InvocationState.LEASED, 2)
    other.write([make.kept("i1", 1, b"state", fence=2)]).result(timeout=20)
    store.write([make.concluded("i1", fence=2, value=b"right")]).result(timeout=20)
    assert store.result("i1") == b"right"
    assert store.checkpoint("i1") is None
    assert store.demand() == []


def test_nothing_is_remembered_of_a_group_that_was_not_kept(sqlite_url, opened, make):
    store = opened(sqlite_url)
    store.write([make.new("taken")]).result(timeout=20)
    assert store.write([make.granted("taken"), make.new("half"), make.new("taken")]).exception(timeout=20) is not None
    store.write([make.started("taken"), make.granted("half")]).result(timeout=20)
    assert store.invocation("taken").state is InvocationState.ACCEPTED
    assert store.activations("half") == []
    store.write([make.granted("taken")]).result(timeout=20)
    assert store.invocation("taken").state is InvocationState.LEASED


def test_what_is_remembered_is_forgotten_with_the_group_that_changed_it(sqlite_url, opened, make):
    store = opened(sqlite_url)
    store.write([make.new("i1")]).result(timeout=20)
    store.write([make.granted("i1")]).result(timeout=20)
    store.write([]).result(timeout=20)
    # The first of the two is folded into what is remembered of i1, before the second undoes both.
    assert isinstance(store.write([make.started("i1"), make.new("i1")]).exception(timeout=20), AlreadyThere)
    assert store.invocation("i1").state is InvocationState.LEASED
    store.write([make.started("i1")]).result(timeout=20)
    assert store.invocation("i1").state is InvocationState.RUNNING


def test_a_call_that_changes_invocations_is_seen_by_later_writes(store, make):
    store.write([make.new("i1")]).result(timeout=20)
    store._writer.call(
        lambda connection: connection.exec_driver_sql("UPDATE invocation SET state = 'cancelled'").rowcount
    ).result(timeout=20)
    store.write([make.granted("i1")]).result(timeout=20)
    assert store.invocation("i1").state is InvocationState.CANCELLED


def test_any_number_of_invocations_goes_through_every_table(store, make):
    names = [f"i{number:03}" for number in range(64 + 2 * 8 + 3)]
    half = names[::2]
    store.write([make.new(name, arguments=name.encode()) for name in names]).result(timeout=20)
    store.write([make.granted(name) for name in names]).result(timeout=20)
    store.write([make.kept(name, 1, name.encode()) for name in names]).result(timeout=20)
    store.write([make.concluded(name, value=name.encode()) for name in half]).result(timeout=20)
    for name in names:
        is_over = name in half
        assert store.arguments(name) == name.encode()
        assert store.result(name) == (name.encode() if is_over else None)
        assert store.checkpoint(name) == (None if is_over else name.encode())
        assert store.activations(name)[0].end == (ActivationEnd.SUCCEEDED if is_over else None)


def test_an_entry_that_cannot_be_kept_costs_its_group_nothing(store, make):
    store.write([make.new("taken")]).result()
    with one_group(store):
        good = [store.write([make.new("before")])]
        twice = store.write([make.new("half"), make.new("taken")])
        unspeakable = store.write([make.new("i9", owner="\udcff")])
        good.append(store.write([make.new("after"), make.granted("before")]))
    for future in good:
        future.result(timeout=20)
    assert isinstance(twice.exception(timeout=20), AlreadyThere)
    assert isinstance(unspeakable.exception(timeout=20), StoreError)
    assert store.invocation("half") is None  # an entry is kept whole or not at all
    assert store.invocation("before").state is InvocationState.LEASED
    assert store.invocation("after") is not None


def test_a_defect_in_a_write_does_not_end_the_writer(store, make):
    with pytest.raises(StoreError):
        store.write([make.new("i1", accepted_at=object())]).result(timeout=20)
    store.write([make.new("i1")]).result(timeout=20)


def test_who_gives_up_waiting_does_not_take_the_write_with_it(store, make):
    with one_group(store):
        future = store.write([make.new("i1")])
        assert not future.cancel()
    store.write([]).result(timeout=20)
    assert store.invocation("i1") is not None


def test_close_commits_what_is_queued_and_later_writes_are_told_so(url, opened, make):
    store = opened(url)
    with one_group(store):
        futures = [store.write([make.new(f"i{number}")]) for number in range(10)]
        closing = threading.Thread(target=store.close)
        closing.start()
    closing.join(20)
    assert [future.exception(timeout=0) for future in futures] == [None] * 10
    with pytest.raises(StoreError, match="closed"):
        store.write([make.new("late")]).result(timeout=5)
    store.close()
    assert len(opened(url).invocations()) == 10


def test_a_full_disk_is_told_and_space_makes_the_writer_go_on(sqlite_url, opened, make):
    store = opened(sqlite_url)

    def limit(pages):
        store._writer.call(
            lambda connection: connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}").scalar()
        ).result()

    limit(40)
    with one_group(store):
        futures = [store.write([make.new(f"i{number}", arguments=b"x" * 400_000)]) for number in range(2)]
    for future in futures:
        assert isinstance(future.exception(timeout=20), StoreFull)
    assert store.invocations() == []
    limit(10_000)
    store.write([make.new("i0", arguments=b"x" * 400_000)]).result(timeout=20)
    assert len(store.arguments("i0")) == 400_000


def test_while_there_is_trouble_a_write_of_nothing_writes_as_much_as_a_group_does(sqlite_url, opened, make, tmp_path):
    store = opened(sqlite_url)
    store.write([make.new("i1")]).result(timeout=20)
    opened(sqlite_url).invocation("i1")  # a reader, so that the file stays when the writer's connection is replaced
    wal = tmp_path / "harvester.db-wal"

    def written():
        before = wal.stat().st_size
        store.write([]).result(timeout=20)
        return wal.stat().st_size - before

    def fail(_connection):
        raise sqlite3.OperationalError("database or disk is full")

    assert written() == 0
    for _ in range(2):  # also where there was a probe before
        assert store._writer.call(fail).exception(timeout=20) is store.trouble
        assert written() > 64 * 1024
        assert store.trouble is None


def test_a_locked_database_is_told_and_the_writer_goes_on(sqlite_url, opened, make, tmp_path):
    store = opened(sqlite_url)
    store._writer.call(lambda connection: connection.exec_driver_sql("PRAGMA busy_timeout = 50").scalar()).result()
    other = sqlite3.connect(tmp_path / "harvester.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="another process keeps the database locked"):
        store.write([make.new("i1")]).result(timeout=20)
    assert store.invocation("i1") is None  # reads go on meanwhile
    other.execute("ROLLBACK")
    other.close()
    store.write([make.new("i1")]).result(timeout=20)


def test_a_writer_that_lost_its_connection_makes_another(sqlite_url, opened, make):
    store = opened(sqlite_url)
    store.write([make.new("i1")]).result(timeout=20)
    with pytest.raises(StoreError):
        store._writer.call(lambda connection: connection.connection.dbapi_connection.close()).result(timeout=20)
    store.write([make.granted("i1")]).result(timeout=20)
    assert store.invocation("i1").state is InvocationState.LEASED


@pytest.mark.postgres
def test_a_server_that_dropped_its_connections_is_called_again(postgres_url, opened, make):
    store, other = opened(postgres_url), opened(postgres_url)
    store.write([make.new("i1")]).result(timeout=20)
    mine = store._writer.call(lambda connection: connection.exec_driver_sql("SELECT pg_backend_pid()").scalar())
    pid = mine.result(timeout=20)
    other._writer.call(
        lambda connection: connection.exec_driver_sql(f"SELECT pg_terminate_backend({pid}, 5000)").scalar()
    ).result(timeout=20)
    store.write([make.new("i2")]).result(timeout=20)
    assert [record.invocation_id for record in store.invocations()] == ["i2", "i1"]


KILLED = """
import itertools, os, sys
from harvester.domain.model.functions import Encoding
from harvester.domain.model.invocations import InvocationState
from harvester.store.store import open_store
from harvester.store.writes.changes import Concluded, Granted, NewInvocation

store = open_store(sys.argv[1])
for number in itertools.count():
    name = f"i{number:06}"
    life = [
        NewInvocation(invocation_id=name, function_id="f@1", owner="ann", encoding=Encoding.JSON,
                      arguments=b"x" * 3000, accepted_at=1.0),
        Granted(invocation_id=name, fence=1, attempt=1, pilot_id="p", resumed=False, at=2.0),
        Concluded(invocation_id=name, fence=1, state=InvocationState.SUCCEEDED, value=b"y" * 3000, at=3.0),
    ]
    told = (name + chr(10)).encode()
    store.write(life).add_done_callback(lambda done, told=told: done.exception() or os.write(1, told))
    if number % 50 == 49:
        store.write([]).result()
"""


ONE = """
import os, sys
from harvester.domain.model.functions import Encoding
from harvester.store.store import open_store
from harvester.store.writes.changes import NewInvocation

store = open_store(sys.argv[1])
for number in range(3):
    os.write(2, b"asked")
    store.write([NewInvocation(invocation_id=f"i{number}", function_id="f@1", owner="ann", encoding=Encoding.JSON,
                               arguments=b"x", accepted_at=1.0)]).result()
    os.write(2, b"told")
"""


@pytest.mark.parametrize(("durability", "syncs"), [("fsync", 3), ("os", 0)])
def test_nobody_is_told_of_a_commit_before_the_disk_has_it(tmp_path, sqlite_url, durability, syncs):
    if shutil.which("strace") is None:
        pytest.skip("no strace to see the calls of the system with (Debian: apt-get install strace)")
    trace = tmp_path / "trace"
    traced = ["strace", "-f", "-y", "-o", str(trace), "-e", "trace=write,fsync,fdatasync", sys.executable, "-c", ONE]
    done = subprocess.run([*traced, f"{sqlite_url}?durability={durability}"], capture_output=True, check=False)
    if b"PTRACE" in done.stderr or b"ptrace" in done.stderr:
        pytest.skip("strace may not trace here")
    assert done.returncode == 0, done.stderr
    calls = re.findall(r'"(asked|told)"|(sync)\([^)]*-wal', trace.read_text())
    told = "".join(word[:1] or sync[:1] for word, sync in calls)
    assert told.count("t") == 3
    # asked, synced, told: each answer has its own
    assert len(re.findall("as+t", told)) == syncs, told


@pytest.mark.parametrize("acknowledged", [1, 400])
def test_after_kill_9_everything_that_was_acknowledged_is_there(url, opened, acknowledged):
    writing = subprocess.Popen([sys.executable, "-c", KILLED, url], stdout=subprocess.PIPE)
    try:
        names = [writing.stdout.readline() for _ in range(acknowledged)]
        os.kill(writing.pid, signal.SIGKILL)
        names += writing.stdout.readlines()
    finally:
        writing.kill()
        writing.wait()
        writing.stdout.close()
    names = [name.decode().strip() for name in names if name.endswith(b"\n")]
    assert len(names) >= acknowledged
    store = opened(url)
    for name in names:
        assert store.invocation(name).state is InvocationState.SUCCEEDED
        assert store.result(name) == b"y" * 3000
    # A life was one entry, so nothing is there by half either.
    assert list(store.open_invocations()) == []


def test_readers_see_only_whole_entries_while_the_writer_works(store, make):
    names = [f"i{number:03}" for number in range(200)]
    done = threading.Event()

    def work():
        for name in names:
            end = Concluded(invocation_id=name, fence=0, state=InvocationState.FAILED, at=2.0)
            store.write([make.new(name), end])
        store.write([]).result(timeout=20)
        done.set()

    working = threading.Thread(target=work)
    working.start()
    deadline = time.monotonic() + 20
    while not done.is_set() and time.monotonic() < deadline:
        assert {record.state for record in store.invocations(limit=300)} <= {InvocationState.FAILED}
    working.join(20)
    assert len(store.invocations(state=InvocationState.FAILED, limit=300)) == 200
