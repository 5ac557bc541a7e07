import pytest

from harvester.sdk.errors import ConfigurationError
from harvester.sdk.http.endpoint import Peer
from harvester.sdk.http.messages import Request
from harvester.sdk.settings import Settings


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return monkeypatch


def peer(url, **said):
    return Peer(Settings(url=url, **{"token": "t0ken", **said}))


def lines(head):
    assert head.endswith(b"\r\n\r\n")
    return head.decode().removesuffix("\r\n\r\n").split("\r\n")


def test_a_request_has_its_own_headers_and_those_that_all_have():
    request = Request(
        method="POST", path="/v1/x y", params={"a": "b c", "d": "é"}, headers={"Accept": "a/b"}, content=b"four"
    )
    first, *headers = lines(peer("http://node:8443/under/").head(request))
    assert first == "POST /under/v1/x%20y?a=b+c&d=%C3%A9 HTTP/1.1"
    assert {"Host: node:8443", "Authorization: Bearer t0ken", "Accept: a/b", "Content-Length: 4"} <= set(headers)


def test_what_a_request_accepts_is_said_once():
    request = Request(method="POST", path="/v1", headers={"Accept": "a/b"})
    assert [line for line in lines(peer("http://node").head(request)) if line.startswith("Accept:")] == ["Accept: a/b"]


def test_only_a_request_that_may_have_a_body_tells_of_an_empty_one():
    assert "Content-Length: 0" in lines(peer("http://node").head(Request(method="POST", path="/v1")))
    assert not any("Length" in line for line in lines(peer("http://node").head(Request(method="GET", path="/v1"))))


def test_what_is_pasted_into_a_header_cannot_begin_another_one():
    with pytest.raises(ValueError, match="Content-Type holds a line break"):
        peer("http://node").head(Request(method="GET", path="/", headers={"Content-Type": "a\r\nX-Admin: yes"}))
    assert lines(peer("http://node").head(Request(method="GET", path="/a\r\nX-Admin: yes")))[0].startswith(
        "GET /a%0D%0A"
    )
    for token in ("two\nlines", "clé"):
        with pytest.raises(ConfigurationError, match="pasted whole"):
            peer("http://node", token=token)


@pytest.mark.parametrize("url", ["http://", "http://node:port", "http://[::1", "http://" + 64 * "x"])
def test_an_address_that_is_none_is_the_configurations_fault(url):
    with pytest.raises(ConfigurationError, match="address"):
        peer(url)


def test_the_port_is_the_schemes_unless_it_is_named():
    assert peer("http://node").connect_to == ("node", 80)
    assert peer("https://node").connect_to == ("node", 443)
    assert peer("http://[::1]:81").connect_to == ("::1", 81)


def test_a_gateway_at_a_unix_socket_is_reached_without_a_proxy(environment):
    environment.setenv("HTTP_PROXY", "http://squid:3128")
    found = peer("http+unix://%2Ftmp%2FA%20folder%2Fgateway")
    assert (found.unix_socket, found.via, found.tls) == ("/tmp/A folder/gateway", "", None)
    assert peer("http://login1:8321").unix_socket == ""


def test_a_proxy_is_asked_for_a_tunnel_to_a_gateway_with_tls_and_told_the_address_of_another_one(environment):
    environment.setenv("HTTPS_PROXY", "http://me:p%40ss@squid:3128")
    environment.setenv("HTTP_PROXY", "squid:3129")
    secure = peer("https://node")
    assert secure.connect_to == ("squid", 3128)
    assert lines(secure.tunnel) == [
        "CONNECT node:443 HTTP/1.1",
        "Host: node:443",
        "Proxy-Authorization: Basic bWU6cEBzcw==",
    ]
    assert b"Proxy" not in secure.head(Request(method="GET", path="/v1"))
    plain = peer("http://node:8443")
    assert (plain.connect_to, plain.tunnel) == (("squid", 3129), None)
    assert lines(plain.head(Request(method="GET", path="/v1")))[0] == "GET http://node:8443/v1 HTTP/1.1"
    environment.setenv("NO_PROXY", "node")
    assert peer("https://node").connect_to == ("node", 443)


def test_a_proxy_that_is_no_http_proxy_is_refused_with_a_way_out(environment):
    environment.setenv("ALL_PROXY", "socks5://squid:1080")
    with pytest.raises(ConfigurationError, match="NO_PROXY=node"):
        peer("http://node")


HERE = ["http://localhost:1", "http://127.0.0.1:1", "http://127.1.2.3", "http://[::1]:1", "http://gate.localhost"]


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "ALL_PROXY"])
@pytest.mark.parametrize("url", [*HERE, "http://0.0.0.0:8080", "http://LOCALHOST"])
def test_this_machine_is_reached_without_a_proxy(environment, variable, url):
    environment.setenv(variable, "http://squid:3128")
    assert peer(url).connect_to[0] != "squid"
    assert peer(url).via == ""
    assert peer("http://node").connect_to == ("squid", 3128)


@pytest.mark.parametrize(
    ("excepted", "url", "is_excepted"),
    [
        ("node", "http://node", True),
        (".cluster", "http://node.cluster", True),
        ("other, node:8080", "http://node:8080", True),
        ("node:8081", "http://node:8080", False),
        ("10.0.0.0/8", "http://10.1.2.3:8080", True),
        ("10.0.0.0/8", "http://11.1.2.3:8080", False),
        ("fd00::/8", "http://[fd00::1]:8080", True),
        ("[fd00::1]", "http://[fd00::1]", True),
        ("*", "http://node", True),
        ("", "http://node", False),
    ],
)
def test_no_proxy_names_hosts_domains_and_networks(environment, excepted, url, is_excepted):
    environment.setenv("HTTP_PROXY", "squid:3128")
    environment.setenv("NO_PROXY", excepted)
    assert (peer(url).connect_to != ("squid", 3128)) is is_excepted


def test_what_to_call_a_proxy_holds_its_variable_and_not_its_password(environment):
    environment.setenv("https_proxy", "http://me:secret@squid:3128")
    environment.setenv("ALL_PROXY", "http://other:3128")
    assert peer("https://node").via == "the proxy squid:3128 that https_proxy names"
    assert peer("http://node").via == "the proxy other:3128 that ALL_PROXY names"


def test_certificates_that_the_environment_names_must_be_readable(environment, tmp_path):
    environment.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    with pytest.raises(ConfigurationError, match=r"none\.pem"):
        peer("https://node")


def test_a_run_reaches_its_gateway_as_its_pilot_does_and_says_who_it_is(environment):
    environment.setenv("HTTP_PROXY", "http://proxy:3128")
    request = Request(method="GET", path="/")
    assert peer("http://node:1").connect_to == ("proxy", 3128)
    own = peer("http://node:1", is_direct=True, parent="i1")
    assert own.connect_to == ("node", 1)
    assert "Harvester-Parent: i1" in lines(own.head(request))
    assert not any(line.startswith("Harvester-Parent") for line in lines(peer("http://node:1").head(request)))
