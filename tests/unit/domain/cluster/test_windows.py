"""Windows: which nodes are free until when, and why they end."""

from datetime import timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from harvester.domain.cluster import windows
from harvester.domain.cluster.snapshot import (
    BatchJob,
    BatchState,
    ClusterSnapshot,
    Node,
    NodeState,
    Partition,
    Reservation,
)
from harvester.domain.model.resources import Resources
from harvester_adapters.slurm.text import nodes, reservations

NOW = 1_000_000.0
WHOLE = Resources(cpus=8, gpus=2, memory_mb=1000)
FIXTURES = Path(__file__).parents[5] / "shared" / "fixtures"


def node(name: str, state: NodeState = NodeState.IDLE, **changes: object) -> Node:
    free = WHOLE if state is NodeState.IDLE else Resources(cpus=0)
    return replace(Node(name=name, state=state, partitions=("harvest",), total=WHOLE, free=free), **changes)


def snapshot(*nodes: Node, jobs: tuple[BatchJob, ...] = (), **changes: object) -> ClusterSnapshot:
    plain = ClusterSnapshot(
        taken_at=NOW, scheduler="fake", nodes=nodes, batch_jobs=jobs, partitions=(Partition(name="harvest"),)
    )
    return replace(plain, **changes)


def planned(at: float | None, *nodes: str, **changes: object) -> BatchJob:
    plain = BatchJob(
        batch_job_id="7",
        name="prime",
        user="u",
        partition="harvest",
        state=BatchState.PENDING,
        reason="Resources",
        nodes=nodes,
        start_at=at,
    )
    return replace(plain, **changes)


def running(end_at: float | None, *nodes: str, cpus: int = 8, **changes: object) -> BatchJob:
    plain = BatchJob(
        batch_job_id="8",
        name="prime",
        user="u",
        partition="harvest",
        state=BatchState.RUNNING,
        nodes=nodes,
        requested=Resources(cpus=cpus * len(nodes)),
        end_at=end_at,
    )
    return replace(plain, **changes)


def ends(found: tuple[windows.Window, ...]) -> dict[str, float | None]:
    return {window.node: window.until_at for window in found}


def test_an_idle_node_that_nobody_is_planned_on_is_free_without_an_end():
    (window,) = windows.compute(snapshot(node("n1")), NOW)
    assert (window.node, window.resources, window.from_at, window.until_at) == ("n1", WHOLE, NOW, None)
    assert window.is_whole
    assert window.left(NOW) == float("inf")


def test_the_first_planned_start_ends_a_window_and_is_named():
    jobs = (planned(NOW + 900, "n1", "n2"), planned(NOW + 600, "n1", batch_job_id="9"))
    found = windows.compute(snapshot(node("n1"), node("n2"), node("n3"), jobs=jobs), NOW)
    assert ends(found) == {"n1": NOW + 600, "n2": NOW + 900, "n3": None}
    assert "batch job 9" in found[0].why


@pytest.mark.parametrize("state", [NodeState.DOWN, NodeState.DRAINED, NodeState.RESERVED, NodeState.UNKNOWN])
def test_a_node_that_takes_no_work_has_no_window_whatever_is_free_of_it(state):
    assert windows.compute(snapshot(node("n1", state, free=WHOLE)), NOW) == ()


def test_a_node_that_is_planned_for_this_moment_or_an_earlier_one_has_no_window():
    for at in (NOW, NOW - 5):
        assert windows.compute(snapshot(node("n1"), jobs=(planned(at, "n1"),)), NOW) == ()


def test_plans_of_our_own_pilots_end_no_window():
    job = planned(NOW + 60, "n1", name="hv-1")
    assert ends(windows.compute(snapshot(node("n1"), jobs=(job,)), NOW, ours={"hv-1"})) == {"n1": None}
    assert ends(windows.compute(snapshot(node("n1"), jobs=(job,)), NOW, ours={"7"})) == {"n1": None}


