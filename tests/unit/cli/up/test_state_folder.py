"""A state folder that others can look into is closed to them, or refused where closing it might harm somebody."""

import errno
import os
from pathlib import Path

import pytest

from harvester.cli.up.logs import LogFile
from harvester.cli.up.state_folder import StateFolder, StateFolderError


def mode(path):
    return path.stat().st_mode & 0o7777


@pytest.mark.parametrize(("before", "was_open"), [(0o700, False), (0o755, True), (0o777, True)])
def test_an_empty_folder_and_one_that_was_ours_are_closed_to_others(tmp_path, before, was_open):
    folder = tmp_path / "state"
    folder.mkdir()
    for _ in range(2):
        folder.chmod(before)
        state = StateFolder(folder)
        state.close()
        assert (mode(folder), state.was_open) == (0o700, was_open)


def test_a_folder_of_other_things_is_left_as_it_is_or_refused_where_others_may_write(tmp_path):
    (tmp_path / "thesis.tex").touch()
    tmp_path.chmod(0o755)
    StateFolder(tmp_path).close()
    (tmp_path / "up.lock").unlink()
    tmp_path.chmod(0o777)
    with pytest.raises(StateFolderError, match=r"others may write.*mode 777.*chmod 700"):
        StateFolder(tmp_path)
    assert mode(tmp_path) == 0o777
    tmp_path.chmod(0o700)


def test_a_home_folder_that_was_used_once_is_not_closed_at_the_next_start(tmp_path):
    (tmp_path / "thesis.tex").touch()
    tmp_path.chmod(0o755)
    for _ in range(2):
        StateFolder(tmp_path).close()
    assert mode(tmp_path) == 0o755


def test_what_lies_in_it_is_closed_whoever_made_it(tmp_path):
    (tmp_path / "thesis.tex").touch()
    (tmp_path / "tokens").mkdir()
    (tmp_path / "tokens").chmod(0o755)
    (tmp_path / "tokens" / "user").write_text("chosen-by-hand\n")
    (tmp_path / "tokens" / "user").chmod(0o644)
    folder = StateFolder(tmp_path)
    assert folder.token("user") == "chosen-by-hand"
    folder.token("admin")
    LogFile(folder.log_file).close()
    folder.close()
    assert mode(tmp_path / "tokens") == 0o700
    assert {mode(tmp_path / name) for name in ("tokens/user", "tokens/admin", "harvester.log", "up.lock")} == {0o600}


@pytest.mark.parametrize("text", [b"two words\n", b"two-words\ntwo-lines\n", b"\xff\xfe-not-text\n"])
def test_a_token_file_that_holds_no_token_is_named(tmp_path, text):
    (tmp_path / "tokens").mkdir()
    (tmp_path / "tokens" / "ada").write_bytes(text)
    folder = StateFolder(tmp_path)
    with pytest.raises(StateFolderError, match=r"tokens/ada contains no valid token: write one word of"):
        folder.token("ada")
    folder.close()


def test_a_full_disk_is_told_by_what_could_not_be_written(tmp_path, monkeypatch):
    def full(*_: object, **__: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    folder = StateFolder(tmp_path)  # the process id in its lock is for words only
    monkeypatch.undo()
    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(StateFolderError, match=r"tokens/user cannot be used \(No space left on device\)"):
        folder.token_file("user")
    folder.close()


def test_a_token_that_is_a_link_is_read_and_left_as_it_is(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("from-elsewhere\n")
    secret.chmod(0o444)
    (tmp_path / "state" / "tokens").mkdir(parents=True)
    (tmp_path / "state" / "tokens" / "admin").symlink_to(secret)
    folder = StateFolder(tmp_path / "state")
    assert folder.token("admin") == "from-elsewhere"
    folder.close()
    assert mode(secret) == 0o444
