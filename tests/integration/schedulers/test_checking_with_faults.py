"""What `harvester check` asks and submits, on schedulers that hang, lie and answer in German."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from support.fake_cluster.faults import HANGING, Fault, FaultKind
from support.fake_cluster.kinds import PBS, SLURM

from harvester.cli.site.probe import ProbeSettings, run_probe
from harvester.domain.cluster.ports import PilotOrder, SchedulerUnavailable, SubmissionRejected
from harvester.domain.fitness.probe_findings import Expected, of_the_probe
from harvester.domain.fitness.site_facts import HearsBy, SiteFacts
from harvester.domain.model.resources import Resources
from harvester_adapters.sites.pbs import PbsSite
from harvester_adapters.sites.slurm import SlurmSite

QUICK = timedelta(seconds=0.5)
FAULTS = pytest.mark.parametrize("fault", list(FaultKind), ids=lambda fault: fault.name.lower())
ORDER = PilotOrder(
    pilot_id="check",
    name="hv-check",
    partition="harvest",
    resources=Resources(cpus=2),
    walltime=timedelta(minutes=10),
    command=("true",),
    output=Path("/tmp/output.txt"),
)


@pytest.fixture
def site(make_site, kind):
    return make_site(kind)


def teller(kind, timeout=timedelta(seconds=10)):
    if kind is SLURM:
        return SlurmSite(source=("commands", ""), max_pilots=64, timeout=timeout)
    assert kind is PBS
    return PbsSite(source="qstat and pbsnodes", max_pilots=64, is_strict=False, timeout=timeout)


def probe(site, tmp_path, said):
    settings = ProbeSettings(
        partition="harvest",
        interpreter="/usr/bin/python3",
        gateways=("http://127.0.0.1:1",),
        tls_ca="",
        state=tmp_path / "state",
        nonce="nonce",
        wait_s=0.5,
    )
    return run_probe(settings, site.own_adapter, said.append)


def probes(site):
    return [batch for batch in site.alive() if batch.wish.name.startswith("hv-check") and batch.told_at is None]


def test_a_site_tells_of_itself(site, kind):
    facts = teller(kind).site()
    assert not facts.hides_batch_jobs
    said = teller(kind).rehearse(ORDER)
    assert said == ("it would start at 2026-11-29 08:00:00 on n1" if kind is SLURM else None)
    assert facts.hears_by is (HearsBy.STEP if kind is SLURM else HearsBy.SESSION_LEADER)


@FAULTS
def test_no_fault_breaks_the_questions_about_a_site(site, kind, fault):
    site.server.faults = [Fault(fault)]
    asked = teller(kind, QUICK if fault in HANGING else timedelta(seconds=10))
    with suppress(SchedulerUnavailable):
        assert isinstance(asked.site(), SiteFacts)
    with suppress(SchedulerUnavailable, SubmissionRejected):
        asked.rehearse(ORDER)
    assert site.server.faults[0].spoiled
    assert probes(site) == [], "a rehearsal submits nothing"


# One that is carried out half a minute later finds its orders gone, and ends at once.
@pytest.mark.parametrize("fault", sorted(set(FaultKind) - {FaultKind.LATE}), ids=lambda fault: fault.name.lower())
def test_no_fault_at_its_submission_leaves_a_probe_behind(make_site, kind, fault, tmp_path):
    site = make_site(kind, timeout=QUICK if fault in HANGING else timedelta(seconds=10))
    site.server.faults = [Fault(fault, kind.submits, calls=lambda number: number == 1)]
    said = []
    outcome = probe(site, tmp_path, said)
    assert site.server.faults[0].spoiled
    assert probes(site) == []
    assert not (tmp_path / "state").exists()
    expected = Expected(
        partition="harvest", user="ann", uid=1, python="3.11", harvester="0", state="/s", hears_by=HearsBy.PROCESS
    )
    assert all(finding.remedy for finding in of_the_probe(outcome, expected))


def test_a_probe_is_removed_that_was_submitted_while_its_check_was_interrupted(make_site, kind, tmp_path, monkeypatch):
    site = make_site(kind)
    submit = site.own_adapter.submit

    def interrupted(order):
        submit(order)
        raise KeyboardInterrupt

    monkeypatch.setattr(site.own_adapter, "submit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        probe(site, tmp_path, [])
    assert probes(site) == []
    assert not (tmp_path / "state").exists()


def check(site, tmp_path, *words, **environment):
    argv = [sys.executable, "-m", "harvester.cli", "check", "--scheduler", site.kind.name, "--state"]
    return subprocess.Popen(
        [*argv, str(tmp_path / "state"), "--port", "0", "--set", "harvest.partition=harvest", *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | environment,
    )  # fmt: skip


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_a_check_that_is_ended_takes_its_probe_along(make_site, tmp_path, number):
    site = make_site(SLURM)
    with check(site, tmp_path, "--probe") as process:
        for line in process.stderr:
            if "the probe is" in line:
                break
        process.send_signal(number)
        process.communicate(timeout=30)
    assert process.returncode == 130
    assert probes(site) == []
    assert not (tmp_path / "state").exists()


def test_a_site_without_the_command_that_submits_is_not_fit(make_site, tmp_path):
    site = make_site(SLURM)
    (site.folder / "bin" / "sbatch").unlink()
    elsewhere = os.pathsep.join(
        each for each in os.environ["PATH"].split(os.pathsep) if not (Path(each) / "sbatch").exists()
    )
    with check(site, tmp_path, "--json", PATH=elsewhere) as process:
        output, _ = process.communicate(timeout=30)
    bad = [each for each in msgspec.json.decode(output)["findings"] if each["severity"] == "error"]
    assert [each["topic"] for each in bad] == ["rights"]
    assert "PATH" in bad[0]["remedy"]
    assert process.returncode == 1


def test_a_terminal_without_arrows_gets_the_findings_all_the_same(make_site, tmp_path):
    with check(make_site(SLURM), tmp_path, PYTHONIOENCODING="ascii") as process:
        output, errors = process.communicate(timeout=30)
    assert "Traceback" not in errors
    assert "--probe" in output
