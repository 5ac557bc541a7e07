"""Pilots through PSI/J's batch executors: what is asked of bsub and qsub, and what their answers prove."""

import json
import shlex
import stat
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from support.scripted_commands import ScriptedCommands

from harvester.domain.cluster.ports import PilotOrder, SchedulerUnavailable, SubmissionRejected, SubmissionUnsent
from harvester.domain.cluster.snapshot import BatchState
from harvester.domain.model.resources import Resources
from harvester_adapters.psij.batch import BatchPilots, batch_script
from harvester_adapters.psij.carrier import PsijSite
from harvester_adapters.psij.cobalt import CobaltPilots
from harvester_adapters.psij.lsf import LsfPilots
from harvester_adapters.psij.pbs_classic import ClassicPbsPilots

EXECUTORS: dict[str, type[BatchPilots]] = {"lsf": LsfPilots, "cobalt": CobaltPilots, "pbs_classic": ClassicPbsPilots}
SUBMITTED = {
    "lsf": "Job <4711> is submitted to queue <idle>.\n",
    "cobalt": "\n4711\n",
    "pbs_classic": "4711.head.example.org\n",
}
IDS = {"lsf": "4711", "cobalt": "4711", "pbs_classic": "4711.head.example.org"}


def order(folder: Path) -> PilotOrder:
    return PilotOrder(
        pilot_id="p1",
        name="hv-0123abcd-0123456789ab",
        partition="idle",
        resources=Resources(cpus=4, gpus=2, memory_mb=2000),
        walltime=timedelta(minutes=89, seconds=1),
        command=("/usr/bin/python3", "-m", "harvester_worker", "--pilot-file", "/a b/pilot.json"),
        output=folder / "output.txt",
    )


def made(kind: str, folder: Path, commands: ScriptedCommands, **site: object) -> BatchPilots:
    plain = PsijSite(executor=kind, work_dir=folder / "work")
    return EXECUTORS[kind](replace(plain, **site), commands)


@pytest.mark.parametrize("kind", EXECUTORS)
def test_a_pilot_is_submitted_with_everything_on_the_command_line_and_its_script_stays(kind, tmp_path):
    commands = ScriptedCommands((0, SUBMITTED[kind]))
    found = made(kind, tmp_path, commands, options=("-x", "y z")).submit_pilot(replace(order(tmp_path), account="ours"))
    assert found == IDS[kind]
    (argv,) = commands.asked
    assert argv[-3:] == ["-x", "y z", str(tmp_path / "pilot.sh")]
    assert "ours" in argv
    assert (tmp_path / "pilot.sh").stat().st_mode & stat.S_IXUSR
    assert not list((tmp_path / "work").rglob("*.job")), "PSI/J's own file is not left behind"
    words = shlex.join(argv)
    expected = {
        "lsf": (
            "bsub", "-J hv-0123abcd-0123456789ab", "-q idle", "-n 4", "-R 'span[hosts=1]'", "-W 1:30", "-rn",
            "-M 2000MB", "-gpu num=2", "-P ours",
        ),
        "cobalt": ("qsub", "--jobname=hv-0123abcd-0123456789ab", "--queue=idle", "--nodecount=1", "--time=90"),
        "pbs_classic": (
            "qsub", "-N hv-0123456789ab", "-q idle", "-r n", "nodes=1:ppn=4:gpus=2", "walltime=1:30:00", "mem=2000mb",
        ),
    }  # fmt: skip
    for word in expected[kind]:
        assert word in words, words


@pytest.mark.parametrize("kind", EXECUTORS)
def test_a_folder_with_a_blank_reaches_the_shell_of_bsub_and_the_open_of_qsub(kind, tmp_path):
    folder = tmp_path / "a b"
    folder.mkdir()
    commands = ScriptedCommands((0, SUBMITTED[kind]))
    made(kind, tmp_path, commands).submit_pilot(order(folder))
    (argv,) = commands.asked
    assert argv[-1] == (f"'{folder}/pilot.sh'" if kind == "lsf" else f"{folder}/pilot.sh")


@given(st.text(alphabet=st.characters(blacklist_characters="\x00", codec="utf-8"), min_size=1, max_size=20))
def test_the_script_hands_on_each_word_of_the_command_as_it_is(word):
    plain = order(Path("/state/pilots/p1"))
    *_, last = batch_script(replace(plain, command=("/bin/true", word)), "LSB_JOBID").partition("\nexec ")
    assert shlex.split(last) == ["/bin/true", word]


@pytest.mark.parametrize("kind", EXECUTORS)
@pytest.mark.parametrize(
    ("code", "words"),
    [
        (255, "Failed in an LSF library call: Communication time out."),
        (-9, ""),
        (0, "submitted, I think"),
        (0, ""),
    ],
)
def test_an_answer_that_is_neither_yes_nor_no_proves_nothing(kind, code, words, tmp_path):
    executor = made(kind, tmp_path, ScriptedCommands((code, words)))
    with pytest.raises(SchedulerUnavailable, match=r"it may exist|told no id"):
        executor.submit_pilot(order(tmp_path))


@pytest.mark.parametrize("kind", EXECUTORS)
@pytest.mark.parametrize(
    "words",
    [
        "Cannot connect to LSF. Please wait ...",
        "Failed in an LSF library call: Communication time out. Job not submitted.",
        "qsub: cannot connect to server head (errno=111) Connection refused",
        "pbsconf error: pbs conf variables not found: PBS_HOME PBS_EXEC qsub: cannot connect to server (errno=0)",
    ],
)
def test_a_submission_that_reached_nobody_leaves_nothing_to_look_for(kind, words, tmp_path):
    executor = made(kind, tmp_path, ScriptedCommands((111, "", words)))
    with pytest.raises(SubmissionUnsent, match="so hv-0123abcd-0123456789ab was not submitted"):
        executor.submit_pilot(order(tmp_path))


