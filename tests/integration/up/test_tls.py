"""TLS with a site's own authority, from the configuration to the pilot, the SDK and the command line."""

import os
import subprocess
import sys

import pytest
from tests.support.certificates import signed_for_loopback
from tests.support.running import Running, free_port

import harvester
from harvester.sdk.errors import GatewayUnreachable


@pytest.fixture
def certificates(tmp_path):
    return signed_for_loopback(tmp_path)


def command(running, *words, **environ):
    """Return what a command of the CLI prints."""
    own = {"HARVESTER_URL": running.url, "HARVESTER_TOKEN": running.token(), **environ}
    line = [sys.executable, "-m", "harvester.cli", *words]
    ended = subprocess.run(line, env=os.environ | own, capture_output=True, text=True, check=False)
    return " ".join((ended.stdout + ended.stderr).split())


def test_a_site_s_own_authority_is_trusted_where_tls_ca_names_it_and_asked_for_where_it_does_not(
    tmp_path, certificates, monkeypatch
):
    options = [
        "--scheduler", "local", "--nodes", "1", "--cpus", "1", "--port", str(free_port()),
        "--set", f"gateway.tls_certificate={certificates.certificate}", "--set", f"gateway.tls_key={certificates.key}",
    ]  # fmt: skip
    trust = {"HARVESTER_TLS_CA": str(certificates.ca)}
    running = Running(tmp_path / "state", *options).start()
    try:
        assert running.url.startswith("https://")
        with pytest.raises(GatewayUnreachable, match=r"cannot be verified: .*set HARVESTER_TLS_CA"):
            harvester.Client(running.url, running.token(), patience_s=0).whoami()
        assert "set HARVESTER_TLS_CA" in command(running, "status")
        asked = "set gateway.tls_ca to the PEM file of the authority"
        status = running.wait_for(
            lambda: asked in (said := command(running, "status", **trust)) and said, "status to tell"
        )
        assert "certificate cannot be verified: unable to get local issuer certificate" in status
        monkeypatch.setenv("HARVESTER_TLS_CA", str(certificates.ca))
        with running.client("user") as client:
            waits = client.submit(lambda x: 2 * x, 4).invocation_id
        assert asked in command(running, "explain", waits)
        running.stop()
        running.options = [*options, "--set", f"gateway.tls_ca={certificates.ca}"]
        running.start()
        with running.client("user") as client:
            assert client.submit(lambda x: 2 * x, 5).result(30) == 10
        assert f"HARVESTER_TLS_CA={certificates.ca}" in running.log.read_text()
    finally:
        running.stop()
        running.kill_pilots()
