"""Certificates of a site's own authority: what verifies them, and what to do where one cannot be verified.

Owns the words, which pilots and clients share. Opens nothing.
"""

from __future__ import annotations

import ssl

_OTHER_NAME = frozenset({62, 64})  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH
_NO_TLS = frozenset({"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG"})


def trusting(authorities: str) -> ssl.SSLContext:
    """Return what trusts the certificates in a PEM text, and no others. Raises `ssl.SSLError` where there are none."""
    context = ssl.create_default_context(cadata=authorities)
    # What a site trusts by hand need not be an authority, nor keep to every rule for those of the internet.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def trouble(error: BaseException) -> str:
    """Return in few words why no TLS came about, empty where that is not the reason."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate cannot be verified: {error.verify_message}"
    if isinstance(error, ssl.SSLError) and getattr(error, "reason", None) in _NO_TLS:
        return "what answers there does not speak TLS"
    return ""


def remedy(error: BaseException, *, ca: str, address: str) -> str:
    """Return what to do about it.

    Parameters
    ----------
    ca, address: the names of the settings for the authority and for the gateway's address.
    """
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code in _OTHER_NAME:
            return f"let {address} name the gateway as its certificate does"
        return f"set {ca} to the PEM file of the authority that signed it, or of itself where it is self-signed"
    return f"let {address} begin with http://" if trouble(error) else ""
