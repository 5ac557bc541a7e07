"""A store that an older harvester made is brought up to date, with its data."""

import sqlite3
import time

import pytest
from sqlalchemy import create_engine, inspect, make_url, text

from harvester.domain.model.functions import Encoding
from harvester.domain.model.invocations import InvocationState
from harvester.domain.model.resources import Resources
from harvester.store.store import StoreError, open_store

VERSION_1 = """
CREATE TABLE meta ("key" TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY ("key"));
CREATE TABLE note ("key" TEXT NOT NULL, value BLOB NOT NULL, PRIMARY KEY ("key"));
CREATE TABLE function (function_id TEXT NOT NULL, name TEXT NOT NULL, version INTEGER NOT NULL, kind TEXT NOT NULL,
    entry TEXT NOT NULL, python TEXT NOT NULL, cloudpickle TEXT NOT NULL, cpus INTEGER NOT NULL, gpus INTEGER NOT NULL,
    memory_mb INTEGER NOT NULL, walltime_s FLOAT, checkpoints BOOLEAN NOT NULL, max_retries INTEGER NOT NULL,
    added_at FLOAT NOT NULL, body BLOB NOT NULL, PRIMARY KEY (function_id));
CREATE UNIQUE INDEX ix_function_name ON function (name, version);
CREATE TABLE invocation (invocation_id TEXT NOT NULL, function_id TEXT NOT NULL, function_name TEXT NOT NULL,
    owner TEXT NOT NULL, idempotency_key TEXT, encoding TEXT NOT NULL, accepted_at FLOAT NOT NULL, state TEXT NOT NULL,
    started_at FLOAT, ended_at FLOAT, fence BIGINT NOT NULL, pilot_id TEXT, attempts INTEGER NOT NULL,
    retries_used INTEGER NOT NULL, deaths INTEGER NOT NULL, checkpoint_at FLOAT, failure BLOB, result BLOB,
    PRIMARY KEY (invocation_id));
CREATE UNIQUE INDEX ix_invocation_idempotency_key ON invocation (owner, idempotency_key)
    WHERE idempotency_key IS NOT NULL;
CREATE INDEX ix_invocation_open ON invocation (state, function_id, accepted_at)
    WHERE (state = 'accepted' OR state = 'leased' OR state = 'running');
CREATE INDEX ix_invocation_function ON invocation (function_name, invocation_id);
CREATE INDEX ix_invocation_owner ON invocation (owner, invocation_id);
CREATE INDEX ix_invocation_rare_end ON invocation (state, invocation_id)
    WHERE (state = 'failed' OR state = 'cancelled' OR state = 'expired');
CREATE TABLE arguments (invocation_id TEXT NOT NULL, arguments BLOB NOT NULL, PRIMARY KEY (invocation_id));
CREATE TABLE activation (invocation_id TEXT NOT NULL, fence BIGINT NOT NULL, attempt INTEGER NOT NULL,
    pilot_id TEXT NOT NULL, granted_at FLOAT NOT NULL, resumed BOOLEAN NOT NULL, started_at FLOAT, ended_at FLOAT,
    "end" TEXT, checkpoints INTEGER NOT NULL, checkpoint_at FLOAT, PRIMARY KEY (invocation_id, fence)) WITHOUT ROWID;
CREATE TABLE checkpoint (invocation_id TEXT NOT NULL, fence BIGINT NOT NULL, seq BIGINT NOT NULL, state BLOB NOT NULL,
    PRIMARY KEY (invocation_id));
CREATE TABLE pilot (pilot_id TEXT NOT NULL, name TEXT NOT NULL, shape TEXT NOT NULL, partition TEXT NOT NULL,
    cpus INTEGER NOT NULL, gpus INTEGER NOT NULL, memory_mb INTEGER NOT NULL, walltime_s FLOAT NOT NULL,
    token_sha256 TEXT NOT NULL, state TEXT NOT NULL, planned_at FLOAT NOT NULL, batch_job_id TEXT NOT NULL,
    node TEXT NOT NULL, python TEXT NOT NULL, submitted_at FLOAT, started_at FLOAT, registered_at FLOAT,
    last_seen_at FLOAT, ends_at FLOAT, ended_at FLOAT, activations INTEGER NOT NULL, idle_since FLOAT,
    reason TEXT NOT NULL, PRIMARY KEY (pilot_id));
CREATE INDEX ix_pilot_state ON pilot (state);
CREATE INDEX ix_pilot_planned_at ON pilot (planned_at);
CREATE UNIQUE INDEX ix_pilot_name ON pilot (name);
CREATE UNIQUE INDEX ix_pilot_token ON pilot (token_sha256);
INSERT INTO meta VALUES ('schema_version', '1');
INSERT INTO meta VALUES ('instance', '0badcafe');
INSERT INTO meta VALUES ('epoch', '7');
INSERT INTO function VALUES
    ('fib@1', 'fib', 1, 'pickle', '', '3.11', '3.1', 2, 0, 0, NULL, false, 0, 1.0, CAST('body' AS BLOB));
INSERT INTO invocation VALUES
    ('i1', 'fib@1', 'fib', 'ann', 'k', 'json', 1.5, 'succeeded', 2.5, 3.5, 9, NULL, 1, 0, 0, NULL, NULL,
     CAST('42' AS BLOB)),
    ('i2', 'fib@1', 'fib', 'ann', NULL, 'pickle', 4.5, 'accepted', NULL, NULL, 0, NULL, 0, 0, 0, NULL, NULL, NULL),
    ('i3', 'fib@1', 'fib', 'bob', NULL, 'json', 4.0, 'running', 5.5, NULL, 12, 'p1', 2, 1, 0, 5.0, NULL, NULL);
INSERT INTO arguments VALUES ('i1', CAST('{1}' AS BLOB)), ('i2', CAST('{2}' AS BLOB)), ('i3', CAST('{3}' AS BLOB));
INSERT INTO activation VALUES
    ('i1', 9, 1, 'p1', 2.0, false, 2.5, 3.5, 'succeeded', 0, NULL),
    ('i3', 12, 2, 'p1', 5.0, true, 5.5, NULL, NULL, 0, NULL);
INSERT INTO checkpoint VALUES ('i3', 8, 4, CAST('half' AS BLOB));
"""


