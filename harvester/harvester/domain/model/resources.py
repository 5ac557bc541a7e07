"""Resources: what an activation takes, what a pilot has."""

from __future__ import annotations

import msgspec


class Resources(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """CPUs (cores), GPUs (devices) and memory (MiB)."""

    cpus: int = 1
    gpus: int = 0
    memory_mb: int = 0

    def fits(self, room: Resources) -> bool:
        """Return whether this can be taken from `room`."""
        return self.cpus <= room.cpus and self.gpus <= room.gpus and self.memory_mb <= room.memory_mb

    def __add__(self, other: Resources) -> Resources:
        return Resources(
            cpus=self.cpus + other.cpus,
            gpus=self.gpus + other.gpus,
            memory_mb=self.memory_mb + other.memory_mb,
        )

    def __sub__(self, other: Resources) -> Resources:
        return Resources(
            cpus=self.cpus - other.cpus,
            gpus=self.gpus - other.gpus,
            memory_mb=self.memory_mb - other.memory_mb,
        )

    def __str__(self) -> str:
        parts = [f"{self.cpus} CPU{'s' * (self.cpus != 1)}"]
        if self.gpus:
            parts.append(f"{self.gpus} GPU{'s' * (self.gpus != 1)}")
        if self.memory_mb:
            parts.append(f"{self.memory_mb} MB")
        return ", ".join(parts)
