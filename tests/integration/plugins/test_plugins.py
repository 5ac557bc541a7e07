"""What packages of others add through entry points, found and refused. They are installed into a temporary folder."""

from datetime import timedelta

import pytest
from support.outside import install, install_metadata

from harvester.cli import plugins
from harvester.cli.up import build_adapter
from harvester.config_file import ConfigError, load_config
from harvester.domain.harvest import policies

LOCAL = {"scheduler.kind": "house"}


@pytest.fixture(autouse=True)
def only_our_policies(monkeypatch):
    monkeypatch.setattr(policies, "_added", {})


@pytest.fixture
def outside(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(install(tmp_path / "site"))


@pytest.fixture
def metadata(tmp_path, monkeypatch):
    """Return a function that installs a package which only has entry points."""

    def add(group, *, name="harvester-sloppy", **points):
        monkeypatch.syspath_prepend(install_metadata(tmp_path / name, name, "0.3", {group: points}))

    return add


def test_a_policy_of_another_package_is_found_by_its_name(outside):
    plugins.offer_policies()
    assert type(policies.by_name("one")).__name__ == "OnePilot"
    assert load_config(None, {"harvest.policy": "one"}).harvest.policy == "one"
    with pytest.raises(ValueError, match=r'there is no policy "two"; there are demand, fib, gap, one, var'):
        policies.by_name("two")


def test_nothing_is_found_before_it_is_looked_for(outside):
    with pytest.raises(ValueError, match='there is no policy "one"'):
        policies.by_name("one")


def test_an_adapter_of_another_package_is_made_with_its_options(outside, tmp_path):
    config = load_config(None, {**LOCAL, "state": str(tmp_path / "s"), "scheduler.options": {"nodes": 3}})
    adapter = build_adapter.adapter(config)
    try:
        assert len(adapter.snapshot().nodes) == 3
        assert (tmp_path / "s" / "house").is_dir()
    finally:
        build_adapter.shut_down(adapter, timedelta(seconds=5))
        adapter.close()


def test_options_that_the_adapter_refuses_are_an_error_of_the_configuration(outside):
    config = load_config(None, {**LOCAL, "scheduler.options": {"knots": 3}})
    with pytest.raises(ConfigError, match=r"scheduler\.options: the house scheduler does not know the option 'knots'"):
        build_adapter.adapter(config)


def test_an_adapter_that_no_package_adds_is_refused_with_those_that_there_are(outside):
    with pytest.raises(ConfigError) as refused:
        build_adapter.adapter(load_config(None, {"scheduler.kind": "lsf"}))
    assert refused.value.field == "scheduler.kind"
    assert refused.value.problem == 'there is no scheduler adapter "lsf"; there are local, slurm, pbs, psij, house'


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("no_such_module:Policy", r"cannot be imported: ModuleNotFoundError: No module named 'no_such_module'"),
        ("math:no_such_name", r"cannot be imported: AttributeError"),
        ("math:pi", r"cannot be called"),
        ("operator:itemgetter", r"cannot be made: TypeError"),
        ("builtins:object", r"is not a Policy: it lacks plan"),
    ],
)
def test_a_policy_that_cannot_be_used_names_its_package(metadata, value, problem):
    metadata(plugins.POLICIES, calm=value)
    plugins.offer_policies()  # what nobody asks for is not imported
    at_fault = rf'the policy "calm" \({value}\) of the package harvester-sloppy 0\.3 {problem}'
    with pytest.raises(plugins.PluginError, match=at_fault + r".*; update that package, or remove it with `pip"):
        policies.by_name("calm")
    with pytest.raises(ConfigError, match=r"harvest\.policy: the policy .* harvester-sloppy 0\.3"):
        load_config(None, {"harvest.policy": "calm"})


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("no_such_module:make", r"cannot be imported: ModuleNotFoundError"),
        ("builtins:setattr", r"cannot be made: TypeError"),
        ("builtins:id", r"is not a SchedulerAdapter: it lacks commands, snapshot, glance, ended, submit, cancel, hold"),
    ],
)
def test_an_adapter_that_cannot_be_used_names_its_package(metadata, value, problem):
    metadata(plugins.SCHEDULERS, house=value)
    with pytest.raises(ConfigError, match=rf"the scheduler adapter .* of the package harvester-sloppy 0\.3 {problem}"):
        build_adapter.adapter(load_config(None, LOCAL))


def test_a_name_of_our_own_is_not_taken_over(metadata):
    metadata(plugins.POLICIES, gap="math:sqrt")
    with pytest.raises(plugins.PluginError, match=r"harvester-sloppy 0\.3 has a name that the harvester itself uses"):
        plugins.offer_policies()


def test_a_name_that_two_packages_use_is_refused_with_both(outside, metadata):
    metadata(plugins.POLICIES, name="harvester-double", one="math:sqrt")
    with pytest.raises(plugins.PluginError) as refused:
        plugins.offer_policies()
    assert "harvester-double 0.3" in str(refused.value)
    assert "harvester-outside 1.0" in str(refused.value)


def test_the_adapters_timeout_is_the_configurations(outside, monkeypatch):
    seen = []
    monkeypatch.setattr(plugins, "make_adapter", lambda kind, settings, own: seen.append(settings))
    build_adapter.adapter(load_config(None, {**LOCAL, "scheduler.timeout_s": 3}))
    assert seen[0].timeout == timedelta(seconds=3)
