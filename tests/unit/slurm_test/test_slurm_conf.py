"""The one-machine Slurm of the demo and the acceptance tests: what its configuration says."""

import importlib
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[3] / "slurm-test"


@pytest.mark.parametrize(
    ("version", "plugin"),
    [
        ((22, 5), "cgroup/v1"),
        ((23, 11), "cgroup/v1"),
        ((24, 5), "disabled"),
        ((24, 11), "disabled"),
        ((26, 5), "disabled"),
    ],
)
def test_each_slurm_is_told_to_do_without_cgroups_in_its_own_words(monkeypatch, version, plugin):
    monkeypatch.syspath_prepend(FOLDER)
    slurm_conf = importlib.import_module("slurm_conf")
    assert slurm_conf.cgroup_conf(version) == f"CgroupPlugin={plugin}\n"
