"""What one look at a cluster means for pilots."""

from datetime import timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harvester.domain.cluster.knowledge import Knowledge
from harvester.domain.cluster.snapshot import BatchJob, BatchState, ClusterSnapshot, Node, NodeState, Partition
from harvester.domain.fitness import cluster_findings
from harvester.domain.fitness.findings import Severity
from harvester.domain.fitness.site_facts import HearsBy, SiteFacts
from harvester.domain.fitness.window_cost import of_the_windows, window_worth
from harvester.domain.harvest.planning import HarvestMode, HarvestSettings, Shape
from harvester.domain.model.resources import Resources

NOW = 1_800_000_000.0
WHOLE = Resources(cpus=4, memory_mb=1000)
PRIME = Partition(name="prime", is_default=True, priority_tier=10, why_not="its batch jobs are never preempted")
HARVEST = Partition(name="harvest", is_preemptible=True, grace_time=timedelta(minutes=1), max_time=timedelta(hours=2))
SHAPE = Shape(name="cpu", partition="harvest", resources=WHOLE)
SETTINGS = HarvestSettings(shapes=(SHAPE,), lengths=(timedelta(minutes=2), timedelta(minutes=90)))
FACTS = SiteFacts(source="squeue", hears_by=HearsBy.STEP)
SLOW = Severity.WARNING


def node(name: str, **changes) -> Node:
    fields = {"state": NodeState.IDLE, "partitions": ("prime", "harvest"), "total": WHOLE, "free": WHOLE}
    return Node(name=name, **(fields | changes))


def cluster(*nodes: Node, partitions=(PRIME, HARVEST), batch_jobs=()) -> ClusterSnapshot:
    return ClusterSnapshot(
        taken_at=NOW, scheduler="slurm 22.05.8", nodes=nodes, batch_jobs=batch_jobs, partitions=partitions
    )


def settings(**changes) -> HarvestSettings:
    return msgspec.structs.replace(SETTINGS, **changes)


def harvest(**changes) -> Partition:
    return msgspec.structs.replace(HARVEST, **changes)


def words(found) -> str:
    return "\n".join(f"{each.severity}: {each.text} -> {each.remedy}" for each in found)


def test_a_good_site_has_nothing_bad_and_says_where_pilots_go():
    snapshot = cluster(node("n1"), node("n2"))
    found = [
        *cluster_findings.of_the_look(snapshot, FACTS),
        *cluster_findings.of_the_times([0.01], [0.005], timeout_s=10),
        *cluster_findings.of_the_partitions(snapshot, SETTINGS),
        *cluster_findings.of_evictions(snapshot, SETTINGS, FACTS),
        *cluster_findings.of_the_limits(snapshot, SETTINGS),
        *cluster_findings.of_hidden_batch_jobs(snapshot, SETTINGS, FACTS),
        *of_the_windows(snapshot, SETTINGS),
    ]
    assert {each.severity for each in found} == {Severity.OK, Severity.NOTE}
    told = words(found)
    assert "slurm 22.05.8 answers, read from squeue: 2 nodes, 2 partitions, 0 batch jobs" in told
    assert '"harvest" (pilots go here) can be harvested' in told
    assert '"prime" is not harvested: its batch jobs are never preempted (2 nodes, any walltime)' in told
    assert "grace time of 1 min" in told
    assert "hears of its eviction at once" in told


def test_a_partition_that_is_down_or_has_no_nodes_is_said_to_be_so():
    told = words(cluster_findings.of_the_partitions(cluster(node("n1", partitions=("prime",))), SETTINGS))
    assert '"harvest" (pilots go here) has no nodes' in told
    (found,) = cluster_findings.of_the_partitions(cluster(node("n1"), partitions=(harvest(is_up=False),)), SETTINGS)
    assert (found.severity, "it is not up" in found.text) == (Severity.WARNING, True)


def test_without_preemption_the_mode_preemptible_is_an_error_with_a_remedy():
    snapshot = cluster(node("n1"), partitions=(PRIME, harvest(is_preemptible=False, why_not="nobody is preempted")))
    (found,) = cluster_findings.of_evictions(snapshot, SETTINGS, None)
    assert found.severity is Severity.ERROR
    assert found.about == "harvest"
    assert "nobody is preempted" in found.text
    assert "yielding" in found.remedy


