"""Reports of simulations as tables for a terminal: policies side by side, one line a figure. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from rich.table import Table

from harvester.cli.render.tables import table
from harvester.simulator.report.report import FunctionFigures, Report

_Figure = Callable[[Report], str]


def tables(reports: Sequence[Report]) -> Iterator[Table]:
    """Yield the tables of reports that are of the same trace."""
    first = reports[0]
    days = (first.to_at - first.from_at) / 86_400
    title = f"{first.source}: {first.nodes} nodes, {days:.1f} days, {first.model} model"
    head = ("", *(f"{report.policy} ({report.mode})" for report in reports))
    figures = (*_HARVEST, *(_PRIME if first.prime_jobs else ()))
    yield table(title, head, ((name, *(figure(report) for report in reports)) for name, figure in figures))
    for report in reports:
        if report.functions:
            yield _functions(report.policy, report.functions)


def _functions(policy: str, functions: dict[str, FunctionFigures]) -> Table:
    columns = ("function", "invocations", "succeeded", "restarts", "resumed", "lost work", "p50", "p95", "p99")
    return table(
        f"invocations, {policy}",
        columns,
        (
            (
                name,
                each.invocations,
                _percent(each.success_share),
                each.restarts,
                each.resumed,
                f"{each.lost_work_s / 3600:,.1f} h ({_percent(each.lost_work_share)})",
                _seconds(each.latency_p50_s),
                _seconds(each.latency_p95_s),
                _seconds(each.latency_p99_s),
            )
            for name, each in functions.items()
        ),
    )


def _percent(share: float) -> str:
    return f"{share * 100:.2f} %"


def _seconds(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds:,.1f} s" if seconds < 600 else f"{seconds / 3600:,.2f} h"


_HARVEST: tuple[tuple[str, _Figure], ...] = (
    ("idle share of all node-time", lambda report: _percent(report.idle_share)),
    ("free nodes, mean", lambda report: f"{report.mean_free_nodes:,.2f}"),
    ("bound of the ready share", lambda report: _percent(report.ready_bound)),
    ("ready share", lambda report: _percent(report.ready_share)),
    ("warming share", lambda report: _percent(report.warming_share)),
    ("covered share", lambda report: _percent(report.covered_share)),
    ("node-hours harvested a week", lambda report: f"{report.harvested_node_h_a_week:,.0f}"),
    ("pilots", lambda report: f"{report.pilots:,}"),
    ("evictions", lambda report: f"{report.evictions:,}"),
    ("starts a day", lambda report: f"{report.starts_a_day:,.0f}"),
    ("gaps", lambda report: f"{report.gaps:,}"),
    ("length of a gap, median", lambda report: _seconds(report.gap_length_s.get("p50"))),
    ("length of a gap, mean", lambda report: _seconds(report.gap_length_s.get("mean"))),
)
_PRIME: tuple[tuple[str, _Figure], ...] = (
    ("prime jobs", lambda report: f"{report.prime_jobs:,}"),
    ("… that started later", lambda report: f"{report.prime_delayed:,}"),
    ("… by more than the grace time", lambda report: f"{report.prime_delayed_over_grace:,}"),
    ("… at most by", lambda report: _seconds(report.prime_delay_max_s)),
    ("… on average by", lambda report: _seconds(report.prime_delay_mean_s)),
    ("wait of prime jobs, mean", lambda report: _seconds(report.prime_wait_mean_s)),
    ("… without harvest", lambda report: _seconds(report.prime_wait_mean_off_s)),
    ("wait of prime jobs, p99", lambda report: _seconds(report.prime_wait_p99_s)),
    ("… without harvest", lambda report: _seconds(report.prime_wait_p99_off_s)),
)
