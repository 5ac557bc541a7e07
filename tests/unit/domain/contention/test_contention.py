"""What prime jobs want of the nodes, as if our pilots were not there."""

from datetime import timedelta
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from support.examples import examples

from harvester.domain.cluster.snapshot import (
    BatchJob,
    BatchState,
    ClusterSnapshot,
    Node,
    NodeState,
    Partition,
    Reservation,
    WaitsFor,
)
from harvester.domain.contention.contention import Contention, contention
from harvester.domain.contention.node_requests import has_features, is_plain
from harvester.domain.model.resources import Resources

NOW = 1_000_000.0
WHOLE = Resources(cpus=4, gpus=0, memory_mb=1000)
OURS = {f"hv-{number}" for number in range(20)}


def node(name: str, *, state: NodeState = NodeState.IDLE, free: Resources | None = None, **changes) -> Node:
    room = (WHOLE if state is NodeState.IDLE else Resources(cpus=0)) if free is None else free
    return Node(**{"name": name, "state": state, "partitions": ("prime",), "total": WHOLE, "free": room} | changes)


def full(name: str, **changes) -> Node:
    return node(name, **{"state": NodeState.ALLOCATED} | changes)


def job(job_id: str, state: BatchState, **changes) -> BatchJob:
    made = {"batch_job_id": job_id, "name": "prime", "user": "u", "partition": "prime", "state": state}
    return BatchJob(**made | changes)


def running(job_id: str, nodes: str, end: float | None = 3600, *, cpus: int = 4, **changes) -> BatchJob:
    names = tuple(nodes.split())
    end_at = None if end is None else NOW + end
    taken = Resources(cpus=cpus * len(names), memory_mb=(1000 if cpus == 4 else 0) * len(names))
    made = {"state": BatchState.RUNNING, "nodes": names, "end_at": end_at, "requested": taken}
    return job(job_id, **made | changes)


def pilot(number: int, node_name: str, *, cpus: int = 4, **changes) -> BatchJob:
    return running(f"h{number}", node_name, cpus=cpus, **{"name": f"hv-{number}"} | changes)


def pending(job_id: str, count: int = 1, *, cpus: int = 4, minutes: float = 60, **changes) -> BatchJob:
    made = {
        "requested": Resources(cpus=cpus * count),
        "each": Resources(cpus=cpus),
        "node_count": count,
        "limit": timedelta(minutes=minutes),
        "reason": "Resources",
    }
    return job(job_id, BatchState.PENDING, **made | changes)


def look(*things: Node | BatchJob | Reservation, partitions: tuple[Partition, ...] = ()) -> ClusterSnapshot:
    return ClusterSnapshot(
        taken_at=NOW,
        scheduler="fake",
        nodes=tuple(thing for thing in things if isinstance(thing, Node)),
        batch_jobs=tuple(thing for thing in things if isinstance(thing, BatchJob)),
        partitions=partitions or (Partition(name="prime"),),
        reservations=tuple(thing for thing in things if isinstance(thing, Reservation)),
    )


def found(*things: Node | BatchJob | Reservation, **more) -> Contention:
    return contention(look(*things), NOW, ours=OURS, **more)


def wanted(*things: Node | BatchJob | Reservation, **more) -> dict[str, float]:
    return {name: claim.at - NOW for name, claim in found(*things, **more).wanted.items()}


def claimed(*things: Node | BatchJob | Reservation, **more) -> dict[str, float]:
    return {name: claim.at - NOW for name, claim in found(*things, **more).claims.items()}


# ---- who is in the way


def test_a_prime_job_that_is_planned_behind_another_and_names_none_of_our_nodes_wants_a_pilots_node_at_once():
    """The scheduler's own plan, with our pilot in it, has the prime job wait for somebody else's end on n2."""
    behind = pending("1", start_at=NOW + 600, nodes=("n2",))
    assert wanted(full("n1"), full("n2"), pilot(1, "n1"), running("2", "n2", 600), behind) == {"n1": 0, "n2": 600}


