"""The config file: defaults, and errors that name the field and the remedy."""

import math
from pathlib import Path
from typing import Literal, get_args, get_origin, get_type_hints

import msgspec
import pytest

from harvester.config import Config
from harvester.config_file import ConfigError, load_config, parsed


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "site.toml"
    path.write_text(text)
    return path


def test_without_a_file_the_defaults_harvest_two_local_nodes():
    config = load_config(None)
    assert (config.scheduler.kind, config.scheduler.local.nodes, config.harvest.ready) == ("local", 2, 1)
    assert config.harvest.lengths_min == (2, 4, 6, 8, 14, 22, 34, 56, 90)


def test_options_beat_the_file_and_none_says_nothing(tmp_path: Path):
    path = write(tmp_path, "[gateway]\nport = 9000\nhost = '::1'\n[scheduler.local]\nnodes = 3\n")
    config = load_config(path, {"gateway.port": 9001, "gateway.host": None, "scheduler.local.cpus": 1})
    assert (config.gateway.port, config.gateway.host) == (9001, "::1")
    assert (config.scheduler.local.nodes, config.scheduler.local.cpus) == (3, 1)


def test_a_whole_file_is_read(tmp_path: Path):
    path = write(
        tmp_path,
        """
        state = "/var/lib/harvester"
        [scheduler]
        kind = "slurm"
        [scheduler.slurm]
        account = "idle"
        [harvest]
        lengths_min = [2, 0.5]
        [[pilot]]
        name = "cpu"
        partition = "harvest"
        cpus = 64
        [[pilot]]
        name = "gpu"
        partition = "gpus"
        gpus = 4
        ready = 2
        """,
    )
    config = load_config(path)
    assert config.scheduler.slurm.account == "idle"
    assert [(pilot.name, pilot.cpus, pilot.gpus, pilot.ready) for pilot in config.pilot] == [
        ("cpu", 64, 0, None),
        ("gpu", 1, 4, 2),
    ]


@pytest.mark.parametrize(
    ("text", "field", "words"),
    [
        ("[[user]]\nname = 'ada'\nwieght = 2\n", "user[0].wieght", "did you mean 'weight'?"),
        ("[[user]]\nname = 'ada'\n[[user]]\nname = 'ada'\n", "user[1].name", "used twice"),
        ("[[user]]\nname = 'admin'\n", "user[0].name", "choose another name"),
        ("[[user]]\nname = '../x'\n", "user[0].name", "is invalid"),
        ("[harvest]\nredy = 2", "harvest.redy", "did you mean 'ready'?"),
        ("[harvst]\nready = 2", "harvst", "did you mean 'harvest'?"),
        ("[scheduler.local]\nnode = 2", "scheduler.local.node", "did you mean 'nodes'?"),
        ("[store]\nzzzzzz = 2", "store.zzzzzz", "the keys are url"),
        ("[[pilot]]\nname='a'\npartition='harvest'\ncpu=2", "pilot[0].cpu", "did you mean 'cpus'?"),
        ("[harvest]\nmax_pilots = -1", "harvest.max_pilots", "write for example max_pilots = 64"),
        ("[harvest]\nmax_pending = 'ten'", "harvest.max_pending", '"ten" is invalid: expected `int`'),
        ("[harvest]\nlengths_min = [2, 0]", "harvest.lengths_min[1]", "0 is invalid"),
        ("[harvest]\nlengths_min = []", "harvest.lengths_min", "length >= 1"),
        ("[gateway]\nport = 99999", "gateway.port", "write for example port = 8321"),
        ("[gateway]\nurl = 'login1:8321'", "gateway.url", 'write for example url = "http://login1:8321"'),
        ("[gateway]\ntls_key = 'key.pem'", "gateway.tls_certificate", "TLS needs both"),
        ("[scheduler]\nkind = 3", "scheduler.kind", "3 is invalid"),
        ("[scheduler.options]\nqueue = 'all'", "scheduler.options", 'kind = "local" does not read it'),
        ("[[pilot]]\nname = 'a'", "pilot[0].partition", "it is missing"),
        ("[[pilot]]\nname='a'\npartition='prime'", "pilot[0].partition", 'write partition = "harvest"'),
        ("[[pilot]]\nname='a'\npartition='harvest'\ncpus=3", "pilot[0].cpus", "raise scheduler.local.cpus"),
        ("[harvest]\npartition = 'debug'", "harvest.partition", 'no partition "debug"'),
        ("harvest = 3", "harvest", "3 is invalid"),
    ],
)
def test_what_is_wrong_is_named_with_the_remedy(tmp_path: Path, text: str, field: str, words: str):
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert caught.value.field == field
    assert words in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_address_is_one_in_whatever_case_its_scheme_is_written(tmp_path: Path):
    assert load_config(write(tmp_path, "[gateway]\nurl = 'HTTP://login1:8321'")).gateway.url == "HTTP://login1:8321"


