"""The function of a slot: as it was registered and as it was loaded.

Owns how each kind of function is loaded. Must not know runs.
"""

from __future__ import annotations

import importlib
import linecache
import operator
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, assert_never

import cloudpickle
import msgspec

from harvester.domain.model.callables import is_generator_function, state_parameter
from harvester.domain.model.functions import FunctionKind, FunctionVersion
from harvester.domain.model.invocations import FailureKind
from harvester.domain.payload.shipped import packages_in
from harvester_worker.isolation import forks
from harvester_worker.slot.checkpointing import Evicted, Stopped
from harvester_worker.slot.failures import failed, one_line, remedy
from harvester_worker.slot.main_names import offer


class Loaded:
    """A function that is ready to be called.

    Parameters
    ----------
    function: any callable.
    shipped: the packages that came with it by value.
    """

    __slots__ = ("function", "is_generator", "shipped", "state")

    def __init__(self, function: Callable[..., Any], shipped: frozenset[str] = frozenset()) -> None:
        self.function = function
        self.shipped = shipped
        self.is_generator = is_generator_function(function)  # asked once, not at each call: `inspect` is slow
        self.state = state_parameter(function)


def load(function: FunctionVersion) -> Loaded:
    """Return the callable of a registered function. Raises `RunFailed`."""
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    if function.kind is FunctionKind.PICKLE and function.python and function.python != here:
        # Unpickled bytecode of another minor version crashes the interpreter; so it is not even tried.
        raise failed(
            FailureKind.FUNCTION,
            f"{function.function_id} was pickled by Python {function.python}, this pilot runs Python {here}: register "
            f"it from Python {here}, or as module:function or source",
        )
    shipped = packages_in(function.body) if function.kind is FunctionKind.PICKLE else frozenset()
    try:
        loaded = _loaded(function)
    except (Evicted, Stopped):
        raise
    except BaseException as error:  # noqa: BLE001 - outermost: the module of a user may raise anything, SystemExit too
        made_by = f", pickled with cloudpickle {function.cloudpickle}" if function.cloudpickle else ""
        what = f"{function.function_id} ({function.kind.value}{made_by})"
        instead = remedy(error, is_pickle=function.kind is FunctionKind.PICKLE, shipped=shipped)
        message = f"{what} cannot be loaded: {one_line(error)}{instead}"
        raise failed(FailureKind.FUNCTION, message, error) from None
    loaded = _without_sdk(loaded)
    if not callable(loaded):
        raise failed(FailureKind.FUNCTION, f"{function.function_id} is a {type(loaded).__name__}, not a function")
    return Loaded(loaded, shipped)


def _without_sdk(loaded: Any) -> Any:  # noqa: ANN401 - whatever was loaded
    """Return the plain function of one that `@harvester.function` decorates.

    The SDK's object runs a generator function to its end by itself, which here would go past its checkpoints.
    """
    is_sdks = type(loaded).__module__.startswith("harvester.sdk.")
    return getattr(loaded, "__wrapped__", loaded) if is_sdks else loaded


def _loaded(function: FunctionVersion) -> Any:  # noqa: ANN401 - whatever was registered
    match function.kind:
        case FunctionKind.PICKLE:
            return _load_pickle(function)
        case FunctionKind.MODULE:
            return _load_module(function)
        case FunctionKind.SOURCE:
            return _load_source(function)
        case _:
            assert_never(function.kind)


def _load_pickle(function: FunctionVersion) -> Any:  # noqa: ANN401 - whatever was pickled
    loaded = cloudpickle.loads(function.body)
    offer(loaded)
    return loaded


def _load_module(function: FunctionVersion) -> Any:  # noqa: ANN401 - whatever the name means
    module, _, name = function.body.decode().partition(":")
    found: object = operator.attrgetter(name)(importlib.import_module(module))
    return found


def _load_source(function: FunctionVersion) -> Any:  # noqa: ANN401 - whatever the name means
    # Named alike in every slot, so that a checkpoint can hold objects of its classes.
    name = "harvester_source_" + "".join(c if f"_{c}".isidentifier() else "_" for c in function.function_id)
    filename = f"<{function.function_id}>"
    text = function.body.decode()
    module = ModuleType(name)
    module.__file__ = filename
    linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), filename)  # for tracebacks
    sys.modules[name] = module
    exec(compile(text, filename, "exec"), module.__dict__)  # noqa: S102 - running users' code is what a pilot is for
    return getattr(module, function.entry)


class Code:
    """What a slot is to call. It arrives before the first run, and stays loaded for all of them."""

    def __init__(self) -> None:
        self._function: FunctionVersion | None = None
        self._loaded: Loaded | None = None

    @property
    def is_loaded(self) -> bool:
        """Whether a run need not load it first."""
        return self._loaded is not None

    @property
    def has_walltime(self) -> bool:
        """Whether an upper bound of its runs was declared."""
        return self._function is not None and self._function.walltime_s is not None

    def take(self, function: FunctionVersion) -> None:
        """Set the function that the slot serves."""
        self._function = function

    def loaded(self) -> Loaded:
        """Return it ready to be called. Raises `RunFailed`."""
        if self._loaded is None:
            if self._function is None:
                raise RuntimeError("a run came before its function")
            self._loaded = load(self._function)
            forks.end_if_copy()
            self._function = msgspec.structs.replace(self._function, body=b"")  # it is loaded, and may be large
        return self._loaded

    def id_of(self, plain: Callable[..., Any]) -> str | None:
        """Return the function's id if `plain` is what was loaded, else None."""
        is_loaded = self._loaded is not None and self._loaded.function is plain
        return self._function.function_id if self._function is not None and is_loaded else None
