"""Who may submit where: what a partition asks of those that use it, held against what pilots are submitted as.

Pure. Every answer is the reason why not, in words that end a sentence; empty where nothing is known against it. In
doubt a partition is not refused here: sbatch says no then, with its own words.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from harvester.domain.model.resources import Resources
from harvester_adapters.slurm.text.words import NOTHING, integer

_EVERYBODY = NOTHING | {"ALL"}


class Submitter(msgspec.Struct, frozen=True, kw_only=True):
    """As whom pilots are submitted."""

    user: str
    account: str = ""  # empty: the user's default one
    qos: str = ""  # empty: what Slurm gives where none is named
    groups: frozenset[str] = frozenset()  # the user's; empty: not known
    is_root: bool = False


def refusal(words: Mapping[str, str], submitter: Submitter, qos: str = "") -> str:
    """Return why a partition takes no pilots.

    Parameters
    ----------
    words: its words in `scontrol show partition`.
    qos: what pilots run under, where that is known.
    """
    qos = submitter.qos or qos
    return (
        _by_kind(words, is_root=submitter.is_root)
        or _by_size(words)
        or _by_list(words, "Accounts", "account", submitter.account)
        or _by_list(words, "Qos", "QOS", qos)
        or _by_groups(words, submitter)
    )


def gives_whole_nodes(words: Mapping[str, str]) -> bool:
    """Return whether a batch job in a partition shares its nodes with nobody else's.

    EXCLUSIVE: with no batch job at all. ExclusiveUser, ExclusiveTopo (later: Exclusive=USER or TOPO): with those of the
    same user or topology only, of which others' never are.
    """
    return (
        words.get("OverSubscribe", "NO").startswith("EXCLUSIVE")
        or words.get("ExclusiveUser", "NO") == "YES"
        or words.get("ExclusiveTopo", "NO") == "YES"
        or words.get("Exclusive", "NO") not in _EVERYBODY | {"NO"}
    )


def most_of_a_node(words: Mapping[str, str]) -> Resources | None:
    """Return what a partition gives of one node at most; 0 for what it sets no limit to, None for none at all."""
    cpus, memory = (words.get(key, "") for key in ("MaxCPUsPerNode", "MaxMemPerNode"))
    most = Resources(
        cpus=integer(cpus) if cpus.isdecimal() else 0, memory_mb=integer(memory) if memory.isdecimal() else 0
    )
    return most if most.cpus or most.memory_mb else None


def _by_kind(words: Mapping[str, str], *, is_root: bool) -> str:
    if words.get("RootOnly") == "YES" and not is_root:
        return "only root may submit to it (RootOnly=YES)"
    if words.get("DisableRootJobs") == "YES" and is_root:
        return "root may not submit to it (DisableRootJobs=YES)"
    if words.get("ReqResv") == "YES":
        return "it takes batch jobs of reservations only (ReqResv=YES), and pilots run in none"
    return ""


def _by_size(words: Mapping[str, str]) -> str:
    """Return whether a pilot, which takes one node, is too small or too large."""
    least, most = words.get("MinNodes", "0"), words.get("MaxNodes", "UNLIMITED")
    if least.isdecimal() and integer(least) > 1:
        return f"its batch jobs take {least} nodes or more (MinNodes), and a pilot takes one"
    if most == "0":
        return "its batch jobs may take no node at all (MaxNodes=0)"
    return ""


def _by_list(words: Mapping[str, str], key: str, what: str, own: str) -> str:
    """Return whether what pilots are submitted with is not on the list of the allowed, or on that of the denied."""
    if not own:
        return ""
    allowed, denied = words.get(f"Allow{key}", "ALL"), words.get(f"Deny{key}", "")
    if allowed not in _EVERYBODY and not _is_among(own, allowed):
        return f'{what} "{own}" may not use it (Allow{key}={allowed[:80]})'
    if allowed in _EVERYBODY and denied not in NOTHING and _is_among(own, denied):
        return f'{what} "{own}" may not use it (Deny{key}={denied[:80]})'
    return ""


def _by_groups(words: Mapping[str, str], submitter: Submitter) -> str:
    allowed = words.get("AllowGroups", "ALL")
    if allowed in _EVERYBODY or submitter.is_root or not submitter.groups:
        return ""
    if submitter.groups & set(allowed.split(",")):
        return ""
    return f"{submitter.user} is in none of its groups (AllowGroups={allowed[:80]})"


def _is_among(own: str, names: str) -> bool:
    return own.lower() in names.lower().split(",")
