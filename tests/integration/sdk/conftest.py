"""A gateway in miniature: the REST contract over HTTP, functions run in this process, a restart keeps its memory."""

import asyncio
import base64
import functools
import inspect
import itertools
import pickle
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import cloudpickle
import msgspec
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

import harvester
from harvester.domain.model.functions import Encoding
from harvester.domain.model.invocations import Failure, InvocationState
from harvester.domain.payload import buffers, calls
from harvester.domain.payload.exceptions import pickled_exception
from harvester.domain.protocol import stream

TOKEN = "user-token"
LIMIT = 4_000_000  # bytes of one invocation's arguments
FINAL = ("succeeded", "failed", "cancelled", "expired")
PICKLE = "application/x-python-pickle"
CALLS = "application/vnd.harvester.calls+msgpack"
CALLS_BATCH = "application/vnd.harvester.calls-batch+msgpack"
ENCODINGS = {PICKLE: "pickle", CALLS: "calls"}


def refuse(status, detail, remedy="", field="", kind=""):
    body = {
        "type": f"urn:harvester:problem:{kind}" if kind else "about:blank",
        "title": "refused",
        "status": status,
        "detail": detail,
    }
    return JSONResponse(body | {"remedy": remedy, "field": field}, status, media_type="application/problem+json")


class Invocation:
    def __init__(self, invocation_id, function, arguments, encoding):
        self.invocation_id, self.function = invocation_id, function
        self.arguments, self.encoding = arguments, encoding
        self.state, self.value, self.failure = "accepted", b"", None
        self.stream, self.params = "", {}

    def document(self, *, results=False):
        said = {"invocation_id": self.invocation_id, "function": self.function["name"], "state": self.state}
        failure = {**self.failure} if self.failure else None
        exception = failure.pop("exception", b"") if failure else b""
        said |= {"encoding": self.encoding, "failure": failure, "activations": []}
        if results and exception:
            said["exception_b64"] = base64.b64encode(exception).decode()
        if self.state == "succeeded" and self.encoding == "json":
            said["result"] = msgspec.json.decode(self.value)
        if results and self.state == "succeeded":
            said["result_b64"] = base64.b64encode(self.value).decode()
        return said


def unpickle(body):
    parts = buffers.split(bytearray(body))
    return pickle.loads(parts[0], buffers=parts[1:])  # noqa: S301 - a fake slot


