"""The runner: loads a function, decodes its arguments, calls it, encodes what it returns.

Owns the failures that a user gets to read. Knows neither socket nor pilot; a broken function ends in a `Failure`,
never in a broken slot.
"""

import asyncio
import importlib
import inspect
import linecache
import operator
import pickle
import sys
import traceback
from collections.abc import Callable, Generator
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

import cloudpickle
import msgspec

from harvester.domain.functions import Encoding, FunctionKind, FunctionVersion
from harvester.domain.invocations import Failure, FailureKind
from harvester_worker.checkpointing import Evicted, SlotContext, Stopped

HERE = str(Path(__file__).parent)
LONGEST_TRACEBACK = 16_000
"""Characters. The last ones are kept, because they name the error."""


class RunFailed(Exception):
    """An activation failed in a way that its user has to know."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


# ---- the function --------------------------------------------------------------------------------------------------


def load(function: FunctionVersion) -> Callable[..., Any]:
    """Return the callable of a registered function. Raises `RunFailed`."""
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    if function.kind is FunctionKind.PICKLE and function.python and function.python != here:
        # Unpickled bytecode of another minor version crashes the interpreter; so it is not even tried.
        raise _failed(
            FailureKind.FUNCTION,
            f"{function.function_id} was pickled by Python {function.python}, this pilot runs Python {here}: register "
            f"it from Python {here}, or as module:function or source",
        )
    try:
        loaded = _LOADERS[function.kind](function)
    except (Evicted, Stopped):
        raise
    except BaseException as error:  # noqa: BLE001 - outermost: the module of a user may raise anything, SystemExit too
        made_by = f", pickled with cloudpickle {function.cloudpickle}" if function.cloudpickle else ""
        what = f"{function.function_id} ({function.kind.value}{made_by})"
        message = f"{what} cannot be loaded: {_one_line(error)}{_remedy(error, function.kind is FunctionKind.PICKLE)}"
        raise _failed(FailureKind.FUNCTION, message, error) from None
    loaded = _without_sdk(loaded)
    if not callable(loaded):
        raise _failed(FailureKind.FUNCTION, f"{function.function_id} is a {type(loaded).__name__}, not a function")
    run: Callable[..., Any] = loaded
    return run


def _without_sdk(loaded: Any) -> Any:  # noqa: ANN401 - whatever was loaded
    """Return the plain function of one that `@harvester.function` decorates.

    The SDK's object runs a generator function to its end by itself, which here would go past its checkpoints.
    """
    is_sdks = type(loaded).__module__.startswith("harvester.sdk.")
    return getattr(loaded, "__wrapped__", loaded) if is_sdks else loaded


def _load_pickle(function: FunctionVersion) -> Any:  # noqa: ANN401 - whatever was pickled
    return cloudpickle.loads(function.body)


def _load_module(function: FunctionVersion) -> Any:  # noqa: ANN401 - whatever the name means
    module, _, name = function.body.decode().partition(":")
    found: object = operator.attrgetter(name)(importlib.import_module(module))
    return found


def _load_source(function: FunctionVersion) -> Any:  # noqa: ANN401 - whatever the name means
    # Named alike in every slot, so that a checkpoint can hold objects of its classes.
    name = "harvester_source_" + "".join(c if c.isalnum() else "_" for c in function.function_id)
    filename = f"<{function.function_id}>"
    text = function.body.decode()
    module = ModuleType(name)
    module.__file__ = filename
    linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), filename)  # for tracebacks
    sys.modules[name] = module
    exec(compile(text, filename, "exec"), module.__dict__)  # noqa: S102 - running users' code is what a pilot is for
    return getattr(module, function.entry)


_LOADERS: dict[FunctionKind, Callable[[FunctionVersion], Any]] = {
    FunctionKind.PICKLE: _load_pickle,
    FunctionKind.MODULE: _load_module,
    FunctionKind.SOURCE: _load_source,
}


# ---- arguments and result ------------------------------------------------------------------------------------------


class _Arguments(msgspec.Struct, forbid_unknown_fields=True):
    args: list[Any] = []
    kwargs: dict[str, Any] = {}


def decode_arguments(encoding: Encoding, arguments: bytes) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the positional and the keyword arguments. Raises `RunFailed`."""
    try:
        if encoding is Encoding.JSON:
            decoded = msgspec.json.decode(arguments or b"{}", type=_Arguments)
            return tuple(decoded.args), decoded.kwargs
        args, kwargs = pickle.loads(arguments)  # noqa: S301 - the user's own arguments to the user's own function
        return tuple(args), dict(kwargs)
    except (Evicted, Stopped):
        raise
    except BaseException as error:  # noqa: BLE001 - outermost: unpickling may raise anything
        wanted = '{"args": [...], "kwargs": {...}}' if encoding is Encoding.JSON else "a pickled (args, kwargs)"
        message = (
            f"the arguments cannot be decoded as {encoding.value}, which has to be {wanted}: {_one_line(error)}"
            f"{_remedy(error, encoding is Encoding.PICKLE)}"
        )
        raise _failed(FailureKind.ARGUMENTS, message, error) from None


