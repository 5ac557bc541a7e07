"""Any order of events, restarts of the gateway included: nothing lost, nothing committed twice, no room used twice."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule
from support.examples import examples

from harvester.domain.dispatch.dispatcher import Dispatcher, DispatcherSettings
from harvester.domain.dispatch.leasing.placement import obstacle
from harvester.domain.dispatch.ledger.effects import (
    Acknowledge,
    Arrival,
    Begin,
    Conclude,
    Grant,
    Greet,
    KeepCheckpoint,
    MovePilot,
    Recall,
    Requeue,
    Revoke,
    SendDrain,
)
from harvester.domain.dispatch.queueing.work import Work
from harvester.domain.model.invocations import ActivationEnd, Failure, FailureKind, InvocationState
from harvester.domain.model.pilots import PILOT, DrainReason, PilotState
from harvester.domain.model.resources import Resources
from harvester.domain.protocol.wire import Held

BROKEN = Failure(kind=FailureKind.EXCEPTION, message="ValueError")
SETTINGS = DispatcherSettings(
    weights={"a": 3.0},
    owner_limits={"c": 2},
    patience=timedelta(seconds=3),
    prefetch=3,
)
BRIEF = {"brief": 1, "brief and wide": 2}  # functions whose runs are known to be short, and their CPUs
FUNCTIONS = {
    name: {"function_id": name, "resources": Resources(cpus=cpus), **more}
    for name, cpus, more in [
        *((name, cpus, {}) for name, cpus in BRIEF.items()),
        ("any", 1, {}),
        ("wide", 3, {}),
        ("tried again", 1, {"max_retries": 1}),
        ("limited", 1, {"max_running": 2}),
        ("single", 2, {"max_running": 1}),
    ]
}


@dataclass
class Row:
    """What the store would remember of an invocation."""

    work: Work
    state: InvocationState = InvocationState.ACCEPTED
    fence: int = 0
    attempts: int = 0
    retries_used: int = 0
    deaths: int = 0
    pilot_id: str | None = None
    checkpoint: int = 0
    results: int = 0
    has_begun: bool = False
    fences: list[int] = field(default_factory=list)


@dataclass
class SimulatedPilot:
    """A pilot that keeps what it has not been acknowledged, and may be cut off or dead."""

    pilot_id: str
    cpus: int
    is_connected: bool = True
    is_dead: bool = False
    drain: DrainReason | None = None
    waiting: dict[tuple[str, int], int] = field(default_factory=dict)  # CPUs, in the order of arrival
    running: dict[tuple[str, int], int] = field(default_factory=dict)
    outbox: dict[tuple[str, int], ActivationEnd | Failure | None] = field(default_factory=dict)
    lent: set[tuple[str, int]] = field(default_factory=set)  # of what runs: it waits for others
    went_on: set[tuple[str, int]] = field(default_factory=set)  # of what runs: it did, and needs no free CPU

    def held(self):
        started = dict.fromkeys(self.outbox, True) | dict.fromkeys(self.running, True) | dict.fromkeys(self.waiting)
        return tuple(Held(invocation_id=i, fence=f, is_started=bool(s)) for (i, f), s in started.items())

    def start_what_fits(self):
        """In order, without those that do not fit."""
        for key, cpus in list(self.waiting.items()):
            if self.busy_cpus() + cpus <= self.cpus:
                self.running[key] = self.waiting.pop(key)

    def busy_cpus(self):
        return sum(cpus for key, cpus in self.running.items() if key not in self.lent)

    def spare_cpus(self):
        """What those that went on may use beyond what there is."""
        return sum(cpus for key, cpus in self.running.items() if key in self.went_on)

    def forget(self, key):
        return self.running.pop(key, None) or self.waiting.pop(key, None)


class DispatcherMachine(RuleBasedStateMachine):
    pilots = Bundle("pilots")
    invocations = Bundle("invocations")

    @initialize()
    def begin(self):
        self.now = 0.0
        self.epoch = 1
        self.rows: dict[str, Row] = {}
        self.fleet: dict[str, SimulatedPilot] = {}
        self.pilot_states: dict[str, PilotState] = {}
        self.has_forgotten = False
        self.dispatcher = self.new_dispatcher()

    def new_dispatcher(self):
        """One that knows the brief functions already, from a pilot that has left."""
        dispatcher = Dispatcher(SETTINGS, self.epoch)
        for name in BRIEF:
            for number in range(5):
                work = Work(invocation_id=f"{name} {number}", accepted_at=self.now, **FUNCTIONS[name])
                dispatcher.accept(work, self.now)
        hello = Arrival(pilot_id=f"w{self.epoch}", capacity=Resources(cpus=15), python="3.11", time_left_s=3600)
        for grant in dispatcher.pilot_arrived(hello, self.now):
            if isinstance(grant, Grant):
                dispatcher.finished(grant.pilot_id, grant.invocation_id, grant.fence, None, self.now, duration_s=0.001)
        dispatcher.left(hello.pilot_id, DrainReason.WALLTIME, self.now)
        assert all(dispatcher.estimate(name) is not None for name in BRIEF)
        return dispatcher

    # ---- the shell: what performing an effect means to the store and to the pilots ----

    def perform(self, effects):
        for effect in effects:
            getattr(self, f"do_{type(effect).__name__}")(effect)
        for pilot in self.fleet.values():
            if pilot.drain is None:
                pilot.start_what_fits()

    def do_Grant(self, effect: Grant):  # noqa: N802 - named after the effect
        row = self.rows[effect.invocation_id]
        assert not row.fences or effect.fence > row.fences[-1], "tokens must grow"
        assert effect.resumed == (row.checkpoint > 0), "a resumed run starts from its checkpoint, a fresh one has none"
        work = row.work
        if not effect.adopted:
            assert work.end_by is None or work.end_by > self.now, "its deadline has passed"
            assert work.start_by is None or work.start_by > self.now or row.has_begun, "its time to live has passed"
        row.fences.append(effect.fence)
        row.state, row.fence, row.pilot_id = InvocationState.LEASED, effect.fence, effect.pilot_id
        row.attempts = effect.attempt
        pilot = self.fleet[effect.pilot_id]
        if pilot.is_connected and not pilot.is_dead and not effect.adopted:
            pilot.waiting[effect.invocation_id, effect.fence] = work.resources.cpus

    def do_Begin(self, effect: Begin):  # noqa: N802 - named after the effect
        row = self.rows[effect.invocation_id]
        assert row.state is InvocationState.LEASED
        row.state, row.has_begun = InvocationState.RUNNING, True

    def do_KeepCheckpoint(self, effect: KeepCheckpoint):  # noqa: N802 - named after the effect
        row = self.rows[effect.invocation_id]
        assert effect.fence == row.fence
        row.checkpoint = effect.seq

    def do_Requeue(self, effect: Requeue):  # noqa: N802 - named after the effect
        row = self.rows[effect.invocation_id]
        assert effect.fence == row.fence
        row.state, row.pilot_id = InvocationState.ACCEPTED, None
        row.retries_used, row.deaths = effect.retries_used, effect.deaths
        row.has_begun |= effect.end not in (ActivationEnd.UNSTARTED, ActivationEnd.PILOT_LOST)

    def do_Conclude(self, effect: Conclude):  # noqa: N802 - named after the effect
        row = self.rows[effect.invocation_id]
        row.results += 1
        if effect.state is InvocationState.EXPIRED:
            work, waits = row.work, row.state is InvocationState.ACCEPTED
            is_late = work.end_by is not None and work.end_by <= self.now
            is_stale = work.start_by is not None and work.start_by <= self.now and waits and not row.has_begun
            assert is_late or is_stale
        if effect.state is InvocationState.SUCCEEDED:
            assert (effect.started_at is None) == (row.state is InvocationState.RUNNING), "each run began some time"
        row.state, row.pilot_id = effect.state, None

    def do_Acknowledge(self, effect: Acknowledge):  # noqa: N802 - named after the effect
        self.fleet[effect.pilot_id].outbox.pop((effect.invocation_id, effect.fence), None)

    def do_Revoke(self, effect: Revoke):  # noqa: N802 - named after the effect
        pilot = self.fleet[effect.pilot_id]
        key = effect.invocation_id, effect.fence
        if pilot.is_connected and pilot.forget(key) is not None:
            pilot.outbox[key] = ActivationEnd.CANCELLED

    def do_Recall(self, effect: Recall):  # noqa: N802 - named after the effect
        pilot = self.fleet[effect.pilot_id]
        key = effect.invocation_id, effect.fence
        assert self.rows[effect.invocation_id].fence == effect.fence
        if pilot.is_connected and pilot.waiting.pop(key, None) is not None:
            pilot.outbox[key] = ActivationEnd.UNSTARTED

    def do_Greet(self, effect: Greet):  # noqa: N802 - named after the effect
        pilot = self.fleet[effect.pilot_id]
        for held in effect.abandon:
            pilot.forget((held.invocation_id, held.fence))
            pilot.outbox.pop((held.invocation_id, held.fence), None)

    def do_MovePilot(self, effect: MovePilot):  # noqa: N802 - named after the effect
        state = self.pilot_states.get(effect.pilot_id, PilotState.BOOTING)
        if PILOT.allows(state, effect.event):
            self.pilot_states[effect.pilot_id] = PILOT.advance(state, effect.event)

    def do_SendDrain(self, effect: SendDrain):  # noqa: N802 - named after the effect
        self.fleet[effect.pilot_id].drain = effect.reason

    # ---- what can happen ----

    @rule(
        target=invocations,
        function=st.sampled_from(sorted(FUNCTIONS)),
        owner=st.sampled_from("abc"),
        priority=st.integers(-1, 1),
        ttl_s=st.sampled_from([None, None, 0.5, 2.0]),
        deadline_s=st.sampled_from([None, None, 0.5, 2.0]),
        count=st.sampled_from([1, 1, 1, 5]),
    )
    def accept(self, *, function, owner, priority, ttl_s, deadline_s, count):
        works = [
            Work(
                invocation_id=f"i{len(self.rows) + number}",
                accepted_at=self.now,
                owner=owner,
                priority=priority,
                start_by=None if ttl_s is None else self.now + ttl_s,
                end_by=None if deadline_s is None else self.now + deadline_s,
                **FUNCTIONS[function],
            )
            for number in range(count)
        ]
        self.rows |= {work.invocation_id: Row(work) for work in works}
        self.perform(self.dispatcher.accept_many(works, self.now))
        return works[0].invocation_id

    @rule(target=pilots, cpus=st.integers(1, 4))
    def pilot_comes(self, cpus):
        pilot = SimulatedPilot(f"p{len(self.fleet)}", cpus)
        self.fleet[pilot.pilot_id] = pilot
        self.say_hello(pilot)
        return pilot.pilot_id

    def say_hello(self, pilot):
        pilot.is_connected = True
        hello = Arrival(
            pilot_id=pilot.pilot_id,
            capacity=Resources(cpus=pilot.cpus),
            python="3.11",
            time_left_s=3600,
            held=pilot.held(),
            drain=pilot.drain,
        )
        self.perform(self.dispatcher.pilot_arrived(hello, self.now))
        pilot.lent &= pilot.running.keys()
        for key in sorted(pilot.lent):
            self.perform(self.dispatcher.nesting.waits(pilot.pilot_id, *key, self.now, is_lent=True))
        self.resend(pilot)

    def resend(self, pilot):
        for key, end in list(pilot.outbox.items()):
            self.report(pilot, key, end)

    def report(self, pilot, key, end, duration_s=0.0):
        """Tell the gateway how an activation ended; while cut off it stays in the outbox."""
        pilot.outbox[key] = end
        if not pilot.is_connected:
            return
        if isinstance(end, ActivationEnd):
            self.perform(self.dispatcher.given_back(pilot.pilot_id, *key, end, self.now))
        else:
            self.perform(self.dispatcher.finished(pilot.pilot_id, *key, end, self.now, duration_s=duration_s))

    def pick(self, pilot_id, data):
        pilot = self.fleet[pilot_id]
        if pilot.is_dead or not pilot.running:
            return pilot, None
        return pilot, data.draw(st.sampled_from(sorted(pilot.running)))

    @rule(pilot_id=pilots, data=st.data())
    def a_slot_tells_that_it_began(self, pilot_id, data):
        pilot, key = self.pick(pilot_id, data)
        if key and pilot.is_connected:
            self.perform(self.dispatcher.started(pilot_id, *key, self.now))

    @rule(pilot_id=pilots, data=st.data())
    def a_function_checkpoints(self, pilot_id, data):
        pilot, key = self.pick(pilot_id, data)
        if key and pilot.is_connected:
            self.perform(self.dispatcher.checkpointed(pilot_id, *key, self.rows[key[0]].checkpoint + 1, self.now))

    @rule(
        pilot_id=pilots,
        data=st.data(),
        end=st.sampled_from([None, None, BROKEN, ActivationEnd.SLOT_DIED, ActivationEnd.EVICTED]),
        duration_s=st.sampled_from([0.0, 0.001, 0.5, 20.0]),
    )
    def an_activation_ends(self, pilot_id, data, end, duration_s):
        pilot, key = self.pick(pilot_id, data)
        if key:
            if key[0] in self.rows and self.rows[key[0]].work.function_id in BRIEF:
                duration_s = min(duration_s, 0.001)
            del pilot.running[key]
            pilot.start_what_fits()
            self.report(pilot, key, end, duration_s)

    @rule(pilot_id=pilots, data=st.data())
    def a_run_waits_for_others_or_goes_on(self, pilot_id, data):
        pilot, key = self.pick(pilot_id, data)
        if not key or not pilot.is_connected:
            return
        if key in pilot.lent:
            pilot.lent.discard(key)
            pilot.went_on.add(key)
            self.perform(self.dispatcher.nesting.goes_on(pilot_id, *key, self.now))
        else:
            pilot.lent.add(key)
            self.perform(self.dispatcher.nesting.waits(pilot_id, *key, self.now, is_lent=True))

    @rule(pilot_id=pilots)
    def what_a_pilot_said_arrives(self, pilot_id):
        pilot = self.fleet[pilot_id]
        if pilot.is_connected and not pilot.is_dead:
            self.resend(pilot)

    @rule(pilot_id=pilots)
    def a_lease_that_waits_comes_back(self, pilot_id):
        pilot = self.fleet[pilot_id]
        if pilot.waiting and not pilot.is_dead:
            key = next(iter(pilot.waiting))
            del pilot.waiting[key]
            self.report(pilot, key, ActivationEnd.UNSTARTED)

    @rule(pilot_id=pilots, data=st.data())
    def a_result_is_told_twice(self, pilot_id, data):
        pilot = self.fleet[pilot_id]
        held = [*pilot.running, *pilot.waiting, *pilot.outbox]  # in the outbox: what the gateway has not heard yet
        stale = [(i, old) for i, new in held for old in self.rows[i].fences if old < new]
        told = stale or [(i, f) for i, row in self.rows.items() for f in row.fences if (i, f) not in held]
        if told and pilot.is_connected and not pilot.is_dead:
            key = data.draw(st.sampled_from(told))
            before = self.rows[key[0]].results
            self.perform(self.dispatcher.finished(pilot_id, *key, None, self.now))
            assert self.rows[key[0]].results == before

    @rule(pilot_id=pilots)
    def the_connection_breaks(self, pilot_id):
        pilot = self.fleet[pilot_id]
        if pilot.is_connected:
            pilot.is_connected = False
            self.perform(self.dispatcher.disconnected(pilot_id, self.now))

    @rule(pilot_id=pilots)
    def the_pilot_calls_again(self, pilot_id):
        pilot = self.fleet[pilot_id]
        if not pilot.is_dead and not pilot.is_connected:
            self.say_hello(pilot)

    @rule(pilot_id=consumes(pilots))
    def kill_minus_nine(self, pilot_id):
        self.the_connection_breaks(pilot_id)
        self.fleet[pilot_id].is_dead = True
        self.fleet[pilot_id].running.clear()
        self.fleet[pilot_id].waiting.clear()

    @rule(data=st.data(), state=st.sampled_from(sorted(PILOT.final)))
    def the_scheduler_has_ended_a_pilot(self, data, state):
        """It may be mistaken, and the pilot call again."""
        if self.fleet:
            pilot = self.fleet[data.draw(st.sampled_from(sorted(self.fleet)))]
            held = [name for name, row in self.rows.items() if row.pilot_id == pilot.pilot_id]
            self.perform(self.dispatcher.ended(pilot.pilot_id, state, self.now))
            left = [name for name in held if self.rows[name].pilot_id == pilot.pilot_id]
            assert left == (held if pilot.is_connected else [])

    @rule(pilot_id=pilots, reason=st.sampled_from([DrainReason.EVICTED, DrainReason.WALLTIME, DrainReason.BROKEN]))
    def the_scheduler_wants_the_node(self, pilot_id, reason):
        pilot = self.fleet[pilot_id]
        if not pilot.is_dead:
            pilot.drain = reason
            if pilot.is_connected:
                self.perform(self.dispatcher.draining(pilot_id, reason, self.now))

    @rule(pilot_id=pilots)
    def a_leaving_pilot_hands_over_and_goes(self, pilot_id):
        pilot = self.fleet[pilot_id]
        if pilot.is_dead or pilot.drain is None or not pilot.is_connected:
            return
        for key in list(pilot.waiting):
            del pilot.waiting[key]
            self.report(pilot, key, ActivationEnd.UNSTARTED)
        for key in list(pilot.running):
            del pilot.running[key]
            self.report(pilot, key, ActivationEnd.EVICTED)
        self.perform(self.dispatcher.left(pilot_id, pilot.drain, self.now))
        pilot.is_dead, pilot.is_connected = True, False

    @rule(pilot_id=pilots)
    def an_admin_evicts(self, pilot_id):
        self.perform(self.dispatcher.evict(pilot_id, DrainReason.ASKED, self.now))

    @rule(invocation=invocations)
    def a_user_cancels(self, invocation):
        self.perform(self.dispatcher.cancel(invocation, self.now))

    @rule(seconds=st.sampled_from([0.25, 0.9, 0.9, 0.9, 30.0]))
    def time_passes(self, seconds):
        self.now += seconds
        for pilot in self.fleet.values():
            if pilot.is_connected:
                self.perform(self.dispatcher.heartbeat(pilot.pilot_id, 3600, self.now))
        self.perform(self.dispatcher.tick(self.now))
        for row in self.rows.values():
            assert row.results or row.work.end_by is None or row.work.end_by > self.now, "its deadline has passed"

    @rule(forgets=st.booleans())
    def the_gateway_restarts(self, forgets):
        """With `forgets` the last grants had not been written down when it died."""
        for pilot in self.fleet.values():
            pilot.is_connected = False
        self.epoch += 1
        self.has_forgotten |= forgets
        self.dispatcher = self.new_dispatcher()
        for row in self.rows.values():
            if row.results:
                continue
            if forgets and row.state is InvocationState.LEASED:
                row.state, row.pilot_id, row.attempts = InvocationState.ACCEPTED, None, row.attempts - 1
                row.fences.pop()
                row.fence = row.fences[-1] if row.fences else 0
            recovered = msgspec.structs.replace(
                row.work,
                fence=row.fence,
                attempts=row.attempts,
                retries_used=row.retries_used,
                deaths=row.deaths,
                has_checkpoint=row.checkpoint > 0,
                pilot_id=row.pilot_id,
                is_started=row.state is InvocationState.RUNNING,
            )
            row.has_begun = bool(recovered.is_started or row.checkpoint or row.retries_used or row.deaths)
            self.dispatcher.recover(recovered, self.now)

    # ---- what must hold ----

    @invariant()
    def no_result_is_committed_twice(self):
        assert all(row.results <= 1 for row in self.rows.values())

    @invariant()
    def no_room_is_used_twice(self):
        for pilot in self.dispatcher.pilots:
            leases = [(entry.lease, entry.lane.function.resources.cpus) for entry in pilot.leases.values()]
            ahead = [lease for lease, _ in leases if lease.is_ahead]
            assert pilot.ahead == len(ahead) <= 3 * max(1, pilot.capacity.cpus)
            assert pilot.slow_cpus == sum(cpus for lease, cpus in leases if not lease.is_brief and not lease.is_lent)
            if pilot.is_known:
                taken = sum(cpus for lease, cpus in leases if not lease.is_lent)
                assert taken + pilot.free_cpus == pilot.capacity.cpus
                brief = sum(cpus for lease, cpus in leases if lease.is_brief)
                went_on = self.fleet[pilot.pilot_id].went_on  # in the books until the pilot has told its end
                keys = [((name, entry.lease.fence), entry) for name, entry in pilot.leases.items()]
                spare = sum(entry.lane.function.resources.cpus for key, entry in keys if key in went_on)
                assert pilot.free_cpus >= -brief - spare, "only what is over soon, or went on, goes beyond"
                # What has a slot in the books fits, but for what began there while its predecessor's end is on its way.
                unbegun = [each for each in leases if not each[0].is_ahead and each[0].begun_at is None]
                in_slots = sum(cpus for lease, cpus in unbegun if not lease.is_lent)
                assert in_slots <= pilot.capacity.cpus + spare
        for pilot in self.fleet.values():
            assert pilot.busy_cpus() <= pilot.cpus + pilot.spare_cpus()

    @invariant()
    def limits_are_kept(self):
        if self.has_forgotten:  # what a pilot then turns out to hold is believed, be it above a limit
            return
        held = [entry for pilot in self.dispatcher.pilots for entry in pilot.leases.values()]
        went_on = {key[0] for pilot in self.fleet.values() for key in pilot.went_on}
        in_use = [entry for entry in held if not entry.lease.is_lent and entry.invocation_id not in went_on]
        assert Counter(entry.lane.owner.name for entry in in_use)["c"] <= 2
        functions = Counter(entry.lane.function.function_id for entry in held)
        assert functions["limited"] <= 2
        assert functions["single"] <= 1

    @invariant()
    def no_room_stays_empty_while_work_waits_that_suits_it(self):
        pilots = [pilot for pilot in self.dispatcher.pilots if pilot.kept_for is None]
        for name, row in self.rows.items():
            if row.state is InvocationState.ACCEPTED:
                lane = self.dispatcher.entry(name).lane
                if lane.function.is_full or lane.owner.is_full:
                    continue
                assert lane.is_listed
                assert lane.group.waiting.groups
                assert all(obstacle(lane.shape, pilot, 5.0, self.now) is not None for pilot in pilots)

    @invariant()
    def lanes_count_right(self):
        for name, row in self.rows.items():
            entry = self.dispatcher.entry(name)
            if row.state is InvocationState.ACCEPTED:
                assert entry.lane.waiting == sum(
                    one.state is InvocationState.ACCEPTED and self.dispatcher.entry(other).lane is entry.lane
                    for other, one in self.rows.items()
                )
                assert (entry.lane.owner.name, entry.work.function_id) == (row.work.owner, row.work.function_id)

    @invariant()
    def a_suspect_has_no_neighbours(self):
        if self.has_forgotten:  # a pilot may turn out to hold what the books had elsewhere
            return
        for pilot in self.dispatcher.pilots:
            assert pilot.has_alone == any(entry.lane.is_alone for entry in pilot.leases.values())
            assert not pilot.has_alone or len(pilot.leases) == 1

    @invariant()
    def books_and_store_agree(self):
        for name, row in self.rows.items():
            entry = self.dispatcher.entry(name)
            if row.results:
                assert entry is None or entry.is_over
            else:
                assert entry is not None, "lost"
                assert (entry.state, entry.pilot_id) == (row.state, row.pilot_id)

    def teardown(self):
        """Give it enough pilots, let everything finish: whatever was accepted must have ended."""
        if not hasattr(self, "rows"):
            return
        for pilot in self.fleet.values():
            if not pilot.is_dead and not pilot.is_connected:
                self.say_hello(pilot)
        self.pilot_comes(4)
        for _ in range(60 + 4 * len(self.rows)):
            self.time_passes(0.9)
            for pilot in self.fleet.values():
                for key in list(pilot.running):
                    del pilot.running[key]
                    self.report(pilot, key, None)
                if pilot.is_connected and not pilot.is_dead:
                    self.resend(pilot)
                pilot.start_what_fits()
        assert [name for name, row in self.rows.items() if not row.results] == []


DispatcherMachine.TestCase.settings = settings(max_examples=examples(500), stateful_step_count=40, deadline=None)
TestTheDispatcherUnderAnyOrderOfEvents = DispatcherMachine.TestCase
