"""What a function's name means to whom, and what of functions is kept in memory."""

import asyncio
import contextlib
import weakref

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from support.examples import examples
from support.functions import FunctionStore, draft

from harvester.domain.model.functions import Sharing
from harvester_api.functions.catalog import FRESH_S, MEANINGS, PINNED_FRESH_S, Catalog
from harvester_api.functions.code_cache import CodeCache
from harvester_api.http.auth import Caller
from harvester_api.problems import Refusal
from harvester_api.settings import Role

ANN, BOB, EVE = (Caller(name=name, role=Role.USER) for name in ("ann", "bob", "eve"))
ROOT = Caller(name="root", role=Role.ADMIN)
CALLERS = {caller.name: caller for caller in (ANN, BOB, EVE, ROOT)}


@pytest.fixture
def store():
    return FunctionStore()


@pytest.fixture
def now():
    return [0.0]


@pytest.fixture
def catalog(store, now):
    return Catalog(store, ["root"], clock=lambda: now[0])


async def register(catalog, caller, name="f", body=b"m:f", sharing=None):
    listed, _ = await catalog.register(caller, draft(name, body), sharing, 1.0)
    return listed.function.function_id


async def meant(catalog, caller, name="f", version=None):
    return (await catalog.find(caller, name, version)).function_id


async def refused(awaitable):
    with pytest.raises(Refusal) as raised:
        await awaitable
    return raised.value.problem


async def test_two_users_of_one_name_each_call_their_own(catalog):
    await register(catalog, ANN, body=b"m:anns")
    assert await meant(catalog, ANN) == "ann/f@1"
    assert await register(catalog, BOB, body=b"m:bobs") == "bob/f@1"
    assert (await catalog.find(ANN, "f")).body == b"m:anns"
    assert (await catalog.find(BOB, "f")).body == b"m:bobs"
    assert await meant(catalog, ANN, "ann/f", 1) == "ann/f@1"


async def test_a_shared_function_is_called_by_its_name_until_one_has_ones_own(catalog):
    await register(catalog, ANN, sharing=Sharing.ALL)
    assert [await meant(catalog, BOB, name) for name in ("f", "ann/f")] == ["ann/f@1"] * 2
    await register(catalog, BOB)
    assert [await meant(catalog, BOB, name) for name in ("f", "ann/f")] == ["bob/f@1", "ann/f@1"]
    await register(catalog, ANN, body=b"m:newer")
    assert await meant(catalog, BOB, "ann/f") == "ann/f@2"


async def test_of_two_that_are_shared_neither_is_taken_and_both_are_named(catalog):
    await register(catalog, ANN, sharing=Sharing.ALL)
    await register(catalog, EVE, sharing=Sharing.ALL)
    problem = await refused(catalog.find(BOB, "f"))
    assert (problem.status, problem.field) == (409, "name")
    assert "ann/f, eve/f" in problem.detail
    assert "Name one fully: ann/f" in problem.remedy
    assert await meant(catalog, EVE) == "eve/f@1"
    assert await meant(catalog, BOB, "eve/f") == "eve/f@1"


async def test_what_is_not_shared_looks_as_if_it_did_not_exist(catalog):
    await register(catalog, ANN, "simulate")
    for name in ("simulate", "ann/simulate", "ann/simulat"):
        here = await refused(catalog.find(BOB, name))
        nowhere = await refused(catalog.find(BOB, name.replace("ann", "nobody").replace("simulat", "iterate")))
        assert here.status == nowhere.status == 404
        assert here.detail == f"there is no function {name!r} of yours, and none is shared with you"
        assert here.remedy == nowhere.remedy
    for caller, close in ((ANN, "simulate"), (ROOT, "ann/simulate")):
        assert (await refused(catalog.find(caller, "simulat"))).detail.endswith(f"; close to it: {close}")
    assert await meant(catalog, ROOT, "ann/simulate") == "ann/simulate@1"
    assert "close to it: ann/simulate" in (await refused(catalog.find(ROOT, "ann/simulat"))).detail
    await catalog.share(ANN, "simulate", Sharing.ALL)
    assert "close to it: ann/simulate" in (await refused(catalog.find(BOB, "ann/simulat"))).detail


async def test_sharing_ends_at_once_also_for_who_has_called(catalog):
    await register(catalog, ANN, sharing=Sharing.ALL)
    assert await meant(catalog, BOB, "ann/f", 1) == "ann/f@1"
    assert (await catalog.share(ANN, "f", Sharing.NONE)).sharing is Sharing.NONE
    for version in (None, 1):
        assert (await refused(catalog.find(BOB, "ann/f", version))).status == 404


async def test_only_its_owner_and_admins_change_a_function(catalog):
    await register(catalog, ANN, sharing=Sharing.ALL)
    for change in (catalog.share(BOB, "ann/f", Sharing.NONE), catalog.delete(BOB, "f", 1, 2.0)):
        problem = await refused(change)
        assert (problem.status, problem.detail) == (
            403,
            "ann/f belongs to ann; only its owner and admins may change it",
        )
    assert (await catalog.share(ROOT, "ann/f", Sharing.NONE)).sharing is Sharing.NONE
    assert (await refused(catalog.delete(BOB, "ann/f", 1, 2.0))).status == 404
    await catalog.delete(ROOT, "ann/f", 1, 2.0)


