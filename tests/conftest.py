"""What holds for all tests: how Hypothesis chooses its examples, and one line for each reason to skip tests.

By default each property meets the same examples every time, whatever the machine's load and whatever failed before: a
red run is the doing of a change. HYPOTHESIS_PROFILE=explore draws new examples each time, to find what nobody thought
of; HYPOTHESIS_PROFILE=quick takes the first tenth of the examples (`make unit`).
"""

from typing import Any

from hypothesis import HealthCheck, settings
from support.examples import PROFILE, examples
from support.skips import folded

# How long an example takes says something of the machine, not of the code.
_ANY_MACHINE: dict[str, Any] = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow], "print_blob": True}
settings.register_profile("same", derandomize=True, database=None, **_ANY_MACHINE)
settings.register_profile("explore", **_ANY_MACHINE)
settings.register_profile("quick", derandomize=True, database=None, max_examples=examples(100), **_ANY_MACHINE)
settings.load_profile(PROFILE)


def pytest_terminal_summary(terminalreporter):
    for line in folded(terminalreporter.stats.get("skipped", ())):
        terminalreporter.write_line(line)