def encode_result(encoding: Encoding, value: object, limit_bytes: int) -> bytes:
    """Return the result as bytes. Raises `RunFailed`."""
    try:
        encoded: bytes = (
            msgspec.json.encode(value) if encoding is Encoding.JSON else cloudpickle.dumps(value, protocol=5)
        )
    except (Evicted, Stopped):
        raise
    except BaseException as error:  # noqa: BLE001 - outermost: pickling may raise anything
        remedy = (
            "return lists, dicts, text and numbers, or invoke it with pickle as encoding"
            if encoding is Encoding.JSON
            else "return something that pickles"
        )
        message = (
            f"the result, a {_type_name(value)}, cannot be encoded as {encoding.value} ({_one_line(error)}): {remedy}"
        )
        raise _failed(FailureKind.RESULT, message, error) from None
    if len(encoded) > limit_bytes:
        raise _failed(
            FailureKind.RESULT,
            f"the result, a {_type_name(value)}, takes {len(encoded)} bytes, over this pilot's limit of {limit_bytes}: "
            "return less, or write it to a file that you can read and return its path",
        )
    return encoded


# ---- the call ------------------------------------------------------------------------------------------------------


def call(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], context: SlotContext) -> Any:  # noqa: ANN401 - a user's result
    """Call a user's function, plain, async or generator, and return its result.

    Raises `RunFailed` when it raises, `Evicted` and `Stopped` when it was unwound.
    """
    try:
        if _takes_state(function):
            nothing: Any = None
            restored = context.restore(nothing)
            kwargs = kwargs if restored is None and "state" in kwargs else {**kwargs, "state": restored}
        value = function(*args, **kwargs)
        if inspect.isgenerator(value):
            return _drive(value, context)
        return asyncio.run(value) if inspect.iscoroutine(value) else value
    except (Evicted, Stopped):
        raise
    except BaseException as error:  # noqa: BLE001 - outermost: a user's SystemExit must not end the slot either
        raise _failed(FailureKind.EXCEPTION, _one_line(error), error) from None


def _takes_state(function: Callable[..., Any]) -> bool:
    if not inspect.isgeneratorfunction(inspect.unwrap(function)):
        return False
    return "state" in inspect.signature(function).parameters


def _drive(generator: Generator[Any, Any, Any], context: SlotContext) -> Any:  # noqa: ANN401 - a user's result
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


# ---- failures ------------------------------------------------------------------------------------------------------


def _failed(kind: FailureKind, message: str, error: BaseException | None = None) -> RunFailed:
    if error is None:
        return RunFailed(Failure(kind=kind, message=_writable(message)))
    name, trace = _writable(type(error).__name__), _writable(_users_traceback(error))
    return RunFailed(Failure(kind=kind, message=_writable(message), error_type=name, traceback=trace))


def _writable(text: str) -> str:
    """Return `text` without lone surrogates, which no wire takes. Names of files bring them: `os.fsdecode` does."""
    return text.encode(errors="backslashreplace").decode()


def _users_traceback(error: BaseException) -> str:
    frames: TracebackType | None = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename.startswith(HERE):
        frames = frames.tb_next
    try:
        lines = traceback.format_exception(type(error), error, frames)
    except Exception as own:  # noqa: BLE001 - outermost: formatting calls the user's __str__
        return f"(the traceback cannot be formatted: {type(own).__name__})"
    return "".join(lines)[-LONGEST_TRACEBACK:]


def _one_line(error: BaseException) -> str:
    try:
        text = " ".join(str(error).split())
    except Exception:  # noqa: BLE001 - outermost: this is the user's __str__
        text = "(its text cannot be read)"
    name = type(error).__name__
    return f"{name}: {text[:500]}" if text else name


def _remedy(error: BaseException, is_pickle: bool) -> str:
    """Return what to do where a module is missing here, empty for any other error."""
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return ""
    remedy = f"; module {error.name!r} is not importable on the compute node: "
    # Only a pickle can carry code along, and only one's own: a package's dependencies stay by reference.
    by_value = "ship it by value with @harvester.function(ship_module=True) if it is your own, or " if is_pickle else ""
    return f"{remedy}{by_value}install it for the Python that runs the pilots"


def _type_name(value: object) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
