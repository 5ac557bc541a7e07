"""What can go wrong for a caller. The type says who must act.

Imports nothing, so that the CLI can catch these without paying for an HTTP client.
"""

from __future__ import annotations


class HarvesterError(Exception):
    """Base of everything that the SDK raises on its own account."""


class ConfigurationError(HarvesterError):
    """The SDK does not know its gateway or its token, or a config file is wrong. The user has to correct it."""


class ClientClosed(HarvesterError):
    """The client was closed before this invocation ended. The invocation itself goes on."""


class CannotTravel(HarvesterError, TypeError):
    """An argument belongs to this process: a future, a client. A `TypeError` too, as pickling raises it for others."""


class GatewayError(HarvesterError):
    """The gateway refused a request.

    Parameters
    ----------
    status: the HTTP status; 0 where there was no answer.
    title: the kind of refusal, a few words.
    detail: what was wrong, and where.
    field: the field of the request that was wrong; empty where none is to blame.
    remedy: what to do about it.
    """

    def __init__(self, status: int, title: str, detail: str = "", field: str = "", remedy: str = "") -> None:
        super().__init__(status, title, detail, field, remedy)
        self.status = status
        self.title = title
        self.detail = detail
        self.field = field
        self.remedy = remedy
        self.kind = ""  # of the problem, for programs: "unknown-version"; see rest.md
        self.retry_after_s = 0.0  # with 429: how long the gateway asks us to wait

    def __str__(self) -> str:
        text = self.detail or self.title
        if self.field and self.field not in text:
            text = f"{self.field}: {text}"
        return f"{text} ({self.remedy})" if self.remedy else text


class GatewayUnreachable(GatewayError):
    """Nobody answered at the gateway's address for as long as the client was willing to try."""


class InvocationFailed(HarvesterError):
    """An invocation ended without a result.

    What a function raised is raised again as it was, with this as its `__cause__`, where it can be made here.

    Parameters
    ----------
    invocation_id: which one.
    kind: a value of `harvester.domain.model.invocations.FailureKind`, or "expired".
    message: one line: what was wrong, where, what to do.
    error_type: the class of the exception that the function raised; empty where it raised none.
    traceback: the traceback on the compute node, as text.
    node: where it ran; empty where no run is to blame.
    attempt: which of its activations, from 1 on; 0 where no run is to blame.
    """

    def __init__(  # noqa: PLR0917 - an exception pickles as its positional arguments
        self,
        invocation_id: str,
        kind: str,
        message: str,
        error_type: str = "",
        traceback: str = "",
        node: str = "",
        attempt: int = 0,
    ) -> None:
        super().__init__(invocation_id, kind, message, error_type, traceback, node, attempt)
        self.invocation_id = invocation_id
        self.kind = kind
        self.message = message
        self.error_type = error_type
        self.traceback = traceback
        self.node = node
        self.attempt = attempt

    @property
    def headline(self) -> str:
        """One line, without the remote traceback."""
        what = self.message
        if self.error_type and not what.startswith(self.error_type):
            what = f"{self.error_type}: {what}"
        return f"invocation {self.invocation_id} failed ({self.kind}): {what}"

    def __str__(self) -> str:
        if not self.traceback:
            return self.headline
        where = f"node {self.node}, attempt {self.attempt}" if self.node else "the compute node"
        return f"{self.headline}\n\nOn {where}:\n{self.traceback.rstrip()}"
