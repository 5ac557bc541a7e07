"""Whom the adapter asks, what it is told of odd, hidden and sleeping things, and how long parsing takes."""

import logging
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest

from harvester.domain.cluster.ports import SchedulerUnavailable
from harvester.domain.cluster.snapshot import NodeState
from harvester_adapters.slurm.adapter import SlurmAdapter
from harvester_adapters.slurm.sources import pyslurm_source
from harvester_adapters.slurm.text import squeue
from harvester_adapters.slurm.text.nodes import nodes
from harvester_adapters.slurm.text.squeue import batch_jobs

SAMPLES = Path(__file__).parents[2] / "unit/adapters/slurm/samples" / "22.05.8"


def adapter(tmp_path, **changed) -> SlurmAdapter:
    return SlurmAdapter(work_dir=tmp_path / "psij", cache_for=timedelta(0), **changed)


def test_where_pyslurm_cannot_be_used_the_commands_are_asked_and_it_is_said_once(
    fake_slurm, tmp_path, monkeypatch, caplog
):
    monkeypatch.setenv("SLURM_CONF", str(tmp_path / "missing.conf"))
    own = adapter(tmp_path, source="pyslurm")
    assert len(own.snapshot().nodes) == 4
    own.snapshot()
    in_use, why = own.source_in_use
    assert in_use == "commands"
    assert "pyslurm" in why
    assert [record.message for record in caplog.records if record.name.endswith("sources.source")] == [
        f"slurm.source: the commands are asked, because {why}"
    ]
    assert adapter(tmp_path).source_in_use == ("commands", "")


@pytest.fixture
def reader(tmp_path, monkeypatch):
    """Let a script be the program that imports pyslurm; the fixture is a function that says what it does."""
    conf = tmp_path / "slurm.conf"
    conf.write_text("ClusterName=t\n")
    monkeypatch.setenv("SLURM_CONF", str(conf))
    monkeypatch.setattr(pyslurm_source, "_installed", lambda: "22.5.3")
    path = tmp_path / "reader.py"
    monkeypatch.setattr(pyslurm_source, "_READER", (sys.executable, str(path)))
    return path.write_text


def test_pyslurm_is_asked_in_a_process_of_its_own(fake_slurm, tmp_path, reader):
    reader(f"import os; print(open({str(SAMPLES / 'both.pyslurm.json')!r}).read()); assert os.environ['TZ'] == 'UTC'")
    own = adapter(tmp_path, source="auto")
    assert len(own.snapshot().batch_jobs) == 16
    assert own.source_in_use == ("pyslurm", "")
    assert not any("node" in call for call in fake_slurm.calls("scontrol"))
    assert own.commands == 3 + 1  # configuration, partitions, reservations; and the process


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("import sys; sys.exit('libslurm: fatal: no slurm.conf')", "ended with 1: libslurm: fatal"),
        ("import os; os.abort()", "ended with -6"),
        ("import time; time.sleep(60)", "did not answer within"),
        ("print('half of a doc')", "cannot be read"),
    ],
)
def test_a_pyslurm_that_never_worked_is_given_up(fake_slurm, tmp_path, reader, script, why):
    reader(script)
    own = adapter(tmp_path, source="auto", command_timeout=timedelta(seconds=3))
    for _ in range(2):  # one that hangs takes the first look with it
        try:
            found = own.snapshot()
        except SchedulerUnavailable:
            continue
    assert len(found.nodes) == 4
    assert own.source_in_use[0] == "commands"
    assert why in own.source_in_use[1]


def test_questions_are_asked_in_one_language_and_one_time_zone(fake_slurm, tmp_path, monkeypatch):
    for name, value in {"LC_ALL": "de_DE.UTF-8", "TZ": "Asia/Tokyo", "SLURM_TIME_FORMAT": "relative"}.items():
        monkeypatch.setenv(name, value)
    fake_slurm.change("scontrol", 'case "$*" in', f'env > {tmp_path}/asked\ncase "$*" in')
    adapter(tmp_path).snapshot()
    asked = dict(line.split("=", 1) for line in (tmp_path / "asked").read_text().splitlines() if "=" in line)
    assert (asked["LC_ALL"], asked["TZ"]) == ("C", "UTC")
    assert "SLURM_TIME_FORMAT" not in asked


