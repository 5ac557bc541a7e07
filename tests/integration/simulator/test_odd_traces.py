"""Traces that are odd in their whole: each is read, or refused in one line that says why."""

import io
import json
import zipfile

import pytest
from typer.testing import CliRunner

from harvester.cli.app import app
from harvester.simulator.inputs import idle_log, sacct, swf

SACCT = "JobID|Submit|ElapsedRaw|Timelimit|NNodes|State\n7|2026-03-01T12:00:00|600|00:20:00|2|COMPLETED\n"
SWF = "1 100 0 60 2 -1 -1 2 120 -1 1 1 1 -1 -1 -1 -1 -1\n"
SAMPLE = "{at}\ninvokers: \nprime up infinite 2 idle {nodes}\n----\n"


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def zipped(text):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("log", text)
    return stream.getvalue()


def simulate(*words):
    return CliRunner().invoke(app, ["simulate", *map(str, words)])


def one_line(said):
    assert said.exit_code == 1, said.output
    assert said.output.startswith("error: ")
    assert said.output.count("\n") == 1, said.output
    return said.output


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (zipped(SACCT), "it is a zip archive; unpack it, or compress the file with gzip"),
        (b"BZh91AY&SY", "it is compressed with bzip2"),
        (b"\xfd7zXZ\x00\x00", "it is compressed with xz"),
        (b"(\xb5/\xfd\x04", "it is compressed with zstd"),
        (SACCT.encode("utf-16"), "it is text in UTF-16; convert it to UTF-8"),
    ],
)
@pytest.mark.parametrize("kind", ["sacct", "swf", "idle-log", "pbs"])
def test_a_file_that_is_packed_otherwise_is_refused_with_what_to_do(tmp_path, kind, content, words):
    options = ["--policy", "gap"] if kind == "idle-log" else ["--nodes", 4]
    assert words in one_line(simulate(kind, write(tmp_path / "log", content), *options))


def test_a_byte_order_mark_is_left_out(tmp_path):
    assert len(sacct.read(write(tmp_path / "a", "\ufeff" + SACCT)).jobs) == 1
    assert len(swf.read(write(tmp_path / "b", "\ufeff" + SWF)).jobs) == 1
    log = "\ufeff" + SAMPLE.format(at=1000, nodes="n[1-2]")
    assert idle_log.read(write(tmp_path / "c", log)).times == (1000.0,)


def test_a_dump_with_jobidraw_and_columns_beyond_those_that_are_needed_is_read(tmp_path):
    text = SACCT.replace("JobID|", "Comment|JobIDRaw|User|").replace("\n7|", "\nmine|7|alice|")
    (job,) = sacct.read(write(tmp_path / "a", text)).jobs
    assert (job.job_id, job.nodes, job.limit_s) == ("7", 2, 1200.0)
    both = SACCT.replace("JobID|", "JobIDRaw|JobID|").replace("\n7|", "\n9|7_[1]|")
    assert sacct.read(write(tmp_path / "b", both)).jobs[0].job_id == "7_[1]"


def test_a_trace_with_columns_beyond_the_standard_s_is_read(tmp_path):
    (job,) = swf.read(write(tmp_path / "a", SWF.strip() + " 17 extra\n")).jobs
    assert (job.nodes, job.run_s) == (2, 60.0)


def test_a_trace_that_lasts_for_centuries_is_refused_with_both_lines(tmp_path):
    path = write(tmp_path / "log.swf", SWF + SWF.replace("1 100 ", "2 10000000000 ", 1))
    said = one_line(simulate("swf", path, "--nodes", 4))
    assert "lasts for 317 years, from the submission of batch job 1 (line 1) to the end of 2 (line 2)" in said
    far = write(tmp_path / "far", SAMPLE.format(at=1000, nodes="n1") + SAMPLE.format(at=10**12, nodes="n1"))
    assert idle_log.read(far).skipped.count > 0
    *warned, said = simulate("idle-log", far, "--policy", "gap").output.splitlines()
    assert len(warned) == 1
    assert said.startswith("error: far has one sample in that time")


def test_one_sample_spans_no_time(tmp_path):
    path = write(tmp_path / "log", SAMPLE.format(at=1000, nodes="n[2-3]"))
    assert "log has one sample in that time, at 1000" in one_line(simulate("idle-log", path, "--policy", "gap"))


def test_nodes_without_numbers_are_counted_by_their_names(tmp_path):
    samples = [SAMPLE.format(at=at, nodes="gpu-a,gpu-b,login") for at in range(1000, 2000, 10)]
    path = write(tmp_path / "log", "".join(samples))
    assert idle_log.read(path).node_count == 3
    report = json.loads(simulate("idle-log", path, "--policy", "gap", "--json").stdout)
    assert (report["nodes"], report["ready_share"] > 0.9) == (3, True)


def test_pilots_that_would_not_outlast_their_boot_are_not_submitted(idle_nodes):
    report = json.loads(simulate("idle-log", idle_nodes, "--policy", "gap", "--boot", 9700, "--json").stdout)
    assert report["pilots"] == 0