def test_a_prime_job_that_has_not_been_looked_at_yet_wants_a_pilots_node_too():
    assert wanted(full("n1"), pilot(1, "n1"), pending("1", reason="")) == {"n1": 0}


def test_nobody_is_in_the_way_of_a_prime_job_that_starts_on_a_node_without_pilots():
    things = (full("n1"), node("n2"), pilot(1, "n1"), pending("1"))
    assert wanted(*things) == {}
    assert claimed(*things) == {"n2": 0}


def test_a_prime_job_over_several_nodes_wants_those_that_pilots_hold_beside_those_that_are_free():
    things = (full("n1"), full("n2"), node("n3"), pilot(1, "n1"), pilot(2, "n2"), pending("1", 2))
    assert wanted(*things) == {"n1": 0}
    assert claimed(*things) == {"n1": 0, "n3": 0}


def test_a_prime_job_that_waits_for_others_too_wants_our_nodes_when_they_end():
    things = (full("n1"), full("n2"), pilot(1, "n1"), running("2", "n2", 600), pending("1", 2))
    assert wanted(*things) == {"n1": 600}


def test_a_prime_job_that_could_not_start_without_us_either_wants_nothing():
    assert claimed(full("n1"), full("n2"), pilot(1, "n1"), running("2", "n2", None), pending("1", 2)) == {}


def test_a_batch_job_that_is_cleaning_up_is_as_good_as_gone():
    ending = running("2", "n2", state=BatchState.COMPLETING)
    assert wanted(full("n1"), full("n2"), pilot(1, "n1"), ending, pending("1", 2)) == {"n1": 0}


def test_a_pilot_that_is_cleaning_up_is_not_asked_for_again():
    leaving = pilot(1, "n1", state=BatchState.COMPLETING)
    things = (full("n1"), full("n2"), leaving, pilot(2, "n2"), pending("1"))
    assert wanted(*things) == {}
    assert claimed(*things) == {"n1": 0}


def test_pilots_that_wait_are_not_there():
    assert claimed(node("n1"), pending("h1", name="hv-1")) == {}


@pytest.mark.parametrize("cpus", [1, 2, 3])
def test_a_pilot_on_a_part_of_a_node_is_in_the_way_only_of_who_does_not_fit_beside_it(cpus):
    things = (full("n1", free=Resources(cpus=2, memory_mb=1000)), pilot(1, "n1", cpus=2), pending("1", cpus=cpus))
    assert wanted(*things) == ({"n1": 0} if cpus > 2 else {})
    assert claimed(*things) == {"n1": 0}


def test_who_wants_a_whole_node_wants_it_although_it_asks_for_one_core():
    things = (full("n1", free=Resources(cpus=3)), pilot(1, "n1", cpus=1), pending("1", cpus=1, is_exclusive=True))
    assert wanted(*things) == {"n1": 0}


def test_it_starts_where_it_costs_the_fewest_pilots():
    things = (full("n1"), full("n2"), pilot(1, "n1", cpus=2), pilot(2, "n1", cpus=2), pilot(3, "n2"), pending("1"))
    assert wanted(*things) == {"n2": 0}


def test_cores_that_may_lie_on_several_nodes_want_the_pilots_there():
    """`sbatch -n 6`: one node is the least that the scheduler tells, two are what it takes."""
    loose = pending("1", each=Resources(cpus=1), requested=Resources(cpus=6))
    assert wanted(full("n1"), full("n2"), pilot(1, "n1"), pilot(2, "n2"), loose) == {"n1": 0, "n2": 0}


# ---- whose turn it is


def test_who_is_first_has_a_reservation_that_those_behind_it_may_not_delay():
    large = pending("1", 2, priority=9)
    things = (full("n1"), full("n2"), pilot(1, "n1"), running("2", "n2", 600))
    assert wanted(*things, large, pending("3", minutes=60)) == {"n1": 600}
    assert wanted(*things, large, pending("3", minutes=10)) == {"n1": 0}
    assert wanted(*things, replace(large, priority=0), pending("3", minutes=60, priority=1))["n1"] == 0


