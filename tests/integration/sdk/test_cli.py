"""The command line against a gateway in miniature."""

import json
import re
import signal
import subprocess
import sys
import time

import pytest
from typer.testing import CliRunner

from harvester.cli.app import app

SOURCE = """
def add(a, b=0):
    return a + b

def count(n, state=None):
    for i in range(state or 0, n):
        yield i
    return n

def broken():
    raise ValueError("on purpose")
"""


@pytest.fixture
def run(gateway, monkeypatch):
    monkeypatch.setenv("HARVESTER_URL", gateway.url)
    monkeypatch.setenv("HARVESTER_TOKEN", "user-token")

    def call(*words):
        return CliRunner().invoke(app, [str(word) for word in words])

    return call


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "work.py"
    path.write_text(SOURCE)
    return path


def test_register_invoke_and_result_from_a_file(run, file):
    assert run("functions", "register", f"{file}:add").output == "add is registered, version 1\n"
    assert run("invoke", "add", 2, -3).output == "-1\n"
    assert run("invoke", "add", '"a"', "--kwargs", '{"b": "c"}').output == '"ac"\n'
    invocation_id = run("invoke", "add", 1, "--no-wait").output.strip()
    assert run("result", invocation_id).output == "1\n"
    said = json.loads(run("invoke", "add", 4, "--json").output)
    assert said["result"] == 4


def test_a_generator_in_a_file_is_registered_as_checkpointing(run, file, gateway):
    assert run("functions", "register", f"{file}:count", "--cpus", 2, "--name", "counter").exit_code == 0
    document = gateway.functions["counter"][0]["document"]
    assert document["checkpoints"] is True
    assert document["resources"]["cpus"] == 2
    (listed,) = json.loads(run("functions", "--json").output)
    assert listed["name"] == "counter"
    assert "counter" in run("functions").output


def test_a_failed_function_shows_its_message_and_its_remote_traceback(run, file):
    run("functions", "register", f"{file}:broken")
    ended = run("invoke", "broken")
    assert ended.exit_code == 1
    assert "ValueError: on purpose" in ended.stderr
    assert "On the compute node" in ended.stderr
    assert ended.stdout == ""


def test_a_failed_call_of_the_sdk_is_told_as_text_too(run, client):
    def broken():
        raise ValueError("on purpose")

    ended = run("result", client.submit(broken).invocation_id)
    assert ended.exit_code == 1
    assert "ValueError: on purpose" in ended.stderr
    assert "On the compute node" in ended.stderr


def test_status_shows_pilots_queue_and_nodes(run):
    shown = run("status")
    assert shown.exit_code == 0
    for word in ("tester", "local", "ready", "pi@1", "n1", "idle", "looked 0 s ago", "2 pilots wait"):
        assert word in shown.output
    said = json.loads(run("status", "--json").output)
    assert said["cluster"]["nodes"][0]["name"] == "n1"


def test_pilots_explain_evict_and_cancel(run, file, gateway):
    assert "ready" in run("pilots").output
    assert json.loads(run("pilots", "--json").output)[0]["pilot_id"] == "p1"
    assert run("evict", "p1").output == "p1 was asked to leave\n"
    gateway.held = {"add"}
    run("functions", "register", f"{file}:add")
    invocation_id = run("invoke", "add", "--no-wait").output.strip()
    assert "no pilot has a free slot" in run("explain", invocation_id).output
    assert run("cancel", invocation_id).output == f"{invocation_id} is cancelled\n"
    assert run("cancel", invocation_id).output == f"{invocation_id} is cancelled\n"
    ended = run("result", invocation_id)
    assert (ended.exit_code, ended.stderr) == (1, f"error: invocation {invocation_id} was cancelled\n")


