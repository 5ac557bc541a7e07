"""Bytes that are nearly right: valid ones that were cut, flipped, repeated or mixed, for the tests of decoders."""

import tracemalloc
from collections.abc import Callable, Sequence

from hypothesis import strategies as st


def _apply(body: bytearray, kind: str, at: int, piece: bytes) -> None:
    at = at % (len(body) + 1)
    match kind:
        case "cut":
            del body[at:]
        case "remove":
            del body[at : at + max(1, len(piece))]
        case "insert":
            body[at:at] = piece
        case "overwrite":
            body[at : at + len(piece)] = piece
        case "repeat":
            body[at:at] = body[max(0, at - 8) : at]
        case _:
            raise AssertionError(kind)


# What length fields and marks look like, beside any bytes.
_PIECES = st.one_of(
    st.binary(min_size=1, max_size=4),
    st.sampled_from([b"\xff" * 4, b"\xff" * 8, b"\x00" * 8, b"\xdd\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\x91"]),
)
_EDITS = st.lists(
    st.tuples(st.sampled_from(["cut", "remove", "insert", "overwrite", "repeat"]), st.integers(0, 10_000), _PIECES),
    min_size=1,
    max_size=4,
)


def mutated(valid: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """Return a strategy for bytes that come from one of `valid` by a few edits."""

    def edit(body: bytes, edits: list[tuple[str, int, bytes]]) -> bytes:
        changed = bytearray(body)
        for kind, at, piece in edits:
            _apply(changed, kind, at, piece)
        return bytes(changed)

    return st.builds(edit, st.sampled_from(valid), _EDITS)


def garbage(valid: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """Return a strategy for what a decoder may meet: any bytes, and mutants of `valid`."""
    return st.binary(max_size=200) | mutated(valid)


def peak_bytes(call: Callable[[], object]) -> int:
    """Return how much memory Python had allocated at most during `call`."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
