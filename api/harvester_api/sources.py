"""Source files of functions, looked at and never run: does it parse, and is there anything by the name to be called.

Pure. What it cannot be sure of it lets pass; the slot has the last word.
"""

from __future__ import annotations

import ast
import difflib
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence

from harvester_api.problems import Refusal, invalid
from harvester_api.settings import Offer

LARGEST = 128 * 1024  # characters: few write a longer file by hand, and parsing it would hold others up
_MINE = sys.version_info[:2]


def check_source(text: str, entry: str, offers: Sequence[Offer]) -> None:
    """Check that a file parses and defines `entry` at its top level. Raises `Refusal` (422)."""
    if len(text) > LARGEST:
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they are for whoever runs the file
            names = set(_names(ast.parse(text).body))
    except SyntaxError as error:
        if not _may_be_newer(offers):
            raise _no_python(f"line {error.lineno}: {error.msg}") from None
        return
    except ValueError as error:
        raise _no_python(str(error)) from None
    except (MemoryError, RecursionError):
        raise _no_python("it is nested too deeply") from None
    if entry in names or "*" in names:
        return
    close = difflib.get_close_matches(entry, sorted(names), n=3, cutoff=0.4) or sorted(names)[:10]
    has = ", ".join(close) or "nothing there"
    raise invalid(
        "entry", f"the file defines no {entry!r} at its top level; it has {has}", "Name one of them, or define it."
    )


def _no_python(what: str) -> Refusal:
    mine = ".".join(map(str, _MINE))
    return invalid("body", f"it is no Python {mine}: {what}", "Mend the file; nothing of it was run.")


def _may_be_newer(offers: Sequence[Offer]) -> bool:
    """Whether some pilot may run a newer Python than we do, which may know what we do not."""
    known = [tuple(map(int, offer.python.split("."))) for offer in offers if offer.python]
    return len(known) < len(offers) or any(python > _MINE for python in known)


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
