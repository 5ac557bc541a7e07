"""The gateway's word: what the daemon has to know before it looks again. The store's note `WORD_NOTE`."""

from __future__ import annotations

import msgspec

WORD_NOTE = "word"


class GatewayWord(msgspec.Struct, frozen=True, kw_only=True):
    """The newest word."""

    evicted_at: float = 0.0  # when a pilot last said that the scheduler wants its node
    evicted: tuple[str, ...] = ()  # the pilots that said so of late
    broken_at: float = 0.0  # when a pilot's connection last broke without a goodbye
    broken: tuple[str, ...] = ()  # the pilots of late


def decode(text: bytes | None) -> GatewayWord:
    """Return the word in `text` (JSON); an empty one where there is none."""
    return GatewayWord() if text is None else msgspec.json.decode(text, type=GatewayWord)


def encode(word: GatewayWord) -> bytes:
    """Return `word` as JSON."""
    return msgspec.json.encode(word)
