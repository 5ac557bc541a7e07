"""`harvester check` and `harvester init` over the local scheduler, as an admin runs them."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
from tests.support.certificates import signed_for_loopback
from tests.support.running import Running, free_port

COMMAND = (sys.executable, "-m", "harvester.cli")


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run((*COMMAND, *words), capture_output=True, text=True, timeout=90, check=False)


def check(state: Path, *words: str, port: int | None = None) -> tuple[int, list[dict[str, Any]]]:
    """Return the exit code and the findings."""
    where = ("--state", str(state), "--port", str(port or free_port()))
    done = run("check", *where, "--json", *words)
    document = msgspec.json.decode(done.stdout)
    assert document["exit_code"] == done.returncode, done.stderr
    return done.returncode, document["findings"]


def bad(findings: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(each["topic"], each["severity"]) for each in findings if each["severity"] in {"warning", "error"}]


def texts(findings: list[dict[str, Any]]) -> str:
    return "\n".join(f"{each['text']} -> {each['remedy']}" for each in findings)


LOCAL = ("--scheduler", "local")


def test_a_probe_looks_at_a_node_as_a_pilot_would_and_leaves_nothing_behind(tmp_path):
    state = tmp_path / "state"
    code, found = check(state, *LOCAL, "--probe")
    assert (code, bad(found)) == (0, [])
    told = texts(found)
    for words in ("reaches this check at http://127.0.0.1:", "sees the state folder", f"uid {os.getuid()}"):
        assert words in told
    assert not state.exists()
    state.mkdir(mode=0o700)
    assert check(state, *LOCAL, "--probe")[0] == 0
    assert list(state.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_check_that_is_interrupted_leaves_no_probe_behind(tmp_path, number):
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    config = tmp_path / "site.toml"
    # A "Python" that does not end: the probe runs and reports nothing.
    sleeper = tmp_path / "sleeper"
    mark = f"3{free_port()}"
    sleeper.write_text(f"#!/bin/sh\nexec sleep {mark}\n")
    sleeper.chmod(0o755)
    config.write_text(f'[[pilot]]\nname = "cpu"\npartition = "harvest"\npython = "{sleeper}"\n')
    where = ("--config", str(config), "--state", str(state), "--port", str(free_port()))
    with subprocess.Popen((*COMMAND, "check", *where, "--probe"), stderr=subprocess.PIPE, text=True) as process:
        told = ""
        while "the probe is running" not in told:
            told = process.stderr.readline()
            assert told, "it ended"
        process.send_signal(number)
        assert process.wait(30) == 130
        assert process.stderr.read().endswith("harvester check: interrupted\n")
    assert list(state.iterdir()) == []
    assert not [each for each in psutil.process_iter(["cmdline"]) if each.info["cmdline"] == ["sleep", mark]]


def test_without_a_probe_it_says_that_nobody_was_asked_and_nothing_is_made(tmp_path):
    code, found = check(tmp_path / "state", *LOCAL)
    assert code == 0
    assert "run `harvester check --probe`" in texts(found)
    assert not (tmp_path / "state").exists()


def test_an_address_that_nodes_do_not_reach_is_an_error_with_what_to_set(tmp_path):
    code, found = check(tmp_path, *LOCAL, "--probe", "--set", "gateway.url=http://127.0.0.1:1")
    assert (code, bad(found)) == (1, [("gateway", "error")])
    assert "no gateway can be reached at http://127.0.0.1:1 from n1: Connection refused" in texts(found)
    assert "set gateway.url to an address that compute nodes reach" in texts(found)


def test_a_python_that_nodes_do_not_have_is_an_error(tmp_path):
    config = tmp_path / "site.toml"
    config.write_text('[[pilot]]\nname = "cpu"\npartition = "harvest"\npython = "/no/such/python"\n')
    code, found = check(tmp_path / "state", *LOCAL, "--config", str(config), "--probe", "--wait", "20")
    assert (code, bad(found)) == (1, [("nodes", "error")])
    assert "-> set `python` in [[pilot]]" in texts(found)


def test_a_site_s_own_authority_must_be_named_for_the_nodes(tmp_path):
    made = signed_for_loopback(tmp_path)
    with_tls = ("--set", f"gateway.tls_certificate={made.certificate}", "--set", f"gateway.tls_key={made.key}")
    code, found = check(tmp_path / "state", *LOCAL, "--probe", *with_tls)
    assert (code, bad(found)) == (1, [("gateway", "error")])
    assert "set gateway.tls_ca to the PEM file of the authority" in texts(found)
    code, found = check(tmp_path / "state", *LOCAL, "--probe", *with_tls, "--set", f"gateway.tls_ca={made.ca}")
    assert (code, bad(found)) == (0, [])
    assert "reaches this check at https://127.0.0.1:" in texts(found)


def test_a_port_of_another_program_is_an_error(tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        other.settimeout(0.1)
        code, found = check(tmp_path, *LOCAL, port=other.getsockname()[1])
    assert (code, bad(found)) == (1, [("gateway", "error")])
    assert "in use by another program" in texts(found)


def test_beside_a_harvester_that_runs_the_probe_reaches_its_gateway(tmp_path):
    port = free_port()
    running = Running(tmp_path / "state", *LOCAL, "--port", str(port), "--ready", "0").start()
    try:
        code, found = check(tmp_path / "state", *LOCAL, "--probe", port=port)
        assert (code, bad(found)) == (0, [])
        told = texts(found)
        assert f"`harvester up` (process {running.process.pid}) runs over it now" in told
        assert f"reaches a gateway at http://127.0.0.1:{port}" in told
    finally:
        assert running.stop() == 0


def test_a_gateway_with_tls_that_runs_already_is_taken_for_a_gateway(tmp_path):
    made, port = signed_for_loopback(tmp_path), free_port()
    settings = {"certificate": made.certificate, "key": made.key, "ca": made.ca}
    with_tls = [word for key, path in settings.items() for word in ("--set", f"gateway.tls_{key}={path}")]
    running = Running(tmp_path / "state", *LOCAL, "--port", str(port), "--ready", "0", *with_tls).start()
    try:
        code, found = check(tmp_path / "state", *LOCAL, *with_tls, port=port)
        assert (code, bad(found)) == (0, [])
        assert f"a gateway answers at 127.0.0.1:{port} already" in texts(found)
    finally:
        assert running.stop() == 0


@pytest.mark.parametrize(
    ("words", "topic", "said"),
    [
        (("--set", "harvest.policy=gab"), "configuration", "there are demand, fib, gap, var"),
        (("--config", "/no/such/file.toml"), "configuration", "there is no configuration file"),
        (("--set", "store.url=postgresql+psycopg://nobody@127.0.0.1:1/x"), "store", "the store cannot be used"),
        (("--set", "gateway.host=192.0.2.1"), "gateway", "nobody can listen at 192.0.2.1"),
        (("--set", "harvest.excluded_nodes=['n9']"), "configuration", 'there is no node "n9"'),
    ],
)
def test_what_up_would_refuse_is_an_error_with_a_remedy(tmp_path, words, topic, said):
    code, found = check(tmp_path, *LOCAL, *words)
    assert (code, bad(found)) == (1, [(topic, "error")])
    assert said in texts(found)
    assert all(each["remedy"] for each in found if each["severity"] == "error")


def test_a_state_folder_of_others_and_a_token_that_is_none_are_errors(tmp_path):
    (tmp_path / "thesis.tex").touch()
    tmp_path.chmod(0o777)
    code, found = check(tmp_path, *LOCAL)
    assert (code, bad(found)) == (1, [("state folder", "error")])
    tmp_path.chmod(0o700)
    (tmp_path / "tokens").mkdir()
    (tmp_path / "tokens" / "user").write_text("two words\n")
    code, found = check(tmp_path, *LOCAL)
    assert (code, bad(found)) == (1, [("tokens", "error")])
    assert (tmp_path / "tokens" / "user").read_text() == "two words\n"


def test_a_store_of_a_newer_harvester_or_of_somebody_else_is_an_error_and_is_not_touched(tmp_path):
    store = tmp_path / "harvester.db"
    with closing(sqlite3.connect(store)) as connection, connection:
        connection.execute("CREATE TABLE meta (key TEXT, value TEXT)")
        connection.execute("INSERT INTO meta VALUES ('schema_version', '99')")
    before = store.read_bytes()
    code, found = check(tmp_path, *LOCAL)
    assert (code, bad(found)) == (1, [("store", "error")])
    assert "newer harvester (schema 99" in texts(found)
    assert ([path.name for path in tmp_path.iterdir()], store.read_bytes()) == (["harvester.db"], before)
    store.write_text("a letter to somebody " * 100)
    assert check(tmp_path, *LOCAL)[0] == 1


def test_the_text_fits_a_terminal_and_ends_with_the_verdict(tmp_path):
    done = run("check", *LOCAL, "--state", str(tmp_path), "--port", str(free_port()))
    assert done.returncode == 0
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert done.stdout.endswith("nothing is in the way of `harvester up`\n")
    assert "\x1b" not in done.stdout + done.stderr


def test_init_writes_what_up_starts_with_and_does_not_overwrite(tmp_path):
    config, state = tmp_path / "site.toml", tmp_path / "state"
    where = ("init", *LOCAL, "--output", str(config))
    assert run(*where, "--state", str(state)).returncode == 0
    first = config.read_text()
    again = run(*where)
    assert (again.returncode, config.read_text()) == (1, first)
    assert "overwrite it with --force" in again.stderr
    assert run(*where, "--state", str(state), "--force").returncode == 0
    running = Running(state, "--config", str(config), "--port", str(free_port())).start()
    try:
        with running.client("user") as client:
            assert client.submit(abs, -7).result(60) == 7
    finally:
        assert running.stop() == 0


def test_init_can_print_and_says_why_it_proposes_nothing(tmp_path):
    printed = run("init", *LOCAL, "--output", "-")
    assert "[scheduler.local]" in printed.stdout
    refused = run("init", *LOCAL, "--output", str(tmp_path / "x"), "--partition", "other")
    assert (refused.returncode, (tmp_path / "x").exists()) == (1, False)
    assert 'there is no partition "other"; the scheduler has prime, harvest' in refused.stderr
