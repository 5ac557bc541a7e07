"""Findings about the host that runs the harvester: versions, state folder, store, tokens, the gateway's address.

Pure: what was seen of the host comes as a record.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from harvester.domain.fitness.findings import Finding, Topic, error, note, ok, warning
from harvester.domain.fitness.sentences import listed

_SHARED = frozenset(
    {"nfs", "nfs4", "lustre", "gpfs", "beegfs", "ceph", "cifs", "panfs", "wekafs", "orangefs", "pvfs2", "afs", "9p"}
    | {"glusterfs", "virtiofs", "ocfs2", "gfs2", "quobyte"}
)
_MEMORY = frozenset({"tmpfs", "ramfs"})
_LOW_MB = 1024


class Answers(msgspec.Struct, frozen=True, kw_only=True):
    """Who answers at the port that the gateway is to have."""

    is_gateway: bool = False  # a harvester gateway
    is_taken: bool = False  # by somebody


class HostFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen of this host."""

    user: str
    host: str
    versions: tuple[tuple[str, str], ...]  # ("harvester", "0.1.0"), … in the order in which they are told
    missing: tuple[str, ...] = ()  # packages that `harvester up` needs here
    state: str  # the state folder
    state_trouble: str = ""  # why it cannot be used; empty where it can
    is_open: bool = False  # other users may read it
    running: int | None = None  # the process of another `harvester up` over it; 0: its number is not known
    filesystem: str = ""  # its type: "nfs4"; empty where nobody knows
    free_mb: int | None = None
    store: str  # "SQLite in the state folder", or the kind of another
    store_trouble: str = ""
    token_trouble: str = ""
    listens: str  # "0.0.0.0:8321"
    url: str  # the gateway's address as pilots get it
    url_trouble: str = ""  # why it cannot be one
    port: Answers = Answers()
    bind_trouble: str = ""  # why nobody can listen there


def of_the_host(host: HostFacts, *, is_seen: bool) -> Iterator[Finding]:
    """Yield what is so on this host. `is_seen`: nodes see the state folder, or somebody else finds out."""
    yield ok(Topic.VERSIONS, ", ".join(f"{name} {version}" for name, version in host.versions))
    if host.missing:
        text = f"these packages are missing here: {listed(host.missing)}"
        remedy = "install them: pip install 'hpc-harvester[gateway,daemon,worker,slurm]'"
        yield error(Topic.VERSIONS, text, remedy)
    yield from _state_folder(host, is_seen=is_seen)
    yield from _store(host)
    if host.token_trouble:
        yield error(Topic.TOKENS, host.token_trouble, "correct or remove that file; a new token is made at the start")
    elif not host.state_trouble:
        yield ok(Topic.TOKENS, "tokens can be read, or are made at the first start")
    yield from _gateway(host)


def _state_folder(host: HostFacts, *, is_seen: bool) -> Iterator[Finding]:
    where = f"the state folder {host.state}"
    if host.state_trouble:
        yield error(Topic.STATE_FOLDER, f"{where} cannot be used: {host.state_trouble}", "name another with --state")
        return
    if host.running is not None:
        process = f" (process {host.running})" if host.running else ""
        text = f"{where} is in use: `harvester up`{process} runs over it now"
        yield note(Topic.STATE_FOLDER, text)
    kind = f", filesystem {host.filesystem}" if host.filesystem else ""
    yield ok(Topic.STATE_FOLDER, f"{where} can be written by {host.user}{kind}")
    if host.is_open:
        yield note(Topic.STATE_FOLDER, f"{where} can be read by other users; `harvester up` closes what it puts there")
    if host.filesystem in _MEMORY:
        remedy = "set `state` to a folder on a disk: what is in memory is gone after a reboot"
        yield warning(Topic.STATE_FOLDER, f"{where} is in memory ({host.filesystem})", remedy)
    elif host.filesystem and host.filesystem not in _SHARED and not is_seen:
        text = f"{where} is on {host.filesystem}, which is usually not shared between machines"
        remedy = "set `state` to a folder that the compute nodes see too; --probe tells whether they do"
        yield note(Topic.STATE_FOLDER, text, remedy)
    if host.free_mb is not None and host.free_mb < _LOW_MB:
        text = f"{where} has {host.free_mb} MB left"
        yield warning(Topic.STATE_FOLDER, text, "make room there, or name another folder with --state")


def _store(host: HostFacts) -> Iterator[Finding]:
    if host.store_trouble:
        remedy = "correct store.url or the file's rights, upgrade the harvester, or name another state folder"
        yield error(Topic.STORE, f"the store cannot be used: {host.store_trouble}", remedy)
    elif not host.state_trouble:
        yield ok(Topic.STORE, host.store)


def _gateway(host: HostFacts) -> Iterator[Finding]:
    if host.url_trouble:
        yield error(
            Topic.GATEWAY, host.url_trouble, "set gateway.url to an address that compute nodes reach", "gateway.url"
        )
    if host.port.is_taken and host.running is not None:
        yield note(Topic.GATEWAY, f"a gateway answers at {host.listens} already", about="gateway.port")
    elif host.port.is_gateway:
        text = f"the gateway of another harvester, with another state folder, listens at {host.listens}"
        yield error(Topic.GATEWAY, text, "name another port with --port or gateway.port", "gateway.port")
    elif host.port.is_taken:
        text = f"port {host.listens} is in use by another program"
        yield error(Topic.GATEWAY, text, "name another with --port or gateway.port", "gateway.port")
    elif host.bind_trouble:
        text = f"nobody can listen at {host.listens}: {host.bind_trouble}"
        yield error(Topic.GATEWAY, text, "correct gateway.host or gateway.port", "gateway.host")
    else:
        yield ok(Topic.GATEWAY, f"the gateway can listen at {host.listens}, and pilots call it at {host.url}")
