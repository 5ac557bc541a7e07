"""The blocking client: what a user's program asks of a gateway.

Owns the names: the operations as methods that block (`views`, `calls`), submissions, and how their results are waited
for. What is behind them is `desk`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import Any, NoReturn, ParamSpec, Self, TypeVar, cast, overload

from harvester.domain.model import hosting
from harvester.sdk.desk import Desk
from harvester.sdk.errors import CannotTravel
from harvester.sdk.futures import InvocationFuture
from harvester.sdk.http.drivers import blocking
from harvester.sdk.http.messages import Operation
from harvester.sdk.inside_function import settings_here
from harvester.sdk.operations import calls, views
from harvester.sdk.options import NO_OPTIONS, Options, make_options
from harvester.sdk.payload.shipping import Shipment
from harvester.sdk.registration.default import default_caller
from harvester.sdk.registration.functions import Function
from harvester.sdk.registration.registry import Invocable
from harvester.sdk.registration.request import Registration
from harvester.sdk.submit.mapped import Mapped
from harvester.sdk.submit.requests import map_run, outgoing
from harvester.sdk.submit.throttle import Throttle, throttle_of

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
PATIENCE_S = 60.0


class Submissions:
    """Invocations of functions, all with the same options; made by `Client.options`, and a `Client` is one itself."""

    def __init__(self, desk: Desk, asked: Options, throttle: Throttle | None = None) -> None:
        self._desk = desk
        self._asked = asked
        self._throttle = throttle

    def __reduce__(self) -> NoReturn:
        raise CannotTravel("a client cannot travel: make another harvester.Client() there")

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
        which means its newest version; or a `Registration`. Raises `TypeError` for anything else, `HarvesterError`
        when the function cannot be pickled, what pickling raises when an argument cannot, `GatewayError` when the
        function is refused. A refused submission ends the future.
        """
        target = self._desk.target(fn)
        future = self._desk.future()
        order = outgoing(fn, target, args, kwargs, asked=self._asked, sink=future, throttle=self._throttle)
        self._desk.engine().submit(order)
        return future

    def map(
        self,
        fn: Invocable,
        /,
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int | None = None,
    ) -> Iterator[Any]:
        """Invoke `fn` with each tuple of `zip(*iterables)`, at once; return an iterator over the results, in order.

        The iterables are read to their end by this call, as `concurrent.futures` does it.

        Parameters
        ----------
        timeout: in seconds from this call; a result that is not there by then raises `TimeoutError`.
        chunksize: calls in one invocation. None chooses by what the first calls take, and is 1 for functions with
            checkpoints, retries, a walltime, a limit of runs or gpus, and for those only known by name.

        The iterator raises what a call failed with. What has not ended when the iterator is left behind is cancelled.
        """
        mapped, futures = self._start_map(fn, *iterables, chunksize=chunksize)
        return mapped.results(futures, timeout)

    def _start_map(
        self, fn: Invocable, /, *iterables: Iterable[Any], chunksize: int | None
    ) -> tuple[Mapped, list[InvocationFuture[Any]]]:
        desk = self._desk
        run, futures = map_run(
            fn,
            desk.target(fn),
            iterables,
            asked=self._asked,
            chunksize=chunksize,
            make=desk.future,
            throttle=self._throttle,
        )
        engine = desk.engine()
        engine.start(run)
        return Mapped(engine, run), futures


class View(Submissions):
    """Made by `Client.options`; with what somebody needs who builds on it, as `Executor` does."""

    def start_map(
        self, fn: Invocable, /, *iterables: Iterable[Any], chunksize: int | None
    ) -> tuple[Mapped, list[InvocationFuture[Any]]]:
        """Begin a map; return it, and its calls in order, which have no ids: several travel in one invocation."""
        return self._start_map(fn, *iterables, chunksize=chunksize)

    def cancel_waiting(self) -> None:
        """Cancel what waits here for room."""
        if self._throttle is not None:
            self._desk.cancel_waiting(self._throttle)

    def wait_for_callbacks(self) -> None:
        """Wait until the done callbacks of what has ended by now were called."""
        self._desk.wait_for_callbacks()


class Client(Submissions):
    """A connection to one gateway. Safe to use from many threads; not to be carried into a forked process.

    Parameters
    ----------
    url: the gateway, "http://host:port"; else HARVESTER_URL, else the user's config file.
    token: the user's; else HARVESTER_TOKEN, else the config file's token or token_file.
    patience_s: seconds for which requests are repeated while the gateway does not answer. Futures wait without limit.

    In a function on a pilot it finds the run's own gateway and credential in place of the file's, and is closed when
    the run ends.

    Raises `ConfigurationError` when no gateway or no token is known.
    """

    def __init__(self, url: str | None = None, token: str | None = None, *, patience_s: float = PATIENCE_S) -> None:
        settings = settings_here(url, token)
        super().__init__(Desk(settings, patience_s), NO_OPTIONS)
        if settings.parent and (host := hosting.host()) is not None:
            host.at_end(self.close)  # its credential ends with the run, and its threads must not outlive it

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
    ) -> View:
        """Return a view of this client whose `submit` and `map` ask for these; see `make_options`.

        What a function asks itself (`Function.options`) goes first. `max_open`: so many invocations of the view are
        open at a time, the others wait here.
        """
        return View(self._desk, make_options(priority, ttl, deadline), throttle_of(max_open))

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
        return self._desk.register(fn, name, ship_module=ship_module)

    invoke = blocking(calls.invoke)
    start = blocking(calls.start)
    result = blocking(calls.result)
    cancel = blocking(views.cancel)
    invocation = blocking(views.invocation)
    invocations = blocking(views.invocations)
    explain = blocking(views.explain)
    functions = blocking(views.functions)
    function_versions = blocking(views.function_versions)
    share = blocking(views.share)
    delete_function = blocking(views.delete_function)
    pilots = blocking(views.pilots)
    slots = blocking(views.slots)
    cluster = blocking(views.cluster)
    daemon = blocking(views.daemon)
    pause = blocking(views.pause)
    resume = blocking(views.resume)
    drain = blocking(views.drain)
    undrain = blocking(views.undrain)
    evict = blocking(views.evict)
    whoami = blocking(views.whoami)

    def close(self) -> None:
        """Send what was submitted, then end. Open futures end with `ClientClosed`; their invocations go on."""
        self._desk.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, operation: Operation[T]) -> T:
        with hosting.waiting():
            return self._desk.gateway.run(operation)


def default_client() -> Client:
    """Return this process's client, made from the environment or the user's config file at the first call.

    Raises `ConfigurationError` when no gateway or no token is known.
    """
    return cast("Client", default_caller())
