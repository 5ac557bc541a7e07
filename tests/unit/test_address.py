import socket

from harvester.cli import address


def test_a_host_that_cannot_resolve_its_own_name_gives_an_address(monkeypatch):
    def unknown(*_):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert socket.inet_aton(address.own_address())


def test_a_host_whose_name_resolves_gives_the_name(monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: [object()])
    assert address.own_address() == socket.gethostname()
