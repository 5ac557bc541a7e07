"""The cluster of containers, as far as it can be checked without Docker: compose file and configuration."""

import argparse
import importlib
import re
from pathlib import Path

import pytest
import yaml

SLURM_TEST = Path(__file__).parents[3] / "slurm-test"
FOLDER = SLURM_TEST / "compose"
NODES = ["n1", "n2", "n3", "n4"]


@pytest.fixture
def load(monkeypatch):
    """Return a function that imports a module of slurm-test as its scripts do."""
    monkeypatch.syspath_prepend(SLURM_TEST)
    return importlib.import_module


@pytest.fixture(scope="module")
def compose_file():
    return yaml.safe_load((FOLDER / "compose.yaml").read_text())


def test_the_compose_file_is_for_compose_1_and_2(compose_file):
    assert "version" not in compose_file
    assert {"services", "volumes"} <= compose_file.keys()
    assert all(key.startswith("x-") for key in compose_file.keys() - {"services", "volumes"})


def test_no_container_asks_for_privileges_or_devices(compose_file):
    asked = {"privileged", "cap_add", "devices", "pid", "ipc", "network_mode", "security_opt", "userns_mode"}
    for name, service in compose_file["services"].items():
        assert not asked & service.keys(), name
        assert all(":" in volume and not volume.startswith(("/", ".")) for volume in service.get("volumes", ())), name


def test_each_container_has_a_health_check_a_role_and_its_name_as_host_name(compose_file, load):
    roles = load("compose.role").ROLES
    for name, service in compose_file["services"].items():
        assert service["healthcheck"]["test"], name
        assert service["command"] in roles, name
        assert service["hostname"] == name


def test_the_services_are_those_that_slurms_configuration_names(compose_file, load):
    texts = load("compose.texts")
    written = texts.cluster_conf(texts.asked({}), accounting=True)
    assert re.findall(r"^NodeName=(\S+)", written, re.MULTILINE) == NODES
    named = {texts.CONTROLLER, texts.ACCOUNTING, texts.DATABASE, "login", *NODES}
    assert named == set(compose_file["services"])
    assert list(load("compose.stack").NODES) == NODES


def test_each_node_is_a_host_with_fake_gpus_and_the_usual_port(load):
    texts = load("compose.texts")
    written = texts.cluster_conf(texts.asked({"GPUS": "2"}), accounting=False)
    assert "NodeName=n4 CPUs=2 RealMemory=4000 Gres=gpu:2 State=UNKNOWN\n" in written
    assert "NodeHostname" not in written, "the host's name is the node's"
    assert {"SlurmctldHost=controller", "SlurmdPort=6818", "GresTypes=gpu"} <= set(written.splitlines())
    assert "127.0.0.1" not in written


@pytest.mark.parametrize("site", ["tiers", "cluster-cancel", "requeue", "suspend", "qos", "no-preemption"])
def test_every_kind_of_site_has_both_partitions_and_accounts(load, site):
    texts = load("compose.texts")
    lines = texts.cluster_conf(texts.asked({"SITE": site, "GRACE": "7"}), accounting=True).splitlines()
    assert [line.split()[0] for line in lines if line.startswith("PartitionName")] == [
        "PartitionName=prime",
        "PartitionName=harvest",
    ]
    assert "AccountingStorageHost=slurmdbd" in lines
    assert "AccountingStorageEnforce=associations,qos" in lines


def test_without_accounting_no_word_of_it_is_left(load):
    texts = load("compose.texts")
    assert "Accounting" not in texts.cluster_conf(texts.asked({}), accounting=False)


def test_both_users_may_use_the_qos_that_is_preempted_and_have_the_other_by_default(load):
    entries = load("compose.texts").first_entries(60)
    assert ("modify", "account", "site", "set", "QOS=normal,scavenger", "DefaultQOS=normal") in entries
    users = [words[2] for words in entries if words[:2] == ("add", "user")]
    assert users == ["harvester", "alice", "bob"]


def test_slurmdbd_finds_its_database_on_another_host(load):
    lines = load("compose.texts").accounting_conf().splitlines()
    assert {"DbdHost=slurmdbd", "StorageHost=database", "StoragePort=3306"} <= set(lines)
    assert len({line.partition("=")[0] for line in lines}) == len(lines), "no key twice"


def test_the_one_machine_database_listens_on_its_socket_only(load):
    accounting = load("accounting")
    assert "--skip-networking" in accounting.database(Path("/x"))
    assert "--skip-networking" not in accounting.database(Path("/x"), port=3306)


def test_the_images_context_names_only_what_is_there():
    root = SLURM_TEST.parent
    named = [line[1:] for line in (root / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert [name for name in named if not (root / name).exists()] == []
    copied = re.findall(r"^COPY (.*) \S+$", (FOLDER / "Dockerfile").read_text(), re.MULTILINE)
    for source in " ".join(copied).split():
        assert source == "." or "*" in source or (root / source).exists(), source


def test_git_ignores_what_a_host_has_brought():
    lines = (FOLDER / "from-host" / ".gitignore").read_text().splitlines()
    assert [line for line in lines if not line.startswith("#")] == ["*", "!.gitignore"]


def test_by_hand_the_cluster_is_the_one_that_make_brings_up(load):
    stack = load("compose.stack")
    named = (FOLDER / ".env").read_text().strip()
    for suite in load("compose.debian_base").Suite:
        assert named.replace("${DEBIAN:-trixie}", suite) == f"COMPOSE_PROJECT_NAME={stack.Stack(suite=suite).project}"


def test_a_slurms_number_in_place_of_a_debian_is_answered_with_both(load):
    with pytest.raises(argparse.ArgumentTypeError, match=r"VERSION=trixie, not '24.11': .*trixie \(Slurm 24.11\)"):
        load("compose.command_line").suite("24.11")


@pytest.mark.parametrize(("verb", "port"), [("up", 8321), ("demo", 0), ("test", 0)])
def test_only_a_cluster_that_stays_has_a_port_of_its_own(load, verb, port):
    command_line = load("compose.command_line")
    assert command_line.stack_of(command_line.parse([verb])).port == port
    assert command_line.stack_of(command_line.parse([verb, "--port=8322"])).port == 8322
