"""Plots of reports: idle against ready over time, the distributions of gaps and of ready pilots, policies side by side.

Matplotlib is imported here and nowhere else (extra `simulate`), without a display. The kind of file follows its suffix.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

from harvester.simulator.errors import SimulationError
from harvester.simulator.measures import Series
from harvester.simulator.report.report import Report

SUFFIXES = (".png", ".svg", ".pdf")
_POINTS = 2000  # of a curve; more than a picture has pixels


def write(reports: Sequence[Report], path: Path) -> None:
    """Write one picture of `reports`, which are of the same trace.

    Raises `SimulationError` where matplotlib is missing, the suffix is not known, or the file cannot be written.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise SimulationError(f"--plot {path}: the suffix must be one of {', '.join(SUFFIXES)}")
    figure = _figure()
    axes = figure.subplots(2, 2)
    for draw, axis in zip(_PANELS, axes.flat, strict=True):
        draw(axis, reports)
    first = reports[0]
    figure.suptitle(f"{first.source}, {first.nodes} nodes, {first.model} model")
    try:
        figure.savefig(path, dpi=120, metadata={"Date": None} if path.suffix.lower() == ".svg" else None)
    except OSError as error:
        raise SimulationError(f"--plot {path} cannot be written: {error.strerror or error}") from None


def _figure() -> Any:  # noqa: ANN401 - matplotlib is optional, and so are its types
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - optional, and slow to import
    except ImportError:
        raise SimulationError("plots need matplotlib: pip install 'hpc-harvester[simulate]'") from None
    return Figure(figsize=(12, 8), layout="constrained")


def _over_time(axis: Any, reports: Sequence[Report]) -> None:  # noqa: ANN401 - as above
    first = reports[0]
    if first.history is None:
        axis.set_axis_off()
        return
    _curve(axis, first.history.idle, first, "idle", color="0.75", is_filled=True)
    for report in reports:
        if report.history is not None and report.pilots:
            _curve(axis, report.history.ready, report, f"ready, {_label(report)}")
    axis.set(title="idle nodes and ready pilots", xlabel="time (UTC)", ylabel="nodes")
    axis.legend(fontsize="small")
    axis.tick_params(axis="x", rotation=30)


def _curve(
    axis: Any,  # noqa: ANN401 - as above
    series: Series,
    report: Report,
    label: str,
    *,
    color: str | None = None,
    is_filled: bool = False,
) -> None:
    at, value = resampled(series, report.from_at, report.to_at)
    times = [datetime.fromtimestamp(moment, UTC) for moment in at]
    if is_filled:
        axis.fill_between(times, value, color=color, label=label, linewidth=0)
    else:
        axis.plot(times, value, label=label, linewidth=0.8)


def resampled(series: Series, from_at: float, to_at: float, points: int = _POINTS) -> tuple[list[float], list[float]]:
    """Return means of `series` over equal parts of the time, for a curve that a picture can hold."""
    step = (to_at - from_at) / points
    sums = [0.0] * points
    for (begin, end), value in zip(pairwise((*series.at, to_at)), series.value, strict=True):
        low, high = max(begin, from_at), min(end, to_at)
        index = int((low - from_at) / step)
        while low < high and index < points:
            edge = min(high, from_at + (index + 1) * step)
            sums[index] += value * (edge - low)
            low, index = edge, index + 1
    return [from_at + (index + 0.5) * step for index in range(points)], [total / step for total in sums]


def _gap_lengths(axis: Any, reports: Sequence[Report]) -> None:  # noqa: ANN401 - as above
    history = reports[0].history
    if history is None or not history.gap_lengths:
        axis.set_axis_off()
        return
    ordered = sorted(history.gap_lengths)
    values = [max(length, 1.0) for length, _ in ordered]
    axis.plot(values, _rising(count for _, count in ordered), label="gaps")
    axis.plot(values, _rising(length * count for length, count in ordered), label="node-time in them")
    axis.set(title="lengths of gaps", xlabel="seconds", ylabel="share that is not longer", xscale="log")
    axis.legend(fontsize="small")


def _ready(axis: Any, reports: Sequence[Report]) -> None:  # noqa: ANN401 - as above
    for report in reports:
        if report.history is None:
            continue
        curves = [(report.history.ready, f"ready, {_label(report)}")]
        if report is reports[0]:
            curves.insert(0, (report.history.idle, "idle"))
        for series, label in curves:
            ends = (*series.at, report.to_at)
            spans = sorted(
                (value, max(0.0, end - begin)) for (begin, end), value in zip(pairwise(ends), series.value, strict=True)
            )
            if spans:
                axis.plot([value for value, _ in spans], _rising(span for _, span in spans), label=label)
    axis.set(title="how many at once", xlabel="nodes", ylabel="share of time with no more")
    axis.legend(fontsize="small")


def _shares(axis: Any, reports: Sequence[Report]) -> None:  # noqa: ANN401 - as above
    labels = [_label(report) for report in reports]
    ready = [report.ready_share for report in reports]
    axis.bar(labels, ready, label="ready")
    axis.bar(labels, [report.warming_share for report in reports], bottom=ready, label="warming")
    axis.plot(labels, [report.ready_bound for report in reports], "k_", markersize=30, label="bound of ready")
    axis.set(title="share of idle node-time", ylim=(0, 1.05))
    axis.tick_params(axis="x", rotation=20)
    axis.legend(fontsize="small", loc="lower right")


def _label(report: Report) -> str:
    foresight = report.parameters.get("foresight")
    return f"{report.policy} {foresight:g}" if report.model == "daemon" and foresight is not None else report.policy


def _rising(weights: Any) -> list[float]:  # noqa: ANN401 - any numbers
    sums = list(accumulate(weights))
    return [each / sums[-1] for each in sums] if sums and sums[-1] else [0.0] * len(sums)


_PANELS: tuple[Callable[[Any, Sequence[Report]], None], ...] = (_over_time, _gap_lengths, _ready, _shares)
