"""Former names: what has moved to other modules, under the names that are in pickles of users.

Registered functions and checkpoints live in a store longer than a release does, and clients may be older than nodes.
Owns the table, from which nothing is taken away: who moves what such a pickle can name adds where it was. Imports a
place when it is asked for.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType

FORMER: dict[str, dict[str, str]] = {
    "harvester.domain.context": dict.fromkeys(("Context", "context"), "harvester.domain.model.context"),
    "harvester.domain.invocations": dict.fromkeys(("Failure", "FailureKind"), "harvester.domain.model.invocations"),
    "harvester.domain.raised": {"remade": "harvester.domain.payload.exceptions"},
    "harvester.sdk.function_pickles": {"restored": "harvester.sdk.registration.function_pickles"},
    "harvester.sdk.functions": {
        "Function": "harvester.sdk.registration.functions",
        "function": "harvester.sdk.registration.decorator",
    },
}
"""Module as it was: name in it: module as it is."""


class FormerNames:
    """Finds a module of `FORMER` where nothing else does, and makes it of what it held."""

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: object = None) -> ModuleSpec | None:
        """Return how to import `name`; None where it is none of ours."""
        return ModuleSpec(name, self) if name in FORMER else None  # type: ignore[arg-type]  # loads by its methods

    def create_module(self, spec: ModuleSpec) -> None:
        """Have an empty module made."""

    def exec_module(self, module: ModuleType) -> None:
        """Fill it."""
        for name, home in FORMER[module.__name__].items():
            setattr(module, name, getattr(import_module(home), name))


def install() -> None:
    """Have the former names found in this process."""
    if not any(isinstance(finder, FormerNames) for finder in sys.meta_path):
        sys.meta_path.append(FormerNames())  # asked only for what nobody else finds
