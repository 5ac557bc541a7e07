"""The `@harvester.function` decorator: a Python function with what the harvester must know of it.

Owns `Function`. Calls run here; `submit`, `map` and `register` go through the default client, which is made when the
first of them is called. Knows nothing of what a client is.
"""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable, Generator, Iterable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Protocol, TypeVar, cast, overload

import msgspec

from harvester.domain.resources import Resources
from harvester.sdk.default import default_caller
from harvester.sdk.options import NO_OPTIONS, Options, make_options, seconds
from harvester.sdk.shipping import Traits, default_name

if TYPE_CHECKING:
    from harvester.sdk.futures import InvocationFuture
    from harvester.sdk.registry import Registration

P = ParamSpec("P")
R = TypeVar("R")


class Function(Generic[P, R]):
    """A user's function and its traits.

    Pickles so that a compute node, where the SDK can be imported, has it as it is, and elsewhere as the plain function.
    """

    __wrapped__: Callable[..., Any]

    def __init__(
        self,
        plain: Callable[..., Any],
        traits: Traits,
        *,
        ship_module: bool = False,
        asked: Options = NO_OPTIONS,
        origin: Function[P, R] | None = None,
        is_restored: bool = False,
    ) -> None:
        functools.update_wrapper(self, plain)
        self.traits = traits
        self.ship_module = ship_module
        self.asked = asked
        self.is_restored = is_restored  # from a pickle: it is what its origin was registered as
        self.origin: Function[P, R] = origin or self  # one registration for it and all that `options` made of it

    @property
    def name(self) -> str:
        """The name under which it is registered."""
        return self.traits.name

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run it here, without a harvester. A generator function is run to its end, its result returned.

        An async function returns its coroutine, as ever; on a pilot it is run to its end.
        """
        if inspect.isgeneratorfunction(self.__wrapped__):
            return cast("R", _run_generator(self.__wrapped__, args, kwargs))
        return cast("R", self.__wrapped__(*args, **kwargs))

    def options(
        self,
        *,
        priority: int | None = None,
        ttl: timedelta | float | None = None,
        deadline: timedelta | float | None = None,
    ) -> Function[P, R]:
        """Return the same function, whose invocations ask for these; see `make_options`. What is None stays as it is.

        `f.options(priority=10, ttl=3600).submit(1)`
        """
        asked = make_options(priority, ttl, deadline).over(self.asked)
        return Function(self.__wrapped__, self.traits, ship_module=self.ship_module, asked=asked, origin=self.origin)

    def submit(self, *args: P.args, **kwargs: P.kwargs) -> InvocationFuture[R]:
        """Invoke it through the default client; see `Client.submit`."""
        return cast("InvocationFuture[R]", default_caller().submit(self, *args, **kwargs))

    def map(self, *iterables: Iterable[Any], timeout: float | None = None, chunksize: int | None = None) -> Iterator[R]:
        """Invoke it once for each set of arguments, through the default client; see `Client.map`."""
        results = default_caller().map(self, *iterables, timeout=timeout, chunksize=chunksize)
        return cast("Iterator[R]", results)

    def register(self) -> Registration:
        """Register it as it is now, through the default client; see `Client.register`."""
        return cast("Registration", default_caller().register(self))

    def __reduce__(self) -> tuple[Any, ...]:
        said = _Said(traits=self.traits, ship_module=self.ship_module, asked=self.asked)
        return (_arrive(), (self.__wrapped__, msgspec.json.encode(said)))

    def __repr__(self) -> str:
        return f"<harvester function {self.name!r}>"


class _Said(msgspec.Struct, frozen=True, kw_only=True):
    """What a pickle holds beside the plain function; as JSON, so that its strings are nobody else's too."""

    traits: Traits
    ship_module: bool
    asked: Options


def restored(plain: Callable[..., Any], said: bytes) -> Function[..., Any]:
    """Return a decorated function that has arrived as a pickle; for `_arrive`."""
    found = msgspec.json.decode(said, type=_Said)
    return Function(plain, found.traits, ship_module=found.ship_module, asked=found.asked, is_restored=True)


