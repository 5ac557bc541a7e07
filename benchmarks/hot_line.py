"""The hot line: what one no-op invocation costs through the whole system, over HTTP and through the SDK.

A real `harvester up` on the embedded local scheduler, one pilot with two slots, SQLite with fsync.
"""

import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from harvester.sdk.client import Client


def nothing() -> None:
    return None


def echo(payload: bytes) -> bytes:
    return payload


@contextmanager
def system() -> Iterator[tuple[Client, str]]:
    """Yield a client of a fresh system."""
    with tempfile.TemporaryDirectory(prefix="harvester-bench-") as folder:
        options = ["--scheduler", "local", "--nodes", "1", "--cpus", "2", "--ready", "1", "--port", "0"]
        command = [sys.executable, "-m", "harvester.cli", "up", "--state", folder, *options]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            endpoint = Path(folder, "endpoint.json")
            while not endpoint.exists():
                assert process.poll() is None, "harvester up ended"
                time.sleep(0.02)
            token = Path(folder, "tokens/user").read_text().strip()
            with Client(url=json.loads(endpoint.read_text())["url"], token=token) as client:
                yield client, token
        finally:
            process.terminate()
            process.wait()


async def invoke_over_http(url: str, token: str, function: str, connections: int, seconds: float) -> list[float]:
    """Invoke and wait, one after another on each connection; return the seconds that each took."""
    host, port = url.removeprefix("http://").split(":")
    request = (
        f"POST /v1/functions/{function}/invocations?wait_s=30 HTTP/1.1\r\nHost: {host}\r\n"
        f"Authorization: Bearer {token}\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}"
    ).encode()
    took: list[float] = []
    end_at = time.perf_counter() + seconds

    async def one() -> None:
        reader, writer = await asyncio.open_connection(host, int(port))
        while (begun_at := time.perf_counter()) < end_at:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
            took.append(time.perf_counter() - begun_at)
        writer.close()

    await asyncio.gather(*(one() for _ in range(connections)))
    return took


def row(what: str, figure: str) -> None:
    print(f"| {what} | {figure} |", flush=True)


def http(client: Client, token: str) -> None:
    for connections in (1, 64):
        asyncio.run(invoke_over_http(client.url, token, "nothing", connections, 1.0))
        took = sorted(asyncio.run(invoke_over_http(client.url, token, "nothing", connections, 4.0)))
        p50, p99 = (1000 * took[int(len(took) * share)] for share in (0.5, 0.99))
        row(
            f"HTTP invoke and wait, {connections} connections",
            f"p50 {p50:.2f} ms, p99 {p99:.2f} ms, {len(took) / 4:,.0f}/s",
        )


def sdk(client: Client) -> None:
    def rate(count: int, work: Callable[[int], object]) -> str:
        begun_at = time.perf_counter()
        work(count)
        return f"{count / (time.perf_counter() - begun_at):,.0f}/s"

    row(
        "SDK submit, results gathered",
        rate(5_000, lambda n: [f.result() for f in [client.submit(nothing) for _ in range(n)]]),
    )
    row("SDK map of no-ops", rate(10_000, lambda n: list(client.map(echo, [b""] * n))))
    times = []
    payload = bytes(1_000_000)
    for _ in range(20):
        begun_at = time.perf_counter()
        assert len(client.submit(echo, payload).result()) == len(payload)
        times.append(time.perf_counter() - begun_at)
    row("SDK echo of 1 MB", f"median {1000 * statistics.median(times):.1f} ms")


def main() -> None:
    print("| what | figure |\n|---|---|")
    with system() as (client, token):
        client.register(nothing)
        client.submit(nothing).result()
        client.submit(echo, b"").result()
        http(client, token)
        sdk(client)


if __name__ == "__main__":
    main()
