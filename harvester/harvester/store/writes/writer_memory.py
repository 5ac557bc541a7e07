"""What the writer remembers of open invocations, so that a group need not read the rows that an earlier one wrote.

Worth something only while nobody else writes, which `trust` makes sure of. Knows no statement.
"""

from __future__ import annotations

from collections.abc import Iterable

from harvester.domain.model.invocations import InvocationState
from harvester.store.writes.folding import Life

_LIMIT = 32_768  # about 300 bytes each
_OPEN = (InvocationState.ACCEPTED, InvocationState.LEASED, InvocationState.RUNNING)


class WriterMemory:
    """Open invocations as the last groups left them.

    Parameters
    ----------
    limit: how many; beyond, those are forgotten that came first.
    """

    def __init__(self, limit: int = _LIMIT) -> None:
        self._limit = limit
        self._lives: dict[str, Life] = {}
        self._version: str | int | None = None  # of the database that this agrees with; None: none is known

    def __bool__(self) -> bool:
        return bool(self._lives)

    def trust(self, version: str | int | None) -> None:
        """Forget everything unless the database still has the version of the last call; None: it is unknown.

        Another connection counts its versions from anywhere, so after `distrust` one counts that was seen twice.
        """
        if version is None or version != self._version:
            self.clear()
        self._version = version

    def recall(self, ids: Iterable[str]) -> dict[str, Life]:
        """Return those of `ids` that are remembered. The caller folds into them, then keeps them or clears."""
        lives = self._lives
        return {name: lives[name] for name in ids if name in lives}

    def keep(self, life: Life) -> None:
        """Remember `life` as it was written; forget it where it is over."""
        if life.state not in _OPEN:
            self._lives.pop(life.invocation_id, None)
            return
        if life.kept is not None:
            life.has_checkpoint, life.kept = 1, None
        life.is_new = life.is_changed = False
        life.was = life.started_at = life.checkpoint_at = life.attempt = None
        self._lives[life.invocation_id] = life
        if len(self._lives) > self._limit:
            del self._lives[next(iter(self._lives))]

    def clear(self) -> None:
        """Forget everything."""
        self._lives.clear()

    def distrust(self) -> None:
        """Forget everything, after a failure: the next connection may be another one."""
        self.clear()
        self._version = None
