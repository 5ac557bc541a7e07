"""Functions: registered code, as all parts of the system see it.

The body is opaque here: only a slot unpickles or imports it.
"""

from enum import StrEnum

import msgspec

from harvester.domain.model.resources import Resources


class FunctionKind(StrEnum):
    """How the body is to be read."""

    PICKLE = "pickle"  # a callable, pickled by cloudpickle
    MODULE = "module"  # "package.module:qualified.name", importable on the compute node
    SOURCE = "source"  # a Python file; `entry` names the function in it


class Encoding(StrEnum):
    """How arguments and result of an invocation are written."""

    JSON = "json"  # arguments {"args": [...], "kwargs": {...}}; the result any JSON value
    PICKLE = "pickle"  # arguments a pickled (args, kwargs); the result a pickled object; see `buffers` for large ones
    CALLS = "calls"  # many calls in one invocation, each pickled as above; see `calls`


class Sharing(StrEnum):
    """Who may call a function, beside its owner and admins."""

    NONE = "none"
    ALL = "all"  # every user of the gateway


class FunctionVersion(msgspec.Struct, frozen=True, kw_only=True, weakref=True):
    """One version of a registered function."""

    function_id: (
        str  # "owner/name@version", unique for ever, what a lease names; "name@version" before owners were known
    )
    name: str  # one of its owner's; others may have another function of that name
    owner: str = ""  # the user who registered it; empty only where no gateway is asked, as in a benchmark's store
    version: int  # 1, 2, 3 … in the order of registration
    kind: FunctionKind
    body: bytes  # the pickle, the reference in UTF-8, or the source in UTF-8
    entry: str = ""  # SOURCE: the function's name in the file
    python: str = ""  # "3.11": the minor version that made a pickle; empty where any will do
    cloudpickle: str = ""  # the version of cloudpickle that made a pickle
    resources: Resources = Resources()
    walltime_s: float | None = None  # declared upper bound of one run, in seconds
    checkpoints: bool = False  # it resumes from its checkpoints, so it may outlive a pilot
    max_retries: int = 0  # runs after a user's exception, before it is FAILED
    max_running: int | None = None  # activations at a time, over all pilots and users; None: no limit

    @property
    def full_name(self) -> str:
        """The name that means the same to every user."""
        return full_name(self.owner, self.name)


def full_name(owner: str, name: str) -> str:
    """Return "owner/name"."""
    return f"{owner}/{name}" if owner else name


def split_name(text: str) -> tuple[str, str]:
    """Return owner and name of "owner/name"; the owner is empty where only a name is given. No name has a slash."""
    owner, _, name = text.rpartition("/")
    return owner, name


def function_id(name: str, version: int, owner: str = "") -> str:
    """Return the id under which leases name a version."""
    return f"{full_name(owner, name)}@{version}"


def name_in(function_id: str) -> str:
    """Return the name, without its owner, that is in the id of a version."""
    return (function_id.rpartition("@")[0] or function_id).rpartition("/")[2]
