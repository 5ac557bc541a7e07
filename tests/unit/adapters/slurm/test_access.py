"""Into which partitions pilots may not go, whoever would start them there, and which give whole nodes only."""

import pytest

from harvester.domain.model.resources import Resources
from harvester_adapters.slurm.text.access import Submitter, gives_whole_nodes, most_of_a_node, refusal
from harvester_adapters.slurm.text.config import SiteConfig
from harvester_adapters.slurm.text.partitions import partitions
from harvester_adapters.slurm.text.preemption import PilotQos

ME = Submitter(user="eva", account="lab", qos="low", groups=frozenset({"eva", "staff"}))
OPEN = {
    "AllowGroups": "ALL", "AllowAccounts": "ALL", "AllowQos": "ALL", "MinNodes": "0", "MaxNodes": "UNLIMITED",
    "RootOnly": "NO", "ReqResv": "NO", "DisableRootJobs": "NO", "OverSubscribe": "NO", "ExclusiveUser": "NO",
}  # fmt: skip
LINE = "PartitionName=harvest Default=NO GraceTime=60 MaxTime=02:00:00 Nodes=n[1-4] PriorityTier=1 PreemptMode=CANCEL"


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({}, ""),
        ({"AllowAccounts": "physics,Lab"}, ""),  # names of accounts know no case
        ({"AllowAccounts": "physics"}, 'account "lab" may not use it (AllowAccounts=physics)'),
        ({"AllowAccounts": "", "DenyAccounts": "lab"}, 'account "lab" may not use it (DenyAccounts=lab)'),
        ({"AllowQos": "high,low"}, ""),
        ({"AllowQos": "high"}, 'QOS "low" may not use it (AllowQos=high)'),
        ({"DenyQos": "low"}, 'QOS "low" may not use it (DenyQos=low)'),
        ({"AllowGroups": "staff"}, ""),
        ({"AllowGroups": "admins"}, "eva is in none of its groups (AllowGroups=admins)"),
        ({"RootOnly": "YES"}, "only root may submit to it (RootOnly=YES)"),
        ({"ReqResv": "YES"}, "it takes batch jobs of reservations only (ReqResv=YES), and pilots run in none"),
        ({"MinNodes": "2"}, "its batch jobs take 2 nodes or more (MinNodes), and a pilot takes one"),
        ({"MaxNodes": "1"}, ""),
        ({"MaxNodes": "0"}, "its batch jobs may take no node at all (MaxNodes=0)"),
        ({"DisableRootJobs": "YES"}, ""),
    ],
)
def test_a_partition_into_which_pilots_may_not_go_says_why(changed, why):
    assert refusal(OPEN | changed, ME) == why


def test_root_is_in_every_group_and_not_welcome_everywhere():
    root = Submitter(user="root", is_root=True, groups=frozenset({"root"}))
    assert refusal(OPEN | {"AllowGroups": "admins", "RootOnly": "YES"}, root) == ""
    assert "DisableRootJobs" in refusal(OPEN | {"DisableRootJobs": "YES"}, root)


def test_where_account_and_qos_are_not_known_nothing_is_refused_for_them():
    nobody = Submitter(user="eva")
    assert refusal(OPEN | {"AllowAccounts": "physics", "AllowQos": "high", "AllowGroups": "admins"}, nobody) == ""
    assert "AllowQos" in refusal(OPEN | {"AllowQos": "high"}, nobody, "normal")


@pytest.mark.parametrize(
    ("changed", "is_whole"),
    [
        ({}, False), ({"OverSubscribe": "EXCLUSIVE"}, True), ({"OverSubscribe": "FORCE:4"}, False),
        ({"OverSubscribe": "YES:2"}, False), ({"ExclusiveUser": "YES"}, True), ({"ExclusiveTopo": "YES"}, True),
        ({"Exclusive": "USER"}, True), ({"Exclusive": "TOPO"}, True), ({"Exclusive": "NO"}, False),
    ],
)  # fmt: skip
def test_partitions_whose_batch_jobs_share_no_node_are_known(changed, is_whole):
    assert gives_whole_nodes(OPEN | changed) is is_whole


def read(site: SiteConfig, **changed: str):
    words = " ".join(f"{key}={value}" for key, value in (OPEN | changed).items())
    prime = LINE.replace("harvest", "prime").replace("Tier=1", "Tier=9") + f" State=UP {words}\n"
    return partitions(prime + f"{LINE} State=UP {words}\n", site, PilotQos(), ME)[1]


def test_what_a_partition_gives_of_a_node_at_most_is_known():
    assert most_of_a_node(OPEN | {"MaxCPUsPerNode": "UNLIMITED", "MaxMemPerNode": "UNLIMITED"}) is None
    assert most_of_a_node(OPEN | {"MaxCPUsPerNode": "48"}) == Resources(cpus=48)
    assert most_of_a_node(OPEN | {"MaxMemPerNode": "1000"}) == Resources(cpus=0, memory_mb=1000)


def test_all_of_it_is_in_the_partition():
    assert read(SiteConfig(version="", preempt_type="", preempt_mode=""), MaxCPUsPerNode="2").most == Resources(cpus=2)
    site = SiteConfig(version="22.05.8", preempt_type="preempt/partition_prio", preempt_mode="CANCEL")
    assert read(site).refuses == ""
    assert "AllowAccounts" in read(site, AllowAccounts="physics").refuses
    assert read(site, OverSubscribe="EXCLUSIVE").gives_whole_nodes
    linear = SiteConfig(version="22.05.8", preempt_type="preempt/none", preempt_mode="OFF", gives_whole_nodes=True)
    assert read(linear).gives_whole_nodes
