"""Run callers: functions that call the gateway back, by the credential of their run.

Owns the secret that all of them are signed with, and whether a run is under way. Who calls so is the run's owner, as an
ordinary user, for as long as a pilot holds that invocation under that fencing token.
"""

from __future__ import annotations

from harvester.domain.dispatch.dispatcher import Dispatcher
from harvester.domain.model.run_tokens import is_genuine, owner_key, read_token
from harvester_api.http.auth import Caller
from harvester_api.problems import refusal
from harvester_api.settings import Role


class RunCallers:
    """The runs of one gateway.

    Parameters
    ----------
    dispatcher: knows which pilot holds what.
    secret: what the credentials of all runs are signed with.
    """

    def __init__(self, dispatcher: Dispatcher, secret: bytes) -> None:
        self._dispatcher, self._secret = dispatcher, secret

    def key(self, pilot_id: str, owner: str) -> bytes:
        """Return what signs the runs of an owner on a pilot."""
        return owner_key(self._secret, pilot_id, owner)

    def caller(self, text: str) -> Caller | None:
        """Return who calls with this token; None for one that is not a run's.

        Raises `Refusal`: 401 for a run that is over, 503 for one whose pilot has not come back after a restart.
        """
        token = read_token(text)
        entry = None if token is None else self._dispatcher.entry(token.invocation_id)
        if token is None or entry is None:
            return None
        owner = entry.lane.owner.name
        if not is_genuine(token, self.key(token.pilot_id, owner)):
            return None
        if entry.is_over or token.fence < entry.last_fence:
            raise refusal(
                401,
                "run-over",
                f"the run of {token.invocation_id} that this credential belongs to is over",
                field="Authorization",
                remedy="The credential of a run is valid while that run lasts.",
                headers={"WWW-Authenticate": "Bearer"},
            )
        if entry.lease is not None and entry.lease.pilot_id != token.pilot_id:
            return None  # a key that was kept from another pilot, where this owner's work was once
        if entry.fence != token.fence:
            raise refusal(
                503,
                "not-ready",
                "the gateway has restarted, and the pilot of this run has not reconnected yet",
                remedy="Try again after Retry-After.",
                headers={"Retry-After": "1"},
            )
        return Caller(name=owner, role=Role.USER, run=token.invocation_id)