def test_a_reservation_to_come_ends_a_window_one_that_holds_leaves_none_and_one_that_is_over_changes_nothing():
    def reserved(start: float, end: float | None) -> dict[str, float | None]:
        held = (Reservation(name="maint", nodes=("n1",), start_at=NOW + start, end_at=end and NOW + end),)
        return ends(windows.compute(snapshot(node("n1"), reservations=held), NOW))

    assert reserved(600, 1200) == {"n1": NOW + 600}
    assert reserved(-600, 1200) == {}
    assert reserved(-600, None) == {}
    assert reserved(-600, -1) == {"n1": None}


def test_what_is_free_of_a_shared_node_is_a_window_of_a_part():
    part = Resources(cpus=3, gpus=1, memory_mb=10)
    (window,) = windows.compute(snapshot(node("n1", NodeState.MIXED, free=part)), NOW)
    assert (window.resources, window.is_whole) == (part, False)


def test_an_idle_node_that_a_running_batch_job_names_has_been_taken_meanwhile():
    assert windows.compute(snapshot(node("n1"), jobs=(running(None, "n1"),)), NOW) == ()


def test_looking_ahead_shows_the_windows_that_limits_open_and_no_others():
    nodes = [node(name, NodeState.ALLOCATED) for name in ("n1", "n2", "n3", "n4")]
    jobs = (
        running(NOW + 50, "n1"),
        running(NOW + 50, "n2", batch_job_id="a"),
        planned(NOW + 40, "n2"),
        running(NOW + 500, "n3", batch_job_id="b"),
        running(None, "n4", batch_job_id="c"),
    )
    found = windows.compute(snapshot(*nodes, jobs=jobs), NOW, horizon=timedelta(seconds=60))
    assert [(window.node, window.from_at, window.until_at) for window in found] == [("n1", NOW + 50, None)]
    assert windows.compute(snapshot(*nodes, jobs=jobs), NOW) == ()


def test_looking_ahead_at_a_shared_node_adds_up_what_becomes_free():
    shared = node("n1", NodeState.MIXED, free=Resources(cpus=2))
    jobs = (running(NOW + 10, "n1", cpus=2), running(NOW + 20, "n1", cpus=4, batch_job_id="b"))
    found = windows.compute(snapshot(shared, jobs=jobs), NOW, horizon=timedelta(minutes=1))
    assert [(window.from_at - NOW, window.resources.cpus) for window in found] == [(0, 2), (10, 4), (20, 8)]


def test_windows_end_where_they_are_told_to_instead_of_where_the_scheduler_has_planned():
    look = snapshot(node("n1"), node("n2"), jobs=(planned(NOW + 600, "n1"),))
    assert ends(windows.compute(look, NOW, next_claims={"n2": windows.NodeClaim(NOW + 60, "")})) == {
        "n1": None,
        "n2": NOW + 60,
    }
    assert ends(windows.compute(look, NOW, next_claims={})) == {"n1": None, "n2": None}


def test_windows_that_differ_by_their_node_only_are_shown_together():
    found = windows.compute(snapshot(node("n1"), node("n2"), node("n3"), jobs=(planned(NOW + 60, "n2"),)), NOW)
    assert [group.nodes for group in windows.grouped(found)] == [("n1", "n3"), ("n2",)]


@pytest.mark.skipif(not FIXTURES.is_dir(), reason="recorded output of more versions than ours is not here")
@pytest.mark.parametrize("version", ["22.05.8", "24.11.5", "26.05.5"])
def test_recorded_nodes_with_a_reservation_to_come_are_free_until_it_begins(version):
    folder = FIXTURES / f"slurm-{version}" / "07_drain_down_resv_states"
    now = float((folder / "clock").read_text())
    look = ClusterSnapshot(
        taken_at=now,
        scheduler="slurm",
        nodes=nodes.nodes((folder / "scontrol.node.oneline.txt").read_text()),
        batch_jobs=(),
        partitions=(),
        reservations=reservations.reservations((folder / "scontrol.reservation.oneline.txt").read_text()),
    )
    (reservation,) = look.reservations
    assert reservation.nodes == ("c3", "c4")
    closed = [window for window in windows.compute(look, now) if window.node in reservation.nodes]
    assert all(window.until_at == reservation.start_at for window in closed)
    assert {window.node for window in windows.compute(look, now)} <= {"c1", "c2", "c3", "c4"}


