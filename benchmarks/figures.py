"""Figures: what was measured, how often, what is asked for; printed as Markdown and written as JSON.

Owns the two forms. A figure keeps every sample; what is shown is the median with the least and the greatest.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec
import psutil


class Asked(msgspec.Struct, frozen=True):
    """What a figure must reach: at least, or at most."""

    bound: float
    is_least: bool

    def holds(self, value: float) -> bool:
        return value >= self.bound if self.is_least else value <= self.bound

    def __str__(self) -> str:
        return f"{'≥' if self.is_least else '≤'} {shown(self.bound)}"


def at_least(bound: float) -> Asked:
    return Asked(bound, True)


def at_most(bound: float) -> Asked:
    return Asked(bound, False)


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was measured, in `unit`, once a sample."""

    name: str
    unit: str
    samples: list[float]
    asked: Asked | None = None

    @property
    def median(self) -> float:
        return statistics.median(self.samples)


class Report:
    """The figures of one run."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.figures: list[Figure] = []
        self.notes: list[str] = []

    def add(self, name: str, unit: str, samples: float | Sequence[float], asked: Asked | None = None) -> Figure:
        """Keep a figure; samples of one that is there already are added to it."""
        more = [float(samples)] if isinstance(samples, int | float) else [float(sample) for sample in samples]
        for index, figure in enumerate(self.figures):
            if figure.name == name:
                self.figures[index] = msgspec.structs.replace(figure, samples=figure.samples + more)
                return self.figures[index]
        self.figures.append(Figure(name=name, unit=unit, samples=more, asked=asked))
        return self.figures[-1]

    def note(self, sentence: str) -> None:
        """Keep a sentence that stands below the table."""
        self.notes.append(sentence)

    def markdown(self) -> str:
        lines = ["| what | median | least | greatest | n | asked for | |", "|---|---:|---:|---:|---:|---:|---|"]
        for figure in self.figures:
            verdict = "" if figure.asked is None else "yes" if figure.asked.holds(figure.median) else "**no**"
            least, most = shown(min(figure.samples)), shown(max(figure.samples))
            lines.append(
                f"| {figure.name}, {figure.unit} | {shown(figure.median)} | {least} | {most} | "
                f"{len(figure.samples)} | {figure.asked or ''} | {verdict} |"
            )
        return "\n".join([*lines, *(f"\n{note}" for note in self.notes)])

    def document(self) -> dict[str, object]:
        return {
            "title": self.title,
            "machine": machine(),
            "figures": [{"median": each.median} | msgspec.to_builtins(each) for each in self.figures],
            "notes": self.notes,
        }


def shown(value: float) -> str:
    """Return `value` with three or four digits that mean something."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}" if abs(value) >= 100 else f"{value:.3g}"


def machine() -> dict[str, object]:
    """Return what a figure depends on: processor, memory, interpreter, versions."""
    names = ("hpc-harvester", "fastapi", "starlette", "uvicorn", "uvloop", "httptools", "websockets", "msgspec")
    more = ("SQLAlchemy", "cloudpickle", "ray", "parsl", "dask", "distributed", "hyperqueue", "joblib", "loky")
    return {
        "measured_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "load_before": os.getloadavg()[0],
        "versions": {name: found for name in names + more if (found := _version(name))},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def options(doc: str | None) -> argparse.ArgumentParser:
    """Return a parser for a benchmark's command line, with the option that all have."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample there")
    return parser


def slurm_options(doc: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options of the benchmarks that run `harvester up` on a Slurm of their own."""
    parser = options(doc)
    parser.add_argument("--policy", default="gap")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="more for harvester up")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="copy the daemon's and the controller's logs there")
    return parser


def finish(report: Report, file: Path | None) -> None:
    """Print the report, and write it to `file` if there is one."""
    print(report.markdown(), flush=True)
    if file is not None:
        write(file, report.document())


def write(file: Path, document: dict[str, object]) -> None:
    """Write a document as JSON that people can read."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n")
