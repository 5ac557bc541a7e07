"""A check leaves the state folder alone, whatever the scheduler: its own files lie aside."""

from pathlib import Path

import pytest

from harvester.cli.site.teller import aside
from harvester.config import OWN_KINDS
from harvester.config_file import load_config

FOLDER = Path("/aside")


@pytest.mark.parametrize("kind", OWN_KINDS)
def test_what_a_check_writes_lies_aside_and_all_else_of_the_scheduler_is_as_configured(kind):
    config = load_config(None, {"scheduler.kind": kind, "state": "/missing/state", "scheduler.psij.executor": "lsf"})
    found = aside(config, FOLDER)
    before, after = getattr(config.scheduler, kind), getattr(found.scheduler, kind)
    assert type(after) is type(before)
    if kind == "local":
        assert (found.state, after) == (str(FOLDER), before)
    else:
        assert after.work_dir == str(FOLDER)
        names = set(before.__struct_fields__) - {"work_dir"}
        assert {name: getattr(after, name) for name in names} == {name: getattr(before, name) for name in names}


def test_a_configured_folder_and_another_packages_scheduler_are_left_as_they_are():
    told = load_config(None, {"scheduler.kind": "psij", "state": "/missing", "scheduler.psij.work_dir": "/shared"})
    assert aside(told, FOLDER) == told
    other = load_config(
        None, {"scheduler.kind": "options", "state": "/missing"}
    )  # named as a field of ours, which it is not
    assert aside(other, FOLDER) == other