class FakeGateway:
    """`held` are functions that wait for `finish`; `refusing` maps path ends to statuses; `seen` counts requests.

    `pressure` counts submissions that will be refused with 429, all together and the last one first; without
    `has_streams` there are none, without `pushes` they tell of nothing; `push_bytes` is the largest value that is
    pushed; `call_counts` are the calls of each invocation that had many.
    """

    def __init__(self):
        self.functions, self.invocations, self.keys = {}, {}, {}
        self.held, self.refusing, self.seen, self.batch_sizes = set(), {}, Counter(), []
        self.embeds_results = self.has_streams = self.pushes = True
        self.pressure, self.push_bytes = 0, 1 << 20
        self.streams, self.call_counts = {}, []
        self.lose_next_answer = False
        self._refused = []
        self.deleted = set()  # names and versions
        self.port = 0
        self._ids = itertools.count(1)
        self._pool = ThreadPoolExecutor(4)
        self._server = self._thread = None

    # ---- life ----

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self):
        config = uvicorn.Config(
            self._app(), port=self.port, log_level="error", ws="none", timeout_graceful_shutdown=1, lifespan="off"
        )
        self._server = uvicorn.Server(config)
        self._changed = None
        up = threading.Event()
        self._thread = threading.Thread(target=self._serve, args=(up,))
        self._thread.start()
        assert up.wait(10)

    def _serve(self, up):
        async def main():
            self._loop, self._changed = asyncio.get_running_loop(), asyncio.Event()
            serving = asyncio.create_task(self._server.serve())
            while not self._server.started:  # noqa: ASYNC110 - uvicorn has no event for it
                await asyncio.sleep(0.005)
            self.port = self._server.servers[0].sockets[0].getsockname()[1]
            up.set()
            await serving

        asyncio.run(main())

    def stop(self):
        self._server.should_exit = self._server.force_exit = True
        self._thread.join(10)
        assert not self._thread.is_alive()

    def close(self):
        self.stop()
        self._pool.shutdown()

    def cut_streams(self):
        def cut():
            for queue in self.streams.values():
                queue.put_nowait(None)

        self._loop.call_soon_threadsafe(cut)

    # ---- work ----

    def finish(self, invocation_id, value=None, failure=None, state=None, raw=None):
        invocation = self.invocations[invocation_id]
        if invocation.state in FINAL:
            return
        encode = msgspec.json.encode if invocation.encoding == "json" else functools.partial(pickle.dumps, protocol=5)
        invocation.value, invocation.failure = raw or encode(value), failure
        invocation.state = state or ("failed" if failure else "succeeded")
        self._loop.call_soon_threadsafe(self._announce, invocation)

    def _announce(self, invocation):
        queue = self.streams.get(invocation.stream) if self.pushes else None
        if queue is not None:
            is_pushed = invocation.state == "succeeded" and len(invocation.value) <= self.push_bytes
            ended = stream.Ended(
                invocation_id=invocation.invocation_id,
                state=InvocationState(invocation.state),
                encoding=Encoding(invocation.encoding),
                value=invocation.value if is_pushed else None,
                failure=Failure(**invocation.failure) if invocation.failure else None,
            )
            queue.put_nowait(stream.encode([ended]))
        self._changed.set()
        self._changed = asyncio.Event()

    def _run(self, invocation):
        try:
            function = invocation.function
            if function["kind"] == "pickle":
                plain = cloudpickle.loads(base64.b64decode(function["body"]))
            else:
                scope = {}
                exec(function["body"], scope)  # noqa: S102 - a fake slot
                plain = scope[function["entry"]]
            if inspect.isgeneratorfunction(plain):
                plain = harvester.function(plain)  # whose call runs it to its end
            if invocation.encoding == "calls":
                self.finish(invocation.invocation_id, raw=self._run_calls(plain, invocation.arguments))
                return
            if invocation.encoding == "json":
                said = msgspec.json.decode(invocation.arguments) if invocation.arguments else {}
                args, kwargs = said.get("args", ()), said.get("kwargs", {})
            else:
                args, kwargs = unpickle(invocation.arguments)
            self.finish(invocation.invocation_id, plain(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - a fake slot's outermost line
            name = type(error).__name__
            failure = {"kind": "exception", "message": str(error), "error_type": name, "traceback": f"… {name}"}
            if invocation.encoding == "pickle":
                failure["exception"] = pickled_exception(error, cloudpickle.Pickler)
            self.finish(invocation.invocation_id, failure=failure)

    def _run_calls(self, plain, body):
        outcomes = []
        for arguments in calls.decode_calls(body):
            args, kwargs = unpickle(arguments)
            try:
                outcomes.append(pickle.dumps(plain(*args, **kwargs)))
            except Exception as error:  # noqa: BLE001 - a fake slot
                exception = pickled_exception(error, cloudpickle.Pickler)
                name = type(error).__name__
                outcomes.append(Failure(kind="exception", message=str(error), error_type=name, exception=exception))
        self.call_counts.append(len(outcomes))
        return calls.encode_outcomes(outcomes)

    def _accept(self, function, arguments, encoding, request):
        invocation = Invocation(f"i-{next(self._ids)}", function, arguments, encoding)
        invocation.stream = request.headers.get("harvester-stream", "")
        invocation.params = dict(request.query_params)
        self.invocations[invocation.invocation_id] = invocation
        if function["name"] not in self.held:
            self._pool.submit(self._run, invocation)
        return invocation.invocation_id

    def _restream(self, invocation, stream_id):
        invocation.stream = stream_id
        if invocation.state in FINAL:
            self._announce(invocation)

    async def _wait(self, ids, wait_s):
        deadline = self._loop.time() + wait_s
        while not any(self.invocations[each].state in FINAL for each in ids):
            left = deadline - self._loop.time()
            if left <= 0:
                return
            try:
                await asyncio.wait_for(self._changed.wait(), left)
            except TimeoutError:
                return

    # ---- routes ----

    def _app(self):
        def route(path, handler, method="GET"):
            async def guarded(request: Request):
                self.seen[f"{method} {path}"] += 1
                if request.headers.get("authorization") != f"Bearer {TOKEN}":
                    return refuse(401, "this token is unknown", "ask your admin for one")
                for end, status in self.refusing.items():
                    if request.url.path.endswith(end):
                        return refuse(status, f"{end} is refused", "try something else")
                return await handler(request)

            return Route(path, guarded, methods=[method])

        fixed = {
            "/v1/pilots": {"items": [{"pilot_id": "p1", "state": "ready", "node": "n1", "partition": "harvest"}]},
            "/v1/slots": {"items": []},
            "/v1/daemon": {
                "control": {"paused": False, "reason": "", "at": 0.0},
                "is_alive": True,
                "age_s": 0.5,
                "has_heard": True,
                "note": {"last_tick_at": 1.0, "looked_at": 1.0, "errors": [], "notes": ["2 pilots wait"]},
            },
            "/v1/whoami": {"name": "tester", "role": "user", "version": "1.2.3"},
        }
        return Starlette(
            routes=[
                route("/v1/functions", self._register, "POST"),
                route("/v1/functions", self._functions),
                route("/v1/functions/{name}/invocations", self._invoke, "POST"),
                route("/v1/functions/{name}/batches", self._batch, "POST"),
                route("/v1/invocations/{id}", self._document),
                route("/v1/invocations/{id}/result", self._result),
                route("/v1/invocations/{id}/cancel", self._cancel, "POST"),
                route("/v1/invocations/{id}/explain", self._explain),
                route("/v1/wait", self._poll, "POST"),
                route("/v1/streams/{id}", self._stream),
                route("/v1/pilots/{id}/evict", self._evict, "POST"),
                route("/v1/cluster", self._cluster),
                *(route(path, self._saying(value)) for path, value in fixed.items()),
            ]
        )

    @staticmethod
    def _saying(value):
        async def handler(_request):
            return JSONResponse(value)

        return handler

    async def _register(self, request):
        said = await request.json()
        versions = self.functions.setdefault(said["name"], [])
        if versions and versions[-1]["said"] == said and (said["name"], len(versions)) not in self.deleted:
            return JSONResponse(versions[-1]["document"], 200)
        version = len(versions) + 1
        document = {"name": said["name"], "version": version, "function_id": f"{said['name']}@{version}"}
        document |= {key: said[key] for key in ("kind", "resources", "checkpoints", "walltime_s", "max_retries")}
        versions.append({**said, "said": said, "document": document})
        return JSONResponse(document, 201)

    async def _functions(self, request):
        names = sorted(self.functions)
        after = request.query_params.get("after", "")
        page = [name for name in names if name > after][:2]  # small pages, so that paging is used
        items = [self.functions[name][-1]["document"] for name in page]
        return JSONResponse({"items": items, "next": page[-1] if page and page[-1] != names[-1] else None})

    def _function(self, request):
        versions = self.functions.get(request.path_params["name"], [])
        version = int(request.query_params.get("version", len(versions)))
        is_there = 0 < version <= len(versions) and (request.path_params["name"], version) not in self.deleted
        return versions[version - 1] if is_there else None

    async def _invoke(self, request):  # noqa: PLR0911 - one return for each answer of the real one
        function = self._function(request)
        if function is None:
            text = f"there is no function {request.path_params['name']!r}"
            return refuse(404, text, "register it first", kind="unknown-version")
        key = request.headers.get("idempotency-key")
        if (refusal := await self._under_pressure()) is not None:
            return refusal
        encoding = ENCODINGS.get(request.headers["content-type"], "json")
        if key not in self.keys:
            body = await request.body()
            if len(body) > LIMIT:
                return refuse(413, "an invocation's arguments are over the limit", "send a path")
            self.keys[key] = self._accept(function, body, encoding, request)
        elif "harvester-stream" in request.headers:
            self._restream(self.invocations[self.keys[key]], request.headers["harvester-stream"])
        invocation = self.invocations[self.keys[key]]
        await self._wait([invocation.invocation_id], float(request.query_params.get("wait_s", 0)))
        if self.lose_next_answer:
            self.lose_next_answer = False
            return refuse(502, "a proxy lost the answer")
        if invocation.state not in FINAL:
            return JSONResponse(invocation.document(), 202)
        is_raw = request.headers.get("accept") == PICKLE or "raw" in request.query_params
        if invocation.state == "succeeded" and is_raw:
            headers = {"Harvester-Invocation": invocation.invocation_id, "Harvester-State": "succeeded"}
            return Response(invocation.value, media_type=PICKLE, headers=headers)
        return JSONResponse(invocation.document())

    async def _batch(self, request):
        function = self._function(request)
        if function is None:
            text = f"there is no function {request.path_params['name']!r}"
            return refuse(404, text, "register it first", kind="unknown-version")
        key = request.headers["idempotency-key"]
        if (refusal := await self._under_pressure()) is not None:
            return refusal
        encoding = "calls" if request.headers["content-type"] == CALLS_BATCH else "pickle"
        if key not in self.keys:
            arguments = msgspec.msgpack.decode(await request.body(), type=list[bytes])
            if any(len(each) > LIMIT for each in arguments):
                return refuse(413, "an invocation's arguments are over the limit", "send a path")
            self.batch_sizes.append(len(arguments))
            self.keys[key] = [self._accept(function, each, encoding, request) for each in arguments]
        if self.lose_next_answer:
            self.lose_next_answer = False
            return refuse(502, "a proxy lost the answer")
        return JSONResponse({"invocation_ids": self.keys[key]}, 202)

    async def _under_pressure(self):
        if not self.pressure:
            return None
        self.pressure -= 1
        self._refused.append(asyncio.Event())
        mine = self._refused[-1]
        if not self.pressure:  # the last has come: it is answered first, the first one last
            self._refused[-1].set()
        await mine.wait()
        self._refused.remove(mine)
        if self._refused:
            self._refused[-1].set()
        answer = refuse(429, "too many invocations are open")
        answer.headers["Retry-After"] = "0"
        return answer

    async def _stream(self, request):
        if not self.has_streams:
            return refuse(404, "Not Found")
        queue = self.streams[request.path_params["id"]] = asyncio.Queue()

        async def frames():
            yield stream.encode([])
            while (frame := await queue.get()) is not None:
                yield frame

        return StreamingResponse(frames(), media_type=stream.STREAM_TYPE)

    async def _poll(self, request):
        said = await request.json()
        known = [each for each in said["invocation_ids"] if each in self.invocations]
        await self._wait(known, said["wait_s"])
        documents = [self.invocations[each] for each in known]
        ended = [each.document(results=self.embeds_results) for each in documents if each.state in FINAL]
        pending = [each.invocation_id for each in documents if each.state not in FINAL]
        return JSONResponse({"ended": ended, "pending": pending})

    async def _document(self, request):
        invocation = self.invocations.get(request.path_params["id"])
        return JSONResponse(invocation.document()) if invocation else self._unknown(request)

    def _unknown(self, request):
        return refuse(404, f"there is no invocation {request.path_params['id']!r}", "look at its id")

    async def _result(self, request):
        invocation = self.invocations.get(request.path_params["id"])
        if invocation is None:
            return self._unknown(request)
        await self._wait([invocation.invocation_id], float(request.query_params.get("wait_s", 0)))
        if invocation.state not in FINAL:
            return Response(status_code=202)
        if invocation.state != "succeeded":
            return refuse(409, f"it is {invocation.state}")
        kinds = {encoding: kind for kind, encoding in ENCODINGS.items()}
        kind = kinds.get(invocation.encoding, "application/json")
        return Response(invocation.value, media_type=kind)

    async def _cancel(self, request):
        invocation = self.invocations.get(request.path_params["id"])
        if invocation is None:
            return self._unknown(request)
        self.finish(invocation.invocation_id, state="cancelled")
        return JSONResponse(invocation.document())

    async def _explain(self, request):
        summary = "it waits: no pilot has a free slot"
        return JSONResponse(
            {
                "invocation_id": request.path_params["id"],
                "state": "accepted",
                "summary": summary,
                "details": ["2 wait before it"],
                "pilots": [],
            }
        )

    async def _evict(self, request):
        if request.path_params["id"] != "p1":
            return refuse(404, f"there is no pilot {request.path_params['id']!r}", "harvester pilots lists them")
        return JSONResponse({"pilot_id": "p1", "state": "draining"}, 202)

    async def _cluster(self, _request):
        free = {"cpus": 2, "gpus": 0, "memory_mb": 0}
        node = {"name": "n1", "state": "idle", "partitions": ["harvest"], "total": free, "free": free}
        demand = [{"function_id": "pi@1", "waiting": 3, "held": 1, "resources": {"cpus": 1}}]
        return JSONResponse(
            {
                "scheduler": "local",
                "taken_at": 1.0,
                "nodes": [node],
                "pilots": {"ready": 1},
                "demand": demand,
                "daemon": {"paused": False, "reason": "", "errors": []},
            }
        )


@pytest.fixture
def gateway():
    fake = FakeGateway()
    fake.start()
    yield fake
    fake.close()


@pytest.fixture
def client(gateway):
    with harvester.Client(gateway.url, TOKEN, patience_s=20) as made:
        yield made
