"""Bad input: each gets a problem document that names the field and the remedy, and loses nothing."""

import asyncio
import base64
import pickle

import httpx2
import pytest

from harvester.domain.model.functions import FunctionKind, FunctionVersion

PICKLED = base64.b64encode(pickle.dumps(len)).decode()
ADA = "ada-token"
INVOKE = "/v1/functions/double/invocations"


@pytest.mark.parametrize(
    ("change", "status", "field", "named"),
    [
        ({"name": "no spaces"}, 422, "name", "no spaces"),
        ({"body": "nowhere"}, 422, "body", "package.module:function"),
        ({"kind": "pickle", "body": "???", "python": "3.11"}, 422, "body", "base64"),
        ({"kind": "pickle", "body": "AAAA", "python": "3.11"}, 400, "body", "pickle"),
        ({"kind": "pickle", "body": PICKLED}, 422, "python", "minor version"),
        ({"kind": "pickle", "body": PICKLED, "python": "3.13"}, 422, "python", "3.13, and the configured pilots run"),
        ({"kind": "source", "body": "def f(): pass"}, 422, "entry", "Name the function"),
        ({"kind": "docker"}, 422, "kind", "docker"),
        ({"resources": {"cpus": 64}}, 422, "resources", "asked 64 CPUs; the largest"),
        ({"resources": {"cpus": 64}}, 422, "resources", "comes nearest has 8 CPUs, 16000 MB (shape cpu)"),
        ({"resources": {"cpus": 2, "gpus": 3}}, 422, "resources", "(shape gpu)"),
        ({"resources": {"cpus": 0}}, 422, "resources", "at least 1 CPU"),
        ({"walltime_s": -1}, 422, "walltime_s", "> 0"),
        ({"walltime_s": 1e15}, 422, "walltime_s", "<= 31622400"),
        ({"resources": {"memory_mb": 2**63}}, 422, "resources", "at most 2147483647"),
        ({"kind": "source", "body": "def f(): pass", "entry": "f()"}, 422, "entry", "f()"),
        ({"kind": "source", "body": "def f(): pass", "entry": "g"}, 422, "entry", "it has f"),
        ({"kind": "source", "body": "x = 1\ndef f(: pass", "entry": "f"}, 422, "body", "line 2"),
        ({"walltime_s": 700.0}, 422, "walltime_s", "the longest that fits into a configured pilot is 600 s"),
        ({"entry": "\0"}, 422, "entry", "is not a function name"),
        ({"cloudpickle": "\0"}, 422, "cloudpickle", "is not a version"),
        ({"max_retries": "many"}, 422, "max_retries", "int"),
        ({"colour": "red"}, 422, "body", "colour"),
    ],
)  # fmt: skip
async def test_a_function_that_can_never_run_is_refused(rig, problem, change, *, status, field, named):
    draft = {"name": "double", "kind": "module", "body": "package.module:double"} | change
    document = problem(await rig.http.post("/v1/functions", json=draft), status)
    assert document["field"] == field
    assert named in document["detail"] + document["remedy"]
    assert document["remedy"]
    assert rig.store.functions() == []


async def test_an_unknown_function_is_refused_with_the_names_that_are_close(rig, problem):
    await rig.register("double")
    document = problem(await rig.invoke("duoble", 1), 404)
    assert "double" in document["detail"]
    document = problem(await rig.http.post(f"{INVOKE}?version=7", json={}), 404)
    assert "version 7" in document["detail"]
    assert "it has 1" in document["detail"]


@pytest.mark.parametrize("version", ["0", "-1", "x", "2147483648", "9" * 5000])
async def test_a_version_that_can_be_none_is_refused(rig, problem, version):
    await rig.register("double")
    for method in ("GET", "DELETE"):
        document = problem(await rig.http.request(method, f"/v1/functions/double/versions/{version}"), 422)
        assert document["field"] == "version"


