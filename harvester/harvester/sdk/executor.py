"""An executor for code that knows `concurrent.futures` and nothing of us.

Owns which callables are registered by themselves and which travel as arguments, and what `shutdown` waits for.
"""

from __future__ import annotations

import concurrent.futures
import threading
import types
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import timedelta
from typing import Any, NoReturn, ParamSpec, TypeVar

from harvester.sdk.client import Client, default_client
from harvester.sdk.errors import CannotTravel
from harvester.sdk.futures import InvocationFuture
from harvester.sdk.registration.callables import innermost_function
from harvester.sdk.registration.decorator import make_traits
from harvester.sdk.registration.functions import Function
from harvester.sdk.registration.registry import check_callable
from harvester.sdk.submit.mapped import Mapped

P = ParamSpec("P")
R = TypeVar("R")


class Executor(concurrent.futures.Executor):
    """A `concurrent.futures.Executor` whose calls run on pilots.

    Parameters
    ----------
    client: through which; None for the default client. It is not closed with the executor.
    max_workers: so many invocations are open at a time, the others wait here; None for no bound.
    initializer, initargs: called as `initializer(*initargs)` before the first call in each process on the nodes; with
        one, every function has the executor's traits.
    cpus, gpus, memory_mb, walltime, max_retries, max_running, ship_module: of plain functions, as for
        `harvester.function`; a decorated function keeps its own.
    priority, ttl, deadline: of every invocation, as for `Client.options`.

    Module-level functions are registered, each once. Partials, bound methods, closures and other callables travel with
    their arguments, because a new one may come with every call. Raises `ConfigurationError`, `ValueError`.
    """

    def __init__(
        self,
        client: Client | None = None,
        *,
        max_workers: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        cpus: int = 1,
        gpus: int = 0,
        memory_mb: int = 0,
        walltime: timedelta | float | None = None,
        max_retries: int = 0,
        max_running: int | None = None,
        ship_module: bool = False,
        priority: int | None = None,
        ttl: timedelta | float | None = None,
        deadline: timedelta | float | None = None,
    ) -> None:
        self._traits: dict[str, Any] = {
            "cpus": cpus,
            "gpus": gpus,
            "memory_mb": memory_mb,
            "walltime": walltime,
            "max_retries": max_retries,
            "max_running": max_running,
        }
        if max_workers is not None and max_workers <= 0:
            raise ValueError("max_workers must be greater than 0")  # as every executor says
        self._bound = max_workers
        self._ship_module = ship_module
        self._is_initialized = initializer is None
        call = _by_value() if initializer is None else _initialized(initializer, initargs)
        self._call: Function[..., Any] = Function(call, make_traits(call, **self._traits))
        self._client = client if client is not None else default_client()
        self._submissions = self._client.options(priority=priority, ttl=ttl, deadline=deadline, max_open=max_workers)
        self._functions: weakref.WeakKeyDictionary[Any, Function[..., Any]] = weakref.WeakKeyDictionary()
        self._open: set[InvocationFuture[Any]] = set()
        self._maps: list[Mapped] = []
        self._lock = threading.Lock()
        self._is_shut_down = False

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> InvocationFuture[R]:
        """Run `fn` on a pilot; see `Client.submit`. Raises `RuntimeError` after `shutdown`."""
        self._check()
        function = self._function(fn)
        if function is None:
            future = self._submissions.submit(self._call, self._shipped(fn), args, kwargs)
        else:
            future = self._submissions.submit(function, *args, **kwargs)
        with self._lock:
            self._open.add(future)
        future.on_end(self._forget)
        return future

    def map(
        self,
        fn: Callable[..., R],
        /,
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int | None = None,
    ) -> Iterator[R]:
        """Run `fn` for each tuple of `zip(*iterables)`; see `Client.map`, which chooses the chunks unless told.

        All calls are submitted at once. Leaving the iterator cancels none of them; an error that it raises, of a call
        or of `timeout`, cancels those that are left.
        """
        self._check()
        function = self._function(fn)
        arguments: Iterable[Iterable[Any]] = iterables
        if function is None:
            shipped = self._shipped(fn)
            calls: list[tuple[Any, ...]] = [(shipped, args, {}) for args in zip(*iterables, strict=False)]
            function, arguments = self._call, zip(*calls, strict=True)
        mapped, futures = self._submissions.start_map(function, *arguments, chunksize=chunksize)
        with self._lock:
            self._maps = [*(each for each in self._maps if not each.is_over), mapped]
        return mapped.results(futures, timeout, is_kept=True)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls. With `wait`, return when all submitted ones have ended and their callbacks were called.

        `cancel_futures` cancels what no pilot has yet, of maps too; what runs goes on.
        """
        with self._lock:
            self._is_shut_down = True
            left, maps = tuple(self._open), tuple(self._maps)
        if cancel_futures:
            self._cancel(left, maps)
        if wait:
            concurrent.futures.wait(left)
            for mapped in maps:
                mapped.wait()
            self._submissions.wait_for_callbacks()

    @property
    def max_workers(self) -> int:
        """How many calls can run at a time: the bound that was given, else what the site has room for now.

        That is on its connected pilots; on its nodes where there is none yet. Raises `GatewayError`.
        """
        if self._bound is not None:
            return self._bound
        room = [slot["capacity"] for slot in self._client.slots()]
        room = room or [node["total"] for node in self._client.cluster().get("nodes", ())]
        return max(1, sum(_fitting(each, self._traits) for each in room))

    @property
    def _max_workers(self) -> int:
        # What dask and others read of an executor.
        return self.max_workers

    def __reduce__(self) -> NoReturn:
        raise CannotTravel("an executor cannot travel: make another harvester.Executor() there")

    def _cancel(self, futures: Iterable[InvocationFuture[Any]], maps: Iterable[Mapped]) -> None:
        self._submissions.cancel_waiting()  # first, or the end of others would send it
        for future in futures:
            if not future.done():
                future.cancel_waiting()
        for mapped in maps:
            mapped.stop()

    def _check(self) -> None:
        if self._is_shut_down:
            raise RuntimeError("cannot schedule new futures after shutdown")  # as every executor says

    def _forget(self, future: Any) -> None:  # noqa: ANN401 - one of ours, as a Future tells it
        with self._lock:
            self._open.discard(future)

    def _shipped(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """Return what travels as an argument, which takes its package along where ours does."""
        return Function(fn, make_traits(fn), ship_module=True) if self._ship_module else fn

    def _function(self, fn: Callable[..., Any]) -> Callable[..., Any] | None:
        """Return `fn` with our traits, or with its own; None when it is to travel as an argument."""
        if not self._is_initialized:  # the initializer is called by the function that calls others
            return None
        if isinstance(innermost_function(fn), Function):
            return fn
        check_callable(fn)
        if not isinstance(fn, types.FunctionType) or "<" in fn.__qualname__:  # <lambda>, or in the <locals> of another
            return None
        with self._lock:
            if fn not in self._functions:
                traits = make_traits(fn, **self._traits)
                self._functions[fn] = Function(fn, traits, ship_module=self._ship_module)
            return self._functions[fn]


def _fitting(room: Mapping[str, int], traits: Mapping[str, int]) -> int:
    """Return how many calls fit into these resources."""
    return min((room.get(name, 0) // traits[name] for name in ("cpus", "gpus", "memory_mb") if traits[name]), default=0)


def _initialized(initializer: Callable[..., object], initargs: tuple[Any, ...]) -> Callable[..., Any]:
    """As `_by_value`; the function calls `initializer` before its first call in a process."""
    calls: list[bool] = []  # travels empty; each process has its own

    def call(fn: Callable[..., object], args: tuple[Any, ...], kwargs: dict[str, Any]) -> object:
        if not calls:
            try:
                initializer(*initargs)
            except Exception as error:
                why = f"the executor's initializer failed: {type(error).__name__}: {error}"
                raise concurrent.futures.BrokenExecutor(why) from error
            calls.append(True)
        return fn(*args, **kwargs)

    return call


def _by_value() -> Callable[..., Any]:
    """Return the function that calls another one; an inner one, which travels whole and needs nothing of ours."""

    def call(fn: Callable[..., object], args: tuple[Any, ...], kwargs: dict[str, Any]) -> object:
        return fn(*args, **kwargs)

    return call
