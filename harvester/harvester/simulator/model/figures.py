"""Figures: an offer and what pilots made of it, as the fields of a report."""

from __future__ import annotations

from typing import Any

from harvester.simulator.inputs.gaps import ClusterOffer, changes
from harvester.simulator.measures import Series, Tally, weighted_gaps
from harvester.simulator.model.fleet import Account
from harvester.simulator.parameters import Parameters
from harvester.simulator.report.report import History


def harvested(offer: ClusterOffer, account: Account, parameters: Parameters, *, block: int = 1) -> dict[str, Any]:
    """Return the fields of `Report` that tell of idle time, of the bound, and of pilots.

    Parameters
    ----------
    block: nodes that one node of the offer stands for.
    """
    seconds = offer.to_at - offer.from_at
    idle = offer.idle_s
    bound = offer.bound_s(parameters)
    tally = Tally(idle=idle, ready=account.ready_s, warming=account.warming_s, bound=bound)
    ready = changes((each.ready_at, each.ends_at) for each in account.intervals)
    lengths = tuple((gap.length_s, block) for gap in offer.gaps)
    return {
        "from_at": offer.from_at,
        "to_at": offer.to_at,
        "nodes": len(offer.nodes) * block,
        "idle_share": idle / seconds / len(offer.nodes),
        "mean_free_nodes": idle / seconds * block,
        "ready_bound": tally.share(bound),
        "ready_share": tally.share(account.ready_s),
        "warming_share": tally.share(account.warming_s),
        "covered_share": tally.share(account.ready_s + account.warming_s),
        "pilots": account.started * block,
        "evictions": account.evicted * block,
        "starts_a_day": account.started * block / seconds * 86_400,
        "gaps": len(offer.gaps) * block,
        "gap_length_s": weighted_gaps(lengths),
        "harvested_node_h": account.ready_s * block / 3600,
        "seed": parameters.seed,
        "parameters": parameters.document(),
        "history": History(
            idle=Series.of((at, change * block) for at, change in offer.changes()),
            ready=Series.of((at, change * block) for at, change in ready),
            intervals=tuple(account.intervals),
            gap_lengths=lengths,
            block=block,
        ),
    }
