"""An executor for code that knows `concurrent.futures` and nothing of us.

Owns which callables are registered by themselves and which travel as arguments, and what `shutdown` waits for.
"""

from __future__ import annotations

import concurrent.futures
import threading
import types
import weakref
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import Any, ParamSpec, TypeVar

from harvester.sdk.client import Client, default_client
from harvester.sdk.functions import Function, make_traits
from harvester.sdk.futures import InvocationFuture
from harvester.sdk.layers import innermost_function
from harvester.sdk.registry import check_callable

P = ParamSpec("P")
R = TypeVar("R")


class Executor(concurrent.futures.Executor):
    """A `concurrent.futures.Executor` whose calls run on pilots.

    Parameters
    ----------
    client: through which; None for the default client. It is not closed with the executor.
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
        self._ship_module = ship_module
        call = _by_value()
        self._call: Function[..., Any] = Function(call, make_traits(call, **self._traits))
        chosen = client if client is not None else default_client()
        self._submissions = chosen.options(priority=priority, ttl=ttl, deadline=deadline)
        self._functions: weakref.WeakKeyDictionary[Any, Function[..., Any]] = weakref.WeakKeyDictionary()
        self._open: set[InvocationFuture[Any]] = set()
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
        future.add_done_callback(self._forget)
        return future

    def map(
        self,
        fn: Callable[..., R],
        /,
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int | None = None,
    ) -> Iterator[R]:
        """Run `fn` for each tuple of `zip(*iterables)`; see `Client.map`, which chooses the chunks unless told."""
        self._check()
        function = self._function(fn)
        if function is not None:
            return self._submissions.map(function, *iterables, timeout=timeout, chunksize=chunksize)
        shipped = self._shipped(fn)
        calls: list[tuple[Any, ...]] = [(shipped, args, {}) for args in zip(*iterables, strict=False)]
        return self._submissions.map(self._call, *zip(*calls, strict=True), timeout=timeout, chunksize=chunksize)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls. With `wait`, return when all submitted ones have ended.

        `cancel_futures` cancels what has not ended, also what runs: who submits cannot see the difference.
        """
        with self._lock:
            self._is_shut_down = True
            left = tuple(self._open)
        if cancel_futures:
            for future in left:
                future.cancel()
        if wait:
            concurrent.futures.wait(left)

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


def _by_value() -> Callable[..., Any]:
    """Return the function that calls another one; an inner one, which travels whole and needs nothing of ours."""

    def call(fn: Callable[..., object], args: tuple[Any, ...], kwargs: dict[str, Any]) -> object:
        return fn(*args, **kwargs)

    return call
