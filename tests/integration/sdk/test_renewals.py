"""A version that is deleted, or has expired, while a client has it pinned, against a gateway in miniature."""

import asyncio
import functools
import warnings

import pytest

import harvester


def add(a, b=0):
    return a + b


box = object()


def opaque(number):
    return number if box else None


def delete(gateway, name):
    gateway.deleted |= {(name, version) for version in range(1, len(gateway.functions[name]) + 1)}


@pytest.mark.parametrize("fn", [add, functools.partial(add, b=[]), [].__len__], ids=["function", "partial", "method"])
def test_what_is_gone_is_registered_once_more_and_the_call_is_not_lost(client, gateway, fn):
    args = (1,) if fn is add else ([1],) if isinstance(fn, functools.partial) else ()
    expected = fn(*args)
    name = client.register(fn).name
    assert client.submit(fn, *args).result(5) == expected
    for deletions in (1, 2):
        delete(gateway, name)
        assert [client.submit(fn, *args).result(5) for _ in range(3)] == [expected] * 3
        assert len(gateway.functions[name]) == 1 + deletions


def test_many_batches_of_what_is_gone_register_it_once(client, gateway):
    client.submit(add, 1).result(5)
    delete(gateway, "add")
    futures = [client.submit(add, number) for number in range(2000)]
    assert [future.result(10) for future in futures] == list(range(2000))
    assert len(gateway.functions["add"]) == 2
    assert gateway.seen["POST /v1/functions"] == 2


def test_a_map_goes_on_when_its_version_is_deleted_under_way(client, gateway):
    results = client.map(add, range(500), chunksize=1)
    assert next(results) == 0
    delete(gateway, "add")
    assert list(results) == list(range(1, 500))
    assert list(client.map(add, range(500))) == list(range(500))


def test_asyncio_too(gateway, client):
    async def main():
        async with harvester.AsyncClient(client.url, "user-token") as one:
            assert await (await one.submit(add, 1)) == 1
            delete(gateway, "add")
            return await (await one.submit(add, 2)), [value async for value in one.map(add, [3])]

    assert asyncio.run(main()) == (2, [3])


def test_the_same_content_again_is_no_change_to_be_warned_of(client, gateway):
    client.submit(opaque, 1).result(5)
    delete(gateway, "opaque")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert client.submit(opaque, 2).result(5) == 2
        client._desk._registry._memory._clock = lambda: 1e12  # it is looked at again
        assert client.submit(opaque, 3).result(5) == 3


def test_a_registration_means_its_very_version_and_a_name_is_the_gateways(client, gateway):
    registration = client.register(add)
    delete(gateway, "add")
    for fn in (registration, "add"):
        with pytest.raises(harvester.GatewayError, match="there is no function") as caught:
            client.submit(fn, 1).result(5)
        assert caught.value.status == 404
    assert len(gateway.functions["add"]) == 1
    assert client.submit(add, 1).result(5) == 1


def test_what_is_too_large_to_be_kept_is_registered_by_the_next_call(client, gateway):
    client._desk._registry.renewals._max_bytes = 10
    client.submit(add, 1).result(5)
    delete(gateway, "add")
    with pytest.raises(harvester.GatewayError, match="there is no function"):
        client.submit(add, 1).result(5)
    assert client.submit(add, 1).result(5) == 1


def test_what_is_refused_when_it_is_sent_again_is_refused(client, gateway):
    client.submit(add, 1).result(5)
    delete(gateway, "add")
    gateway.refusing = {"/functions": 422}
    with pytest.raises(harvester.GatewayError, match="there is no function"):
        client.submit(add, 1).result(5)
    gateway.refusing = {}
    assert client.submit(add, 1).result(5) == 1
