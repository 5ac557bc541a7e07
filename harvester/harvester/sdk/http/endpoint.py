"""Where the gateway is, how it is reached, and what is said to it with every request. Opens nothing.

Owns what the environment says about proxies and certificates, and the head of a request as bytes.
"""

from __future__ import annotations

import base64
import functools
import os
import ssl
from pathlib import Path
from urllib.parse import SplitResult, quote, unquote, urlencode, urlsplit

import truststore

from harvester.domain import tls
from harvester.sdk.errors import ConfigurationError
from harvester.sdk.http.messages import Request
from harvester.sdk.http.proxies import NamedProxy, named_proxy
from harvester.sdk.settings import Settings

UNIX_SCHEME = "http+unix"
"""Of the address of a gateway that listens at a file, quoted: `http+unix://%2Ftmp%2Fgateway`. `harvester.testing`'s."""

_PORTS = {"http": 80, "https": 443}
_BODILESS = frozenset({"GET", "HEAD", "DELETE"})
_UNQUOTED = "/%:@!$&'()*+,;=~"  # what a path may hold beside letters, digits and _.- (RFC 3986, 3.3)


class Peer:
    """The gateway of some settings.

    Parameters
    ----------
    settings: its address, and the token.

    Raises `ConfigurationError` for an address, a token or a proxy with which no request can be made.
    """

    def __init__(self, settings: Settings) -> None:
        self.unix_socket = _unix_socket(settings.url)  # file of a gateway in this machine; empty: it has a host
        url = _split("http://localhost" if self.unix_socket else settings.url, "the gateway's address")
        self._prefix = url.path.rstrip("/")
        self.host, self.port = _endpoint(url)
        self.tls = _tls(settings) if url.scheme == "https" else None
        named = None if settings.is_direct or self.unix_socket else named_proxy(url.scheme, self.host, self.port)
        proxy = None if named is None else _proxy(named, self.host)
        self.via = "" if named is None or proxy is None else f"the proxy {_shown(proxy)} that {named.variable} names"
        self.connect_to = (self.host, self.port) if proxy is None else _endpoint(proxy)
        greeting = "" if proxy is None else _proxy_authorization(proxy)
        authority = url.netloc.rpartition("@")[2].encode("idna").decode()
        # A proxy is asked for a tunnel to a gateway that speaks TLS; of another one it is told the whole address.
        self.tunnel: bytes | None = None
        if proxy is not None and self.tls is not None:
            end = f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
            self.tunnel = _lines(f"CONNECT {end} HTTP/1.1", f"Host: {end}", *greeting.splitlines())
            greeting = ""
        elif proxy is not None:
            self._prefix = f"http://{authority}{self._prefix}"
        # identity: results are read as they come, and a proxy that compresses a pickle gains nothing.
        self._always = (
            f" HTTP/1.1\r\nHost: {authority}\r\nAuthorization: Bearer {settings.token}\r\n"
            f"User-Agent: hpc-harvester\r\nAccept-Encoding: identity\r\n{greeting}"
        )
        if settings.parent:
            self._always += f"Harvester-Parent: {settings.parent}\r\n"
        lines = self._always.removesuffix("\r\n").split("\r\n")
        if any(not line.isprintable() or not line.isascii() for line in lines):
            raise ConfigurationError(
                f"the token for the gateway {settings.url}, or its address, holds characters that no HTTP header may: "
                "see that it is pasted whole, without line breaks"
            )

    def head(self, request: Request) -> bytes:
        """Return the head of a request. Raises `ValueError` for a header that would not be one."""
        where = _where(request.path, tuple(request.params.items()))
        text = f"{request.method} {self._prefix}{where}{self._always}"
        for name, value in request.headers.items():
            if "\n" in value or "\r" in value or "\0" in value:
                raise ValueError(f"the header {name} holds a line break: {value!r}")
            text += f"{name}: {value}\r\n"
        if request.content or request.method not in _BODILESS:
            text += f"Content-Length: {len(request.content)}\r\n"
        return (text + "\r\n").encode("latin-1")

    def check_tunnel(self, status: int) -> None:
        """Raise `ConnectionError` when the proxy has answered with `status` that there is no tunnel."""
        if not 200 <= status < 300:
            host, port = self.connect_to
            raise ConnectionError(f"the proxy {host}:{port} refuses a tunnel to {self.host}:{self.port} with {status}")


def _unix_socket(url: str) -> str:
    scheme, _, quoted = url.partition("://")
    return unquote(quoted) if scheme == UNIX_SCHEME else ""


@functools.lru_cache(maxsize=1024)  # a program calls a few functions many times
def _where(path: str, params: tuple[tuple[str, str], ...]) -> str:
    return quote(path, safe=_UNQUOTED) + (f"?{urlencode(params)}" if params else "")


def _split(url: str, what: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _endpoint(parts)
        parts.netloc.encode("idna")
    except ValueError as error:
        raise ConfigurationError(f"{what} {url!r} is not valid: {error}") from error
    return parts


def _endpoint(url: SplitResult) -> tuple[str, int]:
    if not url.hostname:
        raise ValueError("it names no host")
    return url.hostname, url.port or _PORTS.get(url.scheme, 80)


def _tls(settings: Settings) -> ssl.SSLContext:
    """Return what verifies certificates: by what the settings say, SSL_CERT_FILE and SSL_CERT_DIR, or the system.

    Raises `ConfigurationError`.
    """
    if settings.authorities:
        context = tls.trusting(settings.authorities)
    else:
        context = _trusting(settings.tls_ca) if settings.tls_ca else _by_environment()
    context.set_alpn_protocols(["http/1.1"])
    return context


def _trusting(ca: str) -> ssl.SSLContext:
    named = f"the file {ca} that HARVESTER_TLS_CA, or tls_ca in the config file, names"
    try:
        return tls.trusting(Path(ca).read_text(encoding="ascii", errors="replace"))
    except ssl.SSLError as error:
        raise ConfigurationError(f"{named} holds no certificate in PEM") from error
    except OSError as error:
        raise ConfigurationError(f"{named} cannot be read: {error.strerror}") from error


def _by_environment() -> ssl.SSLContext:
    cafile, capath = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    if cafile or capath:
        try:
            return ssl.create_default_context(cafile=cafile or None, capath=capath or None)
        except OSError as error:
            raise ConfigurationError(
                f"the certificates that SSL_CERT_FILE={cafile or ''} or SSL_CERT_DIR={capath or ''} name cannot be "
                f"read: {error}"
            ) from error
    return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _proxy(named: NamedProxy, host: str) -> SplitResult:
    """Return the proxy that the environment names. Raises `ConfigurationError` for one that is none of ours."""
    proxy = _split(
        named.url if "://" in named.url else f"http://{named.url}", f"the proxy that {named.variable} names,"
    )
    if proxy.scheme != "http":
        raise ConfigurationError(
            f"the proxy that {named.variable} names is asked for with {proxy.scheme}://, of which only http:// is "
            f"spoken: name another one, or except the gateway with NO_PROXY={host}"
        )
    return proxy


def _shown(proxy: SplitResult) -> str:
    return proxy.netloc.rpartition("@")[2]  # without the password


def _proxy_authorization(proxy: SplitResult) -> str:
    if proxy.username is None:
        return ""
    pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return f"Proxy-Authorization: Basic {base64.b64encode(pair.encode()).decode()}\r\n"


def _lines(*lines: str) -> bytes:
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode("latin-1")
