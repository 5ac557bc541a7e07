"""The asyncio client: the blocking one's twin, whose methods are coroutines.

Owns what is asyncio's: the line on the user's own loop, and waiting. Everything else is what `client` uses too.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from datetime import timedelta
from functools import partial
from typing import Any, NoReturn, ParamSpec, Self, TypeVar, cast, overload

from harvester.domain.model import hosting
from harvester.sdk.async_futures import AsyncInvocationFuture
from harvester.sdk.errors import CannotTravel, ClientClosed, HarvesterError
from harvester.sdk.http.drivers import AsyncDriver, awaitable
from harvester.sdk.http.messages import LOG, Operation
from harvester.sdk.inside_function import OpenFutures, settings_here
from harvester.sdk.operations import calls, views
from harvester.sdk.options import NO_OPTIONS, Options, make_options
from harvester.sdk.payload.shipping import Shipment
from harvester.sdk.registration.functions import Function
from harvester.sdk.registration.registry import Invocable, Registry
from harvester.sdk.registration.request import Registration
from harvester.sdk.registration.target import Target
from harvester.sdk.settings import Settings
from harvester.sdk.submit.mapping import MapRun
from harvester.sdk.submit.requests import map_run, outgoing
from harvester.sdk.submit.session import Line
from harvester.sdk.submit.throttle import Throttle, throttle_of

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
PATIENCE_S = 60.0
FLUSH_S = 10.0


class AsyncSubmissions:
    """Invocations of functions, all with the same options; see `client.Submissions`."""

    def __init__(self, desk: _Desk, asked: Options, throttle: Throttle | None = None) -> None:
        self._desk = desk
        self._asked = asked
        self._throttle = throttle

    def __reduce__(self) -> NoReturn:
        raise CannotTravel("a client cannot travel: make another harvester.AsyncClient() there")

    @overload
    async def submit(self, fn: Function[P, R], /, *args: P.args, **kwargs: P.kwargs) -> AsyncInvocationFuture[R]: ...
    @overload
    async def submit(
        self,
        fn: str | Registration,
        /,
        *args: Any,  # noqa: ANN401 - nothing is known of a function that is only named
        **kwargs: Any,  # noqa: ANN401 - as above
    ) -> AsyncInvocationFuture[Any]: ...
    @overload
    async def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> AsyncInvocationFuture[R]: ...

    async def submit(self, fn: Invocable, /, *args: Any, **kwargs: Any) -> AsyncInvocationFuture[Any]:
        """Invoke `fn`; return a future of its result once it is on its way. See `Client.submit`."""
        target = await self._desk.target(fn)
        line = self._desk.line()
        future = self._desk.future(line)
        line.submit([outgoing(fn, target, args, kwargs, asked=self._asked, sink=future, throttle=self._throttle)])
        return future

    async def map(
        self,
        fn: Invocable,
        /,
        *iterables: Iterable[Any],
        timeout: float | None = None,  # noqa: ASYNC109 - the blocking client's word, and a result's, not the call's
        chunksize: int | None = None,
    ) -> AsyncIterator[Any]:
        """Iterate over the results of `fn` for each tuple of `zip(*iterables)`, in order. See `Client.map`.

        An asynchronous generator: it begins when the first result is asked for. Left early, it has to be closed
        (`contextlib.aclosing`) for the rest to be cancelled at once.
        """
        loop = asyncio.get_running_loop()
        end_at = None if timeout is None else loop.time() + timeout
        target = await self._desk.target(fn)
        line = self._desk.line()

        make = partial(self._desk.future, line)
        run, futures = map_run(
            fn, target, iterables, asked=self._asked, chunksize=chunksize, make=make, throttle=self._throttle
        )
        line.start(run)
        futures.reverse()
        try:
            while futures:
                async with asyncio.timeout_at(end_at):
                    await asyncio.wait([futures[-1]])
                yield futures.pop().result()
        finally:
            if futures:
                await _leave(line, run, futures)


class AsyncClient(AsyncSubmissions):
    """A connection to one gateway, for one event loop at a time. Parameters and errors as those of `Client`.

    Once its loop is closed, another one may use it, as in a second `asyncio.run`. What was open on the first one goes
    on at the gateway, and its futures never end.
    """

    def __init__(self, url: str | None = None, token: str | None = None, *, patience_s: float = PATIENCE_S) -> None:
        super().__init__(_Desk(settings_here(url, token), patience_s), NO_OPTIONS)

    @property
    def url(self) -> str:
        """The gateway's address."""
        return self._desk.settings.url

    def options(
        self,
        *,
        priority: int | None = None,
        ttl: timedelta | float | None = None,
        deadline: timedelta | float | None = None,
        max_open: int | None = None,
    ) -> AsyncSubmissions:
        """Return a view of this client whose `submit` and `map` ask for these; see `Client.options`."""
        return AsyncSubmissions(self._desk, make_options(priority, ttl, deadline), throttle_of(max_open))

    async def register(
        self, fn: Callable[..., Any] | Shipment, name: str | None = None, *, ship_module: bool = False
    ) -> Registration:
        """Register a function as it is now; later submissions of it use this version. See `Client.register`."""
        return await self._desk.register(fn, name, ship_module=ship_module)

    invoke = awaitable(calls.invoke)
    start = awaitable(calls.start)
    result = awaitable(calls.result)
    cancel = awaitable(views.cancel)
    invocation = awaitable(views.invocation)
    invocations = awaitable(views.invocations)
    explain = awaitable(views.explain)
    functions = awaitable(views.functions)
    function_versions = awaitable(views.function_versions)
    share = awaitable(views.share)
    delete_function = awaitable(views.delete_function)
    pilots = awaitable(views.pilots)
    slots = awaitable(views.slots)
    cluster = awaitable(views.cluster)
    daemon = awaitable(views.daemon)
    pause = awaitable(views.pause)
    resume = awaitable(views.resume)
    drain = awaitable(views.drain)
    undrain = awaitable(views.undrain)
    evict = awaitable(views.evict)
    whoami = awaitable(views.whoami)

    async def close(self) -> None:
        """Send what was submitted, then end. Open futures end with `ClientClosed`; their invocations go on."""
        await self._desk.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _run(self, operation: Operation[T]) -> T:
        with hosting.waiting():
            return await self._desk.run(operation)


