"""Who is preempted on a Slurm, by the rules of its plugins and not by what it shows."""

from __future__ import annotations

from datetime import timedelta

import pytest
from msgspec.structs import replace

from harvester_adapters.slurm.text.config import SiteConfig, site_config
from harvester_adapters.slurm.text.partitions import partitions
from harvester_adapters.slurm.text.preemption import PilotQos
from harvester_adapters.slurm.text.qos import Qos, default_qos, qos_table

BY_TIER, BY_QOS = "preempt/partition_prio", "preempt/qos"


def part(name: str, tier: int, mode: str, nodes: str = "n[1-8]", **changed: str) -> str:
    words = {
        "Default": "NO", "GraceTime": "60", "MaxTime": "02:00:00", "Nodes": nodes, "PriorityTier": str(tier),
        "OverSubscribe": "NO", "PreemptMode": mode, "State": "UP",
    }  # fmt: skip
    return f"PartitionName={name} " + " ".join(f"{key}={value}" for key, value in (words | changed).items())


def why_not(*lines: str, cluster: str = "CANCEL", kind: str = BY_TIER, qos: PilotQos | None = None) -> dict[str, str]:
    site = SiteConfig(version="25.11.1", preempt_type=kind, preempt_mode=cluster)
    return {found.name: found.why_not for found in partitions("\n".join(lines), site, qos or PilotQos())}


def test_where_the_cluster_cancels_and_every_partition_shows_it_only_the_lower_tier_is_preempted():
    found = why_not(part("prime", 10, "CANCEL"), part("harvest", 1, "CANCEL"))
    assert found == {"prime": "no partition of a higher PriorityTier shares its nodes", "harvest": ""}


def test_a_higher_tier_on_other_nodes_preempts_nobody():
    found = why_not(part("prime", 10, "OFF", "n[1-4]"), part("a", 1, "CANCEL", "n[5-8]"), part("b", 1, "CANCEL", "n4"))
    assert found["a"] == "no partition of a higher PriorityTier shares its nodes"
    assert found["b"] == ""


@pytest.mark.parametrize(
    ("cluster", "mode", "why"),
    [
        ("CANCEL", "CANCEL", ""),
        ("REQUEUE", "REQUEUE", ""),
        ("GANG,CANCEL", "GANG,CANCEL", ""),
        ("CANCEL", "OFF", "its batch jobs are never preempted (PreemptMode=OFF)"),
        ("GANG", "GANG", "its batch jobs are never preempted (PreemptMode=GANG)"),
        ("GANG,SUSPEND", "GANG,SUSPEND", "its pilots would be suspended, not ended (PreemptMode=GANG,SUSPEND)"),
        ("GANG,SUSPEND", "SUSPEND", "its pilots would be suspended, not ended (PreemptMode=SUSPEND)"),
        ("GANG,SUSPEND", "CANCEL", ""),
        ("CANCEL,PRIORITY", "CANCEL", "only batch jobs of a higher priority than a pilot's"),
        ("CANCEL", "PRIORITY,CANCEL", "only batch jobs of a higher priority than a pilot's"),
        ("CANCEL", "SOMETHING", "its batch jobs are never preempted (PreemptMode=SOMETHING)"),
    ],
)
def test_the_effective_mode_must_end_pilots(cluster, mode, why):
    found = why_not(part("prime", 10, "OFF"), part("harvest", 1, mode), cluster=cluster)["harvest"]
    assert found.startswith(why)
    assert bool(found) == bool(why)


def test_where_those_above_preempt_by_priority_nobody_knows_whether_a_pilot_goes():
    lower = part("harvest", 1, "CANCEL")
    assert "of a lower priority" in why_not(part("prime", 10, "PRIORITY,CANCEL"), lower)["harvest"]
    both = (part("prime", 10, "PRIORITY,CANCEL"), part("urgent", 20, "CANCEL"), lower)
    assert why_not(*both)["harvest"] == ""


def test_pilots_that_would_take_turns_are_suspended():
    forced = part("harvest", 1, "CANCEL", OverSubscribe="FORCE:4")
    assert "take turns" in why_not(part("prime", 10, "OFF"), forced, cluster="GANG,CANCEL")["harvest"]
    assert why_not(part("prime", 10, "OFF"), forced)["harvest"] == ""


@pytest.mark.parametrize("kind", ["preempt/none", "(null)"])  # the second is how 26.05 says the first
def test_without_preemption_nobody_is_preempted(kind):
    found = why_not(part("prime", 10, "OFF"), part("harvest", 1, "OFF"), cluster="OFF", kind=kind)
    assert set(found.values()) == {"nobody is preempted here (PreemptType is preempt/none)"}


# ---- by QOS --------------------------------------------------------------------------------------------------------

NORMAL, SCAVENGER = Qos(name="normal", preempts=(), preempt_mode="cluster"), "scavenger"
URGENT = Qos(name="urgent", preempts=(SCAVENGER,), preempt_mode="cluster")


def by_qos(name: str, *table: Qos, cluster: str = "CANCEL") -> str:
    lines = (part("prime", 10, cluster), part("harvest", 1, cluster))
    found = why_not(*lines, cluster=cluster, kind=BY_QOS, qos=PilotQos(name=name, table=table))
    assert len(set(found.values())) == 1  # partitions and their tiers do not matter
    return found["harvest"]


def scavenger(mode: str = "cluster", **changed: timedelta) -> Qos:
    return Qos(name=SCAVENGER, preempts=(), preempt_mode=mode, **changed)


