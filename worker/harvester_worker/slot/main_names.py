"""The `__main__` of a slot: what came with a user's function, under the names that it has in the user's program.

A pool of processes inside a function finds functions and classes by `__main__` and their name, as in that program. A
slot serves one version of one function, so no other function finds these names.
"""

import sys
import types
from collections.abc import Callable
from typing import Any

from harvester.domain.model.callables import innermost


def offer(function: Callable[..., Any]) -> None:
    """Put what a function of a `__main__` refers to into the `__main__` here, unless that is a program's own."""
    main = sys.modules["__main__"]
    plain = innermost(function)
    if hasattr(main, "__file__") or type(plain) is not types.FunctionType or plain.__module__ != "__main__":
        return
    names = {name: value for name, value in plain.__globals__.items() if not name.startswith("__")}
    names.setdefault(plain.__qualname__, plain)
    vars(main).update({name: value for name, value in names.items() if name not in vars(main)})
