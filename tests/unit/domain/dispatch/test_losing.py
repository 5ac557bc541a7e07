"""Pilots that are lost: what ran there is charged, runs alone, and is found to be poison; its neighbours are not."""

import pytest

from harvester.domain.dispatch.dispatcher import Dispatcher, DispatcherSettings
from harvester.domain.dispatch.explain import explain
from harvester.domain.dispatch.ledger.effects import Arrival, Conclude, Grant, MovePilot
from harvester.domain.dispatch.queueing.work import Work
from harvester.domain.model.invocations import ActivationEnd, FailureKind, InvocationState
from harvester.domain.model.pilots import BROKEN_UNDER_WORK, DrainReason, PilotState
from harvester.domain.model.resources import Resources


class Site:
    """A dispatcher, and pilots of four CPUs that come one after the other."""

    def __init__(self):
        self.dispatcher = Dispatcher(DispatcherSettings(), epoch=1)
        self.count = 0
        self.grants = {}
        self.ends = {}

    def see(self, effects):
        for effect in effects:
            if isinstance(effect, Grant):
                self.grants[effect.invocation_id] = effect
            elif isinstance(effect, Conclude):
                self.ends[effect.invocation_id] = effect

    def submit(self, *names, **kwargs):
        works = [
            Work(invocation_id=n, function_id=f"{n}@1", accepted_at=0.0, resources=Resources(cpus=1), **kwargs)
            for n in names
        ]
        self.see(self.dispatcher.accept_many(works, 0))

    def pilot_comes(self, cpus=4, now=0.0):
        self.count += 1
        hello = Arrival(pilot_id=f"p{self.count}", capacity=Resources(cpus=cpus), python="3.11", time_left_s=3600)
        self.see(self.dispatcher.pilot_arrived(hello, now))
        return hello.pilot_id

    def pilot_is_lost(self, pilot_id, state=PilotState.FAILED):
        self.dispatcher.disconnected(pilot_id, 0)
        self.see(self.dispatcher.ended(pilot_id, state, 0))

    def on(self, pilot_id):
        entries = self.dispatcher.pilot(pilot_id).leases
        return sorted(entries)

    def finish(self, name):
        grant = self.grants[name]
        self.see(self.dispatcher.finished(grant.pilot_id, name, grant.fence, None, 0))

    def failure(self, name):
        return self.ends[name].failure


@pytest.fixture
def site():
    return Site()


def test_what_takes_a_pilot_down_alone_is_poison_after_three_of_them(site):
    site.submit("killer")
    for _ in range(3):
        assert "killer" not in site.ends
        site.pilot_is_lost(site.pilot_comes())
    assert site.failure("killer").kind is FailureKind.POISON
    assert site.dispatcher.entry("killer") is None
    assert "its whole pilot, died 3 times" in site.failure("killer").message


def test_neighbours_of_a_killer_succeed_and_it_is_found_alone(site):
    site.submit("killer", "one", "two")
    lost = 0
    while "killer" not in site.ends:
        pilot = site.pilot_comes()
        while "killer" not in site.on(pilot) and site.on(pilot):
            site.finish(site.on(pilot)[0])
        assert lost < 2 or len(site.on(pilot)) == 1, "after two losses each of them runs alone"
        site.pilot_is_lost(pilot)
        lost += 1
    assert lost == 5
    pilot = site.pilot_comes()
    for name in ("one", "two"):
        if name not in site.ends:
            site.finish(name)
    assert {site.ends[name].state for name in ("one", "two")} == {InvocationState.SUCCEEDED}


def test_nothing_is_placed_beside_a_suspect_until_it_has_ended(site):
    site.submit("suspect", "neighbour")
    for _ in range(2):
        site.pilot_is_lost(site.pilot_comes())
    site.submit("innocent")
    first, second = site.pilot_comes(), site.pilot_comes()
    assert sorted(site.on(first) + site.on(second)) == ["neighbour", "suspect"]
    assert "2 pilots are busy" in explain(site.dispatcher, "innocent", 0).summary
    site.finish("suspect")
    site.finish("neighbour")
    site.submit(*"abc")
    assert len(site.on(first)) + len(site.on(second)) == 4, "the room is everybody's again"


def test_a_suspect_waits_for_an_empty_pilot_and_is_told_why(site):
    site.submit("suspect", "neighbour")
    for _ in range(2):
        site.pilot_is_lost(site.pilot_comes())
    site.submit("innocent")
    pilot = site.pilot_comes()
    (waits,) = {"suspect", "neighbour", "innocent"} - {*site.on(pilot), "innocent"}
    told = explain(site.dispatcher, waits, 0)
    assert "1 pilot is busy" in told.summary
    assert "2 pilots were lost that had it, so it runs alone on a pilot from now on." in told.details


