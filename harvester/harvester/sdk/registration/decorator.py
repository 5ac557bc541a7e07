"""The `@harvester.function` decorator. Owns the check of its parameters; what it makes is `functions`'.

Whoever has a decorated function has imported this, and with it how such functions are pickled.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from datetime import timedelta
from typing import Any, ParamSpec, Protocol, TypeVar, overload

from harvester.domain.model.callables import is_generator_function
from harvester.domain.model.resources import Resources
from harvester.sdk.options import seconds
from harvester.sdk.payload.shipping import Traits, check_runs, default_name
from harvester.sdk.registration import function_pickles
from harvester.sdk.registration.functions import Function

P = ParamSpec("P")
R = TypeVar("R")

function_pickles.install()


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
    walltime: an upper bound of one run, as a `timedelta` or in seconds; None when it is unknown.
    checkpoints: it resumes from its checkpoints; True for generator functions unless given.
    max_retries: runs after an exception of the function, before the invocation is FAILED.
    max_running: runs at a time, over all pilots and users; None for no limit.
    ship_module: send the function's module along, or its whole package, for one that the compute node cannot import.

    Raises `TypeError` for something that is not a plain function, `ValueError` for a number that makes no sense.
    """

    def decorate(plain: Any) -> Function[Any, Any]:  # noqa: ANN401 - decorators meet anything
        _check_plain(plain)
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


def _check_plain(plain: object) -> None:
    """Raise `TypeError` for what the decorator does not take."""
    if isinstance(plain, (staticmethod, classmethod)):
        raise TypeError(f"write @{type(plain).__name__} above @harvester.function, not below it")
    if not callable(plain) or isinstance(plain, (type, Function)):
        raise TypeError(f"harvester.function decorates plain functions; {plain!r} is not one")
    check_runs(plain)


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
        checkpoints=is_generator_function(plain) if checkpoints is None else checkpoints,
        max_retries=_at_least("max_retries", max_retries, 0),
        max_running=None if max_running is None else _at_least("max_running", max_running, 1),
    )


def _at_least(field: str, value: int, least: int) -> int:
    if value < least:
        raise ValueError(f"{field} must be at least {least}, not {value}")
    return value