async def test_nobody_gets_in_the_way_of_a_name_that_an_admin_shares(catalog):
    await register(catalog, ROOT, sharing=Sharing.ALL)
    await register(catalog, EVE)
    for change in (catalog.share(EVE, "f", Sharing.ALL), catalog.register(EVE, draft(), Sharing.ALL, 1.0)):
        problem = await refused(change)
        assert (problem.status, problem.field) == (409, "share")
        assert "root/f" in problem.detail
    assert await meant(catalog, BOB) == "root/f@1"


async def test_a_version_in_use_is_not_deleted_and_one_that_is_not_is_gone_at_once(catalog, store):
    for body in (b"m:one", b"m:two"):
        await register(catalog, ANN, body=body)
    assert await meant(catalog, ANN, "f", 1) == "ann/f@1"
    store.busy.add("ann/f@1")
    problem = await refused(catalog.delete(ANN, "f", 1, 2.0))
    assert (problem.status, problem.detail) == (409, "ann/f@1 is in use: 1 of its invocations have not ended")
    held = await catalog.find(ANN, "f", 1)  # by a request that is on its way
    assert held.function_id == "ann/f@1"
    store.busy.clear()
    assert (await catalog.delete(ANN, "f", 1, 2.0)).function.function_id == "ann/f@1"
    assert "it has 2" in (await refused(catalog.find(ANN, "f", 1))).detail
    assert await meant(catalog, ANN) == "ann/f@2"


async def test_what_another_gateway_has_changed_is_seen_in_a_while(catalog, store, now):
    await register(catalog, ANN)
    assert [await meant(catalog, ANN, "f", version) for version in (None, 1)] == ["ann/f@1"] * 2
    store.add_function(draft(body=b"m:newer", owner="ann"), 2.0)
    store.delete_function("ann/f@1", 2.0)
    assert await meant(catalog, ANN) == "ann/f@1"
    now[0] += FRESH_S
    assert await meant(catalog, ANN) == "ann/f@2"
    assert await meant(catalog, ANN, "f", 1) == "ann/f@1"
    now[0] += PINNED_FRESH_S
    assert (await refused(catalog.find(ANN, "f", 1))).status == 404


async def test_a_body_is_read_once_and_is_one_object_for_all_that_hold_it(store):
    catalog = Catalog(store, code=CodeCache(keep=1))
    for name in ("f", "g"):
        await register(catalog, ANN, name)
    held = await catalog.find(ANN, "f")
    await catalog.find(ANN, "g")  # in the place of f
    reads = store.reads
    assert await catalog.find(ANN, "f") is held is catalog.by_id("ann/f@1")
    assert store.reads == reads


async def test_ten_thousand_functions_that_were_called_once_leave_next_to_nothing(store):
    catalog = Catalog(store, code=CodeCache(keep_bytes=100_000))
    held = []
    for number in range(10_000):
        store.add_function(draft(f"f{number}", b"%05d" % number * 200, "ann"), 0.0)
        held.append(weakref.ref(await catalog.find(ANN, f"f{number}")))
    assert [each() is not None for each in held] == [False] * 9_900 + [True] * 100
    assert len(catalog._meant) == MEANINGS


class Meanings(RuleBasedStateMachine):
    """Whatever users do, a call means what the rule says at once, though the clock stands and all is remembered."""

    names = st.sampled_from(["f", "g"])
    callers = st.sampled_from(list(CALLERS.values()))

    def __init__(self):
        super().__init__()
        self.runner = asyncio.Runner()
        self.store = FunctionStore()
        self.catalog = Catalog(self.store, ["root"], clock=lambda: 0.0)

    def teardown(self):
        self.runner.close()

    def found(self, caller, name, version=None):
        try:
            return self.runner.run(self.catalog.find(caller, name, version)).function_id
        except Refusal as refusal:
            return refusal.problem.status

    def all_meanings(self):
        texts = [*self.names.elements, *(f"{owner}/{name}" for owner in CALLERS for name in self.names.elements)]
        return {(each.name, text): self.found(each, text) for each in CALLERS.values() for text in texts}

    @rule(caller=callers, name=names, body=st.sampled_from([b"m:one", b"m:two"]))
    def register(self, caller, name, body):
        before = self.all_meanings()
        self.runner.run(register(self.catalog, caller, name, body))
        for (who, text), meaning in self.all_meanings().items():
            is_its_own = text == f"{caller.name}/{name}" or (who == caller.name and text == name)
            shares = caller.name in self.store.sharers(name)
            assert meaning == before[who, text] or is_its_own or shares, (who, text)

    @rule(caller=callers, owner=callers, name=names, sharing=st.sampled_from(Sharing))
    def share(self, caller, owner, name, sharing):
        self.attempt(self.catalog.share(caller, f"{owner.name}/{name}", sharing))

    @rule(caller=callers, name=names, version=st.integers(1, 3))
    def delete(self, caller, name, version):
        self.attempt(self.catalog.delete(caller, name, version, 1.0))

    def attempt(self, change):
        with contextlib.suppress(Refusal):
            self.runner.run(change)

    @invariant()
    def a_call_means_what_the_rule_says(self):
        for (who, text), found in self.all_meanings().items():
            owner, _, name = text.rpartition("/")
            sharers = self.store.sharers(name)
            if owner:
                owners = [owner] if owner in {who, *sharers} or who == "root" else []
            elif (who, name) in self.store.there:
                owners = [who]
            else:
                owners = sharers
            newest = [self.store.function_id_of(name, owner=each) for each in owners]
            assert found == ((newest[0] or 404) if len(newest) == 1 else 409 if newest else 404), (who, text)


TestMeanings = Meanings.TestCase
TestMeanings.settings = settings(max_examples=examples(25), stateful_step_count=12, deadline=None)