# What the step from 1 to 2 made of it, in the words of a new database of then.
VERSION_2 = """
DROP INDEX ix_invocation_open;
ALTER TABLE function ADD COLUMN max_running INTEGER;
ALTER TABLE invocation ADD COLUMN priority INTEGER NOT NULL DEFAULT 0;
ALTER TABLE invocation ADD COLUMN start_by FLOAT;
ALTER TABLE invocation ADD COLUMN end_by FLOAT;
ALTER TABLE invocation ADD COLUMN purged_at FLOAT;
ALTER TABLE invocation ADD COLUMN result_blob TEXT;
ALTER TABLE invocation ADD COLUMN result_size BIGINT;
ALTER TABLE arguments ADD COLUMN blob TEXT;
ALTER TABLE arguments ADD COLUMN size BIGINT;
CREATE INDEX ix_invocation_open ON invocation (state, function_id, accepted_at, invocation_id)
    WHERE (state = 'accepted' OR state = 'leased' OR state = 'running');
CREATE INDEX ix_invocation_ended ON invocation (ended_at) WHERE ended_at IS NOT NULL AND purged_at IS NULL;
CREATE INDEX ix_invocation_purged ON invocation (ended_at) WHERE purged_at IS NOT NULL;
CREATE INDEX ix_invocation_blob ON invocation (result_blob) WHERE result_blob IS NOT NULL;
CREATE INDEX ix_arguments_blob ON arguments (blob) WHERE blob IS NOT NULL;
CREATE TABLE demand (function_id TEXT NOT NULL PRIMARY KEY, waiting BIGINT NOT NULL, held BIGINT NOT NULL);
INSERT INTO demand VALUES ('fib@1', 1, 1);
UPDATE meta SET value = '2' WHERE "key" = 'schema_version';
INSERT INTO function (function_id, name, version, kind, entry, python, cloudpickle, cpus, gpus, memory_mb, checkpoints,
    max_retries, max_running, added_at, body) VALUES
    ('fib@2', 'fib', 2, 'pickle', '', '3.11', '3.1', 1, 0, 0, false, 0, NULL, 2.0, CAST('newer' AS BLOB)),
    ('mine@1', 'mine', 1, 'source', 'f', '', '', 1, 0, 0, false, 0, 3, 3.0, CAST('one' AS BLOB)),
    ('mine@2', 'mine', 2, 'source', 'f', '', '', 1, 0, 0, false, 0, 3, 4.0, CAST('two' AS BLOB)),
    ('sim@1', 'sim', 1, 'source', 'f', '', '', 1, 0, 0, false, 0, NULL, 5.0, CAST('of ann' AS BLOB)),
    ('sim@2', 'sim', 2, 'source', 'f', '', '', 1, 0, 0, false, 0, NULL, 6.0, CAST('of bob' AS BLOB)),
    ('sim@3', 'sim', 3, 'source', 'f', '', '', 1, 0, 0, false, 0, NULL, 7.0, CAST('uncalled' AS BLOB)),
    ('lost@1', 'lost', 1, 'source', 'f', '', '', 1, 0, 0, false, 0, NULL, 8.0, CAST('lost' AS BLOB));
INSERT INTO invocation (invocation_id, function_id, function_name, owner, encoding, accepted_at, state, ended_at, fence,
    attempts, retries_used, deaths) VALUES
    ('j1', 'mine@1', 'mine', 'ann', 'json', 9.0, 'failed', 9.5, 1, 1, 0, 0),
    ('j2', 'sim@1', 'sim', 'ann', 'json', 9.0, 'failed', 9.5, 1, 1, 0, 0),
    ('j3', 'sim@2', 'sim', 'bob', 'json', 9.0, 'failed', 9.5, 1, 1, 0, 0);
"""


