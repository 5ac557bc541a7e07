"""The client: what a user's program asks of a gateway.

Owns what belongs together for one program: the blocking calls (`calls`, `views`), the registered functions, and the
engine's thread, which is started by the first submission.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ParamSpec, Self, TypeVar, overload

from harvester.domain.functions import Encoding
from harvester.sdk.calls import Calls
from harvester.sdk.engine import Engine
from harvester.sdk.errors import ClientClosed, GatewayError, HarvesterError
from harvester.sdk.functions import Function
from harvester.sdk.futures import InvocationFuture
from harvester.sdk.gateway import Gateway
from harvester.sdk.outbox import Outgoing, Target
from harvester.sdk.payloads import encode_arguments
from harvester.sdk.registry import Invocable, Registration, Registry
from harvester.sdk.settings import config_path, find_settings
from harvester.sdk.shipping import Shipment, shipping_module_of

P = ParamSpec("P")
R = TypeVar("R")
PATIENCE_S = 60.0


class Client(Calls):
    """A connection to one gateway. Safe to use from many threads; not to be carried into a forked process.

    Parameters
    ----------
    url: the gateway, "http://host:port"; else HARVESTER_URL, else the user's config file.
    token: the user's; else HARVESTER_TOKEN, else the config file's token or token_file.
    patience_s: seconds for which requests are repeated while the gateway does not answer. Futures wait without limit.

    Raises `ConfigurationError` when no gateway or no token is known.
    """

    def __init__(self, url: str | None = None, token: str | None = None, *, patience_s: float = PATIENCE_S) -> None:
        self._settings = find_settings(url, token, environ=os.environ, config=config_path())
        self._patience_s = patience_s
        super().__init__(Gateway(self._settings, patience_s))
        self._registry = Registry(self._gateway)
        self._engine: Engine | None = None
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._is_closed = False

    # ---- invoking ----------------------------------------------------------------------------------------------------

    def register(
        self, fn: Callable[..., Any] | Shipment, name: str | None = None, *, ship_module: bool = False
    ) -> Registration:
        """Register a function as it is now; later submissions of it use this version.

        Parameters
        ----------
        fn: a callable, decorated or not, or a `Shipment`.
        name: under which; else the decorator's, else the function's own.
        ship_module: send the function's whole module, for one that the compute node cannot import.

        Raises `HarvesterError` when it cannot be pickled, `GatewayError` when the gateway refuses it.
        """
        self._check_usable()
        if isinstance(fn, Shipment):
            return self._registry.ship(fn)
        return self._registry.register(fn, name, ship_module=ship_module)

    @overload
    def submit(self, fn: Function[P, R], /, *args: P.args, **kwargs: P.kwargs) -> InvocationFuture[R]: ...
    @overload
    def submit(
        self,
        fn: str | Registration,
        /,
        *args: Any,  # noqa: ANN401 - nothing is known of a function that is only named
        **kwargs: Any,  # noqa: ANN401 - as above
    ) -> InvocationFuture[Any]: ...
    @overload
    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> InvocationFuture[R]: ...

    def submit(self, fn: Invocable, /, *args: Any, **kwargs: Any) -> InvocationFuture[Any]:
        """Invoke `fn` with pickled arguments and return at once.

        `fn` is a callable, registered at its first use and remembered as it was then; or a registered function's name,
        which means its newest version; or a `Registration`. Raises `HarvesterError` when function or arguments cannot
        be pickled, `GatewayError` when the function is refused. A refused submission ends the future.
        """
        outgoing = self._outgoing(fn, self._target(fn), args, kwargs)
        self._running_engine().submit([outgoing])
        return outgoing.future

    def map(self, fn: Invocable, /, *iterables: Iterable[Any], timeout: float | None = None) -> Iterator[Any]:
        """Invoke `fn` with each tuple of `zip(*iterables)`, at once; return an iterator over the results, in order.

        The iterator raises what an invocation failed with, or `TimeoutError` when a result is not there `timeout`
        seconds after this call. What has not ended when the iterator is left behind is cancelled.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        target = self._target(fn)
        outgoing = [self._outgoing(fn, target, args, {}) for args in zip(*iterables, strict=False)]
        self._running_engine().submit(outgoing)
        return _results([each.future for each in outgoing], deadline)

    # ---- ending ------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Send what was submitted, then end. Open futures end with `ClientClosed`; their invocations go on."""
        with self._lock:
            engine, self._engine, self._is_closed = self._engine, None, True
        if engine is not None and os.getpid() == self._pid:
            engine.close()
        self._gateway.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- inside ------------------------------------------------------------------------------------------------------

    def _check_usable(self) -> None:
        if os.getpid() != self._pid:
            raise HarvesterError(
                f"this client was made in process {self._pid} and its connections stayed there: "
                "make a harvester.Client in each process"
            )
        if self._is_closed:
            raise ClientClosed("the client is closed; make another harvester.Client")

    def _running_engine(self) -> Engine:
        with self._lock:
            self._check_usable()
            if self._engine is None:
                self._engine = Engine(self._settings, self._patience_s)
            return self._engine

    def _target(self, fn: Invocable) -> Target:
        self._check_usable()
        return self._registry.target(fn)

    def _outgoing(self, fn: Invocable, target: Target, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Outgoing:
        if isinstance(fn, Function) and fn.ship_module:
            with shipping_module_of(fn.__wrapped__):
                arguments = encode_arguments(args, kwargs, Encoding.PICKLE)
        else:
            arguments = encode_arguments(args, kwargs, Encoding.PICKLE)
        return Outgoing(target=target, arguments=arguments, future=InvocationFuture(self._cancel_for_future))

    def _cancel_for_future(self, invocation_id: str) -> bool:
        document = self.cancel(invocation_id)
        return str(document.get("state")) not in ("succeeded", "failed", "expired")


def _results(futures: list[InvocationFuture[Any]], deadline: float | None) -> Iterator[Any]:
    """Yield the results in order. Ends by cancelling what is left, as `Executor.map` does."""
    left = list(reversed(futures))
    try:
        while left:
            # The list is the only one that still holds the future, so that its result is freed once it was yielded.
            timeout = None if deadline is None else max(0.0, deadline - time.monotonic())
            left[-1].exception(timeout)
            yield left.pop().result()
    finally:
        with contextlib.suppress(GatewayError):  # what ended the iteration is what its user must hear of
            for future in left:
                future.cancel()


_default: dict[int, Client] = {}  # by process id: a forked process makes its own
_default_lock = threading.Lock()


def default_client() -> Client:
    """Return this process's client, made from the environment or the user's config file at the first call.

    Raises `ConfigurationError` when no gateway or no token is known.
    """
    with _default_lock:
        if os.getpid() not in _default:
            _default[os.getpid()] = Client()
        return _default[os.getpid()]
