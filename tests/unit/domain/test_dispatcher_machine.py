"""Any order of events, restarts of the gateway included: nothing lost, nothing committed twice, no room used twice."""

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from harvester.domain.dispatcher import Dispatcher, DispatcherSettings
from harvester.domain.effects import (
    Acknowledge,
    Arrival,
    Begin,
    Conclude,
    Grant,
    Greet,
    KeepCheckpoint,
    MovePilot,
    Requeue,
    Revoke,
    SendDrain,
    Work,
)
from harvester.domain.invocations import ActivationEnd, Failure, FailureKind, InvocationState
from harvester.domain.pilots import PILOT, DrainReason, PilotState
from harvester.domain.placement import obstacle
from harvester.domain.resources import Resources
from harvester.domain.wire import Held

BROKEN = Failure(kind=FailureKind.EXCEPTION, message="ValueError")


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
    fences: list[int] = field(default_factory=list)


@dataclass
class SimulatedPilot:
    """A pilot that keeps what it has not been acknowledged, and may be cut off or dead."""

    pilot_id: str
    cpus: int
    is_connected: bool = True
    is_dead: bool = False
    drain: DrainReason | None = None
    running: dict[tuple[str, int], bool] = field(default_factory=dict)
    outbox: dict[tuple[str, int], ActivationEnd | Failure | None] = field(default_factory=dict)

    def held(self):
        started = dict.fromkeys(self.outbox, True) | self.running
        return tuple(Held(invocation_id=i, fence=f, is_started=s) for (i, f), s in started.items())


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
        self.dispatcher = Dispatcher(DispatcherSettings(), self.epoch)

    # ---- the shell: what performing an effect means to the store and to the pilots ----

    def perform(self, effects):
        for effect in effects:
            getattr(self, f"do_{type(effect).__name__}")(effect)

    def do_Grant(self, effect: Grant):  # noqa: N802 - named after the effect
        row = self.rows[effect.invocation_id]
        assert not row.fences or effect.fence > row.fences[-1], "tokens must grow"
        assert effect.resumed == (row.checkpoint > 0), "a resumed run starts from its checkpoint, a fresh one has none"
        row.fences.append(effect.fence)
        row.state, row.fence, row.pilot_id = InvocationState.LEASED, effect.fence, effect.pilot_id
        row.attempts = effect.attempt
        pilot = self.fleet[effect.pilot_id]
        if pilot.is_connected and not pilot.is_dead and not effect.adopted:
            pilot.running[effect.invocation_id, effect.fence] = False

    def do_Begin(self, effect: Begin):  # noqa: N802 - named after the effect
        self.rows[effect.invocation_id].state = InvocationState.RUNNING

    def do_KeepCheckpoint(self, effect: KeepCheckpoint):  # noqa: N802 - named after the effect
        row = self.rows[effect.invocation_id]
        assert effect.fence == row.fence
        row.checkpoint = effect.seq

    def do_Requeue(self, effect: Requeue):  # noqa: N802 - named after the effect
        row = self.rows[effect.invocation_id]
        assert effect.fence == row.fence
        row.state, row.pilot_id = InvocationState.ACCEPTED, None
        row.retries_used, row.deaths = effect.retries_used, effect.deaths

    def do_Conclude(self, effect: Conclude):  # noqa: N802 - named after the effect
        row = self.rows[effect.invocation_id]
        row.results += 1
        row.state, row.pilot_id = effect.state, None

    def do_Acknowledge(self, effect: Acknowledge):  # noqa: N802 - named after the effect
        self.fleet[effect.pilot_id].outbox.pop((effect.invocation_id, effect.fence), None)

    def do_Revoke(self, effect: Revoke):  # noqa: N802 - named after the effect
        pilot = self.fleet[effect.pilot_id]
        key = effect.invocation_id, effect.fence
        if pilot.is_connected and pilot.running.pop(key, None) is not None:
            pilot.outbox[key] = ActivationEnd.CANCELLED

    def do_Greet(self, effect: Greet):  # noqa: N802 - named after the effect
        pilot = self.fleet[effect.pilot_id]
        for held in effect.abandon:
            pilot.running.pop((held.invocation_id, held.fence), None)
            pilot.outbox.pop((held.invocation_id, held.fence), None)

    def do_MovePilot(self, effect: MovePilot):  # noqa: N802 - named after the effect
        state = self.pilot_states.get(effect.pilot_id, PilotState.BOOTING)
        if PILOT.allows(state, effect.event):
            self.pilot_states[effect.pilot_id] = PILOT.advance(state, effect.event)

    def do_SendDrain(self, effect: SendDrain):  # noqa: N802 - named after the effect
        self.fleet[effect.pilot_id].drain = effect.reason

    # ---- what can happen ----

    @rule(target=invocations, cpus=st.integers(1, 3), retries=st.integers(0, 1))
    def accept(self, cpus, retries):
        name = f"i{len(self.rows)}"
        work = Work(
            invocation_id=name,
            function_id="f@1",
            resources=Resources(cpus=cpus),
            accepted_at=self.now,
            max_retries=retries,
        )
        self.rows[name] = Row(work)
        self.perform(self.dispatcher.accept(work, self.now))
        return name

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
        self.resend(pilot)

    def resend(self, pilot):
        for key, end in list(pilot.outbox.items()):
            self.report(pilot, key, end)

    def report(self, pilot, key, end):
        """Tell the gateway how an activation ended; while cut off it stays in the outbox."""
        pilot.outbox[key] = end
        if not pilot.is_connected:
            return
        if isinstance(end, ActivationEnd):
            self.perform(self.dispatcher.given_back(pilot.pilot_id, *key, end, self.now))
        else:
            self.perform(self.dispatcher.finished(pilot.pilot_id, *key, end, self.now))

    def pick(self, pilot_id, data):
        pilot = self.fleet[pilot_id]
        if pilot.is_dead or not pilot.running:
            return pilot, None
        return pilot, data.draw(st.sampled_from(sorted(pilot.running)))

    @rule(pilot_id=pilots, data=st.data())
    def a_slot_begins(self, pilot_id, data):
        pilot, key = self.pick(pilot_id, data)
        if key:
            pilot.running[key] = True
            if pilot.is_connected:
                self.perform(self.dispatcher.started(pilot_id, *key, self.now))

    @rule(pilot_id=pilots, data=st.data())
    def a_function_checkpoints(self, pilot_id, data):
        pilot, key = self.pick(pilot_id, data)
        if key and pilot.is_connected:
            self.perform(self.dispatcher.checkpointed(pilot_id, *key, self.rows[key[0]].checkpoint + 1, self.now))

    @rule(
        pilot_id=pilots,
        data=st.data(),
        end=st.sampled_from([None, BROKEN, ActivationEnd.SLOT_DIED, ActivationEnd.EVICTED, ActivationEnd.UNSTARTED]),
    )
    def an_activation_ends(self, pilot_id, data, end):
        pilot, key = self.pick(pilot_id, data)
        if key:
            del pilot.running[key]
            self.report(pilot, key, end)

    @rule(pilot_id=pilots, data=st.data())
    def a_result_is_told_twice(self, pilot_id, data):
        pilot = self.fleet[pilot_id]
        stale = [(i, old) for i, new in pilot.running for old in self.rows[i].fences if old < new]
        told = stale or [(i, f) for i, row in self.rows.items() for f in row.fences if (i, f) not in pilot.running]
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

    @rule(data=st.data())
    def the_scheduler_has_ended_a_pilot(self, data):
        """It may be mistaken, and the pilot call again."""
        if self.fleet:
            pilot = self.fleet[data.draw(st.sampled_from(sorted(self.fleet)))]
            held = [name for name, row in self.rows.items() if row.pilot_id == pilot.pilot_id]
            self.perform(self.dispatcher.ended(pilot.pilot_id, self.now))
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

    @rule(forgets=st.booleans())
    def the_gateway_restarts(self, forgets):
        """With `forgets` the last grants had not been written down when it died."""
        for pilot in self.fleet.values():
            pilot.is_connected = False
        self.epoch += 1
        self.dispatcher = Dispatcher(DispatcherSettings(), self.epoch)
        for row in self.rows.values():
            if row.results:
                continue
            if forgets and row.state is InvocationState.LEASED:
                row.state, row.pilot_id, row.attempts = InvocationState.ACCEPTED, None, row.attempts - 1
                row.fences.pop()
                row.fence = row.fences[-1] if row.fences else 0
            recovered = Work(
                invocation_id=row.work.invocation_id,
                function_id=row.work.function_id,
                resources=row.work.resources,
                accepted_at=row.work.accepted_at,
                max_retries=row.work.max_retries,
                fence=row.fence,
                attempts=row.attempts,
                retries_used=row.retries_used,
                deaths=row.deaths,
                has_checkpoint=row.checkpoint > 0,
                pilot_id=row.pilot_id,
                is_started=row.state is InvocationState.RUNNING,
            )
            self.dispatcher.recover(recovered, self.now)

    # ---- what must hold ----

    @invariant()
    def no_result_is_committed_twice(self):
        assert all(row.results <= 1 for row in self.rows.values())

    @invariant()
    def no_room_is_used_twice(self):
        for pilot in self.dispatcher.pilots:
            used = sum(entry.work.resources.cpus for entry in pilot.leases.values())
            if pilot.is_known:
                assert used + pilot.free.cpus == pilot.capacity.cpus
                assert pilot.free.cpus >= 0
        for pilot in self.fleet.values():
            assert sum(self.rows[i].work.resources.cpus for i, _ in pilot.running) <= pilot.cpus

    @invariant()
    def no_room_stays_empty_while_work_waits_that_suits_it(self):
        for name, row in self.rows.items():
            if row.state is InvocationState.ACCEPTED:
                entry = self.dispatcher.entry(name)
                assert all(obstacle(entry, pilot, 5.0, self.now) is not None for pilot in self.dispatcher.pilots)

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
        assert [name for name, row in self.rows.items() if not row.results] == []


DispatcherMachine.TestCase.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)
TestTheDispatcherUnderAnyOrderOfEvents = DispatcherMachine.TestCase
