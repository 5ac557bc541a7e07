"""Functions on their way to the gateway: what is registered, and how a callable becomes bytes.

Owns what is said of a function beside its code. Its pickle is `labels`' and `pickler`'s.
"""

from __future__ import annotations

import ast
import base64
import functools
import hashlib
import inspect
import platform
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import msgspec

from harvester.domain.model.callables import innermost
from harvester.domain.model.function_names import LONGEST, fitting
from harvester.domain.model.functions import FunctionKind
from harvester.domain.model.resources import Resources
from harvester.sdk.errors import HarvesterError
from harvester.sdk.payload.labels import labelled
from harvester.sdk.payload.unpicklable import culprit

PYTHON = ".".join(platform.python_version_tuple()[:2])


class Traits(msgspec.Struct, frozen=True, kw_only=True):
    """What a function says of itself beside its code."""

    name: str
    resources: Resources = Resources()
    walltime_s: float | None = None
    checkpoints: bool = False
    max_retries: int = 0
    max_running: int | None = None

    @property
    def is_chunkable(self) -> bool:
        """Whether many calls may share one invocation: nothing is said that counts for each run of its own."""
        counted = self.checkpoints or self.max_retries or self.max_running or self.resources.gpus
        return not counted and self.walltime_s is None


class Shipment(msgspec.Struct, frozen=True, kw_only=True):
    """A function, ready to be registered."""

    traits: Traits
    kind: FunctionKind
    body: bytes
    entry: str = ""
    python: str = ""
    cloudpickle: str = ""

    @property
    def digest(self) -> str:
        """The same for the same code with the same traits."""
        return hashlib.sha256(msgspec.msgpack.encode(self)).hexdigest()

    def request(self) -> dict[str, Any]:
        """Return the JSON of POST /v1/functions."""
        traits = self.traits
        is_pickle = self.kind is FunctionKind.PICKLE
        return {
            "name": traits.name,
            "kind": self.kind.value,
            "body": base64.b64encode(self.body).decode() if is_pickle else self.body.decode(),
            "entry": self.entry,
            "python": self.python,
            "cloudpickle": self.cloudpickle,
            "resources": msgspec.to_builtins(traits.resources),
            "walltime_s": traits.walltime_s,
            "checkpoints": traits.checkpoints,
            "max_retries": traits.max_retries,
            **({} if traits.max_running is None else {"max_running": traits.max_running}),
        }


def default_name(fn: Callable[..., Any]) -> str:
    """Return the name under which `fn` is registered unless its user chose one."""
    name = fitting(getattr(innermost(fn), "__name__", "") or type(fn).__name__) or "function"
    return f"{name[: LONGEST - 8]}.partial" if isinstance(fn, functools.partial) else name


def check_runs(fn: Callable[..., Any]) -> None:
    """Raise `TypeError` for a function that no slot runs."""
    if inspect.isasyncgenfunction(innermost(fn)):
        raise TypeError(f"{default_name(fn)} is an async generator, which no slot runs: make it a generator")


def pickled(fn: Callable[..., Any], traits: Traits, packages: frozenset[str] = frozenset()) -> Shipment:
    """Return a callable as a shipment.

    `__main__`, lambdas and closures travel by value, as does every function decorated with `harvester.function`, and
    what is of `packages`; other functions of importable modules travel by reference. Raises `HarvesterError` when `fn`
    cannot be pickled.
    """
    check_runs(fn)
    try:
        body = labelled(fn, packages)
    except Exception as error:
        # Pickling runs the code of whatever the function refers to, which may raise anything.
        raise HarvesterError(
            f"the function {traits.name!r} cannot be pickled: {type(error).__name__}: {error}; {culprit(fn)}"
        ) from error
    return Shipment(
        traits=traits,
        kind=FunctionKind.PICKLE,
        body=body,
        python=PYTHON,
        cloudpickle=cloudpickle.__version__,
    )


def from_reference(reference: str, traits: Traits) -> Shipment:
    """Return "package.module:name" as a shipment. Raises `HarvesterError` when it does not look like one."""
    module, _, qualname = reference.partition(":")
    if not module or not qualname or not all(part.isidentifier() for part in (module + "." + qualname).split(".")):
        raise HarvesterError(f"{reference!r} names no function: write package.module:name or FILE.py:name")
    return Shipment(traits=traits, kind=FunctionKind.MODULE, body=reference.encode())


def from_source(path: Path, entry: str, traits: Traits) -> Shipment:
    """Return a Python file as a shipment; `entry` is the function in it.

    Raises `HarvesterError` when the file cannot be read, is not Python, or has no such function.
    """
    text, definition = _entry(path, entry)
    has_yield = any(isinstance(node, (ast.Yield, ast.YieldFrom)) for node in _own_nodes(definition))
    if has_yield and not traits.checkpoints:
        traits = msgspec.structs.replace(traits, checkpoints=True)  # each yield of a generator is a checkpoint
    return Shipment(traits=traits, kind=FunctionKind.SOURCE, body=text.encode(), entry=entry)


def _entry(path: Path, entry: str) -> tuple[str, ast.FunctionDef]:
    try:
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text, filename=str(path))
        compile(tree, str(path), "exec", dont_inherit=True)  # finds what the grammar alone lets pass
    except (OSError, UnicodeDecodeError) as error:
        raise HarvesterError(f"the file {path} cannot be read: {error}") from error
    except SyntaxError as error:
        raise HarvesterError(
            f"the file {path} is not valid Python {PYTHON}: line {error.lineno}: {error.msg}"
        ) from error
    known = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    if entry not in known:
        raise HarvesterError(
            f"the file {path} defines no function {entry!r} at its top level; it has {', '.join(known) or 'none'}"
        )
    return text, known[entry]


def _own_nodes(definition: ast.FunctionDef) -> Iterator[ast.AST]:
    """Walk a function's own body, without the functions and classes inside it."""
    stack: list[ast.AST] = list(definition.body)
    while stack:
        node = stack.pop()
        yield node
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)):
            stack.extend(ast.iter_child_nodes(node))
