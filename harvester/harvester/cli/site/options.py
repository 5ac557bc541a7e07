"""Options of `harvester check` and `harvester init`, as records."""

from __future__ import annotations

from pathlib import Path

import msgspec

from harvester.config_file import parsed


class CheckOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options of `harvester check`; None where one is not given."""

    config: Path | None = None
    scheduler: str | None = None  # a value of `harvester.cli.options.Scheduler`
    partition: str | None = None
    state: Path | None = None
    port: int | None = None
    settings: tuple[tuple[str, str], ...] = ()  # --set key=value, in order
    probe: bool = False
    wait_s: float = 120.0  # for the probe to start and report
    as_json: bool = False

    @property
    def overrides(self) -> dict[str, object]:
        """What the options say, as fields of the configuration."""
        return {
            "state": None if self.state is None else str(self.state),
            "gateway.port": self.port,
            "scheduler.kind": self.scheduler,
            "harvest.partition": self.partition,
            **{key: parsed(value) for key, value in self.settings},
        }


class InitOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options of `harvester init`; None where one is not given."""

    scheduler: str | None = None
    output: Path = Path("harvester.toml")  # "-": stdout
    partition: str | None = None
    state: Path | None = None
    force: bool = False
