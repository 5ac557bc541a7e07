"""Results that are pushed, what happens when the stream breaks off, and a gateway that asks for patience."""

import logging
import pickle
import time

import pytest

import harvester
from harvester.sdk.submit.batching import MAX_IN_FLIGHT


def add(a, b=0):
    return a + b


@harvester.function(name="held")
def held(value):
    return value


class Grid:
    """An array as pickle protocol 5 sees one: its memory travels out of band."""

    def __init__(self, memory):
        self.memory = memory

    def __reduce_ex__(self, protocol):
        return Grid, (pickle.PickleBuffer(self.memory),)


def doubled(grid):
    grid.memory[0] = 7  # arguments are writable
    return Grid(bytearray(bytes(grid.memory) * 2))


def test_results_are_pushed_and_nobody_is_asked_for_them(client, gateway):
    futures = [client.submit(add, number) for number in range(300)]
    assert [future.result(5) for future in futures] == list(range(300))
    assert gateway.seen["POST /v1/wait"] == 0
    assert gateway.seen["GET /v1/streams/{id}"] == 1


def test_what_ended_while_the_stream_was_cut_is_asked_for_once(client, gateway):
    gateway.held = {"held"}
    futures = [client.submit(held, number) for number in range(3)]
    ids = [future.invocation_id for future in futures]
    gateway.pushes = False
    gateway.finish(ids[0], "missed")
    gateway.cut_streams()
    assert futures[0].result(5) == "missed"
    gateway.pushes = True
    assert client.submit(add, 1).result(5) == 1
    assert gateway.seen["POST /v1/wait"] == 1
    gateway.finish(ids[1], "pushed")
    assert futures[1].result(5) == "pushed"
    assert gateway.seen["POST /v1/wait"] == 1


def test_a_gateway_without_streams_is_asked(client, gateway):
    gateway.has_streams = False
    assert list(client.map(add, range(50), chunksize=1)) == list(range(50))
    assert gateway.seen["POST /v1/wait"] >= 1


def test_arguments_and_results_with_buffers_arrive_and_can_be_written_to(client, gateway):
    memory = bytearray(range(256)) * 1024
    future = client.submit(doubled, Grid(memory))
    memory[1] = 99  # the arguments were copied when they were submitted
    result = future.result(5)
    (invocation,) = gateway.invocations.values()
    assert invocation.arguments[:4] == b"HVB1"
    assert len(result.memory) == 2 * len(memory)
    assert list(result.memory[:3]) == [7, 1, 2]
    gateway.held = {"doubled"}
    large = client.submit(doubled, Grid(memory))
    body = pickle.dumps(b"x" * 3_000_000)
    gateway.finish(large.invocation_id, raw=body)
    assert len(large.result(5)) == 3_000_000


def test_under_pressure_what_was_submitted_waits_and_keeps_its_order(client, gateway, caplog):
    client.register(add)
    gateway.held = {"add"}
    alone = 1 + MAX_IN_FLIGHT  # the first is sent by the thread that submits it
    gateway.pressure = alone  # refused together, so that nothing else is under way then
    with caplog.at_level(logging.WARNING, "harvester.sdk"):
        futures = []
        for number in range(alone):  # each in a request of its own
            futures.append(client.submit(add, number))
            while gateway.seen["POST /v1/functions/{name}/invocations"] <= number:
                time.sleep(0.002)  # the test's own limit ends a wait in vain
        futures += [client.submit(add, number) for number in range(1000)]
        ids = [int(future.invocation_id.removeprefix("i-")) for future in futures]
    assert ids[:alone] == [1, 2, 3, 4, 5], "what was refused comes first, in its order"
    assert sorted(ids) == list(range(1, len(futures) + 1))
    assert [record.message for record in caplog.records] == [
        "too many invocations are open; what was submitted waits here and is sent again"
    ]


def test_options_travel_with_the_invocation_and_a_function_asks_before_the_client(client, gateway):
    urgent = held.options(priority=5)
    view = client.options(priority=1, ttl=60, deadline=90.5)
    for submit in (client.submit, view.submit):
        submit(urgent, 1).result(5)
    view.submit(add, 1).result(5)
    assert list(view.map(urgent.options(ttl=7), [1])) == [1]
    asked = [invocation.params for invocation in gateway.invocations.values()]
    assert [{name: said.get(name) for name in ("priority", "ttl_s", "deadline_s")} for said in asked] == [
        {"priority": "5", "ttl_s": None, "deadline_s": None},
        {"priority": "5", "ttl_s": "60", "deadline_s": "90.5"},
        {"priority": "1", "ttl_s": "60", "deadline_s": "90.5"},
        {"priority": "5", "ttl_s": "7", "deadline_s": "90.5"},
    ]
    assert gateway.seen["POST /v1/functions"] == 2
    with pytest.raises(ValueError, match="priority must be from"):
        client.options(priority=5000)