def test_a_part_of_a_node_is_of_no_use_where_batch_jobs_get_whole_nodes():
    both = ("harvest", "whole")
    partitions = (Partition(name="harvest"), Partition(name="whole", gives_whole_nodes=True))
    part = node("n1", NodeState.MIXED, partitions=both, free=Resources(cpus=3))
    found = windows.compute(snapshot(part, node("n2", partitions=both), partitions=partitions), NOW)
    assert [(window.node, window.is_whole, window.partitions) for window in found] == [
        ("n1", False, ("harvest",)),
        ("n2", True, both),
    ]


def test_a_node_or_a_batch_job_that_gives_nothing_hides_none_that_follows():
    taken = running(None, "taken")
    spoken_for = planned(NOW - 1, "soon", batch_job_id="9")
    jobs = (planned(None, "n9"), taken, spoken_for, planned(NOW + 300, "last", batch_job_id="10"))
    nodes = (node("full", NodeState.ALLOCATED), node("down", NodeState.DOWN, free=WHOLE), node("soon"), node("taken"))
    found = windows.compute(snapshot(*nodes, node("last"), jobs=jobs), NOW)
    assert ends(found) == {"last": NOW + 300}
    without_an_end, too_late = running(None, "n1"), running(NOW + 901, "n1")
    shown = snapshot(
        node("n1", NodeState.ALLOCATED), jobs=(without_an_end, too_late, running(NOW + 60, "n1", batch_job_id="11"))
    )
    assert [window.from_at for window in windows.compute(shown, NOW, horizon=timedelta(minutes=15))] == [NOW + 60]


def test_a_window_lasts_from_now_or_from_its_beginning_until_its_end():
    end = planned(NOW + 900, "n1", "n2")
    jobs = (end, running(NOW + 600, "n2"))
    now, later = windows.compute(
        snapshot(node("n1"), node("n2", NodeState.ALLOCATED), jobs=jobs), NOW, horizon=timedelta(hours=1)
    )
    assert (now.left(NOW), now.left(NOW + 100)) == (900, 800)
    assert (later.left(NOW), later.left(NOW + 700)) == (300, 200)


def test_what_a_batch_job_gives_back_is_its_share_of_each_of_its_nodes():
    two = running(NOW + 60, "n1", "n2", requested=Resources(cpus=4, gpus=2, memory_mb=600))
    seen = snapshot(node("n1", NodeState.ALLOCATED), node("n2", NodeState.ALLOCATED), jobs=(two,))
    found = windows.compute(seen, NOW, horizon=timedelta(hours=1))
    assert [window.resources for window in found] == [Resources(cpus=2, gpus=1, memory_mb=300)] * 2


def test_what_comes_at_the_same_moment_is_decided():
    both = (planned(NOW + 60, "n1"), planned(NOW + 60, "n1", batch_job_id="9"))
    (window,) = windows.compute(snapshot(node("n1"), jobs=both), NOW)
    assert "batch job 7" in window.why
    over = (Reservation(name="r", nodes=("n1",), start_at=NOW - 60, end_at=NOW),)
    assert ends(windows.compute(snapshot(node("n1"), reservations=over), NOW)) == {"n1": None}
    full = node("n1", NodeState.ALLOCATED)
    ahead = timedelta(minutes=15)
    at_the_horizon = snapshot(full, jobs=(running(NOW + 900, "n1"),))
    assert len(windows.compute(at_the_horizon, NOW, horizon=ahead)) == 1
    wanted_at_once = snapshot(full, jobs=(running(NOW + 600, "n1"), planned(NOW + 600, "n1")))
    assert windows.compute(wanted_at_once, NOW, horizon=ahead) == ()


def test_one_free_cpu_is_a_window():
    (window,) = windows.compute(snapshot(node("n1", NodeState.MIXED, free=Resources(cpus=1))), NOW)
    assert (window.resources.cpus, window.is_whole) == (1, False)