def preempted(table) -> set[str]:
    return {name for qos in table for name in qos.preempts if name != qos.name}


def test_under_preempt_qos_it_is_the_preempt_list_that_counts():
    table = (NORMAL, scavenger(), URGENT)
    assert by_qos(SCAVENGER, *table) == ""
    refused = 'no QOS has "normal", which pilots run under, in its Preempt list'
    assert by_qos("normal", *table).startswith(refused)
    assert f"scheduler.slurm.qos may name {' or '.join(sorted(preempted(table)))}" in by_qos("normal", *table)
    assert by_qos("normal", replace(NORMAL, preempts=())) == refused, "there is none to name"
    assert by_qos("lost", *table).endswith('there is no QOS "lost"')
    itself = Qos(name=SCAVENGER, preempts=(SCAVENGER,), preempt_mode="within")
    assert "in its Preempt list" in by_qos(SCAVENGER, NORMAL, itself)


@pytest.mark.parametrize(
    ("cluster", "mode", "why"),
    [
        ("CANCEL", "cluster", ""), ("GANG,SUSPEND", "cancel", ""), ("GANG,SUSPEND", "requeue", ""),
        ("REQUEUE", "off", ""),  # Slurm's QOS knows no OFF: it means the cluster's
        ("CANCEL", "suspend", "suspended"), ("GANG,SUSPEND", "cluster", "suspended"), ("CANCEL", "within", "never"),
        ("CANCEL,WITHIN", "cluster", ""), ("CANCEL,PRIORITY", "cluster", "higher priority"),
    ],
)  # fmt: skip
def test_the_mode_of_the_qos_wins_over_the_clusters(cluster, mode, why):
    found = by_qos(SCAVENGER, NORMAL, scavenger(mode), URGENT, cluster=cluster)
    assert why in found
    assert bool(found) == bool(why)


def test_the_grace_time_is_the_one_of_the_qos():
    site = SiteConfig(version="22.05.8", preempt_type=BY_QOS, preempt_mode="CANCEL")
    qos = PilotQos(name=SCAVENGER, table=(scavenger(grace_time=timedelta(seconds=90)), URGENT))
    [found] = partitions(part("harvest", 1, "CANCEL"), site, qos)
    assert found.grace_time == timedelta(seconds=90)


def test_qos_are_read():
    text = "normal||cluster|00:00:00\nscavenger||cancel|00:01:30\nurgent|scavenger,normal|gang,suspend|\n"
    assert qos_table(text) == (
        NORMAL,
        Qos(name=SCAVENGER, preempts=(), preempt_mode="cancel", grace_time=timedelta(seconds=90)),
        Qos(name="urgent", preempts=(SCAVENGER, "normal"), preempt_mode="gang,suspend"),
    )


@pytest.mark.parametrize(
    ("text", "account", "name"),
    [
        ("", "", ""),
        ("lab||low|normal,low\n", "", "low"),
        ("lab|||normal\n", "", "normal"),
        ("lab|||low\n", "", "low"),  # the only one that is allowed
        ("lab|||low,normal\n", "", "normal"),
        ("a||low|low\nb||high|high\n", "", ""),
        ("a||low|low\nb||high|high\n", "b", "high"),
        ("a|p1|low|low\na|p2|low|low\n", "a", "low"),
        ("a||low|low\n", "c", ""),
    ],
)
def test_the_qos_of_pilots_is_known_only_where_there_is_no_choice(text, account, name):
    assert default_qos(text, account) == name


# ---- PreemptExemptTime -----------------------------------------------------------------------------------------------


def exempt(words: str, qos: PilotQos | None = None, kind: str = BY_TIER):
    text = f"SLURM_VERSION = 24.11.5\nPreemptType = {kind}\nPreemptMode = CANCEL\nPreemptExemptTime = {words}\n"
    return partitions(
        "\n".join((part("prime", 10, "OFF"), part("harvest", 1, "CANCEL"))), site_config(text), qos or PilotQos()
    )[1]


def test_pilots_that_are_exempt_for_long_are_not_preemptible_and_a_minute_is_told():
    assert (exempt("00:00:00").is_preemptible, exempt("00:00:00").exempt_time) == (True, timedelta(0))
    assert (exempt("00:01:00").is_preemptible, exempt("00:01:00").exempt_time) == (True, timedelta(minutes=1))
    assert exempt("01:00:00").why_not == (
        "its batch jobs are evicted only after they have run for 3600 s (PreemptExemptTime)"
    )


def test_where_priority_exempts_nobody_knows_whether_a_pilot_goes():
    found = exempt("00:00:00\nPreemptParameters = youngest_first,min_exempt_priority=1000")
    assert found.why_not.startswith("batch jobs of priority 1000 or more are not evicted (min_exempt_priority)")
    assert exempt("00:00:00\nPreemptParameters = youngest_first").is_preemptible


def test_the_exempt_time_of_the_qos_wins_over_the_clusters():
    table = (*qos_table("scavenger||cancel|00:01:30|00:00:00\nother||cluster|00:00:00|\n"), URGENT)
    assert [qos.exempt_time for qos in table] == [timedelta(0), None, None]
    assert exempt("01:00:00", PilotQos(name=SCAVENGER, table=table), BY_QOS).is_preemptible
    unset = PilotQos(name=SCAVENGER, table=(replace(table[0], exempt_time=None), URGENT))
    assert "PreemptExemptTime" in exempt("01:00:00", unset, BY_QOS).why_not