@pytest.mark.parametrize("state", [PilotState.EVICTED, PilotState.CANCELLED, PilotState.FINISHED])
def test_a_pilot_that_the_scheduler_or_an_admin_ended_is_nobodys_fault(site, state):
    site.submit("long")
    for _ in range(10):
        site.pilot_is_lost(site.pilot_comes(), state)
    assert "long" not in site.ends
    assert site.dispatcher.entry("long").losses == 0


def test_a_pilot_that_was_leaving_anyway_is_nobodys_fault(site):
    site.submit("long")
    for _ in range(10):
        pilot = site.pilot_comes()
        site.dispatcher.draining(pilot, DrainReason.EVICTED, 0)
        site.pilot_is_lost(pilot)
    assert "long" not in site.ends


def test_silence_is_charged_as_an_end_that_nobody_asked_for_is(site):
    site.submit("stops its agent")
    now = 0.0
    for _ in range(3):
        site.pilot_comes(now=now)
        while site.dispatcher.pilot(f"p{site.count}") is not None:
            now += 0.5
            site.see(site.dispatcher.tick(now))
    assert site.failure("stops its agent").kind is FailureKind.POISON


def test_a_run_that_gets_on_between_two_losses_is_not_poison(site):
    site.submit("steps", checkpoints=True)
    for seq in range(1, 8):
        pilot = site.pilot_comes()
        site.dispatcher.checkpointed(pilot, "steps", site.grants["steps"].fence, seq, 0)
        site.pilot_is_lost(pilot)
    assert "steps" not in site.ends
    for _ in range(3):
        site.pilot_is_lost(site.pilot_comes())
    assert site.failure("steps").kind is FailureKind.POISON


def test_who_kills_the_zygote_is_charged_whatever_order_its_pilot_tells_it_in(site):
    site.submit("killer", "neighbour")
    for round_ in range(5):
        pilot = site.pilot_comes()
        ran = site.on(pilot)
        site.see(site.dispatcher.draining(pilot, DrainReason.BROKEN, 0))
        for name in ran:
            site.see(
                site.dispatcher.given_back(
                    pilot,
                    name,
                    site.grants[name].fence,
                    ActivationEnd.SLOT_DIED if round_ % 2 else ActivationEnd.EVICTED,
                    0,
                )
            )
        site.see(site.dispatcher.left(pilot, DrainReason.BROKEN, 0))
        assert "neighbour" not in site.ends
        if ran == ["neighbour"]:
            site.pilot_comes()
    assert site.dispatcher.entry("neighbour") is not None


@pytest.mark.parametrize("works", [(), ("killer",)])
def test_of_a_pilot_that_breaks_it_is_told_whether_it_had_work(site, works):
    pilot = site.pilot_comes()
    site.submit(*works)
    site.see(site.dispatcher.draining(pilot, DrainReason.BROKEN, 0))
    (move,) = [each for each in site.dispatcher.left(pilot, DrainReason.BROKEN, 0) if isinstance(each, MovePilot)]
    assert move.reason == (BROKEN_UNDER_WORK if works else "broken")


def test_behind_a_short_run_that_kills_its_pilot_nobody_else_is_poison(site):
    """All of a line is lost with the pilot, and with it the ends of those before the killer."""
    names = [f"w{n}" for n in range(30)]
    works = [
        Work(invocation_id=name, function_id="f@1", accepted_at=0.0, resources=Resources(cpus=1)) for name in names
    ]
    pilot = site.pilot_comes(cpus=1)
    site.see(site.dispatcher.accept_many(works, 0))
    while "w9" not in site.ends:
        grant = site.grants[next(iter(site.dispatcher.pilot(pilot).leases))]
        site.see(site.dispatcher.finished(grant.pilot_id, grant.invocation_id, grant.fence, None, 0, duration_s=0.001))
    killer = site.on(pilot)[3]
    for _ in range(100):
        held = list(site.dispatcher.pilot(pilot).leases)
        if not held:
            break
        if killer in held:
            site.pilot_is_lost(pilot)  # before it has told the end of any
            pilot = site.pilot_comes(cpus=1)
        else:
            site.finish(held[0])
    assert site.failure(killer).kind is FailureKind.POISON
    assert {name for name, end in site.ends.items() if end.state is InvocationState.SUCCEEDED} == {*names} - {killer}
