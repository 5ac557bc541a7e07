"""Faults: how an answer is spoiled, at which command, and at which of its calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from support.fake_cluster.answers import Answer


class FaultKind(StrEnum):
    """What goes wrong."""

    SLOW = "it takes some seconds"
    HANGS = "nothing is done, and it never answers"
    LOST = "it is done, and it never answers"
    LATE = "it never answers, and is done half a minute later"
    FAILS = "nothing is done, and nobody listens"
    DONE_BUT_FAILS = "it is done, and the answer is an error"
    GARBAGE = "it prints garbage"
    HALF = "its answer is cut off in the middle"
    EMPTY = "it prints nothing, with exit code 0"
    TWICE = "lines are there twice"
    NOT_UTF8 = "bytes that are no UTF-8 are in its answer"
    LOCALISED = "it answers in German"
    FAILS_OVER = "the controller dies, and half a minute later another one goes on from an older state"


HANGING = frozenset({FaultKind.HANGS, FaultKind.LOST, FaultKind.LATE})
DONE = frozenset({FaultKind.LOST, FaultKind.DONE_BUT_FAILS})
NOT_DONE = frozenset({FaultKind.HANGS, FaultKind.LATE, FaultKind.FAILS, FaultKind.FAILS_OVER})
LATE_S = 30.0
DOWN_S = 30.0
OLDER_S = 20.0
_GARBAGE = b"\x7fELF\x02\x01\x01\x00\x00 |;\t<html><body>502 Bad Gateway</body></html>\r\n%PDF-1.4\n\xff\xfe0\n"


def always(number: int) -> bool:
    """Spoil every call."""
    return number > 0


@dataclass
class Fault:
    """One fault.

    Parameters
    ----------
    command: the executable whose answers are spoiled; empty: all of them.
    calls: told the number of the call since the fault is there, from 1; returns whether to spoil that one.
    about: a word that must be among the call's arguments, "partition" of `scontrol show partition`; empty: any call.
    seconds: how much later a slow answer comes, and how long the caller waits for one that never does: the cluster's
        time passes meanwhile.
    """

    kind: FaultKind
    command: str = ""
    calls: Callable[[int], bool] = always
    about: str = ""
    seconds: float = 10.0
    count: int = field(default=0, init=False)
    spoiled: int = field(default=0, init=False)

    def hits(self, command: str, arguments: tuple[str, ...]) -> bool:
        """Return whether to spoil this call, and count it."""
        if (self.command and command != self.command) or (self.about and not any(self.about in a for a in arguments)):
            return False
        self.count += 1
        is_hit = self.calls(self.count)
        self.spoiled += is_hit
        return is_hit


def spoiled(kind: FaultKind, answer: Answer, words: Mapping[str, str]) -> Answer:
    """Return the answer as the fault leaves it. `words`: the scheduler's, in another language."""
    out = answer.stdout
    middle = len(out) // 2
    match kind:
        case FaultKind.GARBAGE:
            answer = Answer(stdout=_GARBAGE)
        case FaultKind.HALF:
            answer = replace(answer, stdout=out[:middle])
        case FaultKind.EMPTY:
            answer = Answer()
        case FaultKind.TWICE:
            first, *lines = out.splitlines(keepends=True) or [b""]
            answer = replace(answer, stdout=first + b"".join(line + line for line in lines))
        case FaultKind.NOT_UTF8:
            answer = replace(answer, stdout=out[:middle] + b"\xe4\xff\xc3" + out[middle:])
        case FaultKind.LOCALISED:
            answer = replace(answer, stdout=_translated(out, words), stderr=_translated(answer.stderr, words))
    return answer


def _translated(text: bytes, words: Mapping[str, str]) -> bytes:
    for word, other in words.items():
        text = text.replace(word.encode(), other.encode())
    return text