@functools.cache
def _arrive() -> Callable[..., Any]:
    """Return what makes a decorated function of its pickle; an inner function, which travels whole and needs no SDK."""

    def arrive(plain: Callable[..., Any], said: bytes) -> Callable[..., Any]:
        try:
            from harvester.sdk.functions import restored  # noqa: PLC0415 - there
        except ImportError:
            return plain
        return restored(plain, said)

    # Without a word of where this package lies, so that the same function is the same pickle on laptop and node.
    code = arrive.__code__.replace(co_filename="<harvester>", co_firstlineno=1)
    return types.FunctionType(code, {"__name__": "harvester_arrival"}, "arrive")


def _run_generator(plain: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> object:
    signature = inspect.signature(plain)
    if "state" in signature.parameters and "state" not in signature.bind_partial(*args, **kwargs).arguments:
        kwargs = {**kwargs, "state": None}
    generator: Generator[Any, Any, Any] = plain(*args, **kwargs)
    while True:
        try:
            next(generator)
        except StopIteration as end:
            return end.value


class _Decorator(Protocol):
    @overload
    def __call__(self, plain: Callable[P, Generator[Any, Any, R]], /) -> Function[P, R]: ...
    @overload
    def __call__(self, plain: Callable[P, R], /) -> Function[P, R]: ...


@overload
def function(plain: Callable[P, Generator[Any, Any, R]], /) -> Function[P, R]: ...
@overload
def function(plain: Callable[P, R], /) -> Function[P, R]: ...
@overload
def function(
    *,
    name: str | None = None,
    cpus: int = 1,
    gpus: int = 0,
    memory_mb: int = 0,
    walltime: timedelta | float | None = None,
    checkpoints: bool | None = None,
    max_retries: int = 0,
    max_running: int | None = None,
    ship_module: bool = False,
) -> _Decorator: ...


def function(
    plain: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    cpus: int = 1,
    gpus: int = 0,
    memory_mb: int = 0,
    walltime: timedelta | float | None = None,
    checkpoints: bool | None = None,
    max_retries: int = 0,
    max_running: int | None = None,
    ship_module: bool = False,
) -> Any:
    """Make a function that the harvester can run. As a bare decorator, or with parameters.

    Parameters
    ----------
    name: under which it is registered; the function's own name unless given.
    cpus, gpus, memory_mb: what one run takes: cores, devices, MiB.
    walltime: an upper bound of one run, as a `timedelta` or in seconds; None when nobody knows.
    checkpoints: it resumes from its checkpoints; True for generator functions unless given.
    max_retries: runs after an exception of the function, before the invocation is FAILED.
    max_running: runs at a time, over all pilots and users; None for no limit.
    ship_module: send the function's whole module, for one that the compute node cannot import.

    Raises `TypeError` for something that is no plain function, `ValueError` for a number that makes no sense.
    """

    def decorate(plain: Any) -> Function[Any, Any]:  # noqa: ANN401 - decorators meet anything
        if not callable(plain) or isinstance(plain, (type, Function)):
            raise TypeError(f"harvester.function decorates functions, and {plain!r} is none")
        if inspect.isasyncgenfunction(plain):
            raise TypeError(f"{default_name(plain)} is an async generator, which no slot runs: make it a generator")
        traits = make_traits(
            plain,
            name=name,
            cpus=cpus,
            gpus=gpus,
            memory_mb=memory_mb,
            walltime=walltime,
            checkpoints=checkpoints,
            max_retries=max_retries,
            max_running=max_running,
        )
        return Function(plain, traits, ship_module=ship_module)

    return decorate if plain is None else decorate(plain)


def make_traits(
    plain: Callable[..., Any],
    *,
    name: str | None = None,
    cpus: int = 1,
    gpus: int = 0,
    memory_mb: int = 0,
    walltime: timedelta | float | None = None,
    checkpoints: bool | None = None,
    max_retries: int = 0,
    max_running: int | None = None,
) -> Traits:
    """Return what is said of a function; parameters as for `function`. Raises `ValueError`."""
    return Traits(
        name=name or default_name(plain),
        resources=Resources(
            cpus=_at_least("cpus", cpus, 1),
            gpus=_at_least("gpus", gpus, 0),
            memory_mb=_at_least("memory_mb", memory_mb, 0),
        ),
        walltime_s=seconds("walltime", walltime),
        checkpoints=inspect.isgeneratorfunction(plain) if checkpoints is None else checkpoints,
        max_retries=_at_least("max_retries", max_retries, 0),
        max_running=None if max_running is None else _at_least("max_running", max_running, 1),
    )


def _at_least(field: str, value: int, least: int) -> int:
    if value < least:
        raise ValueError(f"{field} must be at least {least}, not {value}")
    return value
