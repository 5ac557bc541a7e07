"""Opening a store: what is made, what is refused and in which words."""

import re
import sqlite3
import stat

import pytest
from sqlalchemy import update

from harvester.store.db.tables import META
from harvester.store.store import StoreError, open_store


def test_a_database_keeps_its_instance_and_counts_the_starts_of_gateways(url, opened):
    first = opened(url)
    assert re.fullmatch("[0-9a-f]{8}", first.instance)
    assert first.epoch == 0
    assert [first.next_epoch(), first.next_epoch(), first.epoch] == [1, 2, 2]
    first.close()
    second = opened(url)
    assert (second.instance, second.epoch) == (first.instance, 2)
    assert second.next_epoch() == 3


def test_what_signs_the_credentials_of_runs_is_made_once_also_in_an_older_database(url, opened):
    first = opened(url)
    secret = first.run_secret()
    assert len(secret) == 32
    assert first.run_secret() == secret
    first.close()
    assert opened(url).run_secret() == secret


def test_the_tables_of_a_newer_harvester_are_refused(url, opened):
    store = opened(url)
    newer = update(META).where(META.c.key == "schema_version").values(value="99")
    store._writer.call(lambda connection: connection.execute(newer).rowcount).result()
    store.close()
    with pytest.raises(StoreError, match=r"version 99, written by a newer harvester.*upgrade"):
        open_store(url)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("harvester.db", "not a URL"),
        ("mysql://ann:geheim@host/harvester", "mysql is not supported"),
        ("sqlite://", "needs a file"),
        ("sqlite:///{tmp}/no/such/folder.db", r"no/such does not exist; create it"),
        ("sqlite:///{tmp}", "cannot be opened for writing"),
        ("sqlite:///{tmp}/a.db?durability=maybe", "durability is 'maybe'; it is 'fsync' or 'os'"),
        ("postgresql://ann:geheim@127.0.0.1:1/harvester", "cannot be used"),
    ],
)
def test_a_url_that_cannot_be_used_is_told_without_its_password(tmp_path, url, message):
    with pytest.raises(StoreError, match=message) as caught:
        open_store(url.format(tmp=tmp_path))
    assert "geheim" not in str(caught.value)


def test_a_file_that_is_no_database_is_named(tmp_path):
    (tmp_path / "letter.db").write_text("Dear all, this is a letter and no database." * 100)
    with pytest.raises(StoreError, match=r"letter\.db.*not a database"):
        open_store(f"sqlite:///{tmp_path}/letter.db")


def test_somebody_elses_database_is_left_alone(tmp_path):
    with sqlite3.connect(tmp_path / "other.db") as other:
        other.execute("CREATE TABLE meta (key TEXT, value TEXT)")
    other.close()
    with pytest.raises(StoreError, match="not a harvester's"):
        open_store(f"sqlite:///{tmp_path}/other.db")


def test_only_the_owner_can_read_the_file(tmp_path, opened):
    opened(f"sqlite:///{tmp_path}/harvester.db").put_note("a", b"1")
    for path in tmp_path.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


@pytest.mark.parametrize(("durability", "level"), [("", 2), ("?durability=fsync", 2), ("?durability=os", 1)])
def test_a_commit_in_sqlite_waits_for_the_disk_unless_told_otherwise(tmp_path, opened, durability, level):
    store = opened(f"sqlite:///{tmp_path}/harvester.db{durability}")

    def pragma(name):
        return store._writer.call(lambda connection: connection.exec_driver_sql(f"PRAGMA {name}").scalar()).result()

    assert pragma("synchronous") == level
    assert pragma("journal_mode") == "wal"


@pytest.mark.postgres
@pytest.mark.parametrize(("durability", "level"), [("fsync", "on"), ("os", "off")])
def test_a_commit_in_postgresql_waits_for_the_disk_unless_told_otherwise(postgres_url, opened, durability, level):
    store = opened(f"{postgres_url}&durability={durability}")
    shown = store._writer.call(lambda connection: connection.exec_driver_sql("SHOW synchronous_commit").scalar())
    assert shown.result() == level