async def test_a_length_of_thousands_of_digits_is_a_length_as_any_other(rig):
    start = f"POST /v1/functions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ADA}\r\n"
    request = f"{start}Content-Type: application/json\r\nContent-Length: {'0' * 5000}2\r\n\r\n{{}}"
    address = httpx2.URL(rig.url)
    reader, writer = await asyncio.open_connection(address.host, address.port)
    writer.write(request.encode())
    assert (await reader.readline()).split()[1] == b"422"
    writer.close()


async def test_a_long_path_is_not_sent_back_whole(rig, problem):
    for path in (f"/{'x' * 20_000}", f"/v1/functions/{'x' * 20_000}"):
        assert len(problem(await rig.http.get(path), 404)["detail"]) < 1000


@pytest.mark.parametrize(
    ("body", "content_type", "status", "named"),
    [
        (b'{"args": [1,}', "application/json", 400, "byte 12"),
        (b'{"args": ["\xff"]}', "application/json", 400, "utf-8"),
        (b'{"args": [' + b"[" * 50_000, "application/json", 400, "deep"),
        (b'{"args": 1}', "application/json", 422, "args"),
        (b'{"arguments": []}', "application/json", 422, "arguments"),
        (b"not a pickle", "application/x-python-pickle", 400, "not a pickle"),
        (b"", "application/x-python-pickle", 400, "empty"),
        (b"<args/>", "text/xml", 415, "text/xml"),
    ],
)
async def test_arguments_that_cannot_be_decoded_are_refused(rig, problem, body, *, content_type, status, named):
    await rig.register()
    headers = {"Content-Type": content_type, "Harvester-Python": "3.11"}
    document = problem(await rig.http.post(INVOKE, content=body, headers=headers), status)
    assert named in document["detail"]
    assert document["remedy"]
    assert rig.store.invocations() == []


async def test_arguments_pickled_by_another_python_are_refused_with_both_versions(rig, problem):
    await rig.register(kind="pickle", body=PICKLED, python="3.11")
    for python, named in (("3.12", "3.12, and ada/double@1 runs on Python 3.11"), ("", "Harvester-Python: 3.11")):
        headers = {"Content-Type": "application/x-python-pickle", "Harvester-Python": python}
        document = problem(await rig.http.post(INVOKE, content=pickle.dumps(((), {})), headers=headers), 422)
        assert document["field"] == "Harvester-Python"
        assert named in document["detail"] + document["remedy"]


async def test_a_payload_over_the_limit_is_refused_with_limit_and_size(rig, problem):
    await rig.register()
    document = problem(await rig.http.post(INVOKE, content=b" " * 200_001), 413)
    assert "200001 bytes" in document["detail"]
    assert "limit is 200000 bytes" in document["detail"]

    async def chunks():
        for _ in range(30):
            yield b" " * 10_000

    document = problem(await rig.http.post(INVOKE, content=chunks()), 413)
    assert "more than 200000 bytes" in document["detail"]
    assert (await rig.http.get("/v1/whoami")).status_code == 200


async def test_a_payload_far_over_the_limit_is_answered_and_not_read(rig, problem):
    await rig.register()
    async with httpx2.AsyncClient(base_url=rig.url, headers=rig.http.headers, trust_env=False) as client:
        problem(await client.post(INVOKE, content=b" " * 30_000_000), 413)


async def test_a_batch_with_one_bad_item_is_refused_whole(rig, problem):
    await rig.register()
    items = [{"args": [1]}, {"args": 2}]
    document = problem(await rig.http.post("/v1/functions/double/batches", json=items), 422)
    assert "[1]" in document["field"]
    headers = {"Content-Type": "application/json"}
    problem(await rig.http.post("/v1/functions/double/batches", content=b'[{"args": [1]}', headers=headers), 400)
    assert rig.store.invocations() == []


