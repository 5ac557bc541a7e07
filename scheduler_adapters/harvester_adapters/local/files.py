"""The state folder of the embedded `local` scheduler, and what other processes do with it.

Owns the files `cluster.json` (the state, replaced as a whole at each change), `lock` (held by the one scheduler that
drives it) and `spool/` (requests of other processes). Knows no rule and starts nothing.
"""

from __future__ import annotations

import fcntl
import os
import time
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import msgspec
import psutil

from harvester.domain.cluster.ports import SchedulerError, SchedulerUnavailable
from harvester.domain.cluster.snapshot import ClusterSnapshot
from harvester.domain.payload.decoding import UNREADABLE
from harvester_adapters.local.admission import check_prime
from harvester_adapters.local.state import Cluster, SubmitPrime
from harvester_adapters.local.view import snapshot


class ClusterFolder:
    """The folder of one emulated cluster.

    Parameters
    ----------
    path: the folder; `open` makes it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._cluster = self.path / "cluster.json"
        self._spool = self.path / "spool"
        self._lock: int | None = None

    def open(self) -> None:
        """Take the folder for this process. Raises `SchedulerError` while another one has it."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)  # `parents` would make it for everybody to look into
        self._spool.mkdir(mode=0o700, exist_ok=True)
        lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise SchedulerError(
                f"a local scheduler already runs over {self.path}: stop it, or give this one another state folder"
            ) from None
        self._lock = lock

    def close(self) -> None:
        """Give the folder back."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @property
    def is_driven(self) -> bool:
        """Whether a scheduler runs over this folder now."""
        try:
            probe = os.open(self.path / "lock", os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(probe, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        else:
            return False
        finally:
            os.close(probe)

    def load(self) -> Cluster | None:
        """Return the state that was saved last; None if there is none. Raises `SchedulerError` if it is damaged."""
        try:
            return msgspec.json.decode(self._cluster.read_bytes(), type=Cluster)
        except FileNotFoundError:
            return None
        except UNREADABLE as error:
            raise SchedulerError(f"{self._cluster} is damaged ({error}): remove the folder to start afresh") from error

    def save(self, cluster: Cluster) -> None:
        """Replace the saved state."""
        _replace(self._cluster, msgspec.json.encode(cluster))

    def put_request(self, request: SubmitPrime) -> None:
        """Leave a request for the scheduler, which reads it within a tick."""
        _replace(self._spool / f"{time.time_ns():020}-{request.batch_job_id}.json", msgspec.json.encode(request))

    def requests(self) -> Iterator[tuple[Path, SubmitPrime | None]]:
        """Yield the waiting requests in their order, each with its file; None for what cannot be read."""
        for path in sorted(self._spool.glob("*.json")):
            try:
                yield path, msgspec.json.decode(path.read_bytes(), type=SubmitPrime)
            except UNREADABLE:
                yield path, None


def _replace(path: Path, content: bytes) -> None:
    new = path.with_suffix(".new")
    new.write_bytes(content)
    new.replace(path)


def user() -> str:
    """Return who owns the pilots."""
    return str(psutil.Process().username())


def new_prime_id() -> str:
    """Return an id for a prime batch job: chosen by who asks for it, who can so look for it at once."""
    return f"prime-{uuid.uuid4().hex[:12]}"


def request_prime(state_dir: Path, nodes: int, duration: timedelta, name: str = "prime") -> str:
    """Ask the local scheduler that runs over `state_dir`, in whatever process, for a prime batch job.

    Parameters
    ----------
    state_dir: the folder that the `LocalAdapter` was given.
    nodes: how many whole nodes it takes.
    duration: how long it holds them.
    name: what it is called.

    Returns its batch job id, to be looked for in `read_state`. Raises `SubmissionRejected` where it can never run and
    `SchedulerUnavailable` where no scheduler runs.
    """
    folder = ClusterFolder(state_dir)
    cluster = folder.load()
    if cluster is None or not folder.is_driven:
        raise SchedulerUnavailable(
            f"no local scheduler runs over {folder.path}: start `harvester up` with this state folder"
        )
    check_prime(len(cluster.nodes), nodes, duration)
    request = SubmitPrime(batch_job_id=new_prime_id(), name=name, nodes=nodes, duration=duration)
    folder.put_request(request)
    return request.batch_job_id


def read_state(state_dir: Path) -> ClusterSnapshot:
    """Look at the local cluster of `state_dir` from any process. Raises `SchedulerUnavailable` where there is none."""
    folder = ClusterFolder(state_dir)
    cluster = folder.load()
    if cluster is None:
        raise SchedulerUnavailable(f"no local cluster in {folder.path}: start `harvester up` with this state folder")
    return snapshot(cluster, user(), time.time())
