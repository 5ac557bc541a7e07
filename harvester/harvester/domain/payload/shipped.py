"""The label of a pickled function: what was sent along with it, and of which content the modules were that it names.

The SDK writes it into the pickle, where a pilot finds it that cannot unpickle the rest. Code that is named and not sent
is still part of the function: another content makes another label, and so another version.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_LABEL = re.compile(rb"harvester-label/1 packages=([^ ]*) modules=[0-9a-f]*")
FROM_END = 4096
"""Bytes of a pickle, at its end, in which the label is looked for: it is written last."""


def label(packages: Iterable[str], modules: str) -> str:
    """Return the label.

    Parameters
    ----------
    packages: the top names of what was sent by value.
    modules: a digest of the modules that are named only; empty for none.
    """
    return f"harvester-label/1 packages={','.join(sorted(packages))} modules={modules}"


def packages_in(body: bytes) -> frozenset[str]:
    """Return the packages that were sent along with a pickled function."""
    found = _LABEL.search(body, max(0, len(body) - FROM_END))
    return frozenset(found[1].decode(errors="replace").split(",")) - {""} if found else frozenset()
