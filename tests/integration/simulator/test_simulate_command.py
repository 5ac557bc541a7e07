"""`harvester simulate`, as a script calls it."""

import importlib.util
import json
from datetime import timedelta

import pytest
from typer.testing import CliRunner

from harvester.cli.app import app
from harvester.domain.harvest import policies
from harvester.domain.harvest.planning import HarvestMode
from harvester.simulator.inputs import idle_log, swf
from harvester.simulator.model.cluster_model import simulate_jobs
from harvester.simulator.model.daemon_model import simulate_idle_log
from harvester.simulator.parameters import Parameters

KEYS = {
    "idle_share", "mean_free_nodes", "ready_bound", "ready_share", "warming_share", "covered_share", "pilots",
    "evictions", "prime_jobs", "prime_delayed", "prime_wait_mean_s", "prime_wait_p99_s", "prime_delay_max_s",
    "starts_a_day", "gap_length_s", "skipped", "parameters", "seed",
}  # fmt: skip
SWF = "\n".join(
    f"{n} {n * 100} 0 {300 + n} {n % 4 + 1} -1 -1 {n % 4 + 1} 900 -1 1 1 1 -1 -1 -1 -1 -1" for n in range(1, 30)
)


def call(*words):
    return CliRunner().invoke(app, ["simulate", *map(str, words)])


@pytest.fixture
def trace(tmp_path):
    path = tmp_path / "t.swf"
    path.write_text(SWF)
    return path


def test_the_published_model_of_the_recorded_log_is_as_counted(idle_nodes):
    found = call("idle-log", idle_nodes, "--policy", "fib", "--model", "published", "--lengths", "2,4,6", "--json")
    assert found.exit_code == 0, found.output
    report = json.loads(found.stdout)
    assert set(report) >= KEYS
    # Gaps of 120, 15, 1, 60, 1 and 20 samples: three of 36 and one of 12; 12; 36 and 24; 12.
    assert report["pilots"] == 4 + 1 + 2 + 1
    assert report["mean_free_nodes"] == pytest.approx(217 / 120)
    assert report["ready_share"] == pytest.approx((120 + 12 + 60 + 12 - 16) / 217)
    assert report["ready_bound"] == pytest.approx((118 + 13 + 58 + 18) / 217)


@pytest.mark.parametrize("name", sorted(policies.POLICIES))
def test_the_daemon_model_runs_every_policy(idle_nodes, name):
    found = call("idle-log", idle_nodes, "--policy", name, "--foresight", "0.5", "--json")
    report = json.loads(found.stdout)
    assert set(report) >= KEYS
    assert 0 < report["ready_share"] <= report["ready_bound"]
    assert report["covered_share"] == pytest.approx(report["ready_share"] + report["warming_share"])
    assert report["prime_wait_mean_s"] is None  # an idle log does not tell


@pytest.mark.parametrize(("mode", "late"), [("strict", 0), ("yielding", 0), ("off", 0), ("preemptible", None)])
def test_a_job_trace_runs_in_every_mode(trace, mode, late):
    found = call("swf", trace, "--nodes", 4, "--policy", "gap", "--mode", mode, "--json")
    report = json.loads(found.stdout)
    assert set(report) >= KEYS
    assert report["mode"] == mode
    assert report["prime_jobs"] == 29
    assert late is None or report["prime_delayed"] == late
    assert report["prime_delay_max_s"] <= 60.0


def test_a_daemon_that_dies_is_simulated(trace):
    said = call("swf", trace, "--nodes", 4, "--mode", "yielding", "--daemon-dies-at", 0.1, "--orphan", 0, "--json")
    report = json.loads(said.stdout)
    assert report["parameters"]["daemon_dies_at"] == 0.1
    assert report["parameters"]["orphan_s"] is None
    assert report["prime_delay_max_s"] >= report["prime_delay_mean_s"] >= 0


def test_a_dump_of_sacct_runs(tmp_path):
    path = tmp_path / "dump"
    path.write_text(
        "JobID|Submit|ElapsedRaw|Timelimit|NNodes|State\n"
        + "".join(f"{n}|2026-03-01T12:{n:02}:00|600|00:20:00|2|COMPLETED\n" for n in range(30))
    )
    report = json.loads(call("sacct", path, "--nodes", 4, "--policy", "gap", "--json").stdout)
    assert report["prime_jobs"] == 30
    assert report["ready_share"] > 0


def test_several_policies_make_a_list_and_a_table_side_by_side(idle_nodes):
    words = ("idle-log", idle_nodes, "--policy", "fib,gap")
    assert [report["policy"] for report in json.loads(call(*words, "--json").stdout)] == ["fib", "gap"]
    assert "ready share" in call(*words).stdout


