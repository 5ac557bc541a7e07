"""What a pilot's output tells. The texts in pilot_outputs/ were written by Slurm 22.05.8, one broken pilot each."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harvester.domain.supervision import pilot_output
from harvester.domain.supervision.pilot_output import LONGEST, ending, telling_line, unreachable

SAMPLES = Path(__file__).parent / "pilot_outputs"
TELLING = {
    "cancelled": "slurmstepd-n4: error: *** JOB 8 ON n4 CANCELLED AT 2026-11-25T18:36:59 ***",
    "killed": "srun: error: n4: task 0: Killed",
    "no_environment_module": "ERROR: Unable to locate a modulefile for 'python/3.99'",
    "no_harvester_module": "ModuleNotFoundError: No module named 'harvester'",
    "no_interpreter_of_a_script": (
        "slurmstepd-n3: error: execve(): bad interpreter(/opt/none/bin/python3): No such file or directory"
    ),
    "no_memory_for_step": ("srun: error: Unable to create step for job 22: Memory required by task is not available"),
    "no_mpi": "srun: error: Couldn't find the specified plugin name for mpi/nonsense looking at all files",
    "no_package": "/usr/bin/python3: No module named harvester_worker",
    "no_pilot_file": "cannot read the pilot file /home/ann/harvester/pilots/p1/pilot.json: No such file or directory",
    "no_python": "slurmstepd-n1: error: execve(): /no/such/python: No such file or directory",
    "not_a_pilot_file": "/etc/hostname is no pilot file: JSON is malformed: invalid character (byte 0)",
    "not_a_program": "slurmstepd-n2: error: execve(): /etc/hostname: Exec format error",
    "not_executable": "slurmstepd-n3: error: execve(): /opt/site/python: Permission denied",
    "segmentation_fault": "srun: error: n1: task 0: Segmentation fault",
    "syntax_error": "SyntaxError: invalid syntax",
    "traceback_cut_in_two": "ModuleNotFoundError: No module named 'nope'",
    "unreadable_file": "/usr/bin/python3: can't open file '/home/ann/pilot.py': [Errno 13] Permission denied",
    "usage": "harvester_worker: error: the following arguments are required: --pilot-file",
}


def sample(name):
    return (SAMPLES / f"{name}.txt").read_text()


def test_every_sample_has_its_line():
    assert {path.stem for path in SAMPLES.glob("*.txt")} == set(TELLING)


@pytest.mark.parametrize("name", TELLING)
def test_the_line_that_tells_is_found_in_what_slurm_wrote(name):
    assert telling_line(sample(name)) == TELLING[name]


# Of five lines of one meaning another one is as good as the expected one.
@pytest.mark.parametrize("name", sorted(set(TELLING) - {"no_mpi"}))
def test_it_is_found_wherever_srun_writes_its_own_lines_in_between(name):
    lines = sample(name).splitlines()
    ours = [line for line in lines if not line.startswith("srun: error: n")]
    for at in range(len(ours) + 1):
        text = "\n".join([*ours[:at], "srun: error: n1: task 0: Exited with exit code 1", *ours[at:]])
        if "srun: error: n" not in TELLING[name]:
            assert telling_line(text) == TELLING[name]


def test_what_lmod_says_on_two_lines_is_told_whole():
    text = (
        "Lmod has detected the following error: The following module(s) are unknown:\n"
        '"python/3.99"\n\nPlease check the spelling or version number.\n'
        "/usr/bin/python3: No module named harvester_worker\n"
    )
    assert telling_line(text).endswith('are unknown: "python/3.99"')


def test_what_is_harmless_is_not_told_before_what_is_not():
    text = (
        "ERROR: ld.so: object '/no/such.so' from LD_PRELOAD cannot be preloaded: ignored.\n"
        "Loading python/3.11\n"
        "/opt/x.py:3: DeprecationWarning: invalid escape sequence\n"
        "2026-11-25 18:36:59,123 INFO pilot.started pilot=p1 node=n1\n"
        "2026-11-25 18:37:00,001 WARNING link.failed url=ws://h:1/v1/link: timed out\n"
        "2026-11-25 18:37:01,500 ERROR zygote.lost no more slots can be started; the pilot leaves\n"
        "srun: error: n1: task 0: Exited with exit code 4\n"
    )
    assert telling_line(text) == "zygote.lost no more slots can be started; the pilot leaves"
    without = "\n".join(line for line in text.splitlines() if "zygote" not in line)
    assert telling_line(without) == "link.failed url=ws://h:1/v1/link: timed out"


def test_the_last_line_is_told_where_none_tells_more():
    assert telling_line("hello\nworld\n\n") == "world"
    assert telling_line(" \n\n") == ""


@given(st.text())
def test_any_text_has_a_line_of_its_own_or_none(text):
    line = telling_line(text)
    assert len(line) <= LONGEST
    assert bool(line) == bool(text.strip())


@pytest.mark.parametrize(
    "line",
    [
        "/usr/bin/env: '/no/such/python': No such file or directory",  # under PBS
        "cannot start /no/such/python: [Errno 2] No such file or directory: '/no/such/python'",  # locally
    ],
)
def test_a_python_that_is_not_there_has_its_remedy_with_every_scheduler(line):
    assert telling_line(line) == line
    assert "set `python` in [[pilot]]" in pilot_output.remedy(line)


def test_no_output_at_all_asks_whether_nodes_see_the_state_folder():
    told = ending("the scheduler says failed (JobLaunchFailure)", None, "/tmp/state")
    assert told.startswith("the scheduler says failed (JobLaunchFailure); it wrote no output")
    assert "do the compute nodes see the state folder /tmp/state" in told
    assert "Set `state`" in told


def test_a_lost_node_is_not_taken_for_a_state_folder_that_is_not_seen():
    assert ending("the scheduler says node failed", None, "/tmp/state") == "the scheduler says node failed"


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("no_python", "set `python` in [[pilot]]"),
        ("no_package", "install harvester"),
        ("no_harvester_module", "install harvester"),
        ("no_pilot_file", "set `state`"),
    ],
)
def test_the_remedy_is_told_with_the_line(name, remedy):
    told = ending("it failed", sample(name), "/s")
    assert told.startswith(f"it failed; its output says: {TELLING[name]}; ")
    assert remedy in told


def test_an_empty_output_is_called_empty():
    assert ending("it failed", "\n", "/s") == "it failed; its output is empty"


def test_a_gateway_that_does_not_answer_is_told_until_one_does():
    line = f"{pilot_output.UNREACHABLE}: no gateway answers at http://h:1 (Connection refused): set gateway.url"
    text = f"2026-11-25 18:37:00,001 ERROR {line}\n2026-11-25 18:37:01,001 WARNING link.failed url=ws://h:1\n"
    assert unreachable(text) == line
    assert telling_line(text) == line
    assert unreachable(text + "2026-11-25 18:37:02,001 INFO link.up url=ws://h:1/v1/link\n") == ""
    assert unreachable("") == ""
