"""Answers damaged as a disk, a pipe or a new version would: bytes lost, repeated or swapped, and impossible numbers."""

import re

from hypothesis import strategies as st

Change = tuple[str, int, int, bytes]


def changes(tokens: list[bytes]) -> st.SearchStrategy[Change]:
    """Return a strategy for one damage. `tokens`: pieces that mean something to whoever reads the answer."""
    return st.tuples(
        st.sampled_from(["cut", "drop", "repeat", "insert", "replace number", "replace word"]),
        st.integers(0, 1 << 20),
        st.integers(1, 80),
        st.one_of(st.sampled_from(tokens), st.binary(max_size=12)),
    )


def damaged(answer: bytes, change: Change, *, word: bytes = rb"[^\s=|,:\"\x1e\x1f]+") -> bytes:
    """Return an answer with one damage. `word`: a pattern for what may be replaced whole."""
    kind, place, length, piece = change
    at = place % (len(answer) + 1)
    match kind:
        case "cut":
            return answer[:at]
        case "drop":
            return answer[:at] + answer[at + length :]
        case "repeat":
            return answer[: at + length] + answer[at:]
        case "insert":
            return answer[:at] + piece + answer[at:]
        case _:
            found = list(re.finditer(rb"\d+" if kind == "replace number" else word, answer))
            if not found:
                return answer + piece
            one = found[place % len(found)]
            return answer[: one.start()] + piece + answer[one.end() :]
