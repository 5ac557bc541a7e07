"""The SDK's connections, of both kinds, against servers of a few lines that misbehave."""

import asyncio
import contextlib
import socket
import ssl
import subprocess
import threading
import time

import pytest

import harvester
from harvester.sdk.http import async_pool, sync_pool
from harvester.sdk.http.async_pool import MAX_CONNECTIONS, AsyncConnectionPool
from harvester.sdk.http.endpoint import Peer
from harvester.sdk.http.messages import Request
from harvester.sdk.http.sync_pool import ConnectionPool
from harvester.sdk.settings import Settings

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
GET = Request(method="GET", path="/v1/x")


class Server:
    """Runs `talk(socket, number)` in a thread for each connection; `count` is how many there were."""

    def __init__(self, talk):
        self._talk, self.count = talk, 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._sockets, self._threads = [], []
        self._accepting = threading.Thread(target=self._accept)
        self._accepting.start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                accepted, _ = self._listener.accept()
                self._sockets.append(accepted)
                self._threads.append(threading.Thread(target=self._serve, args=(accepted, self.count)))
                self.count += 1
                self._threads[-1].start()

    def _serve(self, accepted, number):
        with accepted, contextlib.suppress(OSError):
            self._talk(accepted, number)

    def close(self):
        self._end(self._listener)
        self._accepting.join()  # first: until then there may come another connection, and a thread for it
        for each in self._sockets:
            self._end(each)
        for thread in self._threads:
            thread.join()  # the test's own limit ends a wait in vain

    @staticmethod
    def _end(each):
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
        each.close()


