"""What is so on a host, and what it means for a start."""

import msgspec
import pytest

from harvester.domain.fitness.findings import Severity, Topic, exit_code
from harvester.domain.fitness.host_findings import Answers, HostFacts, of_the_host

GOOD = HostFacts(
    user="ann",
    host="login1",
    versions=(("harvester", "0.1.0"), ("Python", "3.11.2")),
    state="/shared/harvester",
    filesystem="nfs4",
    free_mb=50_000,
    store="the store is SQLite in the state folder",
    listens="0.0.0.0:8321",
    url="http://login1:8321",
)


def found(*, is_seen: bool = False, **changes):
    return list(of_the_host(msgspec.structs.replace(GOOD, **changes), is_seen=is_seen))


def test_a_good_host_has_nothing_but_good_findings():
    assert {each.severity for each in found()} == {Severity.OK}
    assert [each.topic for each in found()] == [
        Topic.VERSIONS, Topic.STATE_FOLDER, Topic.STORE, Topic.TOKENS, Topic.GATEWAY,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "topic", "words"),
    [
        ({"missing": ("fastapi",)}, Topic.VERSIONS, "fastapi"),
        ({"state_trouble": "Permission denied"}, Topic.STATE_FOLDER, "Permission denied"),
        ({"store_trouble": "no such host"}, Topic.STORE, "no such host"),
        ({"token_trouble": "tokens/user and tokens/ada contain the same token"}, Topic.TOKENS, "same token"),
        ({"url_trouble": "gateway.host: only from here"}, Topic.GATEWAY, "only from here"),
        ({"port": Answers(is_taken=True)}, Topic.GATEWAY, "in use by another program"),
        ({"bind_trouble": "Cannot assign requested address"}, Topic.GATEWAY, "Cannot assign"),
    ],
)
def test_what_forbids_a_start_is_an_error_with_a_remedy(changes, topic, words):
    (bad,) = [each for each in found(**changes) if each.severity is Severity.ERROR]
    assert (bad.topic, bool(bad.remedy)) == (topic, True)
    assert words in bad.text
    assert exit_code(found(**changes)) == 1


def test_a_gateway_that_runs_already_is_no_error():
    running = found(port=Answers(is_taken=True, is_gateway=True), running=4711)
    assert exit_code(running) == 0
    assert any("process 4711" in each.text for each in running)
    assert any("a gateway answers at 0.0.0.0:8321 already" in each.text for each in running)
    assert exit_code(found(port=Answers(is_taken=True), running=4711)) == 0, "one with TLS does not say what it is"


def test_the_gateway_of_a_harvester_over_another_state_folder_is_in_the_way():
    (bad,) = [each for each in found(port=Answers(is_taken=True, is_gateway=True)) if each.severity is Severity.ERROR]
    assert "another harvester" in bad.text
    assert "--port" in bad.remedy


def test_a_harvester_whose_process_nobody_knows_has_no_number():
    assert any("is in use: `harvester up` runs over it now" in each.text for each in found(running=0))


def test_a_folder_of_this_machine_alone_is_told_unless_somebody_has_seen_it_from_a_node():
    assert any("usually not shared" in each.text for each in found(filesystem="ext4"))
    assert not any("usually not shared" in each.text for each in found(filesystem="ext4", is_seen=True))
    assert not any("usually not shared" in each.text for each in found(filesystem=""))


@pytest.mark.parametrize("changes", [{"filesystem": "tmpfs"}, {"free_mb": 10}])
def test_a_folder_in_memory_or_nearly_full_is_a_warning(changes):
    assert [each.severity for each in found(**changes)].count(Severity.WARNING) == 1


def test_a_folder_that_others_may_read_is_told():
    assert any("can be read by other users" in each.text for each in found(is_open=True))
