"""What can be read of a gateway: functions, invocations, pilots, the cluster, the daemon. And the verbs on them.

Owns the paths of those routes, as operations that know no socket. Documents are the objects of the REST API, as
`dict`s. All raise `GatewayError`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import quote

from harvester.sdk.http.messages import Operation, Request, json_request
from harvester.sdk.payload.payloads import Document
from harvester.sdk.registration.target import function_path


def invocation(invocation_id: str, wait_s: float = 0.0) -> Operation[Document]:
    """Return an invocation's document, with every activation; waits up to `wait_s` seconds for its end."""
    return _json("GET", f"/v1/invocations/{quote(invocation_id, safe='')}", {"wait_s": f"{wait_s:g}"}, wait_s)


def invocations(
    *, state: str | None = None, function: str | None = None, limit: int = 100
) -> Operation[list[Document]]:
    """Return the newest invocations, newest first: all, or those of a state or a function."""
    params = {"state": state, "function": function, "limit": str(limit)}
    return _items("/v1/invocations", {name: value for name, value in params.items() if value is not None})


def functions() -> Operation[list[Document]]:
    """Return the functions that one may call, each in its newest version: one's own, and those that are shared."""
    return _all_pages("/v1/functions", "after")


def function_versions(name: str) -> Operation[list[Document]]:
    """Return all versions of a function, the newest first."""
    return _all_pages(f"{function_path(name)}/versions", "before")


def share(name: str, with_whom: str = "all") -> Operation[Document]:
    """Let every user call all versions of your function; with "none", only you."""
    return _document(json_request("PUT", f"{function_path(name)}/sharing", {"share": with_whom}))


def delete_function(name: str, version: int) -> Operation[Document]:
    """Delete a version of a function of one's own, which no invocation may need any more; return it as it was."""
    return _json("DELETE", f"{function_path(name)}/versions/{version}")


def pilots(*, all: bool = False) -> Operation[list[Document]]:  # noqa: A002 - the word of the REST API
    """Return the pilots that are alive, or all that are remembered."""
    return _items("/v1/pilots", {"all": "true"} if all else {})


def slots() -> Operation[list[Document]]:
    """Return, for each ready pilot, its capacity, what of it is free, and what runs on it."""
    return _items("/v1/slots", {})


def cluster() -> Operation[Document]:
    """Return the daemon's newest note of the cluster."""
    return _json("GET", "/v1/cluster")


def daemon() -> Operation[Document]:
    """Return how the daemon stands: an admin's last word, its last look at the cluster, what it notes."""
    return _json("GET", "/v1/daemon")


def pause(reason: str = "") -> Operation[Document]:
    """Let the daemon submit no pilots until `resume`; those that live go on. For admins."""
    return _document(json_request("POST", "/v1/daemon/pause", {"reason": reason}))


def resume() -> Operation[Document]:
    """Let the daemon submit pilots again: ends `pause`, and pauses after failures. For admins."""
    return _json("POST", "/v1/daemon/resume")


def drain(nodes: str | Sequence[str]) -> Operation[Document]:
    """Have pilots leave nodes (`n[1-4,7]`), and put none there until `undrain`. For admins."""
    return _document(json_request("POST", "/v1/daemon/drain", {"nodes": nodes}))


def undrain(nodes: str | Sequence[str]) -> Operation[Document]:
    """Let pilots use drained nodes again. For admins."""
    return _document(json_request("POST", "/v1/daemon/undrain", {"nodes": nodes}))


def explain(invocation_id: str) -> Operation[Document]:
    """Return why an invocation is where it is."""
    return _json("GET", f"/v1/invocations/{quote(invocation_id, safe='')}/explain")


def evict(pilot_id: str) -> Operation[Document]:
    """Ask a pilot to hand its work over and leave. For admins."""
    return _json("POST", f"/v1/pilots/{quote(pilot_id, safe='')}/evict")


def whoami() -> Operation[Document]:
    """Return whose token this is, and its role."""
    return _json("GET", "/v1/whoami")


def cancel(invocation_id: str) -> Operation[Document]:
    """Cancel an invocation, which stops one that runs; return its document. One that has ended stays as it is."""
    return _json("POST", f"/v1/invocations/{quote(invocation_id, safe='')}/cancel")


def _json(method: str, path: str, params: Mapping[str, str] | None = None, wait_s: float = 0.0) -> Operation[Document]:
    return _document(Request(method=method, path=path, params=params or {}, wait_s=wait_s))


def _document(request: Request) -> Operation[Document]:
    answer = yield request
    document: Document = answer.json()
    return document


def _all_pages(path: str, follow: str) -> Operation[list[Document]]:
    """Return what all pages of a list hold; `follow` is the parameter that takes a page's `next`."""
    found: list[Document] = []
    params = {"limit": "200"}
    while True:
        page = yield from _json("GET", path, params)
        found += page["items"]
        if not page.get("next"):
            return found
        params = {**params, follow: str(page["next"])}


def _items(path: str, params: Mapping[str, str]) -> Operation[list[Document]]:
    page = yield from _json("GET", path, params)
    items: list[Document] = page["items"]
    return items
