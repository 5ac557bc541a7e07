"""What follows from a situation has one owner, the situation: computed once, anew for what replaces it."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from harvester.domain.cluster.snapshot import ClusterSnapshot, Node, NodeState, Partition
from harvester.domain.harvest.planner import decide
from harvester.domain.harvest.planning import HarvestMode, HarvestSettings, Shape, Situation
from harvester.domain.harvest.policies import POLICIES, by_name
from harvester.domain.model.resources import Resources

WHOLE = Resources(cpus=4)
SHAPE = Shape(name="node", partition="harvest", resources=WHOLE, ready=1)
SETTINGS = HarvestSettings(shapes=(SHAPE,), lengths=(timedelta(hours=1),))


def idle(mode=HarvestMode.PREEMPTIBLE):
    nodes = tuple(
        Node(name=name, state=NodeState.IDLE, partitions=("harvest",), total=WHOLE, free=WHOLE) for name in ("n1", "n2")
    )
    snapshot = ClusterSnapshot(
        taken_at=1000.0, scheduler="fake", nodes=nodes, batch_jobs=(), partitions=(Partition(name="harvest"),)
    )
    settings = replace(SETTINGS, mode=mode)
    return Situation(snapshot=snapshot, needs=(), pilots=(), settings=settings, now=1000.0)


@pytest.mark.parametrize("mode", list(HarvestMode))
def test_windows_and_contention_are_computed_once_and_anew_for_what_replaces_the_situation(mode):
    before = idle(mode)
    assert {window.node for window in before.windows} == {"n1", "n2"}
    assert before.windows is before.windows
    assert before.contention is before.contention
    drained = replace(before, drained={"n1": "an admin drains it"})
    assert {window.node for window in drained.windows} == {"n2"}
    assert {window.node for window in before.windows} == {"n1", "n2"}


def test_situations_are_equal_whichever_was_looked_at():
    looked_at = idle()
    assert looked_at.windows
    assert looked_at == idle()


@pytest.mark.parametrize("name", sorted(set(POLICIES) - {"gap"}))
def test_a_policy_that_asks_for_no_windows_does_not_pay_for_them(name, monkeypatch):
    def computed(*_, **__):
        raise AssertionError("the windows were computed")

    monkeypatch.setattr("harvester.domain.cluster.windows.compute", computed)
    decide(by_name(name), idle())
