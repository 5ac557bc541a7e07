"""What the daemon reads in a pilot's folder."""

import pytest

from harvester.daemon.pilots.folders import PilotFolders
from harvester.domain.supervision.pilot_output import UNREACHABLE

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


def test_what_a_function_printed_is_not_told_to_everybody_when_its_pilot_fails(folders):
    folders.output("p1").write_text("error: the password is tiger\n2026-11-25 18:37:00,001 ERROR my key is 7\n")
    told = folders.ending("p1", "it failed", has_called=True)
    assert told == f"it failed; the admin finds its output in {folders.output('p1')}"
    with folders.output("p1").open("a") as file:
        file.write("slurmstepd: error: Detected 1 oom_kill event in StepId=7.0\nmy last error\n")
    told = folders.ending("p1", "it failed", has_called=True)
    assert "the scheduler says: slurmstepd: error: Detected 1 oom_kill event" in told
    assert "raise `memory_mb`" in told
    assert "my last error" not in told
