"""What qsub is told, and what is made of what it answers."""

from datetime import timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from harvester.domain.cluster.ports import LimitReached, PilotOrder, SchedulerUnavailable, SubmissionRejected
from harvester.domain.model.resources import Resources
from harvester_adapters.pbs.submission import PbsSubmitOptions, judge_change, judge_submission, qsub_arguments
from harvester_adapters.pbs.words import checked_ids
from harvester_adapters.scheduler_command import CommandResult

ORDER = PilotOrder(
    pilot_id="P1",
    name="harvester-P1",
    partition="harvest",
    resources=Resources(cpus=4, gpus=1, memory_mb=2048),
    walltime=timedelta(minutes=10),
    command=("/usr/bin/python3", "-m", "harvester_worker", "--pilot-file", "/shared/P1/pilot.json"),
    output=Path("/shared/P1/output.txt"),
)
PLAIN = PbsSubmitOptions()


def arguments(order=ORDER, *, options=PLAIN, is_rerunnable=False, environment=()):
    return qsub_arguments(order, options=options, is_rerunnable=is_rerunnable, environment=dict(environment))


def options_of(order=ORDER, **more):
    found = arguments(order, **more)
    return found[: found.index("--")]


def answer(exit_code, stderr="", stdout=""):
    return CommandResult(argv=("qsub",), exit_code=exit_code, stdout=stdout, stderr=stderr)


def test_a_pilot_is_submitted_in_the_foreground_and_as_a_command_of_its_own():
    found = arguments()
    assert found[0] == "-f"
    assert found[found.index("--") + 1 :][:2] == ["/bin/sh", "-c"]
    assert found[-5:] == list(ORDER.command)


def test_resources_walltime_queue_and_name_are_told():
    found = options_of()
    assert found[1:7] == ["-N", "harvester-P1", "-q", "harvest", "-l", "select=1:ncpus=4:ngpus=1:mem=2048mb"]
    assert found[7:9] == ["-l", "walltime=600"]
    assert "select=1:ncpus=1" in options_of(replace(ORDER, resources=Resources(cpus=1)))


def test_a_node_and_what_the_site_wants_are_in_the_chunk():
    options = PbsSubmitOptions(project="proj", place="excl", extra_select="Qlist=harvest")
    found = options_of(replace(ORDER, node="pn1", account="acct", nice=5), options=options)
    assert "select=1:ncpus=4:ngpus=1:mem=2048mb:host=pn1:Qlist=harvest" in found
    assert [found[found.index(flag) + 1] for flag in ("-A", "-P", "-p")] == ["acct", "proj", "-5"]
    assert "place=excl" in found
    assert options_of(replace(ORDER, nice=1_000_000))[-1] == "-1024"


def test_a_least_walltime_lets_pbs_choose():
    found = options_of(replace(ORDER, time_min=timedelta(seconds=90.2)))
    assert "min_walltime=91" in found
    assert "max_walltime=600" in found
    assert not any(word.startswith("walltime=") for word in found)


def test_a_pilot_is_put_back_into_the_queue_only_where_it_must_be():
    assert options_of()[options_of().index("-r") + 1] == "n"
    found = options_of(is_rerunnable=True)
    assert found[found.index("-r") + 1] == "y"


def test_nothing_that_a_user_may_not_read_is_on_the_command_line():
    found = " ".join(arguments(environment={"LANG": "C.UTF-8", "PATH": "/bin"}))
    assert "-v" not in arguments()
    assert "-V" not in arguments()
    assert "LANG=C.UTF-8 PATH=/bin /usr/bin/python3" in found


@pytest.mark.parametrize("name", ["a b", "naïve", "x" * 231, 'quo"te', "", "a=b"])
def test_a_name_that_pbs_refuses_is_refused_before(name):
    with pytest.raises(SubmissionRejected, match="PBS refuses the name"):
        arguments(replace(ORDER, name=name))


@pytest.mark.parametrize(
    ("exit_code", "words"),
    [
        (162, "Connection refused\nqsub: cannot connect to server vm (errno=15010)"),
        (255, "No route to host"),
        (1, "Unknown Host."),
        (-9, ""),
        (11, "qsub: Resource temporarily unavailable"),
    ],
)
def test_no_server_is_no_refusal(exit_code, words):
    with pytest.raises(SchedulerUnavailable, match="harvester-P1 \\(it may exist\\)"):
        judge_submission("harvester-P1", answer(exit_code, words))


@pytest.mark.parametrize(
    ("exit_code", "words"),
    [
        (175, "qsub: Bad UID for job execution"),
        (170, "qsub: Unknown queue"),
        (159, "qsub: Unauthorized Request "),
        (188, "qsub: Job violates queue and/or server resource limits"),
        (38, "qsub: would exceed queue generic's per-user limit"),
        (166, "qsub: Illegal attribute or resource value project"),
        (2, "qsub: illegal -N value\nusage: qsub [-a date_time] …"),
        (1, ""),
    ],
)
def test_a_refusal_is_told_in_qsubs_words(exit_code, words):
    with pytest.raises(SubmissionRejected, match="qsub refused harvester-P1: ") as refused:
        judge_submission("harvester-P1", answer(exit_code, words))
    assert words.split("\n")[0].strip() in str(refused.value)


def test_a_refusal_that_ends_with_another_batch_job_of_ours_is_a_limit():
    with pytest.raises(LimitReached):
        judge_submission("n", answer(38, "qsub: would exceed queue generic's per-user limit"))
    with pytest.raises(SubmissionRejected) as refused:
        judge_submission("n", answer(188, "qsub: Job violates queue and/or server resource limits"))
    assert not isinstance(refused.value, LimitReached)


def test_the_id_is_told_without_the_server_and_a_success_without_one_is_looked_for_by_name():
    assert judge_submission("n", answer(0, stdout="123.vm.example.org\n")) == "123"
    assert judge_submission("n", answer(0, stdout="a hook says hello\n124.vm\n")) == "124"
    with pytest.raises(SchedulerUnavailable, match="look for it by its name"):
        judge_submission("n", answer(0, stdout="welcome"))


def test_what_is_over_or_unknown_is_no_error_of_a_change_and_others_are():
    judge_change(answer(0))
    judge_change(answer(153, "qdel: Unknown Job Id 99.vm"))
    judge_change(answer(35, "qdel: Job has finished 4.vm\nqdel: Unknown Job Id 5.vm"))
    for words in ("qdel: Unauthorized Request  149.vm", "qdel: Unknown Job Id 1.vm\nConnection refused", ""):
        with pytest.raises(SchedulerUnavailable):
            judge_change(answer(159, words))


@pytest.mark.parametrize("word", ["", "-W", "1 2", "1;2", "all", "1.vm;x", "²"])
def test_what_is_no_id_reaches_no_command(word):
    with pytest.raises(ValueError, match="not the id of a PBS batch job"):
        checked_ids((word,))
    assert checked_ids(("1", "2.vm", "68[3]", "68[].vm.example.org")) == ("1", "2.vm", "68[3]", "68[].vm.example.org")