@pytest.mark.parametrize("mode", [HarvestMode.STRICT, HarvestMode.YIELDING])
def test_other_modes_are_fine_without_preemption_and_too_careful_with_it(mode):
    without = cluster(node("n1"), partitions=(PRIME, harvest(is_preemptible=False)))
    (found,) = cluster_findings.of_evictions(without, settings(mode=mode), FACTS)
    assert found.severity is Severity.OK
    (found,) = cluster_findings.of_evictions(cluster(node("n1")), settings(mode=mode), FACTS)
    assert (found.severity, "preemptible" in found.remedy) == (Severity.NOTE, True)


def test_no_grace_time_is_told_with_what_to_ask_for():
    snapshot = cluster(node("n1"), partitions=(harvest(grace_time=timedelta(0)),))
    found = next(cluster_findings.of_evictions(snapshot, SETTINGS, None))
    assert (found.severity, "no grace time" in found.text) == (Severity.NOTE, True)
    assert "a grace time of a minute" in found.remedy


def test_a_pilot_that_fits_no_node_is_an_error_that_names_the_largest():
    big = Shape(name="big", partition="harvest", resources=Resources(cpus=64))
    (found,) = [
        each
        for each in cluster_findings.of_the_limits(cluster(node("n1")), settings(shapes=(big,)))
        if each.severity is Severity.ERROR
    ]
    assert found.about == "big"
    assert "the largest has 4 CPUs, 1000 MB" in found.text


@pytest.mark.parametrize("changes", [{"state": NodeState.DOWN}, {"state": NodeState.DRAINED}, {"leaving": "reboot"}])
def test_a_partition_whose_nodes_are_out_of_service_is_a_warning(changes):
    found = list(cluster_findings.of_the_limits(cluster(node("n1", **changes)), SETTINGS))
    assert [each.severity for each in found] == [Severity.WARNING]


def test_nodes_that_are_all_asleep_are_a_warning_and_one_awake_is_enough():
    asleep, awake = node("n1", is_asleep=True), node("n2")
    (found,) = cluster_findings.of_the_limits(cluster(asleep), SETTINGS)
    assert (found.severity, "wake" in found.remedy) == (Severity.WARNING, True)
    assert next(cluster_findings.of_the_limits(cluster(asleep, awake), SETTINGS)).severity is Severity.OK


def test_a_partition_that_takes_no_pilots_of_ours_is_an_error_where_they_should_go():
    snapshot = cluster(node("n1"), partitions=(PRIME, harvest(refuses="only root may submit to it")))
    assert "is not harvested: only root may submit" in words(cluster_findings.of_the_partitions(snapshot, SETTINGS))
    found = next(cluster_findings.of_the_limits(snapshot, SETTINGS))
    assert (found.severity, found.about) == (Severity.ERROR, "harvest")


def test_pilots_that_are_exempt_from_eviction_for_a_while_are_a_warning():
    snapshot = cluster(node("n1"), partitions=(harvest(exempt_time=timedelta(seconds=30)),))
    (found,) = [
        each for each in cluster_findings.of_evictions(snapshot, SETTINGS, None) if each.severity is Severity.WARNING
    ]
    assert "in their first 30 s" in found.text


def test_what_an_adapter_cannot_see_is_told_and_not_judged():
    blind = Knowledge(nodes=False, names=False, states=False, lost=("There are no windows.",))
    snapshot = msgspec.structs.replace(cluster(), knowledge=blind)
    found = [
        *cluster_findings.of_the_look(snapshot, None),
        *cluster_findings.of_what_is_not_seen(snapshot),
        *cluster_findings.of_the_partitions(snapshot, SETTINGS),
        *cluster_findings.of_evictions(snapshot, SETTINGS, None),
        *cluster_findings.of_the_limits(snapshot, SETTINGS),
        *cluster_findings.of_hidden_batch_jobs(snapshot, SETTINGS, None),
        *of_the_windows(snapshot, SETTINGS),
    ]
    assert "note: There are no windows ->" in words(found)
    assert {each.severity for each in found} == {Severity.OK, Severity.NOTE}
    assert "taken as you say it is" in words(found)


def test_a_partition_shorter_than_every_pilot_is_an_error_and_shorter_than_some_a_note():
    for most, severity in ((timedelta(minutes=1), Severity.ERROR), (timedelta(minutes=30), Severity.NOTE)):
        snapshot = cluster(node("n1"), partitions=(harvest(max_time=most),))
        assert next(cluster_findings.of_the_limits(snapshot, SETTINGS)).severity is severity


@pytest.mark.parametrize(
    ("looks", "severity"), [([0.02, 0.02, 0.04], Severity.OK), ([1.5, 1.5, 0.1], SLOW), ([0.1, 0.1, 7.0], SLOW)]
)
def test_slow_commands_are_a_warning_by_their_median_or_near_the_timeout(looks, severity):
    (found,) = cluster_findings.of_the_times(looks, [], timeout_s=10)
    assert found.severity is severity
    assert bool(found.remedy) is (severity is SLOW)


