"""What harm pilots do, from look to look, and which prime jobs are believed."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from harvester.domain.cluster.snapshot import (
    BatchJob,
    BatchState,
    ClusterSnapshot,
    Node,
    NodeState,
    Partition,
    WaitsFor,
)
from harvester.domain.harvest.planning import HarvestMode, HarvestSettings, KnownPilot, Situation
from harvester.domain.model.pilots import PilotState
from harvester.domain.model.resources import Resources
from harvester.domain.supervision import delays
from harvester.domain.supervision.delays import (
    AGAIN_PATIENCE_S,
    AGAIN_S,
    LATENCY_S,
    OTHERS_S,
    PATIENCE_S,
    Delay,
    DelayWatch,
)

NOW = 1_000_000.0
WHOLE = Resources(cpus=4)


class Site:
    """Two nodes; `pilots` are on some of them, and a prime job over `wants` nodes comes."""

    def __init__(
        self, *pilots: str, wants: int = 1, mode: HarvestMode = HarvestMode.YIELDING, came: float = 0.0
    ) -> None:
        self.pilots = dict.fromkeys(pilots, PilotState.READY)  # by node
        self.completing: set[str] = set()
        self.mode = mode
        self.prime = BatchJob(
            batch_job_id="9", name="prime", user="u", partition="prime", state=BatchState.PENDING, node_count=wants,
            requested=Resources(cpus=4 * wants), submitted_at=NOW + came, limit=timedelta(hours=1),
        )  # fmt: skip
        self.others: list[BatchJob] = []
        self.watch = DelayWatch(looked_at=NOW - 2)

    def look(self, at: float) -> list[Delay]:
        """Look `at` seconds after the beginning; return the delays."""
        seen = delays.watch(self.watch, self.situation(at))
        self.watch = seen.watch
        return list(seen.delays)

    def situation(self, at: float) -> Situation:
        taken = {*self.pilots, *self.completing, *(name for batch in self.others for name in batch.nodes)}
        if self.prime.state is BatchState.RUNNING:
            taken.update(self.prime.nodes)
        nodes = tuple(
            Node(
                name=name,
                state=NodeState.ALLOCATED if name in taken else NodeState.IDLE,
                partitions=("prime",),
                total=WHOLE,
                free=Resources(cpus=0) if name in taken else WHOLE,
            )
            for name in ("n1", "n2")
        )
        ours = [self._pilot(name, BatchState.RUNNING) for name in self.pilots]
        ours += [self._pilot(name, BatchState.COMPLETING) for name in self.completing]
        return Situation(
            snapshot=ClusterSnapshot(
                taken_at=NOW + at,
                scheduler="fake",
                nodes=nodes,
                batch_jobs=(self.prime, *self.others, *ours),
                partitions=(Partition(name="prime"),),
            ),
            needs=(),
            pilots=tuple(self._known(name, state) for name, state in self.pilots.items()),
            settings=HarvestSettings(shapes=(), lengths=(), mode=self.mode),
            now=NOW + at,
            mark="hv-",
            doubted=self.watch.doubted,
            disbelieved=self.watch.disbelieved,
        )

    def _pilot(self, node: str, state: BatchState) -> BatchJob:
        return BatchJob(
            batch_job_id=f"h{node}", name=f"hv-{node}", user="us", partition="prime", state=state, nodes=(node,),
            requested=WHOLE, end_at=NOW + 7200,
        )  # fmt: skip

    def _known(self, node: str, state: PilotState) -> KnownPilot:
        return KnownPilot(
            pilot_id=node, name=f"hv-{node}", shape="node", partition="prime", resources=WHOLE, state=state,
            walltime=timedelta(hours=2), planned_at=NOW, node=node,
        )  # fmt: skip

    def leave(self, node: str) -> None:
        """The pilot is told to leave: it is believed ended, and its batch job is cleaning up."""
        del self.pilots[node]
        self.completing.add(node)

    def gone(self, node: str) -> None:
        self.completing.remove(node)

    def start(self, at: float, *nodes: str) -> None:
        self.prime = replace(self.prime, state=BatchState.RUNNING, nodes=nodes, start_at=NOW + at)


def told(found: list[Delay]) -> list[tuple[float, bool]]:
    return [(delay.seconds, delay.is_over) for delay in found]


# ---- what counts


def test_a_delay_lasts_from_the_submission_until_the_prime_job_runs():
    site = Site("n1", "n2", came=-1)
    assert told(site.look(0)) == [(1, False)]
    site.leave("n1")
    assert told(site.look(2)) == [(3, False)]
    site.gone("n1")
    assert told(site.look(4)) == []
    site.start(5, "n1")
    assert told(site.look(6)) == [(6, True)]
    assert told(site.look(8)) == []


def test_a_prime_job_that_became_ready_to_start_between_two_looks_counts_from_the_first_of_them():
    site = Site("n1", "n2", came=-5000)
    assert told(site.look(0)) == [(2, False)]


def test_after_a_restart_it_counts_from_the_first_look_or_a_later_submission():
    site = Site("n1", "n2", came=-5000)
    site.watch = DelayWatch()
    assert told(site.look(0)) == []
    assert told(site.look(2)) == [(2, False)]


def test_what_it_waits_beyond_the_vacating_of_its_nodes_is_ours_only_for_a_moment():
    site = Site("n1", "n2")
    site.look(0)
    site.leave("n1")
    site.look(2)
    site.gone("n1")
    site.look(4)
    site.look(60)
    site.start(61, "n1")
    assert told(site.look(62)) == [(4 + LATENCY_S, True)]


def test_a_pilot_that_comes_back_before_it_started_makes_all_of_the_wait_ours():
    site = Site("n1", wants=2)
    site.look(0)
    site.leave("n1")
    site.look(2)
    site.gone("n1")
    site.look(4)
    site.pilots["n2"] = PilotState.BOOTING
    assert told(site.look(6)) == [(6, False)]


def test_a_prime_job_that_starts_where_no_pilot_is_has_no_delay():
    site = Site("n1")
    assert site.look(0) == []
    site.start(3, "n2")
    assert site.look(4) == []


def test_a_prime_job_that_others_keep_waiting_has_no_delay():
    site = Site("n1", wants=2)
    site.others = [replace(site._pilot("n2", BatchState.RUNNING), name="other", batch_job_id="o", end_at=NOW + 600)]
    assert site.look(0) == []
    site.others = []
    site.look(2)
    site.start(3, "n1", "n2")
    assert told(site.look(4)) == [(3, True)], "from the look before the one that saw the other gone"


def test_an_array_whose_elements_become_fewer_has_started_one_of_them():
    site = Site("n1", "n2")
    site.prime = replace(site.prime, elements=3)
    site.look(0)
    site.prime = replace(site.prime, elements=2)
    assert told(site.look(5)) == [(5, True)]
    assert told(site.look(7)) == [(2, False)], "the rest counts anew"


def test_a_delay_past_the_promise_is_told_while_it_lasts():
    site = Site("n1", "n2")
    site.look(0)
    situation = site.situation(16)
    seen = delays.watch(site.watch, situation)
    late = seen.too_long(situation)
    assert late is not None
    assert (late.batch_job_id, late.seconds) == ("9", 16)
    assert (
        seen.too_long(replace(situation, settings=replace(situation.settings, max_delay=timedelta(minutes=1)))) is None
    )


# ---- who is believed


def waiting(mode: HarvestMode = HarvestMode.YIELDING) -> Site:
    """n1 is free, and the prime job should have started there long ago; our pilot is on n2."""
    site = Site("n2", mode=mode)
    site.look(0)
    site.look(PATIENCE_S - 1)
    assert not site.watch.doubted
    site.look(PATIENCE_S)
    return site


def test_who_does_not_start_although_its_nodes_are_free_may_want_others():
    site = waiting()
    assert site.watch.doubted == {"9"}
    site.look(PATIENCE_S + 2)
    assert told(site.look(PATIENCE_S + 5)) == [(PATIENCE_S + 5, False)], "our pilot may be in its way all the time"


def test_who_starts_on_none_of_the_nodes_that_it_could_use_waits_for_something_else():
    site = waiting()
    site.leave("n2")
    site.gone("n2")
    at = PATIENCE_S + 4
    site.look(at)
    site.look(at + PATIENCE_S)
    assert site.watch.disbelieved == {"9"}
    site.pilots["n1"] = site.pilots["n2"] = PilotState.READY
    assert site.look(at + PATIENCE_S + 10) == []
    assert site.watch.disbelieved == {"9"}


@pytest.mark.parametrize("change", ["time", "its limit", "another of its user ends"])
def test_it_is_believed_again_when_something_has_changed(change):
    site = waiting()
    site.leave("n2")
    site.gone("n2")
    other = replace(site._pilot("n9", BatchState.RUNNING), name="other", user="u", batch_job_id="o")
    site.others = [other]
    site.look(PATIENCE_S + 4)
    site.look(at := 2 * PATIENCE_S + 4)
    assert site.watch.disbelieved == {"9"}
    if change == "its limit":
        site.prime = replace(site.prime, limit=timedelta(minutes=1))
    elif change == "another of its user ends":
        site.others = []
        site.look(at + OTHERS_S - 1)
        assert site.watch.disbelieved, "who keeps starting and ending batch jobs does not end the harvest"
    site.look(at + {"time": AGAIN_S, "its limit": 2, "another of its user ends": OTHERS_S}[change])
    assert not site.watch.disbelieved


def test_neither_another_reason_nor_another_batch_job_of_its_user_that_begins_makes_it_believed_again():
    site = waiting()
    site.leave("n2")
    site.gone("n2")
    site.look(PATIENCE_S + 4)
    site.look(at := 2 * PATIENCE_S + 4)
    site.prime = replace(site.prime, reason="Priority")
    site.others = [replace(site._pilot("n9", BatchState.RUNNING), name="other", user="u", batch_job_id="o")]
    site.look(at + OTHERS_S + 1)
    assert site.watch.disbelieved == {"9"}


def test_who_was_disbelieved_before_is_waited_for_less_the_next_time():
    site = waiting()
    site.leave("n2")
    site.gone("n2")
    site.look(PATIENCE_S + 4)
    site.look(at := 2 * PATIENCE_S + 4)
    site.look(at := at + AGAIN_S)
    assert not site.watch.disbelieved
    for seconds in (2, 2 + AGAIN_PATIENCE_S, 4 + AGAIN_PATIENCE_S, 4 + 2 * AGAIN_PATIENCE_S):
        site.look(at + seconds)
    assert site.watch.disbelieved == {"9"}


def test_in_strict_mode_it_stays_believed_and_keeps_the_nodes_of_our_plan():
    site = waiting(HarvestMode.STRICT)
    assert site.watch.doubted == {"9"}
    site.leave("n2")
    site.gone("n2")
    site.look(PATIENCE_S + 4)
    site.look(at := 2 * PATIENCE_S + 4)
    site.look(at + 2)
    site.look(at + 3 * PATIENCE_S)
    assert not site.watch.doubted | site.watch.disbelieved
    site.prime = replace(site.prime, waits_for=WaitsFor.UNKNOWN)
    for step in range(5):
        site.look(at + (4 + step) * PATIENCE_S)
    assert not site.watch.disbelieved


def test_who_is_cancelled_is_forgotten():
    site = Site("n1", "n2")
    site.look(0)
    site.prime = replace(site.prime, state=BatchState.RUNNING, batch_job_id="another")
    assert site.look(2) == []
    assert site.watch.waits == {}


STEPS = st.tuples(st.integers(1, 60), st.sampled_from(("leave", "gone", "look", "start", "come")))


@given(st.lists(STEPS, max_size=12))
def test_no_delay_is_longer_than_the_wait_since_the_prime_job_came(steps):
    site, at = Site("n1", "n2"), 0
    for seconds, what in steps:
        at += seconds
        taken, waits = {*site.pilots, *site.completing}, site.prime.state is BatchState.PENDING
        if what == "leave" and site.pilots:
            site.leave(min(site.pilots))
        elif what == "gone" and site.completing:
            site.gone(min(site.completing))
        elif what == "come" and not taken and waits:
            site.pilots["n1"] = PilotState.BOOTING
        elif what == "start" and waits and "n1" not in taken:
            site.start(at, "n1")
        for delay in site.look(at):
            assert 0 < delay.seconds <= at
            assert delay.is_over == (site.prime.state is BatchState.RUNNING)
