"""Source files of functions, looked at and never run: does it parse, and is there anything by the name to be called.

Pure. What it cannot be sure of it lets pass; the slot has the last word. `source_names` parses.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Sequence

from harvester_api.problems import Refusal, invalid
from harvester_api.settings import Offer
from harvester_api.validation.source_names import SourceNames

_MINE = sys.version_info[:2]
_LISTED = 1000  # names that are looked through for one that is close


def check_source(found: SourceNames | None, entry: str, offers: Sequence[Offer]) -> None:
    """Check that a file parses and defines `entry` at its top level. Raises `Refusal` (422).

    `found` is what `names_of` says of it.
    """
    if found is None:
        return
    if found.trouble:
        if not (found.is_syntax and _may_be_newer(offers)):
            raise _no_python(found.trouble)
        return
    if entry in found.bound or "*" in found.bound:
        return
    listed = list(found.bound[:_LISTED])
    close = difflib.get_close_matches(entry, listed, n=3, cutoff=0.4) or listed[:10]
    has = ", ".join(close) or "nothing there"
    raise invalid(
        "entry", f"the file defines no {entry!r} at its top level; it has {has}", "Name one of them, or define it."
    )


def _no_python(what: str) -> Refusal:
    mine = ".".join(map(str, _MINE))
    return invalid("body", f"it is not valid Python {mine}: {what}", "Fix the file. None of it was run.")


def _may_be_newer(offers: Sequence[Offer]) -> bool:
    """Whether some pilot may run a newer Python than we do, which may know what we do not."""
    known = [tuple(map(int, offer.python.split("."))) for offer in offers if offer.python]
    return len(known) < len(offers) or any(python > _MINE for python in known)