@pytest.mark.parametrize("token", [None, "wrong", "ada-toke", "ada-token2"])
async def test_a_wrong_token_is_refused(rig, problem, token):
    client = rig.client(token)
    for answer in (
        await client.get("/v1/functions"),
        await client.post(INVOKE, json={}),
        await client.post("/v1/wait", json={}),
        await client.get("/v1/pilots"),
        await client.get("/v1/cluster"),
    ):
        document = problem(answer, 401)
        assert document["field"] == "Authorization"
        assert answer.headers["www-authenticate"] == "Bearer"


async def test_a_user_may_not_send_a_pilot_away(rig, problem):
    document = problem(await rig.http.post("/v1/pilots/p1/evict"), 403)
    assert "admin" in document["remedy"]


async def test_unknown_paths_methods_and_parameters_are_problems_too(rig, problem):
    await rig.register()
    problem(await rig.http.get("/v1/nothing"), 404)
    answer = await rig.http.delete("/v1/functions")
    problem(answer, 405)
    assert answer.headers["allow"] == "GET, POST"
    assert answer.json()["remedy"] == "It takes GET, POST."
    for path, field in (
        ("/v1/functions?limit=0", "limit"),
        ("/v1/functions?limit=x", "limit"),
        ("/v1/functions?limit=", "limit"),
        ("/v1/functions?limit=1&limit=2", "limit"),
        ("/v1/invocations?state=lost", "state"),
        ("/v1/pilots?all=perhaps", "all"),
        ("/v1/functions/double/versions/last", "version"),
    ):
        assert problem(await rig.http.get(path), 422)["field"] == field
    for wait in ("-1", "nan", "soon"):
        assert problem(await rig.http.post(f"{INVOKE}?wait_s={wait}", json={}), 422)["field"] == "wait_s"
    assert rig.store.invocations() == []


async def test_a_parameter_that_nobody_knows_is_refused_with_the_nearest_one(rig, problem):
    await rig.register()
    document = problem(await rig.http.post(f"{INVOKE}?vers=1", json={}), 422)
    assert (document["field"], document["remedy"]) == ("vers", "Do you mean version?")
    for path, field in (
        ("/v1/functions?page=2", "page"),
        ("/v1/functions/double?version=1", "version"),
        ("/v1/invocations?limits=2", "limits"),
        ("/v1/pilots?al=1", "al"),
        ("/v1/daemon?x", "x"),
        ("/v1/whoami?x=1", "x"),
        ("/healthz?x=1", "x"),
    ):
        assert problem(await rig.http.get(path), 422)["field"] == field
    assert problem(await rig.http.post("/v1/wait?wait=1", json={}), 422)["field"] == "wait"
    assert rig.store.invocations() == []


async def test_a_function_that_was_registered_for_longer_pilots_is_refused_when_it_is_called(rig, problem):
    rig.store.add_function(
        FunctionVersion(
            function_id="", owner="ada", name="long", version=0, kind=FunctionKind.MODULE, body=b"m:f", walltime_s=601.0
        ),
        1.0,
    )
    document = problem(await rig.invoke("long"), 422)
    assert document["field"] == "walltime_s"
    assert "601 s" in document["detail"]


async def test_a_slash_too_many_is_a_problem_that_names_no_host(rig, problem):
    answer = await rig.http.get("/v1/functions/", headers={"Host": "elsewhere.example"})
    problem(answer, 404)
    assert "elsewhere" not in answer.text + str(answer.headers)


async def test_unknown_ids_are_problems(rig, problem):
    for path in ("/v1/invocations/x", "/v1/invocations/x/result", "/v1/invocations/x/explain", "/v1/pilots/x"):
        problem(await rig.http.get(path), 404)
    problem(await rig.http.post("/v1/invocations/x/cancel"), 404)
    problem(await rig.admin.post("/v1/pilots/x/evict"), 404)
    problem(await rig.http.post("/v1/wait", json={"invocation_ids": ["x"]}), 404)
    problem(await rig.http.post("/v1/wait", json={"invocation_ids": []}), 422)
