"""Run tokens: the credential of one run, with which its function calls the gateway back.

A token names pilot, invocation and fence, and is signed with the key of (pilot, owner), which the gateway derives from
its secret. A pilot is given the keys of the owners whose work it holds, a slot process that of its owner: so a function
can make tokens for its owner's runs on its pilot, and for nobody else's. Whether such a run is under way is the
gateway's to know. Pure; nothing here is kept anywhere.
"""

from __future__ import annotations

import hashlib
import hmac

import msgspec

PREFIX = "run."
_MOST = 400  # characters; no token of ours is longer


class RunToken(msgspec.Struct, frozen=True, kw_only=True):
    """What is in a token, genuine or not."""

    pilot_id: str
    invocation_id: str
    fence: int
    signature: str


def owner_key(secret: bytes, pilot_id: str, owner: str) -> bytes:
    """Return the key that signs the runs of one owner on one pilot."""
    return _signed(secret, "owner", pilot_id, owner)


def make_token(key: bytes, pilot_id: str, invocation_id: str, fence: int) -> str:
    """Return the credential of a run, as it is sent."""
    return f"{PREFIX}{pilot_id}.{invocation_id}.{fence:x}.{_signature(key, pilot_id, invocation_id, fence)}"


def read_token(text: str) -> RunToken | None:
    """Return what is in a token; None for one that is not a run's."""
    if not text.startswith(PREFIX) or len(text) > _MOST:
        return None
    parts = text.split(".")
    if len(parts) != 5:
        return None
    _, pilot_id, invocation_id, fence, signature = parts
    try:
        return RunToken(pilot_id=pilot_id, invocation_id=invocation_id, fence=int(fence, 16), signature=signature)
    except ValueError:
        return None


def is_genuine(token: RunToken, key: bytes) -> bool:
    """Return whether a token was signed with this key, in a time that does not depend on the signature."""
    wanted = _signature(key, token.pilot_id, token.invocation_id, token.fence)
    return hmac.compare_digest(wanted.encode(), token.signature.encode("utf-8", "surrogateescape"))


def _signature(key: bytes, pilot_id: str, invocation_id: str, fence: int) -> str:
    return _signed(key, "run", pilot_id, invocation_id, str(fence)).hex()


def _signed(key: bytes, *words: str) -> bytes:
    # Each with its length, so that no two lists of words are signed alike.
    text = b"".join(
        b"%d:%s" % (len(word), word) for word in (word.encode("utf-8", "surrogateescape") for word in words)
    )
    return hmac.digest(key, text, hashlib.sha256)
