"""The client against the real gateway, where an answer gets lost on its way back."""

import pytest

import harvester
from harvester.store.store import open_store
from harvester_api.app import create_app
from harvester_api.server import listen
from harvester_api.settings import GatewaySettings, Role, Token


class Proxy:
    """What a proxy in between does: `lose` are path ends whose next answer it keeps to itself."""

    def __init__(self):
        self.lose, self.seen = set(), []


class LosingAnswers:
    def __init__(self, app, proxy):
        self.app, self.proxy = app, proxy

    async def __call__(self, scope, receive, send):
        end = scope.get("path", "").rpartition("/")[2]
        self.proxy.seen.append(end)
        if end not in self.proxy.lose:
            await self.app(scope, receive, send)
            return
        self.proxy.lose.remove(end)

        async def nowhere(_message):
            pass

        await self.app(scope, receive, nowhere)
        await send({"type": "http.response.start", "status": 502, "headers": []})
        await send({"type": "http.response.body", "body": b""})


@pytest.fixture
def store(tmp_path):
    store = open_store(f"sqlite:///{tmp_path}/harvester.db")
    yield store
    store.close()


@pytest.fixture
def proxy():
    return Proxy()


@pytest.fixture
def client(store, proxy):
    app = create_app(GatewaySettings(tokens=(Token(name="ada", role=Role.USER, token="t"),)), store)
    app.add_middleware(LosingAnswers, proxy=proxy)
    server = listen(app, "127.0.0.1", 0)
    server.start()
    with harvester.Client(server.url, "t", patience_s=10) as client:
        yield client
    server.close()


@pytest.mark.parametrize(("count", "path"), [(1, "invocations"), (40, "batches")])
def test_a_submission_whose_answer_was_lost_is_repeated_and_accepted_once(client, store, proxy, count, path):
    client.register(abs)
    proxy.lose.add(path)
    futures = [client.submit(abs, -number) for number in range(count)]
    ids = [future.invocation_id for future in futures]
    assert proxy.seen.count(path) >= 2
    assert not proxy.lose
    assert sorted(record.invocation_id for record in store.invocations()) == sorted(ids)
    assert len(set(ids)) == count