def test_a_partition_of_a_higher_tier_goes_first_whatever_the_priority():
    tiers = (Partition(name="prime"), Partition(name="urgent", priority_tier=2))
    low, high = pending("1", priority=9, minutes=1), pending("2", partition="urgent", minutes=1)
    seen = look(full("n1", partitions=("prime", "urgent")), pilot(1, "n1"), low, high, partitions=tiers)
    starts = contention(seen, NOW, ours=OURS).starts
    assert {start.batch_job_id: start.at - NOW for start in starts} == {"2": 0, "1": 60}


def test_each_element_of_an_array_is_a_batch_job_of_its_own():
    nodes = [full(f"n{number}") for number in range(4)]
    pilots = [pilot(number, f"n{number}") for number in range(4)]
    assert wanted(*nodes, *pilots, pending("1_[0-2]", elements=3)) == {"n0": 0, "n1": 0, "n2": 0}


def test_a_batch_job_of_several_partitions_takes_a_node_of_any():
    tiers = (Partition(name="prime"), Partition(name="other"))
    seen = look(
        full("n1", partitions=("other",)), pilot(1, "n1"), pending("1", partition="prime,other"), partitions=tiers
    )
    assert set(contention(seen, NOW, ours=OURS).wanted) == {"n1"}


def test_a_partition_that_is_down_starts_nobody():
    seen = look(full("n1"), pilot(1, "n1"), pending("1"), partitions=(Partition(name="prime", is_up=False),))
    assert contention(seen, NOW, ours=OURS).claims == {}


# ---- what it waits for


def test_who_waits_for_something_else_wants_nothing():
    assert claimed(full("n1"), pilot(1, "n1"), pending("1", waits_for=WaitsFor.OTHER)) == {}


def test_who_waits_for_its_begin_time_wants_a_node_from_then_on():
    later = pending("1", waits_for=WaitsFor.OTHER, start_at=NOW + 300)
    assert wanted(full("n1"), pilot(1, "n1"), later) == {"n1": 300}


@pytest.mark.parametrize(
    "changes", [{"waits_for": WaitsFor.UNKNOWN}, {"features": "fat*2"}, {"features": "[a|b]"}, {"features": "(a"}]
)
def test_in_doubt_it_wants_every_node_that_it_could_use(changes):
    nodes = (full("n1"), full("n2"), full("n3", partitions=("other",)), full("n4", total=Resources(cpus=1)))
    pilots = [pilot(number, f"n{number}") for number in range(1, 5)]
    assert wanted(*nodes, *pilots, pending("1", **changes)) == {"n1": 0, "n2": 0}
    assert not any(start.is_certain for start in found(*nodes, *pilots, pending("1", **changes)).starts)


def test_in_doubt_too_it_wants_nothing_where_it_could_not_start_without_us():
    things = (full("n1"), full("n2"), pilot(1, "n1"), running("2", "n2", None))
    assert wanted(*things, pending("1", 2, waits_for=WaitsFor.UNKNOWN)) == {}


def test_who_did_not_start_where_it_should_have_may_want_any_node_and_who_is_disbelieved_wants_none():
    things = (node("n1"), full("n2"), pilot(1, "n2"), pending("1"))
    assert wanted(*things) == {}
    assert wanted(*things, doubted={"1"}) == {"n2": 0}
    assert claimed(*things, disbelieved={"1"}) == {}


# ---- which nodes


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"features": "fat"}, {"n1"}),
        ({"features": "fat&new"}, {"n1"}),
        ({"features": "thin|fat"}, {"n1"}),
        ({"features": "thin"}, {"n2"}),
        ({"features": "gone"}, set()),
        ({"required_nodes": ("n2",)}, {"n2"}),
        ({"excluded_nodes": ("n1",)}, {"n2"}),
        ({"each": Resources(cpus=4, memory_mb=2000), "requested": Resources(cpus=4, memory_mb=2000)}, set()),
        ({"each": Resources(cpus=1, gpus=1), "requested": Resources(cpus=1, gpus=1)}, set()),
    ],
)
def test_nobody_wants_a_node_that_it_could_not_use(changes, names):
    nodes = (full("n1", features=("fat", "new")), full("n2", features=("thin", "new")))
    assert set(wanted(*nodes, pilot(1, "n1"), pilot(2, "n2"), pending("1", **changes))) == names


