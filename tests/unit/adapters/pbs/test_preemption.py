"""Which queues pilots are evicted from, by the rules of PBS's scheduler."""

from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from harvester.domain.cluster.snapshot import BatchJob, BatchState, ClusterSnapshot, WaitsFor
from harvester.domain.harvest.shapes import untold_partition, why_not_untold
from harvester_adapters.pbs.nodes import nodes, vnode_list
from harvester_adapters.pbs.partitions import QueueList, partitions, partitions_of, queue_list, settled
from harvester_adapters.pbs.preemption import (
    PbsQueue,
    is_rerunnable,
    level,
    not_by_order,
    not_preempted,
    why_not_over,
)
from harvester_adapters.pbs.site import PbsSched, scheds, server

SAMPLES = Path(__file__).parent / "samples"
SOFT = "express_queue, normal_jobs, queue_softlimits"
DEFAULT = "express_queue, normal_jobs"
SCHED = PbsSched(name="default", partitions=(), preempt_order="D", preempt_prio=SOFT, preempt_queue_prio=150)
WORKQ = PbsQueue(name="workq")
EXPRESS = PbsQueue(name="express", priority=200)
HARVEST = PbsQueue(name="harvest", priority=1, soft_limits={"max_run_soft": "[o:PBS_ALL=0]"})
BARE = PbsQueue(name="harvest", priority=1)


def why(queue, *others, sched=SCHED):
    return not_preempted(queue, others, sched, "alice")


def text(name):
    return (SAMPLES / name).read_text()


VNODES = vnode_list(text("stale.nodes.json"))


def recorded(queues, sched):
    found = partitions(queues, VNODES, server(text("server.qmgr.txt")), scheds(text(sched)), "alice")
    return {part.name: part for part in found}


def test_a_soft_limit_of_nothing_lets_ordinary_batch_jobs_evict_pilots():
    assert why(HARVEST, WORKQ, EXPRESS) == ""
    for limit in ("[u:PBS_GENERIC=0]", "[u:alice=0]", "[o:PBS_ALL=0],[u:bob=3]", '[u:"alice"=0]'):
        assert why(replace(HARVEST, soft_limits={"max_run_soft": limit}), WORKQ) == ""
    assert why(replace(HARVEST, soft_limits={"max_run_res_soft.ncpus": "[u:PBS_GENERIC=0]"}), WORKQ) == ""


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        ("[u:PBS_GENERIC=1]", "leaves pilots ordinary batch jobs up to 1: make it 0"),
        ("[u:PBS_GENERIC=0],[u:alice=5]", "up to 5"),
        ("[u:bob=0]", "it has no soft limit"),
        ("", "it has no soft limit"),
    ],
)
def test_a_soft_limit_that_pilots_are_not_over_is_told_with_the_remedy(limit, words):
    queue = replace(HARVEST, soft_limits={"max_run_soft": limit})
    assert words in why_not_over(queue, "alice")
    found = why(queue, WORKQ)
    assert "no batch job evicts its pilots" in found
    assert words in found
    assert "max_run_soft=[o:PBS_ALL=0]" in found


def test_a_soft_limit_that_is_no_level_of_the_scheduler_does_nothing():
    found = why(HARVEST, WORKQ, sched=replace(SCHED, preempt_prio=DEFAULT))
    assert "has no queue_softlimits below normal_jobs" in found
    assert "queue_softlimits" in found.rpartition(";")[2]


def test_an_express_queue_evicts_but_an_ordinary_one_beside_it_would_wait():
    sched = replace(SCHED, preempt_prio=DEFAULT)
    assert why(BARE, EXPRESS, sched=sched) == ""
    assert why(BARE, EXPRESS, replace(WORKQ, is_open=False), sched=sched) == ""
    for priority in (-5, 5):
        assert "only batch jobs of express evict its pilots, those of workq wait" in why(
            BARE, EXPRESS, replace(WORKQ, priority=priority), sched=sched
        )


