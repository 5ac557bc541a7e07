"""What a check sees of this host, where it may not look everywhere."""

import os
from pathlib import Path

import pytest

from harvester.cli.site.host import host_facts
from harvester.cli.up.state_folder import why_refused
from harvester.config_file import load_config


def facts(state: Path):
    return host_facts(load_config(None, {"scheduler.kind": "slurm", "state": str(state), "gateway.port": 0}))


def test_a_state_folder_below_a_closed_one_is_told_and_breaks_nothing(tmp_path, monkeypatch):
    real = os.stat

    def closed(path, *args, **kwargs):
        if str(path).startswith(str(tmp_path / "closed")):
            raise PermissionError(13, "Permission denied")
        return real(path, *args, **kwargs)

    monkeypatch.setattr("os.stat", closed)
    monkeypatch.setattr("os.access", lambda path, mode: False)
    found = facts(tmp_path / "closed" / "state")
    assert "cannot be written by you" in found.state_trouble
    assert (found.store_trouble, found.is_open, found.running) == ("", False, None)


def test_a_folder_of_another_user_to_which_all_may_write_is_refused(tmp_path, monkeypatch):
    tmp_path.chmod(0o777)
    assert why_refused(tmp_path) == ""
    monkeypatch.setattr("os.geteuid", lambda: tmp_path.stat().st_uid + 1)
    assert "others may write" in why_refused(tmp_path)
    assert "others may write" in facts(tmp_path).state_trouble


def test_the_user_is_the_one_of_the_process_and_not_of_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("LOGNAME", "somebody")
    assert facts(tmp_path).user != "somebody"


def test_a_user_whom_no_directory_knows_is_a_number(tmp_path, monkeypatch):
    def unknown(uid):
        raise KeyError(uid)

    monkeypatch.setattr("pwd.getpwuid", unknown)
    assert facts(tmp_path).user == str(os.geteuid())


@pytest.mark.parametrize("name", ["store", "tokens"])
def test_nothing_is_made_in_the_state_folder(tmp_path, name):
    facts(tmp_path)
    assert not (tmp_path / name).exists()
