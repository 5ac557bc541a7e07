"""Names of functions: what may be one. Letters and digits of any script, so that no two become the same.

Owns the rule, which SDK and gateway share.
"""

from __future__ import annotations

import unicodedata

LONGEST = 128
REMEDY = (
    f"Use up to {LONGEST} letters and digits of any script, dots, hyphens and underscores, in form NFC, with a "
    "letter, digit or underscore first."
)
PATTERN = r"^[^\x00-,/:-@\[-^`{-\u007f\s.\-][^\x00-,/:-@\[-^`{-\u007f\s]{0,127}$"
"""As near as a regular expression that every dialect reads comes to it: in ASCII it is exact."""


def is_name(name: str) -> bool:
    """Whether a function may be registered under it."""
    return fitting(name) == name and 0 < len(name) <= LONGEST and name[0] not in ".-"


def fitting(name: str) -> str:
    """Return what of `name` may stand in one, as `is_name` has it."""
    kept = (char for char in unicodedata.normalize("NFC", name) if _may_stand(char))
    return unicodedata.normalize("NFC", "".join(kept))[:LONGEST]


def _may_stand(char: str) -> bool:
    # What may be in an identifier: letters, digits, and the marks that many scripts write their vowels with.
    return char in ".-" or f"_{char}".isidentifier()
