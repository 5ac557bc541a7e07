"""How many examples a property meets, by the Hypothesis profile: all of them, or few where somebody waits."""

import os

PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "same")
"""`same`, `quick` or `explore`; see tests/conftest.py."""

_FEWEST = 10
_SHARE = 10


def examples(full: int) -> int:
    """Return `full`, or a tenth of it but at least ten in the quick profile."""
    return min(full, max(_FEWEST, full // _SHARE)) if PROFILE == "quick" else full