@pytest.fixture
def serve():
    servers = []

    def start(talk):
        servers.append(Server(talk))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def hear(sock):
    """Return the head of a request and its whole body; nothing when there is none."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = sock.recv(65536)
        if not piece:
            return b"", b""
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    sizes = [int(line[16:]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length: ")]
    parts = [body]
    missing = sum(sizes) - len(body)
    while missing:
        parts.append(sock.recv(min(missing, 1 << 20)))
        missing -= len(parts[-1])
    return head, b"".join(parts)


class Blocking:
    def __init__(self, url):
        self._made = ConnectionPool(Peer(Settings(url=url, token="t")))

    async def ask(self, request):
        return await asyncio.to_thread(self._made.ask, request)

    async def close(self):
        self._made.close()


def awaiting(url):
    return AsyncConnectionPool(Peer(Settings(url=url, token="t")))


@pytest.fixture(params=[Blocking, awaiting], ids=["blocking", "asyncio"])
async def connect(request):
    made = []

    def start(url):
        made.append(request.param(url))
        return made[-1]

    yield start
    for each in made:
        await each.close()


@pytest.fixture(scope="module")
def certified(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = folder / "gateway.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)],
        capture_output=True, check=True,
    )  # fmt: skip
    return certificate, key


def keep_answering(sock, _number=0):
    while hear(sock)[0]:
        sock.sendall(OK)


async def test_a_connection_serves_many_requests(serve, connect):
    server = serve(keep_answering)
    line = connect(server.url)
    for _ in range(3):
        assert (await line.ask(GET)).body == b"ok"
    assert server.count == 1


async def test_a_connection_that_the_gateway_has_closed_meanwhile_is_replaced(serve, connect):
    asked = threading.Semaphore(0)

    def once(sock, _number):
        hear(sock)
        sock.sendall(OK)
        hear(sock)  # the second request is read, and never answered
        asked.release()

    line = connect(serve(once).url)
    assert (await line.ask(GET)).status == 200
    assert (await line.ask(GET)).status == 200  # on another one
    assert asked.acquire(timeout=5)


async def test_who_never_answers_on_a_new_connection_is_not_asked_again(serve, connect):
    server = serve(lambda sock, _: hear(sock))
    with pytest.raises(ConnectionError, match="without an answer"):
        await connect(server.url).ask(GET)
    assert server.count == 1


async def test_an_answer_that_breaks_off_is_an_error(serve, connect):
    def half(sock, _number):
        hear(sock)
        sock.sendall(OK[:-1])

    with pytest.raises(ConnectionError, match="in the middle"):
        await connect(serve(half).url).ask(GET)


async def test_silence_is_not_waited_for_any_longer_than_asked(serve, connect, monkeypatch):
    for module in (sync_pool, async_pool):
        monkeypatch.setattr(module, "ANSWER_S", 0.1)
    with pytest.raises(TimeoutError):
        await connect(serve(lambda sock, _: sock.recv(1 << 16) and sock.recv(1)).url).ask(GET)


@pytest.mark.parametrize(
    ("patience_s", "method", "said"),
    [(0.05, "GET", "0.1 s"), (0.2, "GET", "0.2 s"), (60, "GET", "0.3 s"), (0.05, "POST", "0.3 s")],
)
def test_a_look_is_not_waited_for_much_longer_than_ones_patience(serve, monkeypatch, patience_s, method, said):
    monkeypatch.setattr(sync_pool, "LOOK_S", 0.1)
    monkeypatch.setattr(sync_pool, "ANSWER_S", 0.3)
    server = serve(lambda sock, _: sock.recv(1 << 16) and sock.recv(1))
    pool = ConnectionPool(Peer(Settings(url=server.url, token="t")), patience_s)
    with (
        contextlib.closing(pool),
        pytest.raises(TimeoutError, match=f"has taken the request, and said nothing for {said}"),
    ):
        pool.ask(Request(method=method, path="/v1/x"))


def test_a_gateway_whose_process_is_stopped_is_told_apart_from_one_that_is_not_there(serve, monkeypatch):
    monkeypatch.setattr(sync_pool, "LOOK_S", 0.1)
    server = serve(lambda sock, _: sock.recv(1 << 16) and sock.recv(1))
    with (
        harvester.Client(server.url, "t", patience_s=0.1) as client,
        pytest.raises(harvester.GatewayUnreachable) as told,
    ):
        client.pilots()
    assert "it has taken the request, and said nothing for 0.1 s" in str(told.value)
    assert "see whether its process is stopped or has too much to do" in str(told.value)
    assert "harvester up" not in str(told.value)


async def test_many_megabytes_go_and_come_back_whole(serve, connect):
    def echo(sock, _number):
        _, body = hear(sock)
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body))
        sock.sendall(body)

    body = bytes(range(256)) * 50_000
    answer = await connect(serve(echo).url).ask(Request(method="POST", path="/", content=body))
    assert answer.body == body
    assert isinstance(answer.body, bytearray)


async def test_a_large_request_that_is_refused_before_it_is_read_is_answered(serve, connect):
    def refuse(sock, _number):
        sock.recv(1000)
        sock.sendall(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig")
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(1 << 20):  # as servers linger, lest a reset overtakes the answer
            pass

    answer = await connect(serve(refuse).url).ask(Request(method="POST", path="/", content=bytes(20_000_000)))
    assert (answer.status, answer.body) == (413, b"big")


async def test_a_gateway_with_tls_is_verified_and_reached_through_a_proxy(serve, connect, monkeypatch, certified):
    certificate, key = certified
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    def secure(sock, _number):
        with context.wrap_socket(sock, server_side=True) as wrapped:
            keep_answering(wrapped)

    gateway = serve(secure)
    url = gateway.url.replace("http:", "https:")
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    with pytest.raises(ssl.SSLCertVerificationError):
        await connect(url).ask(GET)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    line = connect(url)
    assert [(await line.ask(GET)).status for _ in range(2)] == [200, 200]
    asked = []

    def proxy(sock, number):
        asked.append(hear(sock)[0].split(b"\r\n")[0])
        if number:
            sock.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
            return
        sock.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        with socket.create_connection(("127.0.0.1", gateway.port)) as beyond:
            back = threading.Thread(target=pump, args=(beyond, sock))
            back.start()
            pump(sock, beyond)
            back.join(10)

    monkeypatch.setattr("harvester.sdk.http.proxies._is_here", lambda _host: False)  # as if it were another machine
    monkeypatch.setenv("HTTPS_PROXY", serve(proxy).url)
    line = connect(url)
    assert [(await line.ask(GET)).body for _ in range(2)] == [b"ok", b"ok"]
    with pytest.raises(ConnectionError, match="refuses a tunnel"):
        await connect(url).ask(GET)
    assert asked == 2 * [f"CONNECT 127.0.0.1:{gateway.port} HTTP/1.1".encode()]


def pump(here, there):
    with contextlib.suppress(OSError):
        while piece := here.recv(65536):
            there.sendall(piece)
    with contextlib.suppress(OSError):
        there.shutdown(socket.SHUT_WR)


# ---- asyncio's own -------------------------------------------------------------------------------------------------


async def test_requests_beyond_the_most_connections_wait_for_their_turn(serve):
    server = serve(keep_answering)
    line = awaiting(server.url)
    answers = await asyncio.gather(*(line.ask(GET) for _ in range(5 * MAX_CONNECTIONS)))
    assert {answer.status for answer in answers} == {200}
    assert server.count <= MAX_CONNECTIONS
    await line.close()


async def test_a_request_that_is_given_up_leaves_its_place_to_others(serve):
    server = serve(
        lambda sock, number: keep_answering(sock) if number >= MAX_CONNECTIONS else sock.recv(1 << 16) and sock.recv(1)
    )
    line = awaiting(server.url)
    waiting = [asyncio.create_task(line.ask(GET)) for _ in range(MAX_CONNECTIONS + 1)]
    while server.count < MAX_CONNECTIONS:  # noqa: ASYNC110 - the server is a thread
        await asyncio.sleep(0.005)
    next_one = asyncio.create_task(line.ask(GET))
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert (await asyncio.wait_for(next_one, 5)).status == 200
    await line.close()


async def test_a_stream_is_heard_as_it_comes_and_tells_when_it_breaks_off(serve):
    go_on = threading.Semaphore(0)

    def stream(sock, _number):
        hear(sock)
        sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for piece in (b"one", b"two"):
            go_on.acquire()
            sock.sendall(b"3\r\n" + piece + b"\r\n")

    line = awaiting(serve(stream).url)
    async with line.listen(GET) as (status, pieces):
        assert status == 200
        for expected in (b"one", b"two"):
            go_on.release()
            assert await anext(pieces) == expected
        with pytest.raises(ConnectionError, match="in the middle"):
            await anext(pieces)
    await line.close()


async def test_a_stream_that_ends_as_it_should_ends_the_iteration(serve):
    def stream(sock, _number):
        hear(sock)
        sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n0\r\n\r\n")

    line = awaiting(serve(stream).url)
    async with line.listen(GET) as (_, pieces):
        assert [piece async for piece in pieces] == [b"one"]
    await line.close()


@pytest.mark.parametrize("has_tls", [False, True])
def test_a_request_is_begun_on_a_free_connection_only_and_its_answer_read_later(serve, monkeypatch, certified, has_tls):
    certificate, key = certified
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    may_answer = threading.Semaphore(0)

    def talk(sock, _number):
        with context.wrap_socket(sock, server_side=True) if has_tls else contextlib.nullcontext(sock) as line:
            while hear(line)[0]:
                assert may_answer.acquire(timeout=5)
                line.sendall(OK)

    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    url = serve(talk).url
    pool = ConnectionPool(Peer(Settings(url=url.replace("http:", "https:") if has_tls else url, token="t")))
    assert pool.begin(GET) is None, "to connect may take long; it is done in the background, for the next one"
    while (connection := pool.begin(GET)) is None:
        time.sleep(0.005)
    assert connection.answer_now() is None
    with pytest.raises(TimeoutError):
        connection.answer(30, time.monotonic() + 0.05)
    may_answer.release()
    assert connection.answer(5).body == b"ok"
    pool.end(connection, may_stay=connection.may_stay)
    assert pool.begin(GET) is connection
    may_answer.release()
    while (answer := connection.answer_now()) is None:
        time.sleep(0.005)
    assert answer.body == b"ok"
    assert pool.begin(GET) is None
    connection.begin(b"GET / HTTP/1.1\r\n\r\n", b"")
    may_answer.release()
    with pytest.raises(sync_pool.LargeAnswer):
        connection.answer(5, most=1)
    pool.end(connection, may_stay=False)
    pool.close()
