"""The batch job of `harvester check --probe`: `python -m harvester_worker.probe ORDERS`.

Looks at a compute node as a pilot would see it, and reports: Python and packages, the gateway's address, clocks,
identity, environment. Runs no function and holds no credential of a pilot.

Exit codes: 0 it has reported, 2 the orders cannot be read or the report cannot be written.
"""

import email.utils
import getpass
import http.client
import importlib
import importlib.metadata
import os
import platform
import shutil
import ssl
import sys
import tempfile
import time
import urllib.parse
from pathlib import Path

import msgspec

from harvester.domain import tls
from harvester.domain.payload.decoding import UNREADABLE
from harvester.domain.protocol import site_probe
from harvester.domain.protocol.site_probe import Dial, ProbeOrders, ProbeReport
from harvester_worker.devices.allocation import this_node

_NEEDED = ("harvester_worker.agent", "websockets", "psutil", "cloudpickle")
_DIAL_S = 5.0
_UNUSABLE = 2
_UNREACHED = "set gateway.url to an address that compute nodes reach, and see that no firewall is in between"


def main() -> int:
    """Read the orders, look, report; return the exit code."""
    if len(sys.argv) != 2:
        return _unusable("usage: python -m harvester_worker.probe ORDERS")
    path = Path(sys.argv[1])
    try:
        orders = site_probe.orders(path.read_bytes())
    except OSError as error:
        # The words are those of a pilot, so that the same remedy is found for them.
        return _unusable(f"cannot read the pilot file {path}: {error.strerror}")
    except UNREADABLE as error:
        return _unusable(f"{path} holds no orders for a probe: {error}")
    report = look(orders)
    fresh = Path(f"{orders.report}.new")
    try:
        fresh.touch(mode=0o600)
        fresh.write_bytes(msgspec.json.encode(report))
        fresh.replace(orders.report)
    except OSError as error:
        return _unusable(f"cannot write {fresh}: {error.strerror}")
    return 0


def look(orders: ProbeOrders) -> ProbeReport:
    """Return what is to be seen here."""
    return ProbeReport(
        nonce=orders.nonce,
        host=this_node(),
        user=_user(),
        uid=os.getuid(),
        python=platform.python_version(),
        executable=sys.executable,
        harvester=_version(),
        missing=tuple(name for name in _NEEDED if not _is_there(name)),
        cpus=len(os.sched_getaffinity(0)),
        is_step="SLURM_STEP_ID" in os.environ,
        is_session_leader=os.getsid(0) == os.getpid(),
        dials=tuple(dial(url, orders) for url in orders.gateways),
        variables=tuple(sorted(os.environ)),
        free_mb=_free_mb(),
    )


def dial(url: str, orders: ProbeOrders) -> Dial:
    """Call a gateway's address and return what came of it."""
    begun = time.monotonic()
    try:
        answer, skew_s, grain_s = _answer(url, orders.tls_ca)
    except (OSError, http.client.HTTPException, ValueError) as error:
        remedy = tls.remedy(error, ca="gateway.tls_ca", address="gateway.url") or _UNREACHED
        return Dial(url=url, trouble=_words(error), remedy=remedy, took_s=time.monotonic() - begun)
    is_check = answer.headers.get(site_probe.NONCE_HEADER) == orders.nonce
    if not is_check and answer.status != http.HTTPStatus.OK:
        trouble = f"what answers there is not a gateway: HTTP {answer.status}"
        return Dial(url=url, trouble=trouble, remedy=_UNREACHED, took_s=time.monotonic() - begun)
    return Dial(url=url, took_s=time.monotonic() - begun, is_check=is_check, skew_s=skew_s, grain_s=grain_s)


def _answer(url: str, authorities: str) -> tuple[http.client.HTTPResponse, float | None, float]:
    """Return the answer to one request, how far our clock is ahead of who gave it, and how exactly that is known."""
    address = urllib.parse.urlsplit(url)
    connection: http.client.HTTPConnection
    if address.scheme.lower() == "https":
        trust = tls.trusting(authorities) if authorities else ssl.create_default_context()
        connection = http.client.HTTPSConnection(address.hostname or "", address.port, timeout=_DIAL_S, context=trust)
    else:
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=_DIAL_S)
    try:
        connection.connect()
        asked_at = time.time()
        connection.request("GET", address.path.rstrip("/") + site_probe.PATH)
        answer = connection.getresponse()
        answered_at = time.time()
        return answer, *_skew(answer, asked_at, answered_at)
    finally:
        connection.close()


def _skew(answer: http.client.HTTPResponse, asked_at: float, answered_at: float) -> tuple[float | None, float]:
    half_s = (answered_at - asked_at) / 2
    if exact := answer.headers.get(site_probe.TIME_HEADER):
        return asked_at + half_s - float(exact), max(0.1, half_s)
    if date := answer.headers.get("Date"):
        # It tells whole seconds, cut off, and a server may tell it for a second more: later by one on average.
        return asked_at + half_s - email.utils.parsedate_to_datetime(date).timestamp() - 1.0, 2.0
    return None, 0.0


def _words(error: Exception) -> str:
    if words := tls.trouble(error):
        return words
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # nobody of that id is known on this node
        return str(os.getuid())


def _version() -> str:
    try:
        return importlib.metadata.version("hpc-harvester")
    except importlib.metadata.PackageNotFoundError:
        return ""


def _is_there(name: str) -> bool:
    try:
        importlib.import_module(name)
    except Exception:  # noqa: BLE001 - whatever an import raises, a pilot could not be started with it
        return False
    return True


def _free_mb() -> int | None:
    try:
        return shutil.disk_usage(tempfile.gettempdir()).free // 2**20
    except OSError:
        return None


def _unusable(message: str) -> int:
    print(message, file=sys.stderr)  # noqa: T201 - the output of the batch job is where it is looked for
    return _UNUSABLE


if __name__ == "__main__":
    sys.exit(main())
