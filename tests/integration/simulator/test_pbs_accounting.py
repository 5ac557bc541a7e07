"""Accounting logs of PBS: two small days, made up after recorded ones, and what can be wrong with such files."""

import contextlib
import gzip
import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from harvester.cli.app import app
from harvester.simulator.errors import SimulationError
from harvester.simulator.inputs import pbs

DAYS = Path(__file__).parent / "pbs-accounting"
FIRST, SECOND = DAYS / "20260317", DAYS / "20260318"
NOON = 1_773_748_800.0
MIDNIGHT = NOON + 11 * 3600  # of the log's zone
END = (
    "03/17/2026 13:10:00;E;{id};user=u queue=workq ctime={at} qtime={at} etime={at} start={at} exec_host=n1/0 "
    "Resource_List.walltime={wall} end={end} Exit_status=0\n"
)


def runs(*paths, **options):
    """Return of each run: id, submission after noon, duration, nodes."""
    trace = pbs.read(paths, **options)
    return [(job.job_id, job.submit_at - NOON, job.run_s, job.nodes) for job in trace.jobs]


def test_each_run_is_told_with_its_own_time_and_nodes():
    assert runs(FIRST, SECOND) == [
        ("1.srv", 0, 300, 2),  # ready at noon, started a minute later
        ("2.srv", 10, 300, 1),  # 400 s, of which it was suspended for 100
        ("3.srv", 20, 50, 1),  # preempted and put back
        ("4[1].srv", 30, 100, 1),
        ("4[2].srv", 30, 100, 1),
        ("5.srv", 40, 250, 1),  # its node failed: deleted without an end, by the local clock alone
        ("3.srv", 70, 200, 1),  # the second run waits from the end of the first on
        ("9.srv", MIDNIGHT - 100 - NOON, 300, 3),  # over midnight
    ]


def test_what_did_not_run_or_has_not_ended_is_counted_and_what_is_no_record_is_named():
    trace = pbs.read([FIRST, SECOND])
    assert trace.never_ran == 3, "6 was deleted in the queue, 8 never ran, 11 still runs"
    assert trace.named_nodes == 7
    assert trace.skipped.count == 1
    assert trace.skipped.examples[0].startswith("20260317, line ")
    assert "had a line break: 'second half\"'" in trace.skipped.examples[0]
    assert {job.limit_s for job in trace.jobs} == {600.0, 7200.0, 366 * 86_400.0}
    with pytest.raises(SimulationError, match=r"20260317, line \d+: no record; may belong to the comment"):
        pbs.read([FIRST, SECOND], strict=True)


def test_files_are_read_in_the_order_of_their_dates_whatever_they_are_called(tmp_path):
    expected = runs(FIRST, SECOND)
    assert runs(SECOND, FIRST) == expected
    assert runs(DAYS) == expected
    shutil.copy(FIRST, tmp_path / "z")
    (tmp_path / "a.gz").write_bytes(gzip.compress(SECOND.read_bytes()))
    assert runs(tmp_path) == expected


def test_a_queue_is_kept_with_its_suspensions_and_deletions():
    assert [run[0] for run in runs(DAYS, queues=frozenset({"big"}))] == ["9.srv"]
    kept = runs(DAYS, queues=frozenset({"workq"}))
    assert kept == [run for run in runs(DAYS) if run[0] != "9.srv"]


def test_a_day_that_is_given_twice_counts_once(tmp_path):
    shutil.copy(SECOND, tmp_path / "again")
    trace = pbs.read([FIRST, SECOND, tmp_path / "again"])
    assert len(trace.jobs) == 8
    assert any("told twice" in words for words in trace.skipped.examples)


