"""Slurm's reservations: what `scontrol show reservation` prints, read.

What pilots need to know of one is which nodes it takes from when until when. Those of licenses or burst buffers only
have no nodes. With PARTITION, ANY_NODES and REPLACE, Slurm chooses the nodes, and may exchange them later; what it
shows is what holds now. Those that overlap are several claims on one node, of which the earliest counts.
"""

from __future__ import annotations

from harvester.domain.cluster.snapshot import Reservation
from harvester_adapters.oddities import each
from harvester_adapters.slurm.text.words import instant, lines, malformed, node_names


def reservations(text: str, *, odd: list[str] | None = None) -> tuple[Reservation, ...]:
    """Return the reservations in the output of `scontrol --oneliner --all show reservation`, called with TZ=UTC.

    One without nodes is left out.

    Parameters
    ----------
    odd: what could not be read is added to it, and left out: Slurm itself starts no pilot that would run into it.
    """
    if text.strip() in {"", "No reservations in the system"}:
        return ()
    found = each(
        lines(text, "ReservationName"), lambda one: _reservation(*one), lambda _: None, [] if odd is None else odd
    )
    return tuple(reservation for reservation in found if reservation.nodes)


def _reservation(line: str, words: dict[str, str]) -> Reservation:
    try:
        nodes = node_names(words["Nodes"])
        start_at = instant(words["StartTime"])
        if start_at is None:
            raise ValueError("StartTime")  # noqa: TRY301 - one message for every field, below
        flags = words.get("Flags", "").upper().split(",")
        return Reservation(
            name=words["ReservationName"],
            nodes=nodes,
            start_at=start_at,
            end_at=instant(words["EndTime"]),
            is_floating="TIME_FLOAT" in flags,
        )
    except (KeyError, ValueError) as error:
        raise malformed("a reservation of scontrol", line) from error