def test_another_queue_whose_batch_jobs_are_all_over_their_soft_limit_may_wait_for_pilots():
    other = replace(HARVEST, name="scavenge")
    assert why(HARVEST, WORKQ, other) == ""
    assert why(BARE, EXPRESS, other) == ""
    only_ours = replace(other, soft_limits={"max_run_soft": "[u:alice=0]"})
    assert "those of scavenge wait" in why(BARE, EXPRESS, only_ours)


def test_no_queue_of_ordinary_batch_jobs_is_taken_where_the_pilots_has_lost_its_soft_limit():
    site = QueueList(execution=(WORKQ, PbsQueue(name="prime", priority=100), replace(BARE, priority=10), EXPRESS))
    found = partitions(site, VNODES, server(text("server.qmgr.txt")), (SCHED,), "alice")
    assert [part.name for part in found if part.is_preemptible] == []


def test_an_express_queue_below_the_sites_own_threshold_is_none():
    sched = replace(SCHED, preempt_prio=DEFAULT, preempt_queue_prio=300)
    assert "no batch job evicts" in why(BARE, EXPRESS, sched=sched)
    assert "no batch job evicts" in why(BARE, EXPRESS, sched=replace(SCHED, preempt_prio="normal_jobs"))


def test_pilots_in_an_express_queue_are_evicted_by_nobody():
    assert "it is an express queue itself (its Priority is 200, from 150 on)" in why(EXPRESS, WORKQ)


def test_targets_of_a_queue_narrow_whom_its_batch_jobs_preempt():
    for targets, expected in (
        ("QUEUE=harvest", True), ("queue=other,QUEUE=harvest", True), ("QUEUE=harvest2", False), ("NONE", False),
    ):  # fmt: skip
        assert (why(HARVEST, replace(EXPRESS, targets=targets)) == "") is expected
    assert queue_list(text("targets.queues.txt"), "alice").execution[0].targets == "QUEUE=k5"


@pytest.mark.parametrize(
    ("order", "words"),
    [
        ("D", ""), ("R", ""), ("RD", ""), ("CR", ""), ("CD", ""), ("D 50 R", ""),
        ("SCR", "would be suspended"), ("S", "would be suspended"), ("CS", "would be suspended"),
        ("R 80 S", "would be suspended"), ("SCR 80 SC 50 S", "would be suspended"),
        ("C", "neither deleted nor requeued"), ("", "neither deleted nor requeued"),
    ],
)  # fmt: skip
def test_how_the_scheduler_preempts_says_whether_pilots_end(order, words):
    found = not_by_order(order)
    assert (words in found) if words else (found == "")
    assert (why(HARVEST, WORKQ, sched=replace(SCHED, preempt_order=order)) == found) or not words


def test_of_pilots_that_would_be_requeued_only_those_are_rerunnable_that_cannot_be_deleted():
    assert is_rerunnable("R")
    assert is_rerunnable("CR")
    assert is_rerunnable("D 50 R")
    assert is_rerunnable("RD 50 R")
    assert not is_rerunnable("RD")
    assert not is_rerunnable("D 50 RD")


def test_pilots_are_rerunnable_where_nobody_is_requeued_because_the_order_may_change_while_they_run():
    assert is_rerunnable("D")
    assert is_rerunnable("SD")


def test_the_recorded_sites_are_told_as_they_were():
    queues = queue_list(text("all.queues.txt"), "alice")
    found = recorded(queues, "default.sched.txt")
    assert not any(part.is_preemptible for part in found.values())
    assert "preempt_order=SCR" in found["harvest"].why_not
    assert (found["k60"].grace_time, found["harvest"].grace_time) == (timedelta(seconds=60), timedelta(seconds=10))
    assert (found["stopq"].is_up, found["disq"].is_up, found["workq"].is_default) == (False, False, True)
    assert queues.routing == {"route", "rstop"}
    soft = queue_list(text("soft-limit.queues.txt"), "alice").execution[0]
    with_soft = QueueList(execution=tuple(soft if q.name == "harvest" else q for q in queues.execution))
    found = recorded(with_soft, "soft-limit.sched.txt")
    assert found["harvest"].is_preemptible
    assert found["harvest"].priority_tier < found["workq"].priority_tier < found["express"].priority_tier


