"""How a site is asked: how often, and where what is written for a moment lies."""

import io
import os
from collections import deque

import pytest
from rich.console import Console

from harvester.cli.site.check import _telling
from harvester.cli.site.host import host_facts
from harvester.cli.site.looks import look
from harvester.cli.site.options import CheckOptions
from harvester.cli.site.probe import ProbeSettings, run_probe
from harvester.cli.site.teller import aside, site_teller
from harvester.config_file import load_config
from harvester.domain.cluster.knowledge import EVERYTHING, Knowledge
from harvester.domain.cluster.snapshot import BatchJob, BatchState, ClusterSnapshot
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
def test_a_state_folder_is_neither_made_nor_used_for_a_batch_script(tmp_path, kind):
    config = load_config(None, {"scheduler.kind": kind, "state": str(tmp_path / "state")})
    moved = aside(config, tmp_path / "aside")
    assert getattr(moved.scheduler, kind).work_dir == str(tmp_path / "aside")
    assert moved.state == config.state
    (tmp_path / "state").mkdir()
    assert aside(config, tmp_path / "aside") == moved


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


def test_a_schedulers_words_are_told_as_they_are_whatever_brackets_are_in_them():
    out = io.StringIO()
    with _telling(Console(file=out, force_terminal=True, width=100)) as say:
        say("the probe is pending: not on [/n1] nor [bold]")
    assert "not on [/n1] nor [bold] …" in out.getvalue()


class Interrupted:
    """An adapter whose user presses Ctrl-C while the submission, which gets through, is not answered."""

    def __init__(self, knowledge=EVERYTHING):
        self.submitted = self.cancelled = ()
        self.knowledge = knowledge

    def submit(self, order):
        self.submitted = (order.name,)
        raise KeyboardInterrupt

    def glance(self):
        return tuple(
            BatchJob(batch_job_id=f"id-{name}", name=name, user="ann", partition="harvest", state=BatchState.PENDING)
            for name in self.submitted
            if self.knowledge.names
        )

    def cancel(self, *batch_job_ids):
        self.cancelled = batch_job_ids


def interrupted_probe(adapter, state):
    settings = ProbeSettings(
        partition="harvest", interpreter="python3", gateways=(), tls_ca="", state=state, nonce="n", wait_s=1.0
    )
    said = []
    with pytest.raises(KeyboardInterrupt):
        run_probe(settings, adapter, said.append)
    return said


def test_a_probe_that_is_interrupted_while_it_is_submitted_is_cancelled_by_its_name(tmp_path):
    adapter = Interrupted()
    assert interrupted_probe(adapter, tmp_path) == []
    assert adapter.cancelled == (f"id-{adapter.submitted[0]}",)
    assert list(tmp_path.iterdir()) == []


def test_a_probe_that_may_exist_where_batch_jobs_are_not_listed_by_name_is_told(tmp_path):
    adapter = Interrupted(Knowledge(nodes=False, names=False, states=False))
    (said,) = interrupted_probe(adapter, tmp_path)
    assert f"{adapter.submitted[0]} may exist" in said
    assert adapter.cancelled == ()


@pytest.mark.parametrize("kind", ["local", "slurm", "pbs"])
def test_a_state_folder_below_one_that_is_closed_to_us_is_a_finding_and_not_the_end(tmp_path, monkeypatch, kind):
    closed = tmp_path / "closed"
    state = closed / "mine"
    config = load_config(None, {"scheduler.kind": kind, "state": str(state), "gateway.port": 0})
    stat = os.stat

    def refusing(path, *arguments, **options):
        if closed in getattr(path, "parents", ()):
            raise PermissionError(13, "Permission denied", str(path))
        return stat(path, *arguments, **options)

    monkeypatch.setattr(os, "stat", refusing)
    monkeypatch.setattr(os, "access", lambda path, mode: path != closed)
    closed.mkdir()
    assert host_facts(config).state_trouble == f"{closed} cannot be written by you"
    assert aside(config, tmp_path).state
