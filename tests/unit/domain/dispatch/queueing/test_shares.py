"""Fair shares: slot-time goes by weight, whatever the durations, and nobody starves."""

from heapq import heappop, heappush
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from support.examples import examples

from harvester.domain.dispatch.dispatcher import Dispatcher, DispatcherSettings
from harvester.domain.dispatch.ledger.effects import Arrival, Grant
from harvester.domain.dispatch.queueing.lanes import Lane
from harvester.domain.dispatch.queueing.ranking import Ranking
from harvester.domain.dispatch.queueing.shares import Clock, Share
from harvester.domain.dispatch.queueing.work import Work
from harvester.domain.model.resources import Resources

ONE = Resources(cpus=1)


def test_twice_the_weight_goes_twice_as_far():
    clock, light, heavy = Clock(), Share(1.0), Share(2.0)
    light.charge(clock, 3.0)
    heavy.charge(clock, 3.0)
    assert (light.at, heavy.at) == (3.0, 1.5)


def test_who_was_away_begins_at_the_present_and_has_saved_nothing_up():
    clock, busy, away = Clock(), Share(), Share()
    for _ in range(10):
        busy.charge(clock, 1.0)
    away.charge(clock, 1.0)
    assert away.at == 10.0, "as far as the one that was served last"


def test_what_was_charged_too_much_makes_the_next_grants_cheaper_and_too_little_is_made_good():
    clock, share = Clock(), Share()
    share.charge(clock, 1.0)
    share.settle(1.0, 0.25)
    share.charge(clock, 1.0)
    assert share.at == 1.25
    share.settle(1.0, 3.0)
    assert share.at == 3.25


def test_even_runs_that_take_no_time_move_a_share_on():
    clock, share = Clock(), Share()
    share.charge(clock, 0.0)
    assert share.at > 0.0


class Member:
    def __init__(self, at, top=0):
        self.share, self.top = Share(), top
        self.share.at = at


@given(st.lists(st.tuples(st.sampled_from(["grow", "rise", "leave", "join"]), st.integers(0, 7), st.integers(1, 9))))
def test_a_ranking_always_has_the_least_first(events):
    members = [Member(float(at)) for at in range(8)]
    ranking: Ranking[Lane] = Ranking()
    for event, index, amount in events:
        member, is_in = members[index], members[index] in list(ranking)
        if event == "join" and not is_in:
            ranking.add(member)
        elif event == "leave":
            ranking.discard(member)
        elif event == "grow":
            member.share.at += amount
        elif event == "rise" and is_in:
            member.top += amount
            ranking.rose(member)
        if len(ranking):
            least = min((-one.top, one.share.at) for one in ranking)
            first = ranking.first()
            assert (-first.top, first.share.at) == least


def simulate(slots, parties, ends):
    """Run `ends` activations, everybody always having more to do; return who began when, and everybody's slot-time."""
    dispatcher = Dispatcher(DispatcherSettings(weights={owner: w for owner, (w, _, _) in parties.items()}), epoch=1)
    works = [
        Work(
            invocation_id=f"{owner}{n}",
            function_id=f"{owner}@1",
            owner=owner,
            resources=ONE,
            accepted_at=0.0,
            max_running=limit,
        )
        for owner, (_, _, limit) in parties.items()
        for n in range(ends)
    ]
    dispatcher.accept_many(works, 0.0)
    used = dict.fromkeys(parties, 0.0)
    running, order, now = [], [], 0.0
    hello = Arrival(pilot_id="p", capacity=Resources(cpus=slots), python="3.11", time_left_s=1e9)
    effects = dispatcher.pilot_arrived(hello, now)
    for _ in range(ends):
        for grant in [effect for effect in effects if isinstance(effect, Grant)]:
            owner = grant.invocation_id[0]
            order.append(owner)
            heappush(running, (now + parties[owner][1], grant.fence, grant, now))
        now, _, grant, begun_at = heappop(running)
        used[grant.invocation_id[0]] += now - begun_at
        effects = dispatcher.finished("p", grant.invocation_id, grant.fence, None, now, duration_s=now - begun_at)
    for _, _, grant, begun_at in running:
        used[grant.invocation_id[0]] += now - begun_at
    return order, used


parties = st.lists(
    st.tuples(st.sampled_from([0.5, 1.0, 3.0]), st.sampled_from([0.05, 0.3, 1.0, 4.0]), st.none()),
    min_size=2,
    max_size=4,
).map(lambda drawn: dict(zip("abcd", drawn, strict=False)))


@given(slots=st.integers(1, 4), parties=parties)
@settings(max_examples=examples(60), deadline=None)
def test_slot_time_goes_by_weight_whatever_the_durations(slots, parties):
    _, used = simulate(slots, parties, ends=150)
    for one, (weight, duration_s, _) in parties.items():
        for other, (other_weight, other_duration_s, _) in parties.items():
            # One grant of each, and what the first runs in all slots cost beyond the second that was charged for them.
            bound = (slots + 1) * (max(1.0, duration_s) / weight + max(1.0, other_duration_s) / other_weight)
            assert abs(used[one] / weight - used[other] / other_weight) <= bound


@given(slots=st.integers(1, 4), parties=parties, limit=st.integers(1, 2))
@settings(max_examples=examples(60), deadline=None)
def test_nobody_who_may_be_served_waits_for_more_than_a_bounded_number_of_grants(slots, parties, limit):
    parties = {owner: (w, s, limit if owner == "a" else None) for owner, (w, s, _) in parties.items()}
    order, _ = simulate(slots, parties, ends=150)
    for owner, (weight, duration_s, _) in parties.items():
        if owner == "a":
            continue  # it may have been at its limit
        own = (slots + 1) * max(1.0, duration_s) / weight  # virtual time in which the others go first
        most = sum(
            2 * slots + other_weight * (own + (slots + 1) * max(1.0, other_s) / other_weight) / other_s
            for other, (other_weight, other_s, _) in parties.items()
            if other != owner
        )
        places = [-1, *(n for n, who in enumerate(order) if who == owner), len(order)]
        assert max(b - a for a, b in pairwise(places)) <= most + 1


def test_between_the_functions_of_one_owner_slot_time_is_equal():
    dispatcher = Dispatcher(DispatcherSettings(), epoch=1)
    dispatcher.accept_many(
        [
            Work(invocation_id=f"{f}{n}", function_id=f"{f}@1", owner="a", resources=ONE, accepted_at=0.0)
            for f in "fgh"
            for n in range(10)
        ],
        0.0,
    )
    hello = Arrival(pilot_id="p", capacity=Resources(cpus=9), python="3.11", time_left_s=1e9)
    grants = [effect for effect in dispatcher.pilot_arrived(hello, 0.0) if isinstance(effect, Grant)]
    assert sorted(grant.invocation_id[0] for grant in grants) == [*"fffggghhh"]
