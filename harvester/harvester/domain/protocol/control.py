"""Control: an admin's orders to the daemon: harvest, or pause; and which nodes to leave. The note `CONTROL_NOTE`.

Pure. A resume also ends every automatic pause that is older. Pausing and draining are independent: neither changes the
other.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from msgspec.structs import replace

CONTROL_NOTE = "control"


class Control(msgspec.Struct, frozen=True, kw_only=True):
    """The newest orders."""

    paused: bool = False
    reason: str = ""  # a sentence that tells why nothing is submitted
    at: float = 0.0  # when it was said; the nodes aside
    drained: tuple[str, ...] = ()  # nodes that pilots leave and keep out of, sorted
    drained_at: float = 0.0  # when the nodes were last changed

    @property
    def said_at(self) -> float:
        """When the newest order was given."""
        return max(self.at, self.drained_at)


def pause(before: Control, reason: str, at: float) -> Control:
    """Return the control after an admin has paused harvesting."""
    return replace(before, paused=True, reason=reason, at=at)


def resume(before: Control, at: float) -> Control:
    """Return the control after an admin has resumed harvesting; drained nodes stay drained."""
    return replace(before, paused=False, reason="", at=at)


def drain(before: Control, nodes: Iterable[str], at: float) -> Control:
    """Return the control after an admin has drained `nodes` too."""
    return replace(before, drained=tuple(sorted({*before.drained, *nodes})), drained_at=at)


def undrain(before: Control, nodes: Iterable[str], at: float) -> Control:
    """Return the control after pilots may use `nodes` again."""
    return replace(before, drained=tuple(sorted(set(before.drained).difference(nodes))), drained_at=at)


def decode(text: bytes | None) -> Control:
    """Return the control in `text` (JSON); without one, harvesting is not paused."""
    return Control() if text is None else msgspec.json.decode(text, type=Control)


def encode(control: Control) -> bytes:
    """Return `control` as JSON."""
    return msgspec.json.encode(control)