def test_a_workload_of_functions_is_told_by_function_and_for_all(idle_nodes, tmp_path):
    path = tmp_path / "functions.json"
    path.write_text(json.dumps({"functions": [{"name": "f", "rate_per_minute": 20, "duration_s": {"median": 3}}]}))
    words = ("idle-log", idle_nodes, "--policy", "gap", "--functions", path)
    found = json.loads(call(*words, "--json").stdout)["functions"]
    assert found["f"] == found["all"]
    assert found["f"]["success_share"] > 0.5
    assert "invocations, gap" in call(*words).stdout


@pytest.mark.skipif(importlib.util.find_spec("matplotlib") is None, reason="matplotlib is not installed")
@pytest.mark.parametrize(("suffix", "magic"), [("png", b"\x89PNG"), ("svg", b"<?xml")])
def test_plots_are_written(idle_nodes, tmp_path, suffix, magic):
    path = tmp_path / f"plot.{suffix}"
    assert call("idle-log", idle_nodes, "--policy", "fib,gap", "--plot", path).exit_code == 0
    assert path.read_bytes().startswith(magic)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--policy", "greedy"), "there is no policy"),
        (("--policy", "gap", "--model", "published"), "--policy fib"),
        (("--policy", "gap", "--foresight", "2"), "foresight"),
        (("--policy", "gap", "--lengths", "two"), "--lengths"),
        (("--policy", "gap", "--lengths", "-2"), "a length"),
        (("--policy", "gap", "--cycle", "0"), "cycle_s"),
        (("--policy", "gap", "--nodes", "2"), "--nodes 2"),
        (("--policy", "gap", "--from", "5", "--to", "6"), "no sample"),
        (("--policy", "gap", "--from", "soon"), "--from"),
        (("--policy", "gap", "--plot", "x.doc"), "suffix"),
        (("--policy", "gap", "--functions", "nowhere.json"), "cannot be read"),
    ],
)
def test_what_is_impossible_gets_one_clear_line(idle_nodes, words, said):
    found = call("idle-log", idle_nodes, *words)
    assert found.exit_code == 1
    assert found.stderr.startswith("error: ")
    assert found.stderr.count("\n") == 1
    assert said in found.stderr


def test_a_trace_with_more_processors_than_nodes_gets_one_clear_line(tmp_path):
    path = tmp_path / "t.swf"
    path.write_text("; MaxProcs: 8\n" + SWF)
    found = call("swf", path, "--nodes", 4, "--policy", "gap", "--mode", "off")
    assert found.exit_code == 1
    assert "8 processors" in found.stderr


def test_skipped_lines_are_told_and_strict_input_refuses_them(trace):
    trace.write_text(SWF + "\nrubbish\n")
    assert "1 line skipped: line 30" in call("swf", trace, "--nodes", 4, "--mode", "off").stderr
    refused = call("swf", trace, "--nodes", 4, "--mode", "off", "--strict-input")
    assert refused.exit_code == 1
    assert "line 30" in refused.stderr


# ---- the traces of others


def test_the_published_figures_of_17_march_2022_come_out(traces):
    path = traces / "prometheus-2022-03-17-idle-nodes.txt.gz"
    words = ("--from", 1647471600, "--to", 1647558000, "--policy", "fib", "--model", "published", "--json")
    found = call("idle-log", path, *words)
    report = json.loads(found.stdout)
    assert round(report["idle_share"], 6) == 0.005181
    assert round(report["mean_free_nodes"], 3) == 11.854
    assert round(report["ready_bound"], 4) == 0.9681
    assert round(report["ready_share"], 4) == 0.8934
    assert round(report["warming_share"], 4) == 0.0261
    assert report["pilots"] == 1248


@pytest.mark.parametrize("foresight", [0.0, 0.5, 1.0])
def test_gap_reaches_the_bound_and_is_never_behind_the_published_policies(traces, foresight):
    log = idle_log.read(traces / "prometheus-2022-03-17-idle-nodes.txt.gz").between(1647471600, 1647558000)
    ready = {
        name: simulate_idle_log(log, policies.by_name(name), Parameters(foresight=foresight))
        for name in ("fib", "var", "gap")
    }
    bound, gap = ready["gap"].ready_bound, ready["gap"].ready_share
    better = max(ready["fib"].ready_share, ready["var"].ready_share)
    assert gap >= 0.95 * bound
    assert gap >= better
    assert foresight < 0.5 or gap - better >= (bound - better) / 2


@pytest.mark.parametrize("mode", ["strict", "preemptible", "yielding"])
def test_prime_jobs_of_theta_do_not_notice(traces, mode):
    trace = swf.read(traces / "theta-2023.swf.gz").on(4360)
    part = type(trace)(source=trace.source, jobs=trace.jobs[2000:2300])
    report = simulate_jobs(part, policies.by_name("gap"), Parameters(nodes=4360, mode=HarvestMode(mode)))
    assert report.prime_delayed_over_grace == 0
    assert report.ready_share > 0
    if mode != "preemptible":
        assert report.prime_delayed == 0
    else:
        assert report.prime_delay_max_s <= timedelta(minutes=1).total_seconds()
