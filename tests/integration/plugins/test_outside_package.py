"""`harvester up` with the policy and the scheduler of an outside package: a function runs on a pilot of theirs."""

import os

from support.outside import install
from support.running import Running

CONFIG = """
[scheduler]
kind = "house"
options = { nodes = 1 }

[harvest]
policy = "one"
look_s = 0.5

[[pilot]]
name = "whole"
partition = "harvest"
cpus = 2
"""


def test_a_function_runs_where_an_outside_policy_and_adapter_put_a_pilot(tmp_path, monkeypatch):
    site = install(tmp_path / "site")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")]))
    (tmp_path / "up.toml").write_text(CONFIG)
    system = Running(tmp_path / "state", "--config", str(tmp_path / "up.toml"), "--port", "0")
    system.start()
    try:
        with system.client() as client:
            assert client.submit(abs, -42).result(timeout=60) == 42
            assert len(client.pilots()) == 1
    finally:
        system.stop()
        system.kill_pilots()
