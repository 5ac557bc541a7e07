"""PBS's reservations: what `pbs_rstat -f` prints, read. It has no JSON and no dsv."""

from __future__ import annotations

from collections.abc import Mapping

from harvester.domain.cluster.snapshot import Reservation
from harvester_adapters.asking import malformed
from harvester_adapters.pbs.records import PbsRecord, reservation_blocks
from harvester_adapters.pbs.words import instant, reservation_id, vnodes

PBS_RSTAT = ("pbs_rstat", "-f")

_OVER = frozenset({"RESV_FINISHED", "RESV_BEING_DELETED", "RESV_DELETED", "RESV_DELETING_JOBS"})


def reservations(text: str, host_of: Mapping[str, str]) -> tuple[Reservation, ...]:
    """Return the reservations that have nodes; of a standing one, its next or present time.

    Parameters
    ----------
    host_of: the host of each vnode.
    """
    found = (_reservation(record, host_of) for record in reservation_blocks(text))
    return tuple(reservation for reservation in found if reservation is not None and reservation.nodes)


def _reservation(record: PbsRecord, host_of: Mapping[str, str]) -> Reservation | None:
    if record.get("reserve_state") in _OVER or not record.get("resv_nodes"):  # over, or not confirmed yet
        return None
    try:
        start_at = instant(record.get("reserve_start"))
        if start_at is None:
            raise ValueError("reserve_start")  # noqa: TRY301 - one message for every field, below
        return Reservation(
            name=reservation_id(record.name),
            nodes=tuple(dict.fromkeys(host_of.get(name, name) for name in vnodes(record.get("resv_nodes")))),
            start_at=start_at,
            end_at=instant(record.get("reserve_end")),
        )
    except ValueError as error:
        raise malformed("a reservation of pbs_rstat", f"{record.name}: {error}") from error
