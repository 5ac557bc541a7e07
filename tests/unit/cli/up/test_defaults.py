"""A default has one source, the configuration: settings that cannot import it, and the document, say the same."""

import inspect
import re
import tomllib
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from harvester.cli.commands import simulate
from harvester.cli.up.build import daemon_settings, harvest_settings
from harvester.cli.up.build_gateway import gateway_settings
from harvester.config import FIBONACCI_MIN, Config, PilotConfig, UserConfig
from harvester.config_file import load_config
from harvester.daemon.settings import DaemonSettings, Orders
from harvester.domain.dispatch.settings import DispatcherSettings
from harvester.domain.harvest.planning import HarvestSettings, Shape
from harvester.domain.model.resources import Resources
from harvester.domain.protocol.pilot_file import PilotFile
from harvester.simulator.parameters import PUBLISHED_LENGTHS, Parameters
from harvester_api.settings import GatewaySettings, Role, Token

SHAPE = Shape(name="harvest", partition="harvest", resources=Resources(cpus=2))
OPERATIONS = Path(__file__).parents[4] / "docs" / "operations.md"
# Shown with a value, since the default says nothing: the comment beside it tells the default.
EXAMPLES = {
    "state", "gateway.host", "gateway.url", "gateway.max_running_per_user", "gateway.max_connections",
    "scheduler.kind", "scheduler.slurm.export", "scheduler.pbs.export", "harvest.tick_s", "harvest.max_nodes",
    "harvest.max_share", "harvest.excluded_nodes", "harvest.quiet_hours", "user.name", "user.max_running",
    "pilot.name", "pilot.partition", "pilot.cpus", "pilot.ready",
}  # fmt: skip


def differing(made, default, *, but=()):
    """Return the fields of two records that differ, except those that a site always tells."""
    return {
        name: (getattr(made, name), getattr(default, name))
        for name in default.__struct_fields__
        if name not in but and getattr(made, name) != getattr(default, name)
    }


def test_the_gateways_settings_are_the_configurations(tmp_path):
    config = Config(state=str(tmp_path))
    made = gateway_settings(config, (SHAPE,), lambda name: f"token of {name}")
    default = GatewaySettings(tokens=(Token(name="me", role=Role.USER, token="t"),))
    assert differing(made, default, but=("tokens", "offers", "blobs")) == {}
    assert made.lease == DispatcherSettings().lease


def test_the_daemons_and_the_planners_settings_are_the_configurations(tmp_path):
    config = Config(state=str(tmp_path))
    planner = harvest_settings(config, (SHAPE,), margin=timedelta(seconds=30))
    assert differing(planner, HarvestSettings(shapes=(SHAPE,), lengths=planner.lengths)) == {}
    made = daemon_settings(config, (SHAPE,), 8321)
    default = DaemonSettings(state_dir=made.state_dir, gateways=made.gateways, harvest=made.harvest, orders=made.orders)
    assert differing(made, default) == {}


@pytest.mark.parametrize(
    ("kind", "mode", "expected"),
    [
        ("slurm", "preemptible", (1.0, 5.0)),
        ("slurm", "strict", (0.5, 0.5)),
        ("pbs", "preemptible", (0.5, 0.5)),  # its scheduler stands still while a pilot leaves
    ],
)
def test_how_long_a_pilot_may_take_to_leave_is_the_schedulers_and_the_modes(tmp_path, kind, mode, expected):
    config = load_config(None, {"state": str(tmp_path), "scheduler.kind": kind, "harvest.mode": mode})
    (orders,) = daemon_settings(config, (SHAPE,), 8321).orders.values()
    assert (orders.finish_s, orders.handover_s) == expected


@pytest.mark.parametrize("kind", ["slurm", "pbs"])
def test_how_pilots_are_submitted_is_the_table_of_the_scheduler(tmp_path, kind):
    told = {"state": str(tmp_path), "scheduler.kind": kind, f"scheduler.{kind}.account": "acct"}
    made = daemon_settings(load_config(None, told | {f"scheduler.{kind}.nice": 3}), (SHAPE,), 8321)
    assert (made.account, made.nice, made.qos) == ("acct", 3, "")


def test_a_pilots_orders_and_its_file_are_the_shapes():
    shape = PilotConfig(name="a", partition="a")
    file = PilotFile(pilot_id="p", token="t", gateways=(), capacity=Resources(), walltime_s=60.0, grace_s=0.0)
    for default in (Orders(interpreter="python"), file):
        shared = set(default.__struct_fields__) & set(shape.__struct_fields__)
        assert len(shared) >= 5
        assert {name: getattr(default, name) for name in shared} == {name: getattr(shape, name) for name in shared}
    assert file.result_limit_bytes == GatewaySettings(tokens=()).result_limit_bytes


def test_the_simulators_lengths_are_the_configurations():
    assert tuple(timedelta(minutes=minutes) for minutes in FIBONACCI_MIN) == PUBLISHED_LENGTHS


@pytest.mark.parametrize("command", [simulate.idle_log, simulate.swf, simulate.sacct])
def test_the_options_of_a_simulation_are_its_parameters(command):
    told = {name: option.default for name, option in inspect.signature(command).parameters.items()}
    default, compared = Parameters(), 0
    for field in default.__struct_fields__:
        name = field.removesuffix("_s")
        value = told.get(name, inspect.Parameter.empty)
        if value is inspect.Parameter.empty or name in {"lengths", "nodes"}:
            continue
        assert value == getattr(default, field), name
        compared += 1
    assert compared >= 7


def documented() -> dict[str, tuple[object, str]]:
    """Return the value and the comment of each field in the table of settings."""
    text = OPERATIONS.read_text()
    block = text[text.index("```toml\n") + 8 :]
    found: dict[str, tuple[object, str]] = {}
    section = ""
    for line in block[: block.index("```")].splitlines():
        code, _, comment = line.partition("#")
        if header := re.fullmatch(r"\[\[?([\w.]+)\]\]?", code.strip()):
            section = header[1] + "."
        elif code.strip():
            ((key, value),) = tomllib.loads(code).items()
            found[section + key] = (value, comment)
    return found


def configured() -> dict[str, object]:
    """Return the default of each field of the configuration, NODEFAULT where it must be given."""
    found: dict[str, object] = {}

    def collect(kind: type[msgspec.Struct], path: str) -> None:
        for field in msgspec.structs.fields(kind):
            if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
                collect(field.type, f"{path}{field.name}.")
            elif field.name not in {"user", "pilot"} or path:
                is_made = field.default_factory is not msgspec.NODEFAULT
                found[path + field.name] = field.default_factory() if is_made else field.default

    collect(Config, "")
    collect(UserConfig, "user.")
    collect(PilotConfig, "pilot.")
    return found


def test_the_document_has_every_field_with_its_default():
    written, defaults = documented(), configured()
    assert written.keys() == defaults.keys()
    for name, (value, comment) in written.items():
        default = defaults[name]
        shown = list(default) if isinstance(default, tuple) else default
        if name in EXAMPLES:
            assert value != shown
            assert "default" in comment or default is msgspec.NODEFAULT, f"{name}: its comment tells no default"
        else:
            assert value == shown, name
