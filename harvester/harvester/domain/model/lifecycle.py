"""Lifecycle tables: what may follow what, as one lookup.

Owns the `Lifecycle` type and `IllegalTransition`. Knows no particular lifecycle: those are tables of their own, one
file each (`pilots`, `invocations`), from which the docs' diagrams are drawn.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Generic, TypeVar


class LifecycleWord(StrEnum):
    """A word of a lifecycle. Hashes as the string it is: the enum module's own hash is a Python call at each lookup."""

    __hash__ = str.__hash__


State = TypeVar("State", bound=StrEnum)
Event = TypeVar("Event", bound=StrEnum)


class IllegalTransition(Exception):
    """An event that the table has no row for: a defect, which changes nothing."""

    def __init__(self, lifecycle: str, state: StrEnum, event: StrEnum) -> None:
        super().__init__(f"{lifecycle}: no transition from {state.name} on {event.name}")
        self.state = state
        self.event = event


class Lifecycle(Generic[State, Event]):
    """A named transition table.

    Parameters
    ----------
    name: what the table is about, for messages and diagrams.
    initial: the state in which everything starts.
    rows: `{(state, event): next state}`; a state that no row leaves is final.
    """

    def __init__(self, name: str, initial: State, rows: Mapping[tuple[State, Event], State]) -> None:
        self.name = name
        self.initial = initial
        self.rows = dict(rows)
        self.final = frozenset(type(initial)) - {state for state, _ in self.rows}

    def advance(self, state: State, event: Event) -> State:
        """Return the state that follows; raises `IllegalTransition` where the table has no row."""
        try:
            return self.rows[state, event]
        except KeyError:
            raise IllegalTransition(self.name, state, event) from None

    def allows(self, state: State, event: Event) -> bool:
        """Return whether `advance` would succeed."""
        return (state, event) in self.rows

    def mermaid(self) -> str:
        """Return the table as a Mermaid state diagram, for the docs."""
        lines = ["stateDiagram-v2", f"    [*] --> {self.initial.name}"]
        lines += [f"    {old.name} --> {new.name}: {event.value}" for (old, event), new in self.rows.items()]
        lines += [f"    {state.name} --> [*]" for state in type(self.initial) if state in self.final]
        return "\n".join(lines)