@pytest.mark.parametrize("kind", EXECUTORS)
def test_a_refusal_names_the_pilot_and_the_schedulers_words(kind, tmp_path):
    executor = made(kind, tmp_path, ScriptedCommands((255, "idle: No such queue. Job not submitted.")))
    with pytest.raises(SubmissionRejected, match="refused hv-0123abcd-0123456789ab: idle: No such queue"):
        executor.submit_pilot(order(tmp_path))


@pytest.mark.parametrize("kind", EXECUTORS)
def test_an_id_that_could_be_an_option_is_not_handed_to_a_command(kind, tmp_path):
    commands = ScriptedCommands()
    executor = made(kind, tmp_path, commands)
    for verb in (executor.cancel_pilots, executor.hints):
        with pytest.raises(ValueError, match="is not the id of a batch job"):
            verb([IDS[kind], "-all"])
    assert commands.asked == []


@pytest.mark.parametrize("kind", EXECUTORS)
def test_cancelling_what_is_over_is_no_error_and_what_was_not_answered_is(kind, tmp_path):
    over = {
        "lsf": "Job <4711>: Job has already finished",
        "cobalt": "jobid 4711 not found",
        "pbs_classic": "qdel: Unknown Job Id 4711.head.example.org",
    }
    made(kind, tmp_path, ScriptedCommands((255, "", over[kind]))).cancel_pilots([IDS[kind]])
    with pytest.raises(SchedulerUnavailable):
        made(kind, tmp_path, ScriptedCommands((255, "", "LIM is down; try later"))).cancel_pilots([IDS[kind]])


@pytest.mark.parametrize("kind", EXECUTORS)
@given(said=st.one_of(st.text(max_size=80), st.binary(max_size=80).map(lambda said: said.decode(errors="replace"))))
def test_whatever_is_said_of_states_no_look_fails_and_nothing_is_invented(kind, said, tmp_path_factory):
    executor = made(kind, tmp_path_factory.getbasetemp(), ScriptedCommands((0, said)))
    assert [batch.batch_job_id for batch in executor.hints([IDS[kind]]) if batch.state.is_ended] == []


def lsf_answer(*records: dict[str, str]) -> str:
    return json.dumps({"COMMAND": "bjobs", "JOBS": len(records), "RECORDS": records})


def test_lsf_tells_states_also_of_those_that_ended_for_a_reason(tmp_path):
    rows = [
        {"JOBID": "1", "STAT": "RUN", "JOB_NAME": "hv-a", "EXIT_REASON": ""},
        {"JOBID": "2", "STAT": "EXIT", "JOB_NAME": "hv-b", "EXIT_REASON": "TERM_PREEMPT: job killed"},
        {"JOBID": "3", "STAT": "SSUSP", "JOB_NAME": "hv-c", "EXIT_REASON": ""},
        {"JOBID": "4", "STAT": "UNKWN", "JOB_NAME": "hv-d", "EXIT_REASON": ""},
        {"JOBID": "5", "ERROR": "Job <5> is not found"},
    ]
    commands = ScriptedCommands((0, lsf_answer(*rows)), (0, lsf_answer(*rows)))
    lsf = made("lsf", tmp_path, commands)
    found = {batch.batch_job_id: batch for batch in lsf.hints(["1", "2", "3", "4", "5"])}
    assert {each: batch.state for each, batch in found.items()} == {
        "1": BatchState.RUNNING,
        "2": BatchState.FAILED,
        "3": BatchState.SUSPENDED,
        "4": BatchState.UNKNOWN,
    }
    assert found["2"].reason == "TERM_PREEMPT: job killed"
    assert [(batch.batch_job_id, batch.name) for batch in lsf.listed()] == [("1", "hv-a"), ("3", "hv-c"), ("4", "hv-d")]


@pytest.mark.parametrize("answer", [(255, "", "No unfinished job found"), (0, "", ""), (0, lsf_answer())])
def test_lsf_without_batch_jobs_lists_none(answer, tmp_path):
    assert made("lsf", tmp_path, ScriptedCommands(answer)).listed() == ()


@pytest.mark.parametrize("answer", [(255, "", "LSF is down. Please wait ..."), (0, '{"RECORDS": [{"JOBI'), (0, "[]")])
def test_a_list_that_cannot_be_read_is_no_answer(answer, tmp_path):
    with pytest.raises(SchedulerUnavailable):
        made("lsf", tmp_path, ScriptedCommands(answer)).listed()


CLASSIC = """Job Id: 1.head
    Job_Name = hv-a
    job_state = R
    Variable_List = PBS_O_HOME=/home/u,
\tjob_state=Q
Job Id: 2.head
    job_state = C
    exit_status = 271
Job Id: 3.head
    job_state = Q
Job Id: 4.head
    job_state = C
    exit_status = 0
"""


def test_classic_pbs_is_read_from_plain_text_also_beside_an_unknown_id(tmp_path):
    executor = made("pbs_classic", tmp_path, ScriptedCommands((153, CLASSIC, "qstat: Unknown Job Id Error 9.head")))
    assert {batch.batch_job_id: batch.state for batch in executor.hints(["1.head", "2.head", "3.head", "9.head"])} == {
        "1.head": BatchState.RUNNING,
        "2.head": BatchState.FAILED,
        "3.head": BatchState.PENDING,
        "4.head": BatchState.COMPLETED,
    }
