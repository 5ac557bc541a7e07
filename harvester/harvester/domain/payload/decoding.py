"""Decoding: what the decoder raises for bytes that it cannot read.

Owns the list, so that no decoder of ours misses one: bytes that are not UTF-8 where text belongs and values that are
nested too deep are told by errors of Python's own.
"""

from __future__ import annotations

import msgspec

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
