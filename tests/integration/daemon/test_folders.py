"""What the daemon reads in a pilot's folder."""

import pytest

from harvester.daemon.folders import PilotFolders
from harvester.domain.pilot_output import UNREACHABLE

LINE = f"2026-11-25 18:37:00,001 ERROR {UNREACHABLE}: no gateway answers at http://h:1 (Connection refused): set …\n"


@pytest.fixture
def folders(tmp_path):
    made = PilotFolders(tmp_path)
    made.make("p1", b"{}")
    return made


def test_a_pilot_without_an_output_file_may_not_see_the_state_folder(folders, tmp_path):
    assert f"do the compute nodes see the state folder {tmp_path}" in folders.ending("p1", "it failed")
    assert folders.boot_trouble("p1") == ""


def test_why_a_pilot_failed_is_in_its_output_also_behind_a_long_one(folders):
    folders.output("p1").write_text("2026-11-25 18:37:00,001 INFO link.up\n" * 10_000 + "python3: No module named x\n")
    assert folders.ending("p1", "it failed").startswith("it failed; its output says: python3: No module named x; ")


def test_a_gateway_that_does_not_answer_a_starting_pilot_is_told_until_it_does(folders):
    folders.output("p1").write_text(LINE)
    assert "no gateway answers at http://h:1" in folders.boot_trouble("p1")
    folders.output("p1").write_text(LINE + "2026-11-25 18:37:09,001 INFO link.up url=ws://h:1/v1/link\n")
    assert folders.boot_trouble("p1") == ""


def test_an_output_that_cannot_be_read_is_said_to_be_so(folders):
    folders.output("p1").mkdir()
    assert "output.txt cannot be read: Is a directory" in folders.ending("p1", "it failed")
