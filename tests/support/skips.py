"""Skipped tests in few words: pytest tells of each place that skips, and one missing program makes hundreds of them."""

from collections import Counter
from collections.abc import Iterable
from typing import Any


def folded(reports: Iterable[Any]) -> list[str]:
    """Return a line for each reason of these reports, the most frequent first."""
    reasons = Counter(report.longrepr[2].removeprefix("Skipped: ") for report in reports)
    return [f"SKIPPED [{count}] {reason}" for reason, count in reasons.most_common()]
