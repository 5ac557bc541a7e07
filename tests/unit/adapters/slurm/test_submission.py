"""What sbatch is asked, and what its answers prove: pilots longer than a day, an sbatch that was killed."""

from datetime import timedelta
from pathlib import Path

import pytest

from harvester.domain.cluster.ports import PilotOrder, SchedulerUnavailable, SubmissionRejected
from harvester.domain.cluster.snapshot import Node, NodeState
from harvester.domain.model.resources import Resources
from harvester_adapters.scheduler_command import CommandResult
from harvester_adapters.slurm.slow_look import Slow
from harvester_adapters.slurm.submission import batch_job_id, judge_submission, sbatch_arguments
from harvester_adapters.slurm.text.config import SiteConfig

ORDER = PilotOrder(
    pilot_id="p1",
    name="hv-p1",
    partition="harvest",
    resources=Resources(cpus=2),
    walltime=timedelta(minutes=14),
    command=("python3",),
    output=Path("/x/output.txt"),
)


def answer(exit_code: int, stderr: str = "", stdout: str = "") -> CommandResult:
    return CommandResult(argv=("sbatch",), exit_code=exit_code, stdout=stdout, stderr=stderr)


@pytest.mark.parametrize(
    ("walltime", "told"),
    [
        (timedelta(minutes=14), "0:14:00"),
        (timedelta(hours=23, minutes=59, seconds=59), "23:59:59"),
        (timedelta(days=1), "24:00:00"),
        (timedelta(days=2, hours=1, minutes=30), "49:30:00"),
        (timedelta(seconds=89.2), "0:01:30"),
        (timedelta(0), "0:00:01"),  # 0 is no limit at all
    ],
)
def test_a_walltime_is_told_in_hours_also_when_it_is_longer_than_a_day(walltime, told):
    order = PilotOrder(**{name: getattr(ORDER, name) for name in ORDER.__struct_fields__} | {"walltime": walltime})
    assert f"--time={told}" in sbatch_arguments(order, 0.0)


@pytest.mark.parametrize("exit_code", [-9, -15])
def test_a_killed_sbatch_proves_nothing_the_batch_job_may_exist(exit_code):
    with pytest.raises(SchedulerUnavailable, match=r"hv-p1 \(it may exist\): nothing, exit code -\d+"):
        judge_submission("hv-p1", answer(exit_code))
    with pytest.raises(SchedulerUnavailable, match="it may exist"):
        judge_submission("hv-p1", answer(exit_code, "sbatch: error: whatever it was at"))


def test_an_sbatch_that_reached_no_controller_proves_nothing_and_one_that_was_refused_does():
    with pytest.raises(SchedulerUnavailable, match="it may exist"):
        judge_submission("hv-p1", answer(1, "sbatch: error: Unable to contact slurm controller"))
    with pytest.raises(SubmissionRejected, match="sbatch refused hv-p1: sbatch: error: Invalid account"):
        judge_submission("hv-p1", answer(1, "sbatch: error: Invalid account"))
    judge_submission("hv-p1", answer(0, "sbatch: warning: whatever"))


def test_an_sbatch_that_succeeds_without_an_id_proves_nothing_either():
    assert batch_job_id("hv-p1", answer(0, stdout="sbatch: a banner\n123;cluster\n")) == "123"
    with pytest.raises(SchedulerUnavailable, match="look for it by its name"):
        batch_job_id("hv-p1", answer(0))


@pytest.mark.parametrize(("state", "is_missed"), [(NodeState.RESERVED, True), (NodeState.IDLE, False)])
def test_a_reserved_node_in_no_known_reservation_is_asked_about_at_once(state, is_missed):
    slow = Slow(site=SiteConfig(version="24.11", preempt_type="", preempt_mode=""), partitions=(), reservations=())
    all_of_it = Resources(cpus=2)
    node = Node(name="n1", state=state, partitions=(), total=all_of_it, free=all_of_it)
    assert slow.misses([node], []) is is_missed
