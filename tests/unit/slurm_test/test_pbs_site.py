"""The one-machine PBS of the acceptance tests: what its configuration says."""

import importlib
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[3] / "slurm-test"
SHIPPED = """\
strict_ordering: false	ALL
# The resources to check
resources: "ncpus, mem, arch, host, vnode, aoe, eoe"
"""


@pytest.fixture
def site(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module("pbs_site")


def settings_of(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.splitlines())


def test_no_two_daemons_of_a_site_share_a_name_or_a_port(site):
    asked = site.PbsAsked(prefix="/opt/pbs", nodes=4)
    confs = [site.pbs_conf(asked, Path("/mnt/pbs"))]
    confs += [site.mom_conf(asked, Path("/mnt/pbs"), name) for name in asked.node_names]
    own = ("PBS_LEAF_NAME", "PBS_HOME", "PBS_MOM_SERVICE_PORT")
    assert {len({settings_of(conf)[name] for conf in confs}) for name in own} == {5}
    for conf in confs[1:]:
        ports = settings_of(conf)
        assert int(ports["PBS_MANAGER_SERVICE_PORT"]) == int(ports["PBS_MOM_SERVICE_PORT"]) + 1


def test_every_name_of_a_site_has_an_address_that_is_not_of_the_loopback_network(site):
    lines = dict(reversed(line.split()) for line in site.hosts(3).splitlines())
    assert lines.pop("localhost") == "127.0.0.1"
    assert lines.keys() == {"head", "n1", "n2", "n3"}
    assert not any(address.startswith("127.") for address in lines.values())


def test_the_scheduler_enforces_gpus_and_changes_what_it_is_told(site):
    text = site.sched_config(SHIPPED, strict_ordering="true")
    assert 'resources: "ncpus, mem, arch, host, vnode, aoe, eoe, ngpus"\n' in text
    assert "strict_ordering: true	ALL\n" in text
    assert site.sched_config(text, strict_ordering="true") == text


def test_pilots_leave_for_batch_jobs_of_ordinary_queues(site):
    commands = site.settings(site.PbsAsked(prefix="/opt/pbs", order="R"))
    assert 'set queue harvest max_run_soft = "[o:PBS_ALL=0]"' in commands
    assert 'set sched preempt_prio = "express_queue, normal_jobs, queue_softlimits"' in commands
    assert "set sched preempt_order = R" in commands