def test_a_zone_that_changes_moves_no_run(tmp_path):
    text = FIRST.read_text().replace("/2026 13:", "/2026 06:")  # seven hours behind, from a line to the next
    path = tmp_path / "log"
    path.write_text(text)
    assert ("5.srv", 40, 250, 1) in runs(path)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (END.format(id="1.srv", at=200, end=100, wall="01:00:00"), "ends at 100, before its start at 200"),
        (END.format(id="1.srv", at=200, end="soon", wall="01:00:00"), "end=soon is not a time in Unix seconds"),
        (END.format(id="1.srv", at=200, end=300, wall="never"), "Resource_List.walltime=never is not a time"),
        (END.format(id="1.srv", at=200, end=300, wall="1").replace(";E;", ";Ä;"), "'Ä' is not a type of record"),
        ("03/17/2026 13:10:00;S;1.srv;user=u\n", "it has no start="),
        ("03/17/2026 13:10:00;E;1.srv\n", "no record"),
        ("17.03.2026 13:10:00;E;1.srv;x\n", "no record"),
        (";;;\n", "no record"),
    ],
)
def test_a_bad_line_is_skipped_and_named_or_refused(tmp_path, line, words):
    path = tmp_path / "log"
    path.write_text(END.format(id="7.srv", at=200, end=300, wall="100") + line, encoding="utf-8")
    trace = pbs.read([path])
    assert [job.job_id for job in trace.jobs] == ["7.srv"]
    assert trace.skipped.count == 1
    assert words in trace.skipped.examples[0]
    with pytest.raises(SimulationError, match="log, line 2: "):
        pbs.read([path], strict=True)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is not an accounting log of PBS"),
        (b"JobID|Submit\n", "is not an accounting log of PBS"),
        (b"\x1f\x8bbroken", "cannot be read"),
        (END.format(id="1.srv", at=0, end=0, wall="1").encode(), "holds no batch job that ran"),
    ],
)
def test_a_file_that_holds_nothing_is_told_in_one_line(tmp_path, content, words):
    path = tmp_path / "log"
    path.write_bytes(content)
    with pytest.raises(SimulationError, match=words):
        pbs.read([path])
    said = CliRunner().invoke(app, ["simulate", "pbs", str(path)])
    assert said.exit_code == 1
    assert said.output.count("\n") == 1, said.output
    assert str(path.name) in said.output


def test_a_folder_without_files_and_a_file_that_is_not_there_are_told(tmp_path):
    with pytest.raises(SimulationError, match="has no file; name the folder of PBS's accounting"):
        pbs.read([tmp_path])
    with pytest.raises(SimulationError, match="missing cannot be read: No such file"):
        pbs.read([tmp_path / "missing"])


RECORD = st.tuples(
    st.sampled_from("QSERDzraX"),
    st.sampled_from(["1.srv", "2[].srv", "2[1].srv", ""]),
    st.one_of(st.sampled_from(["start", "end", "qtime"]), st.text(max_size=8)),
    st.one_of(st.integers(-5, 10**13).map(str), st.text(max_size=12)),
)


@given(st.lists(RECORD, max_size=12), st.binary(max_size=60))
def test_no_line_makes_it_fail_in_another_way_than_an_error_in_words(tmp_path_factory, records, rest):
    path = tmp_path_factory.getbasetemp() / "fuzz"
    made = "".join(
        f"03/17/2026 13:10:00;{kind};{job};start=5 end=9 {key}={value}\n" for kind, job, key, value in records
    )
    path.write_bytes(made.encode("utf-8", "replace") + rest)
    with contextlib.suppress(SimulationError):
        assert all(job.run_s > 0 and job.nodes > 0 for job in pbs.read([path]).jobs)


def test_the_command_takes_the_nodes_that_the_log_names_and_says_what_it_skipped():
    said = CliRunner().invoke(app, ["simulate", "pbs", str(DAYS), "--policy", "gap", "--json"])
    report = json.loads(said.stdout)
    assert (report["nodes"], report["prime_jobs"], report["source"]) == (7, 8, "20260317 to 20260318")
    assert report["ready_share"] > 0.9
    assert "1 line skipped: 20260317, line" in said.stderr
    said = CliRunner().invoke(app, ["simulate", "pbs", str(FIRST), str(SECOND), "--nodes", "2", "--mode", "off"])
    assert said.exit_code == 0
    assert "batch job 9.srv wants 3 of 2 nodes" in said.output
