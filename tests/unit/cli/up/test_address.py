import socket

import pytest

from harvester.cli.up import address
from harvester.config_file import ConfigError, load_config


def test_a_host_that_cannot_resolve_its_own_name_gives_an_address(monkeypatch):
    def unknown(*_):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert socket.inet_aton(address.own_address())


def test_a_host_whose_name_resolves_gives_the_name(monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: [object()])
    assert address.own_address() == socket.gethostname()


def config(**more):
    return load_config(None, {key.replace("_", "."): value for key, value in more.items()})


LOOPBACK = ("127.0.0.1", "127.1.2.3", "localhost", "LOCALHOST.", "::1", "[::1]", "ip6-localhost")


@pytest.mark.parametrize("host", LOOPBACK)
def test_a_gateway_that_only_this_machine_reaches_is_refused_with_a_batch_scheduler(host):
    with pytest.raises(ConfigError) as refused:
        address.check_host(config(scheduler_kind="slurm", gateway_host=host))
    assert refused.value.field == "gateway.host"
    assert "set gateway.url" in refused.value.remedy


@pytest.mark.parametrize("host", ["", "0.0.0.0", "::", "login1", "10.0.0.1", "127.example.org"])  # noqa: S104 - never bound
def test_any_other_address_may_be_reached(host):
    address.check_host(config(scheduler_kind="slurm", gateway_host=host))


@pytest.mark.parametrize("host", LOOPBACK)
def test_whoever_says_how_pilots_reach_it_is_believed_and_so_is_the_local_scheduler(host):
    address.check_host(config(scheduler_kind="slurm", gateway_host=host, gateway_url="http://tunnel:8321"))
    address.check_host(config(scheduler_kind="local", gateway_host=host))
