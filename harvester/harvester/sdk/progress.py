"""A progress bar around results as they come.

Owns the bar. Silent where standard error is not a terminal, so that it may stay in a program that runs in a batch job.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sized
from concurrent.futures import Future, as_completed
from typing import Any, TypeVar, cast, overload

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

T = TypeVar("T")


@overload
def progress(results: Iterable[Future[T]], total: int | None = None, description: str = "") -> Iterator[Future[T]]: ...
@overload
def progress(results: Iterable[T], total: int | None = None, description: str = "") -> Iterator[T]: ...


def progress(results: Iterable[Any], total: int | None = None, description: str = "") -> Iterator[Any]:
    """Yield what `results` yields, with a bar on standard error.

    `for value in harvester.progress(client.map(f, xs), total=len(xs)): …`

    Parameters
    ----------
    results: an iterator of `map`, or a list, tuple or set of futures, which are yielded as they complete.
    total: how many there will be; the length of `results` where it has one.
    description: a few words before the bar.
    """
    if total is None and isinstance(results, Sized):
        total = len(results)
    if isinstance(results, (list, tuple, set, frozenset)) and all(isinstance(each, Future) for each in results):
        results = as_completed(cast("Iterable[Future[Any]]", results))
    if not sys.stderr.isatty():
        yield from results
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as bar:
        yield from bar.track(results, total=total, description=description)
