"""Reading traces: what is well-formed is read, what is not is named by its line."""

import gzip

import pytest

from harvester.simulator.errors import SimulationError
from harvester.simulator.inputs import idle_log, sacct, swf

SWF = "1 100 0 60 2 -1 -1 2 120 -1 1 1 1 -1 -1 -1 -1 -1"


def write(path, text):
    path.write_text(text)
    return path


# ---- idle logs


def test_an_idle_log_is_read_plain_and_compressed(idle_nodes, tmp_path):
    squeezed = tmp_path / "log.gz"
    squeezed.write_bytes(gzip.compress(idle_nodes.read_bytes()))
    plain, compressed = idle_log.read(idle_nodes), idle_log.read(squeezed)
    assert plain.idle == compressed.idle
    assert len(plain.times) == 120
    assert plain.node_count == 7
    assert "p0007" not in frozenset().union(*plain.idle)  # idle~ is powered down
    assert [gap.samples for gap in plain.gaps() if gap.node == "p0001"] == [120]  # with and without a pilot


def test_a_malformed_line_of_an_idle_log_is_named_and_skipped(idle_nodes, tmp_path):
    lines = idle_nodes.read_text().splitlines()
    lines.insert(1, "what is this")
    lines.insert(2, "lowprio up 12:00:00 1 idle p[9")
    path = write(tmp_path / "log", "\n".join(lines))
    found = idle_log.read(path)
    assert found.skipped.count == 2
    assert [example.split(":")[0] for example in found.skipped.examples] == ["line 2", "line 3"]
    with pytest.raises(SimulationError, match="line 2"):
        idle_log.read(path, strict=True)


@pytest.mark.parametrize("time", ["-5", "1699999990"])
def test_a_time_that_is_negative_or_goes_back_is_skipped_with_its_sample(idle_nodes, tmp_path, time):
    path = write(tmp_path / "log", idle_nodes.read_text() + f"{time}\ninvokers: p0001\n----\n")
    found = idle_log.read(path)
    assert len(found.times) == 120
    assert found.skipped.count >= 1


@pytest.mark.parametrize("text", ["", "\n\n", "----\n", "hello\n", "17\ninvokers: \n"])
def test_an_idle_log_without_a_sample_is_refused(tmp_path, text):
    with pytest.raises(SimulationError, match="no sample"):
        idle_log.read(write(tmp_path / "log", text))


def test_a_time_in_which_there_is_no_sample_is_refused(idle_nodes):
    log = idle_log.read(idle_nodes)
    with pytest.raises(SimulationError, match="no sample from"):
        log.between(1.0, 2.0)
    with pytest.raises(SimulationError, match="is not before"):
        log.between(1_700_000_100.0, 1_700_000_000.0)


def test_a_file_that_is_not_there_or_is_damaged_is_refused(tmp_path):
    with pytest.raises(SimulationError, match="cannot be read"):
        idle_log.read(tmp_path / "nothing")
    damaged = tmp_path / "damaged.gz"
    damaged.write_bytes(gzip.compress(b"17\ninvokers: \n----\n" * 100)[:-12])
    with pytest.raises(SimulationError, match="cannot be read"):
        idle_log.read(damaged)


# ---- the Standard Workload Format


def test_a_trace_is_read_in_the_order_of_submission(tmp_path):
    text = "; MaxProcs: 4\n\n" + SWF + "\n2 50 -1 500 -1 -1 -1 3 120 -1 1 1 1 -1 -1 -1 -1 -1\n"
    found = swf.read(write(tmp_path / "t.swf", text))
    assert [(job.job_id, job.nodes, job.run_s, job.limit_s) for job in found.jobs] == [
        ("2", 3, 120.0, 120.0),  # ended at its limit
        ("1", 2, 60.0, 120.0),
    ]
    assert found.machine == 4


def test_processors_are_counted_as_whole_nodes(tmp_path):
    found = swf.read(write(tmp_path / "t.swf", SWF.replace(" 2 ", " 13 ")), procs_per_node=4)
    assert found.jobs[0].nodes == 4


