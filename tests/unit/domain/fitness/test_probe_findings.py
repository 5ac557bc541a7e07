"""What a probe's report, or its silence, means."""

import msgspec
import pytest

from harvester.domain.fitness.findings import Severity, Topic
from harvester.domain.fitness.probe_findings import (
    Expected,
    ProbeAnswered,
    ProbeRefused,
    ProbeSilent,
    ProbeWaits,
    of_the_probe,
)
from harvester.domain.fitness.site_facts import HearsBy
from harvester.domain.protocol.site_probe import Dial, ProbeReport

URL = "http://login1:8321"
EXPECTED = Expected(
    partition="harvest",
    user="ann",
    uid=1000,
    python="3.11",
    harvester="0.1.0",
    state="/shared/harvester",
    hears_by=HearsBy.STEP,
)
REPORT = ProbeReport(
    nonce="x",
    host="n1",
    user="ann",
    uid=1000,
    python="3.11.2",
    executable="/usr/bin/python3",
    harvester="0.1.0",
    cpus=1,
    is_step=True,
    dials=(Dial(url="http://login1:8321", took_s=0.01, is_check=True, skew_s=0.02, grain_s=0.1),),
    variables=("HOME", "PATH"),
    free_mb=5000,
)


def found(outcome, **changes):
    return list(of_the_probe(outcome, msgspec.structs.replace(EXPECTED, **changes)))


def reported(**changes):
    return ProbeAnswered(report=msgspec.structs.replace(REPORT, **changes), waited_s=1.5)


def the_bad_one(outcome, **changes):
    (bad,) = [each for each in found(outcome, **changes) if each.severity in {Severity.WARNING, Severity.ERROR}]
    assert bad.remedy
    return bad


def test_a_good_report_has_only_good_findings():
    assert {each.severity for each in found(reported())} == {Severity.OK}
    told = " ".join(each.text for each in found(reported()))
    for words in ("(n1) has reported after 1.5 s", "n1 reaches this check", "Python 3.11.2", "uid 1000", "a step"):
        assert words in told


@pytest.mark.parametrize(
    ("changes", "severity", "words"),
    [
        ({"missing": ("psutil",)}, Severity.ERROR, "cannot import psutil"),
        ({"harvester": "0.0.9"}, Severity.WARNING, "this host has harvester 0.1.0"),
        ({"python": "3.12.1"}, Severity.WARNING, "the configuration says 3.11"),
        ({"uid": 65534, "user": "nobody"}, Severity.WARNING, "run as nobody (uid 65534)"),
        ({"variables": ("PATH",)}, Severity.WARNING, "no HOME"),
        ({"free_mb": 3}, Severity.WARNING, "3 MB left"),
        ({"is_step": False}, Severity.WARNING, "did not run in a step"),
        (
            {"dials": (Dial(url="http://x:1", trouble="Connection refused", remedy="open it"),)},
            Severity.ERROR,
            "refused",
        ),
        ({"dials": (Dial(url="http://x:1", skew_s=-40.0, grain_s=0.1),)}, Severity.WARNING, "40.0 s behind"),
    ],
)
def test_what_is_wrong_on_a_node_is_told_once_with_what_to_do(changes, severity, words):
    bad = the_bad_one(reported(**changes))
    assert bad.severity is severity
    assert words in bad.text


def test_under_pbs_the_probe_must_lead_its_session():
    assert the_bad_one(reported(), hears_by=HearsBy.SESSION_LEADER).topic is Topic.EVICTION
    led = found(reported(is_session_leader=True), hears_by=HearsBy.SESSION_LEADER)
    assert {each.severity for each in led} == {Severity.OK}


def test_a_refusal_is_an_error_and_a_wait_is_a_warning_with_the_schedulers_word():
    assert the_bad_one(ProbeRefused(why="Invalid account")).severity is Severity.ERROR
    assert "PATH" in the_bad_one(ProbeRefused(why="qsub cannot be run", is_answer=False)).remedy
    bad = the_bad_one(ProbeWaits(reason="Resources", waited_s=120.0))
    assert (bad.severity, "Resources" in bad.text, "--wait" in bad.remedy) == (Severity.WARNING, True, True)


@pytest.mark.parametrize(
    ("output", "words", "remedy"),
    [
        ("slurmstepd: error: execve(): /no/python: No such file or directory\n", "execve()", "set `python`"),
        ("/usr/bin/python3: No module named harvester_worker\n", "No module named", "install harvester"),
        ("cannot read the pilot file /shared/x: No such file or directory\n", "the pilot file", "set `state`"),
        (None, "do not see the state folder", "set `state`"),
        ("", "output is empty", "by hand"),
    ],
)
def test_a_probe_that_ends_without_a_report_tells_the_line_that_says_why(output, words, remedy):
    bad = the_bad_one(ProbeSilent(reason="it ended (NonZeroExitCode)", output=output))
    assert bad.severity is Severity.ERROR
    assert words in bad.text
    assert remedy in bad.remedy
    assert bad.text.count(bad.remedy) == 0


def test_a_probe_that_runs_but_whose_report_is_not_seen_has_another_folder():
    bad = the_bad_one(ProbeSilent(reason="", output=None, has_ended=False))
    assert "its report is not seen here" in bad.text
