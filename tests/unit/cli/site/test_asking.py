"""How a site is asked: how often, and where what is written for a moment lies."""

from collections import deque

import pytest

from harvester.cli.site.looks import look
from harvester.cli.site.options import CheckOptions
from harvester.cli.site.teller import aside, site_teller
from harvester.config_file import load_config
from harvester.domain.cluster.snapshot import ClusterSnapshot
from harvester.domain.fitness.site_facts import SiteFacts


class Asked:
    """An adapter that counts, and numbers its snapshots."""

    def __init__(self):
        self.asked = []

    def snapshot(self):
        self.asked.append("look")
        return ClusterSnapshot(
            taken_at=float(self.asked.count("look")), scheduler="s", nodes=(), batch_jobs=(), partitions=()
        )

    def glance(self):
        self.asked.append("glance")
        return ()


def test_the_first_look_is_not_timed_and_no_two_questions_are_within_a_second():
    adapter, waits = Asked(), deque()
    found = look(adapter, count=2, has_glances=True, wait=waits.append)
    assert adapter.asked == ["look", "look", "glance", "look", "glance"]
    assert (len(found.looks), len(found.glances)) == (2, 2)
    assert (len(waits), min(waits) > 1.0) == (4, True)
    assert found.snapshot.taken_at == 3.0


def test_what_takes_no_time_is_looked_at_once():
    adapter = Asked()
    found = look(adapter, count=0)
    assert (adapter.asked, found.looks, found.glances) == (["look"], (), ())


@pytest.mark.parametrize("kind", ["slurm", "pbs", "psij"])
def test_a_state_folder_that_is_not_there_is_not_made_for_a_batch_script(tmp_path, kind):
    config = load_config(None, {"scheduler.kind": kind, "state": str(tmp_path / "state")})
    moved = aside(config, tmp_path / "aside")
    assert getattr(moved.scheduler, kind).work_dir == str(tmp_path / "aside")
    assert moved.state == config.state
    (tmp_path / "state").mkdir()
    assert aside(config, tmp_path / "aside") == config


def test_the_emulated_cluster_of_a_check_is_not_that_of_the_state_folder(tmp_path):
    config = load_config(None, {"scheduler.kind": "local", "state": str(tmp_path)})
    assert aside(config, tmp_path / "aside").state == str(tmp_path / "aside")
    other = load_config(None, {"scheduler.kind": "house", "state": str(tmp_path / "none")})
    assert aside(other, tmp_path / "aside") == other


def test_options_are_fields_of_the_configuration_and_what_is_not_given_overrides_nothing(tmp_path):
    options = CheckOptions(scheduler="slurm", port=1234, settings=(("harvest.mode", "strict"), ("harvest.ready", "2")))
    config = load_config(None, options.overrides)
    assert (config.scheduler.kind, config.gateway.port) == ("slurm", 1234)
    assert (config.harvest.mode, config.harvest.ready, config.state) == ("strict", 2, "")


class Telling(Asked):
    """Another package's adapter that tells of its site itself."""

    def site(self):
        return SiteFacts(source="its own")

    def rehearse(self, order):
        return None


def test_another_package_s_adapter_tells_of_its_site_itself_or_nobody_does(tmp_path):
    config = load_config(None, {"scheduler.kind": "house", "state": str(tmp_path)})
    telling = Telling()
    assert site_teller(config, telling) is telling
    assert site_teller(config, Asked()) is None