def test_a_queue_for_pilots_is_chosen_without_being_told():
    site = QueueList(execution=(WORKQ, replace(HARVEST, priority=0)))
    found = partitions(site, VNODES, server(text("server.qmgr.txt")), (SCHED,), "alice")
    snapshot = ClusterSnapshot(
        taken_at=0, scheduler="pbs", nodes=nodes(VNODES, partitions_of(site.execution, VNODES)), batch_jobs=(),
        partitions=found,
    )  # fmt: skip
    assert untold_partition(snapshot) == "harvest"
    assert why_not_untold(snapshot, found[0])


def test_a_queue_takes_the_nodes_that_are_bound_to_it_and_no_others():
    vnodes = vnode_list(text("mixed.nodes.json"))  # pn2 has queue=bound, pn1 Qlist=workq,harvest
    bound, free = PbsQueue(name="bound"), PbsQueue(name="free")
    listed = PbsQueue(name="listed", properties={"Qlist": "harvest"})
    of = partitions_of((bound, free, listed), vnodes)
    assert {vnode.name: of(vnode) for vnode in vnodes if vnode.name in {"pn1", "pn2", "pn3"}} == {
        "pn1": ("free", "listed"),
        "pn2": ("bound",),
        "pn3": ("free",),
    }


def test_queues_that_share_no_node_evict_nobody_from_one_another():
    vnodes = vnode_list(text("mixed.nodes.json"))
    site = QueueList(execution=(replace(HARVEST, name="bound"), WORKQ))
    found = partitions(site, vnodes, server(text("server.qmgr.txt")), (SCHED,), "alice")
    assert [part.is_preemptible for part in found] == [False, False]


def test_the_queues_of_reservations_are_no_partitions():
    site = QueueList(execution=(WORKQ, PbsQueue(name="R5172")))
    found = partitions(site, VNODES, server(text("server.qmgr.txt")), (SCHED,), "alice", reserved={"R5172"})
    assert [part.name for part in found] == ["workq"]


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ("from_route_only=True", "from routing queues only"),
        ("acl_user_enable=True\x1facl_users=bob@*,+carol@vm", "user alice is not in its acl_users"),
        ("acl_user_enable=True\x1facl_users=-alice@*,bob", "user alice is not in its acl_users"),
        ("acl_user_enable=True\x1facl_users=+alice@vm", ""),
        ("acl_user_enable=False\x1facl_users=bob", ""),
        ("acl_group_enable=True\x1facl_groups=physics", ""),  # whose members we do not know
    ],
)
def test_a_queue_that_takes_no_pilots_of_ours_says_why(attributes, words):
    found = queue_list(f"Queue: q\x1fqueue_type=Execution\x1fenabled=True\x1fstarted=True\x1f{attributes}\n", "alice")
    (part,) = partitions(found, VNODES, server(text("server.qmgr.txt")), (SCHED,), "alice")
    assert (words in part.refuses) if words else part.refuses == ""


def test_a_batch_job_in_a_routing_queue_waits_for_no_nodes():
    batch = BatchJob(batch_job_id="1", name="n", user="u", partition="route", state=BatchState.PENDING)
    (found,) = settled([batch], QueueList(execution=(), routing=frozenset({"route"})))
    assert found.waits_for is WaitsFor.OTHER


NAMES = st.permutations(["express_queue", "normal_jobs", "queue_softlimits", "fairshare", "server_softlimits"])


@given(prio=NAMES, kept=st.integers(1, 5), priority=st.integers(-1024, 1023), other=st.integers(-1024, 1023))
def test_whoever_evicts_stands_above_whom_it_evicts(prio, kept, priority, other):
    sched = replace(SCHED, preempt_prio=", ".join(prio[:kept]))
    own, above = replace(HARVEST, priority=priority), replace(WORKQ, priority=other)
    if why(own, above, sched=sched) == "":
        assert level(above, sched, is_over=False) > level(own, sched, is_over=True)
        assert why(above, own, sched=sched) != ""  # and is not evicted by it