def test_features_are_read_from_left_to_right_as_slurm_does():
    assert has_features("a|b&c", ("a", "c"))
    assert not has_features("a|b&c", ("a",))
    assert not has_features("c&a|b", ("c",))
    assert has_features("c&a|b", ("b",))
    assert not is_plain("a&[b|c]")
    assert is_plain("gpu-a100&ib")


def test_a_node_that_is_drained_or_down_starts_nobody():
    for state in (NodeState.DRAINED, NodeState.DOWN):
        assert claimed(full("n1", state=state), pilot(1, "n1"), pending("1")) == {}


def test_a_node_in_a_state_that_we_do_not_know_counts_where_we_are_on_it():
    things = (full("n1", state=NodeState.UNKNOWN), full("n2", state=NodeState.UNKNOWN), pilot(1, "n1"), pending("1"))
    assert wanted(*things) == {"n1": 0}


def test_who_would_run_into_a_reservation_does_not_start_and_who_runs_in_it_does():
    held = Reservation(name="maint", nodes=("n1",), start_at=NOW + 600, end_at=NOW + 900)
    things = (full("n1"), pilot(1, "n1"), held)
    assert wanted(*things) == {"n1": 600}
    assert wanted(*things, pending("1", minutes=60)) == {"n1": 600}
    assert wanted(*things, pending("1", minutes=10)) == {"n1": 0}
    assert wanted(*things, pending("1", reservation="maint")) == {"n1": 0}
    over = replace(held, start_at=NOW - 600, end_at=NOW - 1)
    assert wanted(full("n1"), pilot(1, "n1"), over) == {}


def test_the_scheduler_s_own_plan_counts_beside_ours_and_the_earlier_of_both():
    planned = pending("1", start_at=NOW + 60, nodes=("n1",))
    assert wanted(full("n1"), full("n2"), pilot(1, "n1"), running("2", "n2", 30), planned)["n1"] == 0
    held = replace(planned, waits_for=WaitsFor.OTHER)
    assert wanted(full("n1"), pilot(1, "n1"), held) == {"n1": 60}


def test_an_idle_node_that_somebody_runs_on_has_been_taken_since():
    assert wanted(node("n1"), full("n2"), running("2", "n1", 600), pilot(1, "n2"), pending("1")) == {"n2": 0}


# ---- whatever the snapshot

NAMES = tuple(f"n{number}" for number in range(5))


@st.composite
def waiting(draw: st.DrawFn, number: int, size: st.SearchStrategy[int], *, whole: bool) -> BatchJob:
    return pending(
        f"{number}",
        draw(st.integers(1, 4)),
        cpus=draw(size),
        minutes=600 if whole else draw(st.sampled_from((1, 10, 60))),
        priority=draw(st.integers(0, 3)),
        features="" if whole else draw(st.sampled_from(("", "a", "a&b", "a|b"))),
        elements=draw(st.sampled_from((1, 1, 3))),
    )


@st.composite
def clusters(draw: st.DrawFn, *, whole: bool) -> ClusterSnapshot:
    """Nodes with prime jobs, pilots and nobody on them, and prime jobs that wait."""
    size = st.just(4) if whole else st.integers(1, 4)
    things: list[Node | BatchJob] = []
    for number, name in enumerate(NAMES):
        left = 4
        features = () if whole else tuple(draw(st.sets(st.sampled_from("ab"))))
        for part in range(draw(st.integers(0, 1 if whole else 3))):
            cpus = min(left, draw(size))
            if not cpus:
                break
            left -= cpus
            if draw(st.booleans()):
                things.append(pilot(number * 3 + part, name, cpus=cpus))
            else:
                things.append(running(f"r{name}{part}", name, draw(st.sampled_from((60, 600, 3600))), cpus=cpus))
        state = NodeState.IDLE if left == 4 else NodeState.MIXED
        things.append(node(name, state=state, free=Resources(cpus=left, memory_mb=1000), features=features))
    things += [draw(waiting(number, size, whole=whole)) for number in range(draw(st.integers(0, 5)))]
    return look(*things)


