"""Oddities: records that could not be read whole, said once.

A look comes every few seconds, and a node that Slurm describes in words that we do not know stays so for weeks.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection

log = logging.getLogger(__name__)


class Oddities:
    """Logs one warning when there are some, and another one only after there were none."""

    def __init__(self) -> None:
        self._are_told = False
        self._lock = threading.Lock()

    def tell(self, odd: Collection[str]) -> None:
        """Take what one look could not read."""
        with self._lock:
            is_news, self._are_told = bool(odd) and not self._are_told, bool(odd)
        if is_news:
            first = next(iter(odd))
            log.warning("slurm.odd records=%d: taken as far as they are understood; the first: %s", len(odd), first)
