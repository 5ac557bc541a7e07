"""What we must know of a site's slurm.conf: the version, and how it preempts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta

import msgspec

from harvester_adapters.slurm.text.words import duration, malformed


class SiteConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The controller's configuration, as far as it matters to pilots."""

    version: str  # "22.05.8"
    preempt_type: str  # "preempt/none", "preempt/partition_prio", "preempt/qos"
    preempt_mode: str  # the cluster's: "CANCEL", "GANG,SUSPEND"
    exempt_time: timedelta = timedelta(0)  # PreemptExemptTime: before it nobody is evicted
    exempt_priority: str = ""  # min_exempt_priority: who has this priority or a higher one is not evicted
    gives_whole_nodes: bool = False  # select/linear: a node has one batch job
    private: frozenset[str] = frozenset()  # PrivateData: what a user is shown only of their own

    @property
    def cuts_time_min(self) -> bool:
        """Whether backfill gives a batch job with --time-min the largest walltime that fits.

        From 20.11 to 25.05.4 it gave exactly the minimum, whatever the room.
        """
        return self._numbers >= [25, 5, 5]

    @property
    def shows_excluded(self) -> bool:
        """Whether `squeue --Format` has ExcNodes."""
        return self._numbers >= [24, 5, 0]

    @property
    def _numbers(self) -> list[int]:
        numbers = [int(part) for part in re.findall(r"\d{1,9}", self.version)[:3]]
        return [*numbers, 0, 0, 0][:3]


def site_config(text: str) -> SiteConfig:
    """Return the configuration in the output of `scontrol show config`."""
    found = (line.partition("=") for line in text.split("\n"))
    words = {key.strip(): value.strip() for key, is_there, value in found if is_there}
    try:
        return SiteConfig(
            version=words["SLURM_VERSION"],
            preempt_type=words["PreemptType"],
            preempt_mode=words["PreemptMode"],
            exempt_time=duration(words.get("PreemptExemptTime", "")) or timedelta(0),
            exempt_priority=_exempt_priority(words),
            gives_whole_nodes=words.get("SelectType") == "select/linear",
            private=frozenset(words.get("PrivateData", "").lower().split(",")) - {"none", ""},
        )
    except KeyError as error:
        raise malformed(f"scontrol's configuration (it has no {error.args[0]})", text) from error
    except ValueError as error:
        raise malformed("scontrol's configuration (its PreemptExemptTime)", text) from error


def _exempt_priority(words: Mapping[str, str]) -> str:
    """Return the number in `PreemptParameters`, which was another key once."""
    keys = ("PreemptParameters", "SlurmctldParameters", "SchedulerParameters")
    options = ",".join(words.get(key, "") for key in keys)
    found = re.search(r"(?:^|,)min_exempt_priority=(\d+)", options)
    return found[1] if found else ""