def test_a_cancellation_that_came_too_late_says_how_the_invocation_ended(run, file):
    run("functions", "register", f"{file}:add")
    invocation_id = json.loads(run("invoke", "add", "1", "2", "--json").output)["invocation_id"]
    assert run("cancel", invocation_id).output == f"{invocation_id} had already ended: succeeded\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("invoke", "nobody"), "error: there is no function 'nobody' (register it first)"),
        (("evict", "p9"), "error: there is no pilot 'p9' (harvester pilots lists them)"),
        (("result", "i-99"), "error: there is no invocation 'i-99' (look at its id)"),
        (("invoke", "add", "text"), "error: argument 1 is not valid JSON: text"),
        (("invoke", "add", "--kwargs", "[]"), "error: --kwargs must be a JSON object"),
        (("functions", "register", "nowhere.py:f"), "error: the file nowhere.py cannot be read"),
        (("functions", "register", "no function"), "error: 'no function' names no function"),
        (
            ("--token", "wrong", "pilots"),
            "error: this token is unknown (ask your admin for one); check that",
        ),
        (("--url", "ftp://x", "pilots"), "error: the gateway's address 'ftp://x'"),
        (
            ("--url", "http://127.0.0.1:1", "--token", "t", "pilots"),
            "error: the gateway at http://127.0.0.1:1 does not",
        ),
        (("up", "--set", "pilots"), "error: --set pilots: there is no KEY=VALUE"),
    ],
)
def test_an_error_is_one_line_and_exit_code_1(run, words, said):
    ended = run(*words)
    assert ended.exit_code == 1
    assert ended.stderr.startswith(said)
    assert ended.stderr.count("\n") == 1
    assert ended.stdout == ""


def test_whoami_tells_who_where_and_which_version(run, gateway):
    assert run("whoami").output == f"tester (user) at {gateway.url}, harvester 1.2.3\n"
    assert json.loads(run("whoami", "--json").output)["url"] == gateway.url


@pytest.mark.parametrize("option", ["--timeout", "--ttl", "--deadline"])
def test_what_is_no_duration_is_wrong_usage_that_names_the_option(run, option):
    ended = run("invoke", "add", option, "10min")
    words = " ".join(re.sub("[│╭╮╰╯─]", " ", ended.stderr).split())
    assert ended.exit_code == 2
    assert f"Invalid value for '{option}': '10min' is not a duration: write seconds" in words


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("up", "--port", "abc"), "Invalid value for '--port': 'abc' is not a whole number"),
        (("up", "--port", "99999"), "Invalid value for '--port': 99999 is out of range: it must be 65535 or less"),
        (("up", "--scheduler", "x"), "Invalid value for '--scheduler': 'x' is not one of 'local'"),
        (("invocations", "--state", "x"), "Invalid value for '--state': 'x' is not one of 'accepted'"),
        (("invocations", "--limit", "0"), "Invalid value for '--limit': 0 is out of range: it must be 1 or more"),
        (("simulate", "swf", "f", "--nodes", "x"), "Invalid value for '--nodes': 'x' is not a whole number"),
    ],
)
def test_a_wrong_value_of_an_option_is_told_in_plain_words(run, words, said):
    ended = run(*words)
    assert ended.exit_code == 2
    told = " ".join(re.sub("[│╭╮╰╯─]", " ", ended.stderr).split())
    assert said in told
    assert "Value error" not in told
    assert "Input should" not in told


@pytest.mark.parametrize("command", ["invoke", "result"])
def test_ctrl_c_tells_the_id_and_how_to_go_on(run, file, gateway, command):
    gateway.held = {"add"}
    run("functions", "register", f"{file}:add")
    words = ("add",) if command == "invoke" else (run("invoke", "add", "--no-wait").output.strip(),)
    waits = subprocess.Popen(
        [sys.executable, "-m", "harvester", command, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    while not gateway.seen["GET /v1/invocations/{id}/result"]:
        time.sleep(0.01)  # until it waits; the test's own limit ends a wait in vain
    waits.send_signal(signal.SIGINT)
    printed, told = waits.communicate(timeout=30)
    (invocation_id,) = gateway.invocations
    assert (waits.returncode, printed) == (130, "")
    assert told.startswith(f"invocation {invocation_id} continues: `harvester result {invocation_id}` waits for it")
    assert told.count("\n") == 1


def test_a_result_that_is_not_there_in_time_is_an_error(run, file, gateway):
    gateway.held = {"add"}
    run("functions", "register", f"{file}:add")
    ended = run("invoke", "add", "--timeout", "0.05")
    assert ended.exit_code == 1
    assert "has not ended yet" in ended.stderr
