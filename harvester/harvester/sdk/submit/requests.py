"""What a submission is made of: target, arguments, options, and who waits for its end. Shared by both clients.

Owns the making of `Submission` and `MapRun` from what a user passes. Sends nothing.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from harvester.domain.model.functions import Encoding
from harvester.sdk.futures import Sink
from harvester.sdk.options import Options
from harvester.sdk.payload.payloads import encode_arguments
from harvester.sdk.payload.pickler import NO_PACKAGES
from harvester.sdk.registration.callables import innermost_function, whole
from harvester.sdk.registration.functions import Function
from harvester.sdk.registration.registry import Invocable, traits_of
from harvester.sdk.registration.request import Registration
from harvester.sdk.registration.target import Target
from harvester.sdk.submit.batching import Holds, Submission
from harvester.sdk.submit.mapping import Call, MapRun

F = TypeVar("F", bound=Sink)


def outgoing(
    fn: Invocable,
    target: Target,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    *,
    asked: Options,
    sink: Sink,
    throttle: Holds | None = None,
) -> Submission:
    """Return one invocation. Raises what pickling the arguments raises."""
    packages, options = _asked_by(fn, asked)
    arguments = _arguments(fn, args, kwargs, packages)
    return Submission(target=target, arguments=arguments, options=options, sink=sink, throttle=throttle)


def map_run(
    fn: Invocable,
    target: Target,
    iterables: Iterable[Iterable[Any]],
    *,
    asked: Options,
    chunksize: int | None,
    make: Callable[[], F],
    throttle: Holds | None = None,
) -> tuple[MapRun, list[F]]:
    """Return the calls of a map, and who waits for each. Raises as `outgoing`, and `ValueError` for a chunksize."""
    if chunksize is not None and chunksize < 1:
        raise ValueError(f"chunksize must be at least 1, not {chunksize}")
    if chunksize is None and not _is_chunkable(fn):
        chunksize = 1
    calls: list[Call] = []
    sinks: list[F] = []
    packages, options = _asked_by(fn, asked)
    for args in zip(*iterables, strict=False):
        sink = make()
        calls.append(Call(arguments=_arguments(fn, args, {}, packages), sink=sink))
        sinks.append(sink)
    return MapRun(target, options, calls, chunksize, throttle), sinks


def _arguments(fn: Invocable, args: Sequence[Any], kwargs: Mapping[str, Any], packages: frozenset[str]) -> bytes:
    if type(fn) is not types.FunctionType and not (type(fn) is Function and not fn.bound_to):
        args, kwargs = whole(fn, args, kwargs)
    return encode_arguments(args, kwargs, Encoding.PICKLE, packages)


def _asked_by(fn: Invocable, options: Options) -> tuple[frozenset[str], Options]:
    """Return what a function's decorator wants sent along, and what its calls ask for."""
    beneath = fn if type(fn) is Function else innermost_function(fn)
    return (beneath.packages, beneath.asked.over(options)) if type(beneath) is Function else (NO_PACKAGES, options)


def _is_chunkable(fn: Invocable) -> bool:
    # Of a function that is only named it is not known what it is.
    return not isinstance(fn, (str, Registration)) and traits_of(fn).is_chunkable
