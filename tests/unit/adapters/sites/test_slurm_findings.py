"""What a Slurm's configuration and accounting mean for pilots: on recorded output, and on sites that are otherwise."""

from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harvester.domain.cluster.ports import SchedulerUnavailable
from harvester.domain.fitness.findings import Severity
from harvester_adapters.sites import slurm_findings
from harvester_adapters.sites.slurm_findings import configuration, of_the_configuration
from harvester_adapters.slurm.text.qos import is_operator

SAMPLES = Path(__file__).parent / "samples"
VERSIONS = ("22.05.8", "24.11.5", "26.05.5")
BAD = {Severity.WARNING, Severity.ERROR}


def sample(version: str) -> str:
    return (SAMPLES / f"config-{version}.txt").read_text()


def found(**settings: str):
    config = configuration(sample("24.11.5")) | settings
    return list(of_the_configuration(config))


def the_one(about: str, **settings: str):
    (one,) = [each for each in found(**settings) if each.about == about]
    return one


@pytest.mark.parametrize("version", VERSIONS)
def test_recorded_configurations_have_nothing_bad_and_tell_what_they_cost(version):
    config = configuration(sample(version))
    assert not [each for each in of_the_configuration(config) if each.severity in BAD]
    assert slurm_findings.cycle(config) == timedelta(seconds=30)
    assert not slurm_findings.hides_batch_jobs(config)
    assert slurm_findings.has_accounting(config)
    assert slurm_findings.enforces_associations(config)
    assert slurm_findings.told_at(sample(version)) == 1795305401.0  # 2026-11-21T23:56:41Z
    delay = next(each for each in of_the_configuration(config) if each.about == "batch_sched_delay")
    assert "waits 3 s" in delay.text


@pytest.mark.parametrize(
    ("settings", "about", "words"),
    [
        ({"MinJobAge": "10 sec"}, "MinJobAge", "after 10 s"),
        ({"SchedulerType": "sched/builtin"}, "SchedulerType", "no backfill"),
    ],
)
def test_what_works_badly_is_a_warning_that_names_the_setting(settings, about, words):
    one = the_one(about, **settings)
    assert one.severity is Severity.WARNING
    assert words in one.text
    assert one.remedy


@pytest.mark.parametrize(
    ("settings", "about", "words"),
    [
        ({"JobSubmitPlugins": "lua,require_timelimit"}, "JobSubmitPlugins", "lua, require_timelimit"),
        ({"SuspendProgram": "/sbin/off", "SuspendTime": "600 sec"}, "SuspendProgram", "powered down"),
        ({"SelectType": "select/linear"}, "SelectType", "whole nodes"),
        ({"KillWait": "5 sec"}, "KillWait", "killed 5 s after"),
    ],
)
def test_what_is_good_to_know_is_told(settings, about, words):
    one = the_one(about, **settings)
    assert one.severity not in BAD
    assert words in one.text


@pytest.mark.parametrize("parameters", ["batch_sched_delay=0,bf_interval=10", "bf_interval=10,batch_sched_delay=1"])
def test_a_scheduler_that_looks_at_once_is_not_told_to(parameters):
    config = configuration(sample("24.11.5")) | {"SchedulerParameters": parameters}
    assert not [each for each in of_the_configuration(config) if each.about == "batch_sched_delay"]
    assert slurm_findings.cycle(config) == timedelta(seconds=10)


def test_an_old_slurm_is_a_warning():
    assert [each.severity for each in found(SLURM_VERSION="20.11.9")].count(Severity.WARNING) == 1


def test_hidden_batch_jobs_are_seen_by_operators_alone():
    assert slurm_findings.hides_batch_jobs({"PrivateData": "accounts,jobs,nodes"})
    assert not slurm_findings.hides_batch_jobs({"PrivateData": "accounts,usage"})
    assert is_operator("Operator\n")
    assert not is_operator("None\n")
    assert not is_operator("")