def test_hidden_batch_jobs_are_a_warning_where_the_scheduler_evicts_and_an_error_where_we_must_see_them():
    by_facts = (cluster(node("n1")), msgspec.structs.replace(FACTS, hides_batch_jobs=True))
    by_look = (msgspec.structs.replace(cluster(node("n1")), hidden="other users' batch jobs"), None)
    for snapshot, facts in (by_facts, by_look):
        (found,) = cluster_findings.of_hidden_batch_jobs(snapshot, SETTINGS, facts)
        assert found.severity is Severity.WARNING
        yielding = settings(mode=HarvestMode.YIELDING)
        (found,) = cluster_findings.of_hidden_batch_jobs(snapshot, yielding, facts)
        assert found.severity is Severity.ERROR


@given(st.floats(min_value=-1e6, max_value=1e6))
def test_a_clock_is_told_when_it_is_off_by_more_than_can_be_known(offset_s):
    found = cluster_findings.clock(offset_s, "n1", grain_s=1.5)
    assert (found.severity is Severity.OK) == (abs(offset_s) <= 1.5)
    if offset_s > 1.5:
        assert "ahead of" in found.text
    if offset_s < -1.5:
        assert "behind" in found.text


def test_a_controller_that_tells_no_time_is_not_judged():
    assert list(cluster_findings.of_the_controllers_clock(FACTS)) == []
    late = msgspec.structs.replace(FACTS, clock_offset_s=-90.0)
    assert "90.0 s behind" in words(cluster_findings.of_the_controllers_clock(late))


# ---- windows


def planned(name: str, start_s: float) -> BatchJob:
    return BatchJob(
        batch_job_id="7",
        name="p",
        user="ann",
        partition="prime",
        state=BatchState.PENDING,
        nodes=(name,),
        start_at=NOW + start_s,
    )


def test_strict_can_use_only_windows_whose_end_is_known_without_the_margins():
    snapshot = cluster(node("n1"), node("n2"), batch_jobs=(planned("n1", 3600),))
    worth = window_worth(snapshot, SETTINGS)
    assert (worth.windows, worth.closed) == (2, 1)
    assert worth.node_hours == pytest.approx(1 + 4)  # an open one counts up to the longest pilot
    assert worth.strict_node_hours == pytest.approx((3600 - 60 - 30) / 3600)  # margin, and the scheduler's cycle
    (found,) = of_the_windows(snapshot, SETTINGS)
    assert "2 windows now, 5.0 node-hours within 4 h; strict could use 1.0 of them" in found.text


def test_strict_without_any_window_that_it_could_use_is_a_warning():
    (found,) = of_the_windows(cluster(node("n1")), settings(mode=HarvestMode.STRICT))
    assert (found.severity, "yielding" in found.remedy) == (Severity.WARNING, True)


def test_a_window_in_which_no_pilot_fits_is_worth_nothing():
    snapshot = cluster(node("n1", free=Resources(cpus=2, memory_mb=1000)))
    assert window_worth(snapshot, SETTINGS).windows == 0
    (found,) = of_the_windows(snapshot, SETTINGS)
    assert "no node is free" in found.text


@given(st.lists(st.floats(min_value=0, max_value=1e6), max_size=5))
def test_strict_never_uses_more_than_there_is(starts):
    nodes = [node(f"n{number}") for number in range(len(starts))]
    jobs = tuple(planned(f"n{number}", start_s) for number, start_s in enumerate(starts))
    worth = window_worth(cluster(*nodes, batch_jobs=jobs), SETTINGS)
    assert 0 <= worth.strict_node_hours <= worth.node_hours


def test_what_an_adapter_does_not_see_is_told_and_nothing_is_counted_that_was_not_seen():
    lost = ("The nodes are not shown.", "States are hints.")
    snapshot = msgspec.structs.replace(cluster(), knowledge=Knowledge(nodes=False, states=False, lost=lost))
    found = [*cluster_findings.of_the_look(snapshot, None), *cluster_findings.of_what_is_not_seen(snapshot)]
    assert [each.text for each in found[1:]] == ["The nodes are not shown", "States are hints"]
    assert "0 batch jobs of the harvester's" in found[0].text
    assert "node" not in found[0].text
    assert list(cluster_findings.of_what_is_not_seen(cluster(node("n1")))) == []
