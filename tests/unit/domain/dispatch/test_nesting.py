"""Runs that wait for others: their CPUs are lent, whom they wait for goes first, and any tree of them ends."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.dispatching import arrival, end, grants, names, new, only, teach, work, works
from support.examples import examples

from harvester.domain.dispatch.explain import explain
from harvester.domain.dispatch.ledger.effects import Conclude, Grant, Recall
from harvester.domain.model.invocations import ActivationEnd
from harvester.domain.protocol.wire import Held


def waits(dispatcher, grant, now=0.0, *, is_lent=True):
    return dispatcher.nesting.waits(grant.pilot_id, grant.invocation_id, grant.fence, now, is_lent=is_lent)


def goes_on(dispatcher, grant, now=0.0):
    return dispatcher.nesting.goes_on(grant.pilot_id, grant.invocation_id, grant.fence, now)


def with_parent(**settings):
    """Return a dispatcher whose only CPU has a parent, behind which another root waits."""
    dispatcher = new(**settings)
    dispatcher.pilot_arrived(arrival(), 0)
    parent, *rest = grants(dispatcher.accept_many(works(2, "parent@1", "root"), 0))
    assert not rest
    return dispatcher, parent


def test_who_waits_lends_its_cpu_to_its_children_before_other_work_of_its_owner():
    dispatcher, parent = with_parent()
    assert grants(dispatcher.accept(work("urgent", "other@1", priority=1000), 0)) == []
    assert grants(dispatcher.accept(work("child", "child@1", parent="root0", priority=-1000), 0)) == []
    assert names(waits(dispatcher, parent)) == ["child"]
    assert dispatcher.pilot("p1").free_cpus == 0


def test_who_goes_on_runs_at_once_and_nothing_new_starts_until_the_cpu_is_free_again():
    dispatcher, parent = with_parent()
    (other,) = grants(waits(dispatcher, parent))
    assert other.invocation_id == "root1"
    assert goes_on(dispatcher, parent) == []
    assert dispatcher.pilot("p1").free_cpus == -1
    dispatcher.accept(work("third"), 0)
    assert grants(end(dispatcher, other, 1.0)) == []
    assert names(end(dispatcher, parent, 2.0)) == ["third"]


def test_who_ends_or_is_lost_while_it_waits_leaves_no_room_behind():
    for how in ("finished", "given back", "pilot lost"):
        dispatcher, parent = with_parent()
        waits(dispatcher, parent)
        if how == "finished":
            end(dispatcher, parent, 1.0)
        elif how == "given back":
            dispatcher.given_back("p1", "root0", parent.fence, ActivationEnd.SLOT_DIED, 1.0)
        else:
            dispatcher.tick(4.0)
            dispatcher.pilot_arrived(arrival("p2"), 4.5)
        for pilot in dispatcher.pilots:
            assert pilot.free_cpus == pilot.capacity.cpus - len(pilot.leases), how
            assert pilot.slow_cpus == len(pilot.leases), how


def test_what_is_said_under_another_token_or_twice_changes_nothing():
    dispatcher, parent = with_parent()
    assert dispatcher.nesting.waits("p1", "root0", parent.fence - 1, 0.0, is_lent=True) == []
    assert dispatcher.nesting.goes_on("p1", "root0", parent.fence, 0.0) == []
    waits(dispatcher, parent)
    assert waits(dispatcher, parent) == []
    assert dispatcher.pilot("p1").free_cpus == 0


def test_a_pilot_that_comes_back_tells_anew_what_waits():
    dispatcher, parent = with_parent()
    waits(dispatcher, parent)
    held = (Held(invocation_id="root0", fence=parent.fence, is_started=True),)
    dispatcher.disconnected("p1", 1.0)
    dispatcher.pilot_arrived(arrival(held=held), 2.0)
    assert dispatcher.pilot("p1").free_cpus == 0
    assert names(waits(dispatcher, parent, 2.0)) == ["root1"]


def test_an_owner_at_its_limit_may_run_what_its_waiting_runs_wait_for():
    dispatcher, parent = with_parent(max_running_per_owner=1)
    dispatcher.accept(work("child", "child@1", parent="root0"), 0)
    (child,) = grants(waits(dispatcher, parent))
    assert child.invocation_id == "child"
    goes_on(dispatcher, parent)
    dispatcher.pilot_arrived(arrival("p2", 4), 0)
    assert grants(end(dispatcher, child, 1.0)) == []
    assert names(end(dispatcher, parent, 2.0)) == ["root1"]


def test_a_function_that_submits_others_is_not_granted_ahead_of_free_slots():
    dispatcher = new(prefetch=4)
    teach(dispatcher, "parent@1", 0.001)
    dispatcher.pilot_arrived(arrival(), 0)
    dispatcher.accept_many(works(9, "parent@1", "root"), 0)
    first = next(entry for entry in dispatcher.pilot("p1").leases.values())
    grant = Grant(
        pilot_id="p1",
        invocation_id=first.invocation_id,
        function_id="parent@1",
        fence=first.fence,
        attempt=1,
        resumed=False,
    )
    effects = end(dispatcher, grant, 0.001)
    assert dispatcher.pilot("p1").ahead == 2
    running = grants(effects)[0]
    dispatcher.accept(work("child", "child@1", parent=running.invocation_id), 0)
    recalled = only(waits(dispatcher, running), Recall)
    assert [recall.invocation_id for recall in recalled] == names(effects)[1:]
    for recall in recalled:
        dispatcher.given_back("p1", recall.invocation_id, recall.fence, ActivationEnd.UNSTARTED, 0.1)
    assert dispatcher.pilot("p1").ahead == 0
    assert "child" in dispatcher.pilot("p1").leases


def test_only_an_open_invocation_of_the_same_owner_is_a_parent():
    dispatcher = new()
    dispatcher.accept(work("theirs", owner="b"), 0)
    for parent in ("theirs", "nobody"):
        dispatcher.accept(work(f"child of {parent}", owner="a", parent=parent), 0)
        assert dispatcher.entry(f"child of {parent}").depth == 0


def test_explain_names_who_waits_for_whom():
    dispatcher, parent = with_parent()
    dispatcher.accept_many([work(f"child{n}", "child@1", cpus=2, parent="root0") for n in range(2)], 0)
    waits(dispatcher, parent)
    assert "it waits for 2 invocations that it has submitted" in explain(dispatcher, "root0", 0.0).summary
    assert explain(dispatcher, "child0", 0.0).details[0] == (
        "Invocation root0 has submitted it: it waits for 2 invocations that it has submitted, "
        "and others may use its CPUs meanwhile."
    )
    goes_on(dispatcher, parent)
    assert "waits" not in explain(dispatcher, "root0", 0.0).summary


# ---- any tree ends -------------------------------------------------------------------------------------------------

TREES = st.recursive(st.just(()), lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=12)


def depth_of(tree):
    return 1 + max((depth_of(child) for child in tree), default=0)


class Forest:
    """Pilots that run trees of invocations: each run submits its children, waits for all of them, and ends.

    A pilot lends the CPUs of `most` waiting runs for each of its own, and no more.
    """

    def __init__(self, cpus, most):
        self.dispatcher = new()
        self.most = most
        self.trees, self.parents, self.fences, self.where = {}, {}, {}, {}
        self.open = Counter()  # children by parent
        self.granted, self.waiting, self.lent, self.results = [], [], [], set()
        for number, count in enumerate(cpus):
            self.dispatcher.pilot_arrived(arrival(f"p{number}", count), 0.0)

    def perform(self, effects):
        for effect in effects:
            if isinstance(effect, Grant):
                pilot = self.dispatcher.pilot(effect.pilot_id)
                self.granted.append(effect)
                self.where[effect.invocation_id] = effect
                assert pilot.free_cpus >= 0, "a grant takes no CPU that somebody else has"
            elif isinstance(effect, Conclude):
                self.results.add(effect.invocation_id)

    def submit(self, trees, parent=""):
        named = {f"i{len(self.trees) + n}": tree for n, tree in enumerate(trees)}
        self.trees |= named
        self.parents |= dict.fromkeys(named, parent)
        self.open[parent] += len(named)
        children = [work(name, f"{depth_of(tree)}@1", parent=parent) for name, tree in named.items()]
        self.perform(self.dispatcher.accept_many(children, 0))

    def moves(self):
        """What can happen next: a run does its next thing, or one that waits goes on."""
        ready = [grant for grant in self.waiting if not self.open[grant.invocation_id]]
        return self.granted + ready

    def move(self, grant):
        name = grant.invocation_id
        if grant in self.waiting:
            self.waiting.remove(grant)
            if grant in self.lent:
                self.lent.remove(grant)
            self.perform(goes_on(self.dispatcher, grant))
            self.lend_more(grant.pilot_id)
            self.finish(grant)
        else:
            self.granted.remove(grant)
            if self.trees[name]:
                self.submit(self.trees[name], name)
                self.waiting.append(grant)
                self.lend_more(grant.pilot_id)
            else:
                self.finish(grant)

    def lend_more(self, pilot_id):
        most = self.most * self.dispatcher.pilot(pilot_id).capacity.cpus
        for grant in [each for each in self.waiting if each.pilot_id == pilot_id and each not in self.lent]:
            if sum(each.pilot_id == pilot_id for each in self.lent) < most:
                self.lent.append(grant)
                self.perform(waits(self.dispatcher, grant))

    def finish(self, grant):
        self.perform(end(self.dispatcher, grant, 0.0, 0.5))
        self.open[self.parents[grant.invocation_id]] -= 1


@settings(max_examples=examples(300), deadline=None)
@given(
    roots=st.lists(TREES, min_size=1, max_size=12),
    cpus=st.lists(st.integers(1, 2), min_size=1, max_size=2),
    random=st.randoms(use_true_random=False),
)
def test_any_trees_of_runs_that_wait_for_their_children_end_on_any_slots(roots, cpus, random):
    forest = Forest(cpus, most=max(map(depth_of, roots)))
    forest.submit(roots)
    while moves := forest.moves():
        forest.move(random.choice(moves))
    assert forest.results == set(forest.trees), "it stands still"
    for pilot in forest.dispatcher.pilots:
        assert pilot.free_cpus == pilot.capacity.cpus
        assert pilot.slow_cpus == 0


@pytest.mark.parametrize("fan", [1, 2])
def test_a_deep_tree_ends_on_one_slot(fan):
    tree = ()
    for _ in range(8):
        tree = (tree,) * fan
    forest = Forest([1], most=9)
    forest.submit([tree])
    while moves := forest.moves():
        forest.move(moves[-1])
    assert len(forest.results) == sum(fan**level for level in range(9))
