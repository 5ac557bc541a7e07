"""Failures: what went wrong with an activation, in words that its user can act on.

Owns how an exception becomes a `Failure`. Must not know functions.
"""

import traceback
from pathlib import Path
from types import TracebackType

import cloudpickle
import msgspec

from harvester.domain.model.invocations import Failure, FailureKind
from harvester.domain.payload.exceptions import pickled_exception
from harvester_worker.devices.allocation import this_node
from harvester_worker.slot.checkpointing import Evicted, Stopped

HERE = str(Path(__file__).parents[1])  # the package
LONGEST_TRACEBACK = 16_000
"""Characters. The first ones tell where it began, the last ones name the error."""

LONGEST_LINE = 2_000
"""Characters of one exception's text, or of one frame: however long the text is, the frames are kept."""


class RunFailed(Exception):
    """The failure of an activation, which its user is told.

    Parameters
    ----------
    failure: for the user.
    raised: what the function itself raised, if it did.
    """

    def __init__(self, failure: Failure, raised: BaseException | None = None) -> None:
        super().__init__(failure.message)
        self.failure = failure
        self.raised = raised

    def with_exception(self) -> "RunFailed":
        """Return this with the pickled exception in it, for callers that read pickles. Raises `Evicted`, `Stopped`."""
        if self.raised is None:
            return self
        try:
            body = pickled_exception(self.raised, cloudpickle.Pickler)
        except (Evicted, Stopped):
            raise
        except BaseException:  # noqa: BLE001 - the exception's own code, which may raise anything
            return self
        return RunFailed(msgspec.structs.replace(self.failure, exception=body))


def failed(kind: FailureKind, message: str, error: BaseException | None = None) -> RunFailed:
    """Return the exception that ends an activation; `error` is what the user's code raised, if it did."""
    if error is None:
        return RunFailed(Failure(kind=kind, message=_writable(message)))
    name, trace = _writable(type(error).__name__), _writable(_users_traceback(error))
    failure = Failure(kind=kind, message=_writable(message), error_type=name, traceback=trace)
    return RunFailed(failure, error if kind is FailureKind.EXCEPTION else None)


def placed(failure: Failure, attempt: int) -> Failure:
    """Return a failure that tells where it happened, and in which activation."""
    return msgspec.structs.replace(failure, node=this_node(), attempt=attempt)


def one_line(error: BaseException) -> str:
    """Return the class and the text of an exception."""
    try:
        text = " ".join(str(error).split())
    except (Evicted, Stopped):
        raise
    except BaseException:  # noqa: BLE001 - outermost: this is the user's __str__, which may raise SystemExit too
        text = "(its text cannot be read)"
    name = type(error).__name__
    return f"{name}: {_shortened(text, 500)}" if text else name


def remedy(error: BaseException, *, is_pickle: bool, shipped: frozenset[str] = frozenset()) -> str:
    """Return what to do where something is missing here, empty for any other error.

    Parameters
    ----------
    is_pickle: it was met while unpickling.
    shipped: the packages that came by value; so that nobody is told to do what they have done.
    """
    if is_pickle and isinstance(error, AttributeError) and "__main__' " in one_line(error):
        return (
            "; it was pickled as a name in the __main__ of your program, which is not on the compute node: put it into "
            "a module that the compute node can import"
        )
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return ""
    missing = f"; module {error.name!r} is not importable on the compute node: "
    install = "install it for the Python that runs the pilots"
    if not is_pickle:
        return missing + install
    top = error.name.partition(".")[0]
    # Only a pickle can carry code along, and only one's own: a package's dependencies stay by reference.
    if top in shipped:
        return f"{missing}its package was shipped by value, but part of it is referred to by name: {install}"
    if shipped:
        by_value = f"ship it by value too, with cloudpickle.register_pickle_by_value({top}), if it is your own"
    else:
        by_value = "ship it by value with @harvester.function(ship_module=True) if it is your own"
    return f"{missing}{by_value}, or {install}"


def type_name(value: object) -> str:
    """Return the class of a value as its user knows it."""
    return f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")


def _writable(text: str) -> str:
    """Return `text` without lone surrogates, which no wire takes. Names of files bring them: `os.fsdecode` does."""
    return text.encode(errors="backslashreplace").decode()


def _users_traceback(error: BaseException) -> str:
    frames: TracebackType | None = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename.startswith(HERE):
        frames = frames.tb_next
    try:
        lines = traceback.format_exception(type(error), error, frames)
    except (Evicted, Stopped):
        raise
    except BaseException as own:  # noqa: BLE001 - outermost: formatting calls the user's __str__
        return f"(the traceback cannot be formatted: {type(own).__name__})"
    return _shortened("".join(_shortened(line, LONGEST_LINE) for line in lines), LONGEST_TRACEBACK)


def _shortened(text: str, longest: int) -> str:
    """Return `text` without its middle where it is too long."""
    if len(text) <= longest:
        return text
    left = longest // 2
    return f"{text[:left]} … {len(text) - 2 * left} characters left out … {text[-left:]}"
