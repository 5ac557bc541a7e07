"""The names that a source file binds at its top level, found by parsing it. Nothing of it is run.

Pure; imports little, since `body_reader` needs it in a process that starts for each large body.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterable, Iterator

import msgspec

LARGEST = 128 * 1024  # characters: few write a longer file by hand, and parsing takes time


class SourceNames(msgspec.Struct, frozen=True, kw_only=True):
    """What was found; of a file that does not parse, why."""

    bound: tuple[str, ...] = ()  # sorted; "*" for those that nobody can tell
    trouble: str = ""
    is_syntax: bool = False  # the trouble is one that a newer Python may not have


def names_of(text: str) -> SourceNames | None:
    """Return what a file binds; None for one that is too long to be looked at."""
    if len(text) > LARGEST:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they are for whoever runs the file
            bound = set(_names(ast.parse(text).body))
    except SyntaxError as error:
        return SourceNames(trouble=f"line {error.lineno}: {error.msg}", is_syntax=True)
    except ValueError as error:
        return SourceNames(trouble=str(error))
    except (MemoryError, RecursionError):
        return SourceNames(trouble="it is nested too deeply")
    return SourceNames(bound=tuple(sorted(bound)))


def _names(body: Iterable[ast.stmt]) -> Iterator[str]:
    """Yield the names that statements bind where they stand, on whatever branch; "*" for those that nobody can tell."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
            continue
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from (alias.asname or alias.name.partition(".")[0] for alias in node.names)
            continue
        for part in ast.iter_child_nodes(node):
            if isinstance(part, ast.stmt):
                yield from _names([part])
            elif isinstance(part, ast.ExceptHandler | ast.match_case):
                yield from _names(part.body)
            else:
                yield from (
                    name.id for name in ast.walk(part) if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store)
                )
