"""Slurm's reservations: what `scontrol show reservation` prints, read."""

from __future__ import annotations

from harvester.domain.cluster.snapshot import Reservation
from harvester_adapters.slurm.words import instant, lines, malformed, node_names


def reservations(text: str) -> tuple[Reservation, ...]:
    """Return the reservations in the output of `scontrol --oneliner --all show reservation`, called with TZ=UTC.

    One of licenses or burst buffers only has no nodes, and is left out.
    """
    if text.strip() in {"", "No reservations in the system"}:
        return ()
    found = (_reservation(line, words) for line, words in lines(text, "ReservationName"))
    return tuple(reservation for reservation in found if reservation.nodes)


def _reservation(line: str, words: dict[str, str]) -> Reservation:
    try:
        start_at = instant(words["StartTime"])
        if start_at is None:
            raise ValueError("StartTime")  # noqa: TRY301 - one message for every field, below
        return Reservation(
            name=words["ReservationName"],
            nodes=node_names(words["Nodes"]),
            start_at=start_at,
            end_at=instant(words["EndTime"]),
        )
    except (KeyError, ValueError) as error:
        raise malformed("a reservation of scontrol", line) from error