class _Desk:
    """What the client has behind its methods: the connections, the registered functions, and the line."""

    def __init__(self, settings: Settings, patience_s: float) -> None:
        self.settings = settings
        self._patience_s = patience_s
        self._registry = Registry()
        self._is_closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._begin()

    def _begin(self) -> None:
        """Have what belongs to one event loop."""
        self._gateway = AsyncDriver(self.settings, self._patience_s)
        self._registering = asyncio.Lock()
        self._line: Line | None = None
        self._working: asyncio.Task[None] | None = None
        self._open = OpenFutures()

    def future(self, line: Line) -> AsyncInvocationFuture[Any]:
        future: AsyncInvocationFuture[Any] = AsyncInvocationFuture(line.withdraw)
        self._open.add(future)
        return future

    async def run(self, operation: Operation[T]) -> T:
        self._check_usable()
        return await self._gateway.run(operation)

    async def register(self, fn: Callable[..., Any] | Shipment, name: str | None, *, ship_module: bool) -> Registration:
        self._check_usable()
        async with self._registering:
            return await self.run(self._registry.register(fn, name, ship_module=ship_module))

    async def target(self, fn: Invocable) -> Target:
        self._check_usable()
        known = self._registry.known(fn)
        if known is None:
            async with self._registering:
                known = self._registry.known(fn)
                if known is None:
                    known = await self.run(self._registry.target(cast("Callable[..., Any]", fn)))
        return known

    def line(self) -> Line:
        self._check_usable()
        if self._line is None:
            self._line = Line(self.settings, self._patience_s, self._registry.renewals)
            self._working = asyncio.create_task(self._work(self._line))
        return self._line

    async def close(self) -> None:
        self._check_loop()
        self._is_closed = True
        line, self._line = self._line, None
        if line is not None and self._working is not None:
            await line.flush(FLUSH_S)
            self._working.cancel()
            await asyncio.gather(self._working, return_exceptions=True)
            await line.close()
        await self._gateway.close()

    def _check_usable(self) -> None:
        if self._is_closed:
            raise ClientClosed("the client is closed; make another harvester.AsyncClient")
        self._check_loop()

    def _check_loop(self) -> None:
        loop = asyncio.get_running_loop()
        if self._loop is not None and self._loop is not loop:
            if not self._loop.is_closed():
                raise HarvesterError(
                    "this AsyncClient was used on another event loop, which is not closed: its connections and futures "
                    "are there; make a harvester.AsyncClient for each loop"
                )
            self._begin()
        self._loop = loop

    async def _work(self, line: Line) -> None:
        """Keep a line going. When it breaks down, what is open ends with the reason, and the next call begins anew."""
        try:
            await line.run()
        except HarvesterError as why:
            LOG.error("%s", why)
            self._line = None
            await line.close(why)


async def _leave(line: Line, run: MapRun, futures: list[AsyncInvocationFuture[Any]]) -> None:
    await line.end(run)
    for future in futures:
        if future.done() and not future.cancelled():
            future.exception()  # nobody will look at it, which asyncio would complain of