@pytest.fixture
def old_url(url):
    """URL of a database as version 1 left it."""
    return made(url, VERSION_1)


@pytest.fixture
def url_2(url):
    """URL of a database as version 2 left it."""
    return made(url, VERSION_1 + VERSION_2)


def made(url, script):
    engine = create_engine(make_url(url))
    if engine.dialect.name == "postgresql":
        script = script.replace("BLOB", "BYTEA").replace(" WITHOUT ROWID", "").replace("TEXT", 'TEXT COLLATE "C"')
    with engine.begin() as connection:
        for statement in script.split(";\n"):
            if statement.strip():
                connection.execute(text(statement))
    engine.dispose()
    return url


def test_what_an_older_harvester_kept_is_all_there(old_url, opened, make):
    store = opened(old_url)
    assert (store.instance, store.epoch) == ("0badcafe", 7)
    function = store.function("fib", owner="admin")  # two users have called it
    assert (function.body, function.resources, function.max_running) == (b"body", Resources(cpus=2), None)
    over = store.invocation("i1")
    assert (over.state, over.started_at, over.ended_at, over.fence) == (InvocationState.SUCCEEDED, 2.5, 3.5, 9)
    assert (over.priority, over.start_by, over.end_by, over.purged_at) == (0, None, None, None)
    assert (store.result("i1"), store.arguments("i1"), store.arguments("i2")) == (b"42", b"{1}", b"{2}")
    assert store.by_idempotency_key("ann", "k") == over
    assert [(r.invocation_id, r.encoding) for r in store.open_invocations()] == [
        ("i2", Encoding.PICKLE),
        ("i3", Encoding.JSON),
    ]
    assert store.checkpoint("i3") == b"half"
    assert [(d.function_id, d.waiting, d.held, d.oldest_at) for d in store.demand()] == [("fib@1", 1, 1, 4.5)]
    assert store.add_function(make.function(body=b"other", owner="admin"), at=2.0).function_id == "admin/fib@2"


def test_what_an_older_harvester_began_goes_on(old_url, opened, make):
    store = opened(old_url)
    store.write([make.concluded("i3", 12, value=b"3", at=6.0), make.granted("i2", 13), make.new("i4")]).result()
    assert (store.result("i3"), store.checkpoint("i3"), store.invocation("i3").started_at) == (b"3", None, 5.5)
    assert [(d.waiting, d.held) for d in store.demand()] == [(1, 1)]
    store.purge(before=99.0, limit=9)
    assert store.forget(before=99.0, limit=9) == 2


def tables(url):
    engine = create_engine(make_url(url))
    looking = inspect(engine)
    found = {}
    for name in looking.get_table_names():
        columns = {(c["name"], str(c["type"]), c["nullable"]) for c in looking.get_columns(name)}
        indexes = {
            (
                index["name"],
                tuple(index["column_names"]),
                bool(index["unique"]),
                str(index["dialect_options"].get(f"{engine.dialect.name}_where")),
            )
            for index in looking.get_indexes(name)
        }
        found[name] = columns, indexes, tuple(looking.get_pk_constraint(name)["constrained_columns"])
    engine.dispose()
    return found


