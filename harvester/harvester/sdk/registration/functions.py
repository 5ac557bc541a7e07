"""Decorated functions: a Python function with what the harvester must know of it.

Owns `Function`. Calls run here; `submit`, `map` and `register` go through the default client, which is made when the
first of them is called. Knows nothing of what a client is, nor how it is pickled; `decorator` makes them.
"""

from __future__ import annotations

import copy
import functools
import types
from collections.abc import Callable, Generator, Iterable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, cast, overload

from harvester.domain.model.callables import is_generator_function, state_parameter
from harvester.sdk.options import NO_OPTIONS, make_options
from harvester.sdk.payload.labels import packages_of
from harvester.sdk.payload.shipping import Traits
from harvester.sdk.registration.default import default_caller

if TYPE_CHECKING:
    from harvester.sdk.futures import InvocationFuture
    from harvester.sdk.registration.request import Registration

P = ParamSpec("P")
R = TypeVar("R")


class Function(Generic[P, R]):
    """A user's function and its traits.

    Copies and pickles as itself; on its way to the pilots it is the plain function where the SDK cannot be imported, so
    that one decorated function may use another and the worker needs none of these objects. In a class it is a method,
    as a plain function is.
    """

    __wrapped__: Callable[..., Any]
    __qualname__: str
    bound_to: tuple[Any, ...] = ()  # of a method that was looked up on an instance: what its calls begin with
    is_restored = False  # on a pilot, from a pickle: it is what its origin was registered as

    def __init__(
        self,
        plain: Callable[..., Any],
        traits: Traits,
        *,
        ship_module: bool = False,
    ) -> None:
        functools.update_wrapper(self, plain)
        self.traits = traits
        self.ship_module = ship_module
        self.packages = packages_of(plain) if ship_module else frozenset()  # sent along by value
        self.asked = NO_OPTIONS
        self.origin: Function[P, R] = self  # one registration for it and all that was made of it
        self._is_generator = is_generator_function(plain)

    @property
    def name(self) -> str:
        """The name under which it is registered."""
        return self.traits.name

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run it here, without a harvester. A generator function is run to its end, its result returned.

        An async function returns its coroutine; on a pilot the coroutine runs to its end.
        """
        if self._is_generator:
            return cast("R", _run_generator(self.__wrapped__, args, kwargs))
        return cast("R", self.__wrapped__(*args, **kwargs))

    @overload
    def __get__(self, instance: None, owner: type) -> Function[P, R]: ...
    @overload
    def __get__(self, instance: object, owner: type | None = None) -> Function[..., R]: ...

    def __get__(self, instance: object, owner: type | None = None) -> Function[..., R]:
        """Return it as a method of `instance`, which travels with the arguments of each invocation."""
        if instance is None or not hasattr(self.__wrapped__, "__get__"):
            return self
        return self._bound_to(instance)

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
        return self._twin(asked=make_options(priority, ttl, deadline).over(self.asked))

    def submit(self, /, *args: P.args, **kwargs: P.kwargs) -> InvocationFuture[R]:
        """Invoke it through the default client; see `Client.submit`."""
        return cast("InvocationFuture[R]", default_caller().submit(self, *args, **kwargs))

    def map(self, *iterables: Iterable[Any], timeout: float | None = None, chunksize: int | None = None) -> Iterator[R]:
        """Invoke it once for each set of arguments, through the default client; see `Client.map`."""
        results = default_caller().map(self, *iterables, timeout=timeout, chunksize=chunksize)
        return cast("Iterator[R]", results)

    def register(self) -> Registration:
        """Register it as it is now, through the default client; see `Client.register`."""
        return cast("Registration", default_caller().register(self))

    def _bound_to(self, instance: object) -> Function[P, R]:
        method = types.MethodType(self.origin.__wrapped__, instance)
        return self._twin(bound_to=(instance,), __wrapped__=method)

    def _twin(self, **changed: Any) -> Function[P, R]:  # noqa: ANN401 - whatever the attributes are
        twin: Function[P, R] = object.__new__(Function)
        vars(twin).update(vars(self), **changed)
        return twin

    def __copy__(self) -> Function[P, R]:
        return self  # as functions do

    def __deepcopy__(self, memo: dict[int, Any]) -> Function[P, R]:
        return self._bound_to(copy.deepcopy(self.bound_to[0], memo)) if self.bound_to else self

    def __repr__(self) -> str:
        return f"<harvester function {self.name!r}>"


def _run_generator(plain: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> object:
    state = state_parameter(plain)
    if state is not None and not state.is_positional_in(args):
        kwargs = state.filled(kwargs, None)  # as a slot does on a first run
    generator = plain(*args, **kwargs)
    return _end_of(generator) if isinstance(generator, types.GeneratorType) else generator


def _end_of(generator: Generator[Any, Any, Any]) -> object:
    while True:
        try:
            next(generator)
        except StopIteration as end:
            return end.value
