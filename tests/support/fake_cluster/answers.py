"""A call of a command, and its answer: what server, faults and commands exchange."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from support.fake_cluster.model.cluster import FakeCluster


@dataclass(frozen=True)
class Call:
    """One call of an executable."""

    command: str
    arguments: tuple[str, ...]
    at: float  # by the cluster's clock
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """What it prints, and its exit code."""

    stdout: bytes = b""
    stderr: bytes = b""
    exit_code: int = 0


class Flavour(Protocol):
    """One scheduler's commands over the model."""

    refused: ClassVar[Answer]  # nobody listens where the controller should
    words: ClassVar[Mapping[str, str]]  # of its answers, in another language
    commands: ClassVar[tuple[str, ...]]

    def answer(self, cluster: FakeCluster, call: Call) -> Answer:
        """Do what a call asks, and return what the command prints."""
        ...


def said(text: str) -> Answer:
    """Return a success with these words."""
    return Answer(stdout=text.encode(errors="surrogateescape"))


def complained(text: str, exit_code: int = 1, *, stdout: str = "") -> Answer:
    """Return a failure with these words on stderr."""
    return Answer(stdout=stdout.encode(), stderr=text.encode(), exit_code=exit_code)