def test_two_shapes_of_one_name_are_refused(tmp_path: Path):
    shape = "[[pilot]]\nname = 'a'\npartition = 'harvest'\n"
    with pytest.raises(ConfigError, match=r"pilot\[1\]\.name.*twice"):
        load_config(write(tmp_path, shape * 2))


def test_a_file_that_is_missing_or_no_toml_is_named(tmp_path: Path):
    with pytest.raises(ConfigError, match="there is no configuration file"):
        load_config(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="is not valid TOML"):
        load_config(write(tmp_path, "[harvest"))


@pytest.mark.parametrize(("text", "value"), [("3", 3), ("true", True), ("[2, 4]", [2, 4]), ("slurm", "slurm")])
def test_a_value_on_the_command_line_is_toml_or_else_text(text: str, value: object):
    assert parsed(text) == value


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('policy = "gab"', r'no policy "gab"; there are demand, fib, gap, var; did you mean \'gap\'\?'),
        ('policy = "xyz"', r'no policy "xyz"; there are demand, fib, gap, var; choose another policy'),
        (
            'mode = "strct"',
            r'harvest\.mode in .*"strct" is not one of preemptible, strict, yielding; did you mean .strict',
        ),
        ('mode = "kind"', r'not one of preemptible, strict, yielding; write for example mode = "preemptible"'),
        ("mode = 3", r"harvest\.mode in .*: 3 is not one of preemptible, strict, yielding"),
        ("max_share = 1.5", r"harvest\.max_share"),
        ("everything = true", r"harvest\.everything in .*: policy = \"demand\" does not support it"),
        ('quiet_hours = ["08:00-18:00", "noon"]', r'harvest\.quiet_hours\[1\] in .*"noon" names no hours'),
        ('quiet_hours = ["08:00-18:00"]\ntime_zone = "Mars"', r'harvest\.time_zone in .*no time zone "Mars"'),
    ],
)
def test_brakes_that_cannot_work_are_refused_with_their_field(tmp_path: Path, text, words):
    with pytest.raises(ConfigError, match=words):
        load_config(write(tmp_path, f"[harvest]\n{text}\n"))


def literals(kind, path=""):
    """Return the fields of a table, and of those in it, that take one of some words."""
    found = {}
    for name, type_ in get_type_hints(kind).items():
        if get_origin(type_) is Literal:
            found[f"{path}{name}"] = get_args(type_)
        elif isinstance(type_, type) and issubclass(type_, msgspec.Struct):
            found |= literals(type_, f"{path}{name}.")
    return found


@pytest.mark.parametrize(("field", "words"), literals(Config).items())
def test_a_field_that_takes_one_of_some_words_is_told_with_all_of_them(field, words):
    with pytest.raises(ConfigError) as refused:
        load_config(None, {field: words[-1][:-1]})
    assert refused.value.field == field
    assert refused.value.problem == f'"{words[-1][:-1]}" is not one of {", ".join(words)}'
    assert refused.value.remedy == f"did you mean {words[-1]!r}?"


@pytest.mark.parametrize(
    ("field", "remedy"),
    [
        ("harvest.look_s", "write seconds, for example look_s = 20"),
        ("harvest.tick_s", "write seconds, for example tick_s = 10"),  # which has no default of its own
        ("harvest.longest_min", "write minutes, for example longest_min = 240"),
        ("gateway.result_days", "write days, for example result_days = 7"),
    ],
)
def test_a_duration_is_refused_by_its_key_and_with_its_unit(field, remedy):
    with pytest.raises(ConfigError) as told:
        load_config(None, {field: "10min"})
    assert str(told.value).startswith(f'{field}: "10min" is invalid: expected `float')
    assert told.value.remedy == remedy


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("gateway.head_s", math.inf),
        ("harvest.tick_s", 1e300),
        ("harvest.lengths_min", [math.inf]),
        ("harvest.longest_min", 1e300),
        ("scheduler.local.grace_s", math.inf),
        ("scheduler.local.memory_mb", 10**30),
        ("gateway.max_open", 2**64),
    ],
)
def test_numbers_that_cannot_be_reckoned_with_are_refused_by_their_key(field: str, value: object):
    with pytest.raises(ConfigError) as refused:
        load_config(None, {field: value})
    assert str(refused.value).startswith(field)
    assert "is invalid: expected" in str(refused.value)


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("[pilot]\nname = 'a'\npartition = 'harvest'\n", "write each as [[pilot]]"),
        ("user = 3\n", "write each as [[user]]"),
        ("harvest = 3\n", "write it as [harvest]"),
        ("[scheduler]\nlocal = 'n1'\n", "write it as [scheduler.local]"),
    ],
)
def test_what_should_be_a_table_is_told_how_to_be_written(tmp_path, text, remedy):
    path = tmp_path / "site.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert caught.value.remedy == remedy
