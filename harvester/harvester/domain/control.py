"""The word of an admin to the daemon: harvest, or pause. It travels as the store's note `CONTROL_NOTE`.

`Control(paused=False)` written after an automatic pause also ends that one.
"""

from __future__ import annotations

import msgspec

CONTROL_NOTE = "control"


class Control(msgspec.Struct, frozen=True, kw_only=True):
    """What was said last."""

    paused: bool = False
    reason: str = ""  # a sentence for whoever asks why nothing is submitted
    at: float = 0.0  # when it was said
    drained: tuple[str, ...] = ()  # nodes that pilots leave and keep out of


def decode(text: bytes | None) -> Control:
    """Return the control in `text` (JSON); harvesting goes on where nobody has said anything."""
    return Control() if text is None else msgspec.json.decode(text, type=Control)


def encode(control: Control) -> bytes:
    """Return `control` as JSON."""
    return msgspec.json.encode(control)