def test_an_odd_node_is_shown_as_unknown_and_said_once(fake_slurm, tmp_path, caplog):
    fake_slurm.change(
        "scontrol", "*node) cat", "*node) sed 's/^\\(NodeName=n2 .*\\)RealMemory=4000/\\1RealMemory=N\\/A/'"
    )
    own = adapter(tmp_path)
    for _ in range(3):
        states = {node.name: node.state for node in own.snapshot().nodes}
    assert states["n2"] is NodeState.UNKNOWN
    assert states["n1"] is NodeState.ALLOCATED
    [said] = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "NodeName=n2" in said.getMessage()


@pytest.mark.parametrize(
    ("who", "is_hidden"),
    [
        (("root", "exit 1"), False),  # eva's are shown to it
        (("eva", "exit 1"), True),
        (("eva", "echo None"), True),
        (("eva", "echo Operator"), False),
        (("eva", "echo Administrator"), False),
    ],
)
def test_where_a_site_hides_batch_jobs_it_is_told_to_those_who_see_only_their_own(
    fake_slurm, tmp_path, monkeypatch, who, is_hidden
):
    user, sacctmgr = who
    fake_slurm.answers("sacctmgr", sacctmgr)
    fake_slurm.change("scontrol", "config.txt", "config.txt; echo PrivateData = jobs,nodes")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    fake_slurm.queue.write_bytes(fake_slurm.queue.read_bytes().replace(b"root\x1f", b"eva\x1f"))
    monkeypatch.setattr("getpass.getuser", lambda: user)
    hidden = adapter(tmp_path).snapshot().hidden
    assert ("PrivateData=jobs" in hidden) is is_hidden


def test_nodes_that_sleep_are_woken_only_where_that_is_allowed(fake_slurm, tmp_path):
    fake_slurm.change("scontrol", f"{SAMPLES}/grace.node.txt", f"{SAMPLES}/power.node.txt")
    awake = [node.name for node in adapter(tmp_path).snapshot().nodes if node.state is NodeState.IDLE]
    woken = [node.name for node in adapter(tmp_path, wake=True).snapshot().nodes if node.state is NodeState.IDLE]
    assert (awake, woken) == ([], ["n3"])


def test_ten_thousand_nodes_and_twenty_thousand_batch_jobs_are_read_within_a_second():
    """Of CPU time, so that a busy machine does not count."""
    first = (SAMPLES / "both.node.txt").read_text().splitlines()[0]
    node_text = "\n".join(first.replace("NodeName=n1 ", f"NodeName=n{number:05} ") for number in range(10_000))
    question = squeue.not_ended("nonce")
    header, *rows = (SAMPLES / "both.squeue.txt").read_text().split("\x1enonce\n")[:-1]
    many = [header]
    for number in range(20_000):
        fields = rows[number % len(rows)].split("\x1fnonce")
        fields[0] = str(number)
        fields[6] = fields[7] = f"2026-11-22T{number // 3600:02}:{number // 60 % 60:02}:{number % 60:02}"
        if fields[4] == "RUNNING":
            fields[-2] = f"n[{number % 9000:05}-{number % 9000 + number % 64:05},{number % 900:05}]"
        many.append("\x1fnonce".join(fields))
    queue_text = "\x1enonce\n".join([*many, ""])
    before = time.process_time()
    counts = len(nodes(node_text)), len(batch_jobs(queue_text, question))
    took_s = time.process_time() - before
    assert counts == (10_000, 20_000)
    assert took_s < 1, f"{took_s:.2f} s"
