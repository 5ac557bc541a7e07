"""QOSs: what sacctmgr is asked about them, and what it answers.

Pure: text in, records out. An answer that is not understood raises `SchedulerUnavailable`.
"""

from __future__ import annotations

from datetime import timedelta

import msgspec

from harvester_adapters.slurm.text.words import NOTHING, duration, malformed

QOS_ARGUMENTS = (
    "sacctmgr", "--noheader", "--parsable2", "show", "qos",
    "format=name,preempt,preemptmode,gracetime,preemptexempttime",
)  # fmt: skip


class Qos(msgspec.Struct, frozen=True, kw_only=True):
    """One QOS, as far as preemption goes."""

    name: str
    preempts: tuple[str, ...]  # the QOSs whose batch jobs its batch jobs preempt
    preempt_mode: str  # how its own batch jobs are preempted; "cluster" where the cluster's mode decides
    grace_time: timedelta = timedelta(0)
    exempt_time: timedelta | None = None  # its batch jobs are not evicted before; None: the cluster's time holds


def qos_table(text: str) -> tuple[Qos, ...]:
    """Return the QOSs in the answer to `QOS_ARGUMENTS`."""
    return tuple(_qos(line) for line in text.splitlines() if line.strip())


def _qos(line: str) -> Qos:
    try:
        name, preempts, preempt_mode, grace_time, *exempt_time = line.split("|")
        return Qos(
            name=name,
            preempts=tuple(word for word in preempts.split(",") if word not in NOTHING),
            preempt_mode=preempt_mode or "cluster",
            grace_time=duration(grace_time) or timedelta(0),
            exempt_time=duration(exempt_time[0]) if exempt_time else None,
        )
    except ValueError as error:
        raise malformed("a QOS of sacctmgr", line) from error


def admin_arguments(user: str) -> tuple[str, ...]:
    """Return the command that tells what a user may see and do."""
    return ("sacctmgr", "--noheader", "--parsable2", "show", "user", user, "format=adminlevel")


def is_operator(text: str) -> bool:
    """Return whether the answer to `admin_arguments` names a user from whom nothing is hidden."""
    return text.strip().lower() in {"operator", "administrator"}


def association_arguments(user: str) -> tuple[str, ...]:
    """Return the command that tells which QOS a user's batch jobs get when they name none."""
    return (
        "sacctmgr", "--noheader", "--parsable2", "show", "assoc", f"user={user}",
        "format=account,partition,defaultqos,qos",
    )  # fmt: skip


def default_qos(text: str, account: str) -> str:
    """Return the QOS that a user's batch jobs get, out of the answer to `association_arguments`; empty if unsure.

    Parameters
    ----------
    account: what pilots are submitted with; empty: the user's default one, which may be any of the answer.
    """
    found: set[str] = set()
    for line in text.splitlines():
        if not line.strip():
            continue
        try:
            own_account, _, default, allowed = line.split("|")
        except ValueError as error:
            raise malformed("an association of sacctmgr", line) from error
        if not account or own_account == account:
            # Without a default, a single QOS is it; else Slurm takes "normal".
            found.add(default or (allowed if allowed and "," not in allowed else "normal"))
    return found.pop() if len(found) == 1 else ""