@given(st.text(max_size=300))
def test_no_configuration_breaks_it(text):
    config = configuration(text)
    list(of_the_configuration(config))
    slurm_findings.told_at(text)
    slurm_findings.cycle(config)


@given(st.dictionaries(st.sampled_from(sorted(configuration(sample("24.11.5")))), st.text(max_size=30)))
def test_no_value_of_a_setting_breaks_it(settings):
    assert all(each.text for each in found(**settings))


# ---- limits


def of_the_limits(text: str, account: str = ""):
    limits = slurm_findings.limits(text, account)
    return list(slurm_findings.of_the_limits(limits, "ann", max_pilots=64, longest=timedelta(minutes=90)))


def test_a_user_without_an_account_or_without_the_one_that_is_named_may_not_submit():
    assert slurm_findings.limits("", "") == ()
    assert slurm_findings.limits("physics||||\n", "") == (), "a user who is on another cluster alone"
    assert slurm_findings.limits("physics|physics|||\n", "biology") == ()
    assert "has no account" in slurm_findings.of_no_association("ann", "").text
    one = slurm_findings.of_no_association("ann", "biology")
    assert (one.severity, "biology" in one.text) == (Severity.ERROR, True)


def test_the_limits_are_those_of_the_account_that_pilots_run_under():
    text = "physics|physics|||\nphysics|small|1|1|00:05:00\n"
    assert of_the_limits(text) == []
    assert len(of_the_limits(text, account="small")) == 3


@pytest.mark.parametrize(
    ("enforced", "holds"),
    [("associations,limits,qos", True), ("associations,limits,safe", True), ("associations,qos", False), ("", False)],
)
def test_limits_hold_only_where_the_site_enforces_them(enforced, holds):
    assert slurm_findings.enforces_limits({"AccountingStorageEnforce": enforced}) is holds


def test_the_limits_are_asked_of_this_cluster_alone_where_its_name_is_known():
    assert "cluster=hpc" in slurm_findings.limit_arguments("ann", "hpc")
    assert not any(word.startswith("cluster") for word in slurm_findings.limit_arguments("ann", ""))


def test_limits_below_what_is_configured_are_warnings():
    found = of_the_limits("physics|physics|10|20|01:00:00\n")
    assert [(each.about, each.severity) for each in found] == [
        ("MaxSubmit", Severity.WARNING),
        ("MaxJobs", Severity.WARNING),
        ("MaxWall", Severity.WARNING),
    ]
    assert "20 batch jobs" in found[0].text
    assert "1 h" in found[2].text
    (enough,) = of_the_limits("physics|physics|||02:00:00\n")
    assert enough.severity is Severity.OK


def test_no_limits_are_not_told_and_garbage_is_refused():
    assert of_the_limits("physics|physics|||\n") == []
    with pytest.raises(SchedulerUnavailable, match="limits of sacctmgr"):
        of_the_limits("physics|physics|many||\n")


def test_the_qos_that_pilots_may_have_and_others_preempt_are_found():
    preempts = {"normal": "scavenger", "scavenger": "", "high": "normal,scavenger,low,high", "low": ""}
    qos = "".join(f"{name}|{others}|cluster|00:00:00|\n" for name, others in preempts.items())
    assert slurm_findings.evictable(qos, "normal,scavenger\nhigh\n") == ("normal", "scavenger")
    assert slurm_findings.evictable(qos, "high\n") == ()
    assert slurm_findings.evictable("", "") == ()


@pytest.mark.parametrize("also", ["", " a"])  # 26.05 says one word more
def test_a_rehearsal_says_when_and_where(also):
    words = f"sbatch: Job 17 to start at 2026-11-29T08:03:51{also} using 2 processors on nodes n1 in partition harvest"
    assert slurm_findings.rehearsed(words) == "it would start at 2026-11-29 08:03:51 on n1"
    assert slurm_findings.rehearsed(f"{words} sbatch: Preempts: 15,16") == "it would start at 2026-11-29 08:03:51 on n1"
    assert slurm_findings.rehearsed("something else") == "something else"