def test_who_never_ran_is_no_malformed_line(tmp_path):
    text = SWF + "\n2 50 -1 -1 -1 -1 -1 3 120 -1 5 1 1 -1 -1 -1 -1 -1\n"
    found = swf.read(write(tmp_path / "t.swf", text), strict=True)
    assert (len(found.jobs), found.never_ran) == (1, 1)


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("1 2 3", "3 fields"),
        (SWF.replace("100", "-100"), "negative submit"),
        (SWF.replace(" 60 ", " -60 "), "negative run time"),
        (SWF.replace(" 60 ", " sixty "), "sixty"),
        (SWF.replace(" 60 ", " nan "), "finite"),
    ],
)
def test_a_malformed_line_of_a_trace_is_named_and_skipped(tmp_path, line, word):
    path = write(tmp_path / "t.swf", f"; a comment\n{SWF}\n{line}\n")
    found = swf.read(path)
    assert (len(found.jobs), found.skipped.count) == (1, 1)
    assert "line 3" in found.skipped.examples[0]
    assert word in found.skipped.examples[0]
    with pytest.raises(SimulationError, match="line 3"):
        swf.read(path, strict=True)


@pytest.mark.parametrize("text", ["", "; MaxProcs: 5\n", "rubbish\n"])
def test_an_empty_trace_is_refused(tmp_path, text):
    with pytest.raises(SimulationError, match="no batch job"):
        swf.read(write(tmp_path / "t.swf", text))


# ---- sacct

HEADER = "JobID|Submit|Start|End|ElapsedRaw|Timelimit|NNodes|State|Partition"
ROW = "7|2026-03-01T12:00:00|2026-03-01T12:00:10|2026-03-01T13:00:10|3600|02:00:00|3|COMPLETED|prime"


def test_a_dump_of_sacct_is_read_without_its_steps_and_what_never_ran(tmp_path):
    step = ROW.replace("7|", "7.batch|", 1)
    cancelled = "8|2026-03-01T12:00:00|None|2026-03-01T12:00:05|0|02:00:00|3|CANCELLED by 1000|prime"
    running = "9|2026-03-01T12:00:00|2026-03-01T12:00:10|Unknown|60|1-00:00:00|3|RUNNING|prime"
    endless = ROW.replace("02:00:00", "UNLIMITED").replace("7|", "10|", 1)
    found = sacct.read(write(tmp_path / "d", "\n".join((HEADER, ROW, step, cancelled, running, endless))), strict=True)
    assert [job.job_id for job in found.jobs] == ["7", "10"]
    assert (found.jobs[0].run_s, found.jobs[0].limit_s, found.jobs[0].nodes) == (3600.0, 7200.0, 3)
    assert found.jobs[1].limit_s > 300 * 86_400
    assert found.never_ran == 2


def test_elapsed_is_taken_from_where_the_dump_has_it(tmp_path):
    words = "JobID|Submit|Elapsed|NNodes\n1|2026-03-01T12:00:00|1-01:00:00|1\n"
    assert sacct.read(write(tmp_path / "a", words)).jobs[0].run_s == 90_000.0
    ends = "JobID|Submit|Start|End|NNodes\n1|2026-03-01T12:00:00|2026-03-01T12:00:00|2026-03-01T12:01:00|1\n"
    assert sacct.read(write(tmp_path / "b", ends)).jobs[0].run_s == 60.0


def test_only_the_partitions_that_were_asked_for_are_kept(tmp_path):
    path = write(tmp_path / "d", "\n".join((HEADER, ROW, ROW.replace("|prime", "|debug").replace("7|", "8|", 1))))
    assert [job.job_id for job in sacct.read(path, partitions=frozenset({"debug"})).jobs] == ["8"]


@pytest.mark.parametrize(
    ("row", "word"),
    [
        ("1|2", "2 fields"),
        (ROW.replace("2026-03-01T12:00:00", "yesterday"), "yesterday"),
        (ROW.replace("3600", "-3600"), "negative"),
        (ROW.replace("02:00:00", "long"), "long"),
        (ROW.replace("|3|", "|x|"), "NNodes"),
    ],
)
def test_a_malformed_line_of_a_dump_is_named_and_skipped(tmp_path, row, word):
    path = write(tmp_path / "d", "\n".join((HEADER, ROW, row)))
    found = sacct.read(path)
    assert found.skipped.count == 1
    assert "line 3" in found.skipped.examples[0]
    assert word in found.skipped.examples[0]
    with pytest.raises(SimulationError, match="line 3"):
        sacct.read(path, strict=True)


def test_a_dump_without_the_columns_is_refused_with_the_command_that_makes_one(tmp_path):
    with pytest.raises(SimulationError, match=r"lacks nnodes.*sacct -a"):
        sacct.read(write(tmp_path / "d", "JobID|Submit|Elapsed\n1|2026-03-01T12:00:00|00:01:00\n"))
