"""Names of functions: which are valid. Letters and digits of any script, so that no two names become the same.

Owns the rule, which SDK and gateway share.
"""

from __future__ import annotations

import unicodedata

LONGEST = 128
PATTERN = r"^\w[\w.-]{0,127}$"
"""For the OpenAPI document; as Python reads it, where letters are those of any script."""

REMEDY = (
    f"Use up to {LONGEST} letters and digits of any script, dots, hyphens and underscores, with a letter, digit or "
    "underscore first."
)


def normal(name: str) -> str:
    """Return a name in Unicode's form NFC, so that how it was typed does not make another function of it."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def is_name(name: str) -> bool:
    """Return whether a function may be registered under this name, which is `normal`."""
    return 0 < len(name) <= LONGEST and name[0] not in ".-" and all(map(_may_stand, name))


def fitting(name: str) -> str:
    """Return `name` without what may not stand in a name."""
    return "".join(filter(_may_stand, normal(name))).lstrip(".-")[:LONGEST]


def _may_stand(char: str) -> bool:
    # Identifiers hold the marks too that many scripts write their vowels with.
    return char.isalnum() or char in "_.-" or f"_{char}".isidentifier()
