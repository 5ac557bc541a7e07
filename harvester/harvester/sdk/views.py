"""What can be read of a gateway: functions, invocations, pilots, the cluster, the daemon. And the verbs on them.

Owns the paths of those routes. Documents are the objects of the REST API, as `dict`s.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

import msgspec

from harvester.sdk.gateway import Gateway, Request, json_request
from harvester.sdk.payloads import Document


class Views:
    """Blocking reads through one `Gateway`. All raise `GatewayError`."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    @property
    def url(self) -> str:
        """The gateway's address."""
        return self._gateway.settings.url

    def invocation(self, invocation_id: str, wait_s: float = 0.0) -> Document:
        """Return an invocation's document, with every activation; waits up to `wait_s` seconds for its end."""
        return self._json("GET", f"/v1/invocations/{quote(invocation_id, safe='')}", {"wait_s": f"{wait_s:g}"}, wait_s)

    def invocations(self, *, state: str | None = None, function: str | None = None, limit: int = 100) -> list[Document]:
        """Return the newest invocations, newest first: all, or those of a state or a function."""
        params = {"state": state, "function": function, "limit": str(limit)}
        return self._items("/v1/invocations", {name: value for name, value in params.items() if value is not None})

    def functions(self) -> list[Document]:
        """Return the registered functions, each in its newest version."""
        found: list[Document] = []
        params = {"limit": "200"}
        while True:
            page = self._json("GET", "/v1/functions", params)
            found += page["items"]
            if not page.get("next"):
                return found
            params["after"] = str(page["next"])

    def pilots(self, *, all: bool = False) -> list[Document]:  # noqa: A002 - the word of the REST API
        """Return the pilots that are alive, or all that are remembered."""
        return self._items("/v1/pilots", {"all": "true"} if all else {})

    def slots(self) -> list[Document]:
        """Return, for each ready pilot, its capacity, what of it is free, and what runs on it."""
        return self._items("/v1/slots", {})

    def cluster(self) -> Document:
        """Return the daemon's newest note of the cluster."""
        return self._json("GET", "/v1/cluster")

    def daemon(self) -> Document:
        """Return how the daemon stands: an admin's last word, its last look at the cluster, what it notes."""
        return self._json("GET", "/v1/daemon")

    def pause(self, reason: str = "") -> Document:
        """Let the daemon submit no pilots until `resume`; those that live go on. For admins."""
        response = self._gateway.send(json_request("POST", "/v1/daemon/pause", {"reason": reason}))
        document: Document = msgspec.json.decode(response.content)
        return document

    def resume(self) -> Document:
        """Let the daemon submit pilots again: ends `pause`, and pauses after failures. For admins."""
        return self._json("POST", "/v1/daemon/resume")

    def explain(self, invocation_id: str) -> Document:
        """Return why an invocation is where it is."""
        return self._json("GET", f"/v1/invocations/{quote(invocation_id, safe='')}/explain")

    def evict(self, pilot_id: str) -> Document:
        """Ask a pilot to hand its work over and leave. For admins."""
        return self._json("POST", f"/v1/pilots/{quote(pilot_id, safe='')}/evict")

    def whoami(self) -> Document:
        """Return whose token this is, and its role."""
        return self._json("GET", "/v1/whoami")

    def cancel(self, invocation_id: str) -> Document:
        """Cancel an invocation, which stops one that runs; return its document. One that has ended stays as it is."""
        return self._json("POST", f"/v1/invocations/{quote(invocation_id, safe='')}/cancel")

    def _json(self, method: str, path: str, params: Mapping[str, str] | None = None, wait_s: float = 0.0) -> Document:
        response = self._gateway.send(Request(method=method, path=path, params=params or {}, wait_s=wait_s))
        document: Document = msgspec.json.decode(response.content or b"{}")
        return document

    def _items(self, path: str, params: Mapping[str, str]) -> list[Document]:
        items: list[Document] = self._json("GET", path, params)["items"]
        return items
