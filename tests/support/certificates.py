"""A site's own authority, and a certificate that it has signed, made with the program openssl."""

import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest


class Certificates(NamedTuple):
    """PEM files."""

    ca: Path
    certificate: Path
    key: Path


def signed_for_loopback(folder: Path) -> Certificates:
    """Return a certificate for 127.0.0.1 alone, and the authority that has signed it."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make certificates with")
    found = Certificates(folder / "ca.pem", folder / "gateway.pem", folder / "gateway.key")
    _openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=Site CA",
             "-keyout", folder / "ca.key", "-out", found.ca)  # fmt: skip
    _openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=gateway",
             "-keyout", found.key, "-out", folder / "gateway.csr")  # fmt: skip
    names = folder / "names"
    names.write_text("subjectAltName=IP:127.0.0.1")
    _openssl("x509", "-req", "-in", folder / "gateway.csr", "-days", "2", "-CA", found.ca, "-CAkey", folder / "ca.key",
             "-CAcreateserial", "-extfile", names, "-out", found.certificate)  # fmt: skip
    return found


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)
