"""The runner: calls a loaded function, once or many times.

Owns how plain, async and generator functions are called, and how many calls in one invocation are made. Must not know
sockets or pilots. A broken function ends in a `Failure`, never in a broken slot.
"""

import asyncio
import contextlib
import time
from collections.abc import Coroutine, Generator
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any

from harvester.domain.model.context import CURRENT, PROCESS
from harvester.domain.model.functions import Encoding
from harvester.domain.model.invocations import FailureKind
from harvester.domain.payload import calls
from harvester.domain.payload.buffers import Part
from harvester.domain.payload.calls import Outcome
from harvester_worker.isolation import forks
from harvester_worker.slot.checkpointing import CallContext, CheckpointTooLarge, Evicted, SlotContext, Stopped
from harvester_worker.slot.failures import RunFailed, failed, one_line, placed
from harvester_worker.slot.loaded_function import Loaded
from harvester_worker.slot.payloads import check_size, decode_arguments, encode_result


def run(
    loaded: Loaded, encoding: Encoding, arguments: Part, context: SlotContext, *, limit_bytes: int, interval_s: float
) -> list[Part]:
    """Run one activation and return its result as the pieces of one payload.

    Parameters
    ----------
    loaded: the function.
    encoding, arguments: of the invocation.
    context: of the activation.
    limit_bytes: of the result.
    interval_s: how often many calls are saved in quiet times, in seconds.

    Raises `RunFailed`, `Evicted` and `Stopped`.
    """
    if encoding is Encoding.CALLS:
        return _run_calls(loaded, arguments, context, limit_bytes, interval_s)
    args, kwargs = decode_arguments(encoding, arguments, loaded.shipped)
    try:
        return encode_result(encoding, call(loaded, args, kwargs, context), limit_bytes)
    except RunFailed as error:
        raise (error.with_exception() if encoding is Encoding.PICKLE else error) from None


def _run_calls(
    loaded: Loaded, arguments: Part, context: SlotContext, limit_bytes: int, interval_s: float
) -> list[Part]:
    """Make many calls in turn; their outcomes so far are the checkpoint, after which a resumed run goes on."""
    try:
        bodies = calls.decode_calls(arguments if isinstance(arguments, bytes) else memoryview(arguments))
    except calls.CallsError as error:
        message = f"the arguments cannot be decoded as {Encoding.CALLS.value}: {error}"
        raise failed(FailureKind.ARGUMENTS, message) from None
    try:
        outcomes: list[Outcome] = context.restore([])
    except Exception:  # noqa: BLE001 - another version has saved it: calls are made again sooner than lost
        outcomes = []
    context.stand_by(lambda: list(outcomes))
    each = CallContext(context)
    token = CURRENT.set(each)
    before = PROCESS.begin(each)  # for threads that a call starts
    save_at = time.monotonic() + interval_s
    try:
        for body in bodies[len(outcomes) :]:
            if context.is_leaving or time.monotonic() >= save_at:
                _save(context, outcomes)
                save_at = time.monotonic() + interval_s
            outcomes.append(_outcome(loaded, body, each, limit_bytes))
    finally:
        CURRENT.reset(token)
        PROCESS.begin(before)
    encoded = calls.encode_outcomes(outcomes)
    check_size(f"the array of {len(outcomes)} results", len(encoded), limit_bytes)
    return [encoded]


def _save(context: SlotContext, outcomes: list[Outcome]) -> None:
    with contextlib.suppress(CheckpointTooLarge):  # the result may still fit, and says so itself if it does not
        context.checkpoint(outcomes)


def _outcome(loaded: Loaded, body: bytes, context: CallContext, limit_bytes: int) -> Outcome:
    try:
        args, kwargs = decode_arguments(Encoding.PICKLE, body, loaded.shipped)
        pieces = encode_result(Encoding.PICKLE, call(loaded, args, kwargs, context), limit_bytes)
    except RunFailed as error:
        return placed(error.with_exception().failure, context.attempt)
    return bytes(pieces[0]) if len(pieces) == 1 else b"".join(pieces)


def call(loaded: Loaded, args: tuple[Any, ...], kwargs: dict[str, Any], context: SlotContext | CallContext) -> Any:  # noqa: ANN401 - a user's result
    """Call a user's function, plain, async or generator, and return its result.

    Raises `RunFailed` when it raises, `Evicted` and `Stopped` when it was unwound.
    """
    try:
        if loaded.state is not None and not loaded.state.is_positional_in(args):
            nothing: Any = None
            kwargs = loaded.state.filled(kwargs, context.restore(nothing))
        value = loaded.function(*args, **kwargs)
        kind = type(value)
        if kind is GeneratorType and loaded.is_generator:
            value = _drive(value, context)
            kind = type(value)
        elif kind is CoroutineType:
            value = _awaited(value)
            kind = type(value)
    except BaseException as error:
        forks.end_if_copy(error)
        if isinstance(error, (Evicted, Stopped)):
            raise
        # Also a user's SystemExit, which must not end the slot.
        raise failed(FailureKind.EXCEPTION, one_line(error), error) from None
    forks.end_if_copy()
    if kind is GeneratorType or kind is AsyncGeneratorType:
        raise _not_driven(kind)
    return value


def _not_driven(kind: type) -> RunFailed:
    """Return the failure of a function that returned a generator of another function."""
    what = "a generator" if kind is GeneratorType else "an async generator"
    return failed(
        FailureKind.RESULT,
        f"the function returned {what}, which cannot leave the pilot: return list(…) of it; or `yield` in the "
        "function itself, whose yields then are checkpoints and whose `return` is the result",
    )


def _awaited(coroutine: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401 - a user's result
    # Not `asyncio.run`: it leaves the thread without an event loop, so `asyncio.get_event_loop` of the next run fails.
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        return runner.run(_ending_copies(coroutine))


async def _ending_copies(coroutine: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401 - a user's result
    """Await a coroutine. A copy ends in here: if it closed the loop, the slot's own would receive nothing any more."""
    try:
        value = await coroutine
    except BaseException as error:
        forks.end_if_copy(error)
        raise
    forks.end_if_copy()
    return value


def _drive(generator: Generator[Any, Any, Any], context: SlotContext | CallContext) -> Any:  # noqa: ANN401 - a user's result
    """Run a generator function to its end; what it yields are checkpoints, what it returns is the result."""
    try:
        while True:
            try:
                state = next(generator)
            except StopIteration as end:
                return end.value
            context.checkpoint(state)
    finally:
        generator.close()