def test_its_tables_are_those_of_a_new_store(old_url, opened, tmp_path, request):
    opened(old_url).close()
    if make_url(old_url).get_backend_name() == "sqlite":
        new_url = f"sqlite:///{tmp_path}/new.db"
        opened(new_url).close()
        assert tables(old_url) == tables(new_url)
        return
    migrated = tables(old_url)
    engine = create_engine(make_url(old_url))
    with engine.begin() as connection:
        for name in migrated:
            connection.execute(text(f"DROP TABLE {name}"))
    engine.dispose()
    opened(old_url).close()
    assert tables(old_url) == migrated


def test_a_second_opening_finds_it_up_to_date(old_url, opened):
    opened(old_url).close()
    assert opened(old_url).epoch == 7


def test_a_step_that_fails_leaves_the_older_schema_as_it_was(tmp_path, opened):
    with sqlite3.connect(tmp_path / "harvester.db") as database:
        database.executescript(VERSION_1)
        database.execute("CREATE TABLE demand (function_id TEXT)")  # in the way of a later statement of the step
    database.close()
    url = f"sqlite:///{tmp_path}/harvester.db"
    with pytest.raises(StoreError, match="demand already exists"):
        open_store(url)
    with sqlite3.connect(tmp_path / "harvester.db") as database:
        assert "priority" not in [row[1] for row in database.execute("PRAGMA table_info(invocation)")]
        database.execute("DROP TABLE demand")
    database.close()
    assert opened(url).invocation("i1").priority == 0


def test_a_schema_that_nothing_leads_on_from_is_refused(tmp_path):
    with sqlite3.connect(tmp_path / "harvester.db") as database:
        database.executescript(VERSION_1)
        database.execute("UPDATE meta SET value = '0' WHERE key = 'schema_version'")
    database.close()
    with pytest.raises(StoreError, match="version 0, which this version cannot upgrade"):
        open_store(f"sqlite:///{tmp_path}/harvester.db")


def test_functions_go_to_who_called_them_and_those_in_common_use_stay_everybodys(url_2, opened):
    store = opened(url_2)
    found = {each.function_id: each.owner for name in ("mine", "sim", "fib", "lost") for each in of(store, name)}
    assert found == {
        "mine@1": "ann", "mine@2": "ann",  # one user alone has called the name
        "sim@1": "ann", "sim@2": "bob", "sim@3": "admin",  # they have registered over one another
        "fib@1": "admin", "fib@2": "admin",  # two have called one version, and the name goes on to mean its newest
        "lost@1": "admin",
    }  # fmt: skip
    assert {name: store.sharers(name) for name in ("mine", "sim", "fib", "lost")} == {
        "mine": [], "sim": ["admin"], "fib": ["admin"], "lost": ["admin"]
    }  # fmt: skip


def of(store, name):
    for owner in ("admin", "ann", "bob", "eve"):
        yield from (each.function for each in store.function_versions(name, owner=owner))


def test_ids_from_before_owners_stay_and_new_ones_count_on(url_2, opened, make):
    store = opened(url_2)
    assert store.function("sim", 2, owner="bob").function_id == "sim@2"
    assert store.function_by_id("sim@1").body == b"of ann"
    assert store.add_function(make.function("sim", owner="ann"), at=9.0).function_id == "ann/sim@2"
    assert store.add_function(make.function("sim", owner="bob"), at=9.0).function_id == "bob/sim@3"
    assert store.add_function(make.function("sim", owner="eve"), at=9.0).function_id == "eve/sim@1"
    ids = [
        [record.invocation_id for record in store.invocations(function=name)] for name in ("sim", "bob/sim", "sim@1")
    ]
    assert ids == [["j3", "j2"], ["j3"], ["j2"]]
    assert [(d.function_id, d.waiting, d.held) for d in store.demand()] == [("fib@1", 1, 1)]


def test_no_version_expires_before_its_time_has_passed_since_the_migration(url_2, opened):
    store = opened(url_2)
    store.purge(before=99.0, limit=9)
    assert store.expire_functions(before=time.time() - 60, at=time.time()) == []
    assert store.expire_functions(before=time.time() + 60, at=time.time()) == ["mine@1"]  # fib's is open
