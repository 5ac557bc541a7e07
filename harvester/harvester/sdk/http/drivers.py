"""The two drivers that carry conversations over HTTP: one blocks, one is for asyncio.

Owns what a broken connection means. The connections are `sync_pool`' and `async_pool`'; what is said, and how
often, is `messages`'s and the operations'.
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

from harvester.domain import tls
from harvester.sdk.http.async_pool import AsyncConnectionPool
from harvester.sdk.http.endpoint import Peer
from harvester.sdk.http.messages import Broken, Operation, Outcome, Pause, Request, Step, converse
from harvester.sdk.http.sync_pool import ConnectionPool, Interrupted, Silent
from harvester.sdk.settings import Settings

P = ParamSpec("P")
T = TypeVar("T")


def _broken(error: OSError | ValueError) -> Broken:
    # A certificate that does not verify is both; the gateway may get a better one.
    is_defect = not isinstance(error, OSError)
    reason = tls.trouble(error) or str(error) or type(error).__name__
    remedy = tls.remedy(error, ca="HARVESTER_TLS_CA, or tls_ca in the config file,", address="HARVESTER_URL")
    return Broken(reason, is_defect, error.remedy if isinstance(error, Silent) else remedy)


class BlockingDriver:
    """The blocking driver."""

    def __init__(self, settings: Settings, patience_s: float) -> None:
        self.settings = settings
        self._patience_s = patience_s
        peer = Peer(settings)
        self._via = peer.via
        self.connections = ConnectionPool(peer, patience_s)

    def run(self, operation: Operation[T]) -> T:
        """Return what the operation finds. Raises what it raises, `GatewayError` for refusals and silence."""
        steps = converse(operation, self.settings, self._patience_s, time.monotonic, self._via)
        try:
            step = next(steps)
            while True:
                step = steps.send(self._do(step))
        except StopIteration as end:
            result: T = end.value
            return result
        except Interrupted as interrupted:
            raise interrupted.error from None

    def _do(self, step: Step) -> Outcome:
        if isinstance(step, Pause):
            time.sleep(step.seconds)
            return None
        try:
            return self.connections.ask(step)
        except (OSError, ValueError) as error:
            return _broken(error)

    def close(self) -> None:
        """Close the connections."""
        self.connections.close()


class AsyncDriver:
    """The driver for asyncio. Belongs to one event loop."""

    def __init__(self, settings: Settings, patience_s: float = math.inf) -> None:
        self.settings = settings
        self._patience_s = patience_s
        peer = Peer(settings)
        self._via = peer.via
        self._connections = AsyncConnectionPool(peer)

    async def run(self, operation: Operation[T], patience_s: float | None = None) -> T:
        """As `BlockingDriver.run`, with a patience of its own if need be."""
        patience_s = self._patience_s if patience_s is None else patience_s
        steps = converse(operation, self.settings, patience_s, time.monotonic, self._via)
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
            return await self._connections.ask(step)
        except (OSError, ValueError) as error:
            return _broken(error)

    def listen(self, request: Request) -> contextlib.AbstractAsyncContextManager[tuple[int, AsyncIterator[bytes]]]:
        """Open an answer without an end; yields its status and its pieces. Raises `OSError` when it breaks."""
        return self._connections.listen(request)

    async def close(self) -> None:
        """Close the connections."""
        await self._connections.close()


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
