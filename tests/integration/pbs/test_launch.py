"""The line of shell that becomes the pilot, run as PBS's mom runs it: as a session's leader, in a bare environment."""

import os
import signal
import subprocess
import sys
import time
from datetime import timedelta

import msgspec
import pytest

from harvester_adapters.pbs import launch
from harvester_adapters.pbs.launch import command_line

SHOW = (
    "import json, os, sys; print(json.dumps({'pid': os.getpid(), 'sid': os.getsid(0), 'argv': sys.argv[1:],"
    " 'env': dict(os.environ)}))"
)


class Mom:
    """Runs a command as a mom does."""

    def __init__(self, folder):
        self.folder = folder
        nodes = folder / "nodefile"
        nodes.write_text("pn1.example.org\npn1.example.org\n")
        self.environment = {"PATH": "/bin:/usr/bin", "PBS_NODEFILE": str(nodes), "PBS_JOBID": "12.vm"}

    def start(self, order, environment=()):
        argv = command_line(order, dict(environment))
        assert all(argv)  # PBS drops empty arguments
        return subprocess.Popen(argv, env=self.environment, stdin=subprocess.DEVNULL, start_new_session=True)

    def run(self, order, environment=()):
        code = self.start(order, environment).wait(10)
        return code, order.output.read_text() if order.output.exists() else ""


@pytest.fixture
def mom(tmp_path):
    return Mom(tmp_path)


def python(order, code, *arguments, **more):
    return msgspec.structs.replace(order, command=(sys.executable, "-c", code, *arguments), **more)


def test_the_pilot_leads_its_session_and_has_its_arguments_environment_and_output(mom, order):
    odd = ("a b", 'say "hi"', "it's", "$HOME `id`", "back\\slash", "new\nline", "--opt=v", "zażółć")
    process = mom.start(python(order, SHOW, *odd), {"LANG": "C.UTF-8", "PATH": "/opt/bin:/usr/bin:/bin", "EMPTY": ""})
    assert process.wait(10) == 0
    shown = msgspec.json.decode(order.output.read_text())
    assert shown["pid"] == shown["sid"] == process.pid
    assert tuple(shown["argv"]) == odd
    assert (shown["env"]["LANG"], shown["env"]["PATH"]) == ("C.UTF-8", "/opt/bin:/usr/bin:/bin")
    assert shown["env"]["HARVESTER_NODE_NAME"] == "pn1"
    assert "EMPTY" not in shown["env"]
    assert order.output.stat().st_mode & 0o077 == 0


def test_the_pilots_exit_code_is_the_batch_jobs_and_errors_are_in_its_output(mom, order):
    code, output = mom.run(python(order, "import sys; sys.exit('no such thing')"))
    assert (code, output.strip()) == (1, "no such thing")


def test_an_interpreter_that_is_not_on_the_node_is_told_in_the_output(mom, order):
    code, output = mom.run(order)
    assert code == 127
    assert "/opt/python" in output


def test_the_pilot_hears_sigterm_at_once(mom, order):
    code = "import signal, sys; signal.signal(15, lambda *_: sys.exit(7)); print('ready', flush=True); signal.pause()"
    process = mom.start(python(order, code))
    while not (order.output.exists() and "ready" in order.output.read_text()):
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait(5) == 7


def test_a_pilot_that_pbs_starts_again_ends_at_once_and_does_nothing(mom, order):
    first = mom.run(python(order, "print('worked')"))
    assert first == (0, "worked\n")
    code, output = mom.run(python(order, "print('worked')"))
    assert code == 0
    assert output.count("worked") == 1
    assert "started before, so not again" in output


def test_a_pilot_that_could_not_end_in_time_any_more_does_not_start(mom, order):
    late = python(order, "print('worked')", end_by=time.time() + 60)  # its walltime is 14 min
    code, output = mom.run(late)
    assert (code, "worked" in output, "could not end in time" in output) == (0, False, True)


def test_a_pilot_that_can_end_in_time_starts(mom, order):
    code, output = mom.run(python(order, "print('worked')", end_by=time.time() + 15 * 60))
    assert (code, output) == (0, "worked\n")


@pytest.mark.parametrize(("walltime", "seconds"), [("00:08:09", 489), ("100:00:00", 360_000)])
def test_a_pilot_whose_walltime_pbs_has_chosen_knows_its_end(mom, order, walltime, seconds):
    binaries = mom.folder / "bin"
    binaries.mkdir()
    (binaries / "qstat").write_text(f"#!/bin/sh\necho 'Job Id: 12.vm\n    Resource_List.walltime = {walltime}'\n")
    (binaries / "qstat").chmod(0o755)
    mom.environment |= {"PBS_CONF_FILE": str(mom.folder / "pbs.conf")}
    (mom.folder / "pbs.conf").write_text(f"PBS_EXEC={mom.folder}\nPBS_SERVER=vm\n")
    code, output = mom.run(python(order, SHOW, time_min=timedelta(seconds=60)))
    assert code == 0
    ends_at = int(msgspec.json.decode(output)["env"]["HARVESTER_JOB_END_TIME"])
    assert abs(ends_at - time.time() - seconds) < 5


@pytest.mark.parametrize("script", ["exit 1", "echo nonsense", "exec sleep 600", None])
def test_where_nobody_tells_the_chosen_walltime_the_pilot_starts_all_the_same(mom, order, script, monkeypatch):
    monkeypatch.setattr(launch, "_END", launch._END.replace(f"timeout {launch.QSTAT_S}", "timeout 1"))
    mom.environment |= {"PBS_EXEC": str(mom.folder), "PBS_CONF_FILE": "/nowhere"}
    if script is not None:
        (mom.folder / "bin").mkdir()
        (mom.folder / "bin/qstat").write_text(f"#!/bin/sh\n{script}\n")
        (mom.folder / "bin/qstat").chmod(0o755)
    code, output = mom.run(python(order, SHOW, time_min=timedelta(seconds=60)))
    assert code == 0
    assert "HARVESTER_JOB_END_TIME" not in msgspec.json.decode(output)["env"]
