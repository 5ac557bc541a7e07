"""The counts of connections: strangers make room, those who are known stay."""

import asyncio

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from harvester_api.connections import ConnectionLimits, Connections


class Fake:
    def __init__(self, keeper):
        self.keeper = keeper
        self.is_known = self.has_ended = self.is_silent = False

    def is_overdue(self, limits):
        return self.is_silent

    def end(self, why):
        self.has_ended = True


class Machine(RuleBasedStateMachine):
    """At most five connections, at most two of strangers."""

    def __init__(self):
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.keeper = Connections(ConnectionLimits(most=5, strangers=2))
        self.all = []

    def teardown(self):
        self.loop.close()

    @property
    def open(self):
        return [each for each in self.all if not each.has_ended]

    @rule()
    def comes(self):
        connection, before = Fake(self.keeper), self.open

        async def come():
            self.keeper.came(connection)

        self.loop.run_until_complete(come())
        self.all.append(connection)
        strangers = [each for each in before if not each.is_known]
        is_full = len(before) == 5 or len(strangers) == 2
        gone = [each for each in [*before, connection] if each.has_ended]
        assert gone == ([*strangers, connection][:1] if is_full else [])

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def shows_its_token(self, data):
        self.keeper.knows(data.draw(st.sampled_from(self.open)))

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def leaves(self, data):
        connection = data.draw(st.sampled_from(self.open))
        self.keeper.left(connection)
        self.all.remove(connection)

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def falls_silent(self, data):
        connection = data.draw(st.sampled_from(self.open))
        connection.is_silent = True
        self.keeper.look()
        assert connection.has_ended
        self.keeper.left(connection)

    @invariant()
    def the_limits_hold(self):
        assert len(self.keeper) == len(self.open) <= 5
        assert sum(not each.is_known for each in self.open) <= 2


TestConnections = Machine.TestCase
