"""The client against the real gateway, where an answer gets lost on its way back."""

import json
from concurrent.futures import CancelledError

import pytest
from tests.support.losing import lose_answer
from typer.testing import CliRunner

import harvester
from harvester.cli.app import app as command
from harvester.sdk.errors import GatewayError
from harvester.store.store import open_store
from harvester_api.app import create_app
from harvester_api.server import listen
from harvester_api.settings import GatewaySettings, Role, Token


class Proxy:
    """What a proxy in between does: `lose` are path ends whose next answer it keeps to itself."""

    def __init__(self):
        self.lose, self.seen, self.streams = set(), [], 0


class LosingAnswers:
    def __init__(self, app, proxy):
        self.app, self.proxy = app, proxy

    async def __call__(self, scope, receive, send):
        end = scope.get("path", "").rpartition("/")[2]
        self.proxy.seen.append(end)
        self.proxy.streams += "/streams/" in scope.get("path", "")
        if end not in self.proxy.lose:
            await self.app(scope, receive, send)
            return
        self.proxy.lose.remove(end)
        await lose_answer(self.app, scope, receive, send)


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
    tokens = tuple(Token(name=name, role=Role.USER, token=token) for name, token in (("ada", "t"), ("bob", "b")))
    app = create_app(GatewaySettings(tokens=tokens), store)
    server = listen(LosingAnswers(app, proxy), "127.0.0.1", 0)
    server.start()
    with harvester.Client(server.url, "t", patience_s=10) as client:
        yield client
    server.close()


@pytest.fixture
def run(client):
    def call(*words):
        return CliRunner().invoke(command, ["--url", client.url, "--token", "t", *map(str, words)])

    return call


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


def test_ends_are_told_by_the_stream_and_nobody_asks_for_them(client, proxy):
    futures = [client.submit(abs, -number) for number in range(3)]
    for future in futures:
        client.cancel(future.invocation_id)  # by somebody else, as far as the future knows
        with pytest.raises(CancelledError):
            future.result(5)
    assert proxy.streams == 1
    assert "wait" not in proxy.seen


def test_chunks_are_accepted_as_invocations_of_many_calls(client, store):
    results = client.map(abs, range(100), chunksize=30, timeout=0.5)
    with pytest.raises(TimeoutError):
        next(results)
    records = store.invocations()
    assert [(record.encoding.value, record.state.value) for record in records] == [("calls", "cancelled")] * 4


def test_options_are_kept_with_the_invocation(client, store):
    future = client.options(priority=7, ttl=3600, deadline=7200).submit(abs, 1)
    invocation_id = future.invocation_id
    (record,) = [record for record in store.invocations() if record.invocation_id == invocation_id]
    assert record.priority == 7
    assert record.start_by - record.accepted_at == pytest.approx(3600, abs=5)
    assert record.end_by - record.accepted_at == pytest.approx(7200, abs=5)


def test_names_of_other_scripts_stay_distinct_on_every_way(client, run):
    def площадь():  # noqa: PLC2401 - as a user writes it
        return 1

    def 面积():  # noqa: N802, PLC2401 - as above
        return 2

    registered = [client.register(fn) for fn in (площадь, 面积)]
    assert [each.function_id for each in registered] == ["ada/площадь@1", "ada/面积@1"]
    decomposed = client.register(lambda: 3, name="Fla\u0308che")
    assert decomposed.name == "Fl\u00e4che"
    ids = [client.start(each.name) for each in registered]
    assert client.invocation(client.start("Fla\u0308che"))["function"] == "Fl\u00e4che"
    assert [each["invocation_id"] for each in client.invocations(function="площадь")] == ids[:1]
    assert [each["invocation_id"] for each in client.invocations(function="面积@1")] == ids[1:]
    assert len(client.invocations(function="Fla\u0308che")) == 1
    assert "площадь" in run("functions").output


def test_the_command_line_lists_invocations(client, run):
    assert run("invocations").output == "no invocations\n"
    client.register(abs)
    client.register(len)
    ids = [client.start("abs", [-number]) for number in range(3)]
    client.start("len", ["x"])
    client.cancel(ids[0])
    shown = run("invocations")
    assert shown.exit_code == 0
    assert max(map(len, shown.output.splitlines())) <= 80
    assert all(invocation_id in shown.output for invocation_id in ids)

    def listed(*words):
        return [each["invocation_id"] for each in json.loads(run("invocations", "--json", *words).output)]

    assert listed("--function", "abs") == ids[::-1]
    assert listed("--function", "abs", "--state", "cancelled") == [ids[0]]
    assert len(listed("--limit", 2)) == 2
    assert run("invocations", "--state", "gone").exit_code == 2


def test_what_the_gateway_refuses_is_remedied_by_commands(run):
    for words, remedy in (
        (("invoke", "nobody"), "`harvester functions` lists"),
        (("result", "i-99"), "`harvester invocations` lists"),
        (("explain", "i-99"), "`harvester invocations` lists"),
        (("pause",), "use the admin's token, with --token"),
        (("--token", "wrong", "pilots"), "give a token of this gateway, with --token"),
    ):
        ended = run(*words)
        assert ended.exit_code == 1
        assert ended.stderr.count("\n") == 1
        assert remedy in ended.stderr
        assert "/v1/" not in ended.stderr
        assert "Bearer" not in ended.stderr


def test_a_client_that_registers_calls_its_own_function_whatever_others_register(client, store):
    with harvester.Client(client.url, "b") as bobs:
        mine, his = client.register(abs, "f"), bobs.register(len, "f")
        assert (mine.function_id, his.function_id) == ("ada/f@1", "bob/f@1")
        calls = [(client, mine), (client, "f"), (bobs, his), (bobs, "f")]
        ids = [who.submit(what, "x").invocation_id for who, what in calls]
        assert [store.invocation(each).function_id for each in ids] == ["ada/f@1"] * 2 + ["bob/f@1"] * 2
        with pytest.raises(GatewayError, match="there is no function 'ada/f'"):
            bobs.submit(mine, "x").result(5)
        client.share("f")
        assert store.invocation(bobs.submit(mine, "x").invocation_id).function_id == "ada/f@1"


def test_the_command_line_shares_and_deletes_functions(client, run, tmp_path):
    file = tmp_path / "f.py"
    for number in range(4):
        file.write_text(f"def f():\n    return {number}\n")
        said = run("functions", "register", f"{file}:f", *(["--share"] if number == 3 else []))
        assert said.output.startswith(f"ada/f is registered, version {number + 1}")
    assert said.output.endswith(", shared with all\n")
    with harvester.Client(client.url, "b") as bobs:
        assert [each["owner"] for each in bobs.functions()] == ["ada"]
        assert run("functions", "unshare", "f").output == "ada/f is no longer shared\n"
        assert bobs.functions() == []
    assert run("functions", "share", "f").output == "ada/f is shared with all\n"
    client.start("f", version=2)
    refused = run("functions", "delete", "f", 1, 2)
    assert (refused.exit_code, refused.stdout) == (1, "ada/f@1 is deleted\n")
    assert "1 of its invocations have not ended" in refused.stderr
    client.cancel(client.invocations()[0]["invocation_id"])
    assert run("functions", "delete", "f", "--all").output == "".join(f"ada/f@{n} is deleted\n" for n in (4, 3, 2))
    assert json.loads(run("functions", "--json").output) == []
    for words in ((), (1, "--all")):
        assert "--all for every version" in run("functions", "delete", "f", *words).stderr
