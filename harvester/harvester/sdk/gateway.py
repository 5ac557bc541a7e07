"""The two drivers that carry conversations over HTTP: one blocks, one is for asyncio.

Owns the connections. What is said, and how often, is `exchange`'s and the operations'.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, cast

import httpx2

from harvester.sdk.exchange import Answer, Broken, Operation, Outcome, Pause, Request, Step, converse
from harvester.sdk.settings import Settings

P = ParamSpec("P")
T = TypeVar("T")
CONNECT_S = 10.0
ANSWER_S = 30.0  # beyond the time that the gateway was asked to wait
OWN_BYTES = 64 * 1024  # an answer from here on is read into a bytearray of its size
_DEFECTS = (httpx2.UnsupportedProtocol, httpx2.LocalProtocolError)


def _headers(settings: Settings) -> dict[str, str]:
    # identity: results are read as they come, and a proxy that compresses a pickle gains nothing.
    return {
        "Authorization": f"Bearer {settings.token}",
        "User-Agent": "hpc-harvester",
        "Accept-Encoding": "identity",
    }


def _verifies(settings: Settings) -> bool:
    # To load the certificates of all authorities takes 20 ms, which a gateway without TLS has no use for.
    return settings.url.startswith("https://")


def _options(request: Request) -> dict[str, Any]:
    """Return what httpx's `stream` takes."""
    return {
        "method": request.method,
        "url": request.path,
        "params": request.params or None,
        "headers": request.headers or None,
        "content": request.content or None,
        "timeout": httpx2.Timeout(ANSWER_S, connect=CONNECT_S, read=ANSWER_S + request.wait_s),
    }


class _Body:
    """The body of an answer that comes in pieces: a large one is copied once, to where it stays."""

    def __init__(self, response: httpx2.Response) -> None:
        length = response.headers.get("content-length", "")
        size = int(length) if length.isascii() and length.isdigit() else 0
        self._whole = bytearray(size) if size >= OWN_BYTES else None
        self._at = 0
        self._pieces: list[bytes] = []

    def add(self, piece: bytes) -> None:
        if self._whole is None:
            self._pieces.append(piece)
            return
        self._whole[self._at : self._at + len(piece)] = piece
        self._at += len(piece)

    def answer(self, response: httpx2.Response) -> Answer:
        whole = b"".join(self._pieces) if self._whole is None else self._whole
        headers = dict(response.headers.items())
        return Answer(status=response.status_code, reason=response.reason_phrase, headers=headers, body=whole)


def _broken(error: httpx2.TransportError) -> Broken:
    return Broken(str(error) or type(error).__name__, isinstance(error, _DEFECTS))


class Gateway:
    """The blocking driver."""

    def __init__(self, settings: Settings, patience_s: float) -> None:
        self.settings = settings
        self._patience_s = patience_s
        self._http = httpx2.Client(base_url=settings.url, headers=_headers(settings), verify=_verifies(settings))

    def run(self, operation: Operation[T]) -> T:
        """Return what the operation finds. Raises what it raises, `GatewayError` for refusals and silence."""
        steps = converse(operation, self.settings, self._patience_s, time.monotonic)
        try:
            step = next(steps)
            while True:
                step = steps.send(self._do(step))
        except StopIteration as end:
            result: T = end.value
            return result

    def _do(self, step: Step) -> Outcome:
        if isinstance(step, Pause):
            time.sleep(step.seconds)
            return None
        try:
            with self._http.stream(**_options(step)) as response:
                body = _Body(response)
                for piece in response.iter_raw():
                    body.add(piece)
                return body.answer(response)
        except httpx2.TransportError as error:
            return _broken(error)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()


class AsyncGateway:
    """The driver for asyncio. Belongs to one event loop."""

    def __init__(self, settings: Settings, patience_s: float = math.inf) -> None:
        self.settings = settings
        self._patience_s = patience_s
        limits = httpx2.Limits(max_connections=16, max_keepalive_connections=16)
        self._http = httpx2.AsyncClient(
            base_url=settings.url, headers=_headers(settings), limits=limits, verify=_verifies(settings)
        )

    async def run(self, operation: Operation[T], patience_s: float | None = None) -> T:
        """As `Gateway.run`, with a patience of its own if need be."""
        patience_s = self._patience_s if patience_s is None else patience_s
        steps = converse(operation, self.settings, patience_s, time.monotonic)
        try:
            step = next(steps)
            while True:
                step = steps.send(await self._do(step))
        except StopIteration as end:
            result: T = end.value
            return result

    async def _do(self, step: Step) -> Outcome:
        if isinstance(step, Pause):
            await asyncio.sleep(step.seconds)
            return None
        try:
            async with self._http.stream(**_options(step)) as response:
                body = _Body(response)
                async for piece in response.aiter_raw():
                    body.add(piece)
                return body.answer(response)
        except httpx2.TransportError as error:
            return _broken(error)

    @contextlib.asynccontextmanager
    async def listen(self, request: Request) -> AsyncIterator[tuple[int, AsyncIterator[bytes]]]:
        """Open an answer without an end; yields its status and its pieces. Raises `OSError` when it breaks."""
        try:
            async with self._http.stream(**_options(request)) as response:
                yield response.status_code, response.aiter_raw()
        except httpx2.TransportError as error:
            raise ConnectionError(_broken(error).reason) from error

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()


# ---- operations as methods -----------------------------------------------------------------------------------------


class _Blocks(Protocol):
    def _run(self, operation: Operation[T], /) -> T: ...


class _Awaits(Protocol):
    def _run(self, operation: Operation[T], /) -> Coroutine[Any, Any, T]: ...


def blocking(operation: Callable[P, Operation[T]]) -> Callable[Concatenate[Any, P], T]:
    """Return an operation as a method of a client whose `_run` blocks."""

    def method(self: _Blocks, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._run(operation(*args, **kwargs))

    return cast("Callable[Concatenate[Any, P], T]", _like(operation, method))


def awaitable(operation: Callable[P, Operation[T]]) -> Callable[Concatenate[Any, P], Awaitable[T]]:
    """Return an operation as a method of a client whose `_run` is a coroutine."""

    async def method(self: _Awaits, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._run(operation(*args, **kwargs))

    return cast("Callable[Concatenate[Any, P], Awaitable[T]]", _like(operation, method))


def _like(operation: Callable[..., Any], method: Any) -> Any:  # noqa: ANN401 - a method of either kind
    functools.update_wrapper(method, operation)
    signature = inspect.signature(operation)
    own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    ordered = [own, *signature.parameters.values()]
    method.__signature__ = signature.replace(parameters=ordered)
    return method