def room(seen: ClusterSnapshot) -> dict[str, int]:
    """Return the cores that are free on each node without our pilots, told the slow way."""
    return {
        at.name: 4 - sum(b.requested.cpus for b in seen.batch_jobs if at.name in b.nodes and b.name not in OURS)
        for at in seen.nodes
    }


@settings(max_examples=examples(100))
@given(clusters(whole=False))
def test_the_first_in_the_queue_starts_at_once_if_and_only_if_its_nodes_are_free_without_us(seen):
    queue = [batch for batch in seen.batch_jobs if batch.state is BatchState.PENDING]
    queue.sort(key=lambda batch: (-batch.priority, batch.batch_job_id))
    if not queue:
        assert contention(seen, NOW, ours=OURS) == Contention()
        return
    first, free = queue[0], room(seen)
    could = any(
        all(
            free[at.name] >= first.each.cpus and has_features(first.features or "x|x", (*at.features, "x"))
            for at in some
        )
        for some in combinations(seen.nodes, first.node_count)
    )
    starts = [start for start in contention(seen, NOW, ours=OURS).starts if start.batch_job_id == first.batch_job_id]
    assert bool(starts and starts[0].at == NOW) == could


@settings(max_examples=examples(100))
@given(clusters(whole=False))
def test_nobody_is_given_more_than_there_is_nor_a_node_that_it_could_not_use(seen):
    free, by_id = room(seen), {batch.batch_job_id: batch for batch in seen.batch_jobs}
    features = {at.name: at.features for at in seen.nodes}
    for start in contention(seen, NOW, ours=OURS).starts:
        batch = by_id[start.batch_job_id]
        assert len(set(start.nodes)) == len(start.nodes) == batch.node_count
        for name in start.nodes:
            assert not batch.features or has_features(batch.features, features[name])
            if start.at == NOW:
                free[name] -= batch.each.cpus
    assert min(free.values()) >= 0


@settings(max_examples=examples(100))
@given(clusters(whole=False))
def test_the_plan_is_the_same_in_whatever_order_the_scheduler_tells_its_batch_jobs(seen):
    turned = replace(seen, batch_jobs=seen.batch_jobs[::-1])
    one, other = contention(seen, NOW, ours=OURS), contention(turned, NOW, ours=OURS)
    assert one == other


@settings(max_examples=examples(100))
@given(clusters(whole=True))
def test_where_nodes_and_limits_are_alike_pilots_change_nothing_of_when_prime_jobs_would_start(seen):
    gone = tuple(batch for batch in seen.batch_jobs if batch.name not in OURS)
    held = {name for batch in seen.batch_jobs if batch.name in OURS for name in batch.nodes}
    empty = tuple(node(at.name) if at.name in held else at for at in seen.nodes)
    without = replace(seen, batch_jobs=gone, nodes=empty)
    one, other = contention(seen, NOW, ours=OURS), contention(without, NOW, ours=OURS)
    assert [(start.batch_job_id, start.at) for start in one.starts] == [(s.batch_job_id, s.at) for s in other.starts]
    assert not any(start.in_the_way for start in other.starts)


@settings(max_examples=examples(100))
@given(clusters(whole=False))
def test_when_the_pilots_in_the_way_have_left_those_prime_jobs_fit_beside_the_rest(seen):
    plan = contention(seen, NOW, ours=OURS)
    stays = [
        b
        for b in seen.batch_jobs
        if b.state is BatchState.RUNNING and not (b.name in OURS and b.nodes[0] in plan.wanted)
    ]
    taken = {name: sum(b.requested.cpus for b in stays if name in b.nodes) for name in NAMES}
    by_id = {batch.batch_job_id: batch for batch in seen.batch_jobs}
    for start in plan.starts:
        for name in start.nodes if start.at == NOW else ():
            taken[name] += by_id[start.batch_job_id].each.cpus
    assert max(taken.values()) <= 4
