"""Reading a configuration: a TOML file and the options that override it, and the wording of its errors.

Every error names the field, what was wrong with it, and what to do.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec
from msgspec import structs

from harvester.config import OWN_KINDS, Config, PilotConfig, UserConfig
from harvester.domain.harvest import quiet_hours
from harvester.domain.harvest.policies import by_name, known

Tables = dict[str, Any]
_UNITS = {"_s": "seconds", "_min": "minutes", "_days": "days"}

_ARRAYS: dict[str, type[msgspec.Struct]] = {"pilot": PilotConfig, "user": UserConfig}  # arrays of tables


class ConfigError(Exception):
    """A configuration that cannot be used. Its text is one line for the author of the configuration.

    Parameters
    ----------
    field: the path of the field, "harvest.ready"; empty where the file as a whole is meant.
    problem: what was wrong.
    remedy: what to do.
    source: the file; empty where the value came from an option.
    """

    def __init__(self, field: str, problem: str, remedy: str, source: str = "") -> None:
        where = " in ".join(part for part in (field, source) if part)
        super().__init__(f"{where}: {problem}; {remedy}" if where else f"{problem}; {remedy}")
        self.field = field
        self.problem = problem
        self.remedy = remedy


def load_config(path: Path | None, overrides: Mapping[str, object] | None = None) -> Config:
    """Return the configuration in `path`, if there is one, with `overrides` laid over it.

    Parameters
    ----------
    overrides: dotted field paths and their values, {"scheduler.local.nodes": 4}; None as a value overrides nothing.

    Raises `ConfigError`.
    """
    tables = _read(path) if path is not None else {}
    for field, value in (overrides or {}).items():
        if value is not None:
            _lay_over(tables, field, value)
    source = str(path) if path is not None else ""
    _refuse_unknown(tables, Config, "", source)
    try:
        config = msgspec.convert(tables, Config)
    except msgspec.ValidationError as error:
        raise _explained(error, tables, source) from error
    _check(config, source)
    return config


def _read(path: Path) -> Tables:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            "", f"there is no configuration file {path}", "name one that exists, or leave it out"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("", f"the configuration file {path} cannot be read ({error})", "make it readable") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(
            "", f"the configuration file {path} is not valid TOML ({error})", "correct that line"
        ) from error


def parsed(text: str) -> object:
    """Return the value that `text` stands for on a command line: TOML, or else the text itself."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _lay_over(tables: Tables, field: str, value: object) -> None:
    *parents, last = field.split(".")
    for parent in parents:
        tables = tables.setdefault(parent, {})
        if not isinstance(tables, dict):
            raise ConfigError(parent, "expected a table", f"write it as [{parent}]")
    tables[last] = value


def _refuse_unknown(value: object, kind: type[msgspec.Struct], path: str, source: str) -> None:
    """Refuse the first key that `kind` does not have, naming the nearest that it has."""
    if not isinstance(value, dict):
        return
    fields = {field.name: field.type for field in structs.fields(kind)}
    for key, inner in value.items():
        here = f"{path}.{key}" if path else key
        if key not in fields:
            remedy = _nearest(key, fields) or f"the keys are {', '.join(fields)}"
            raise ConfigError(here, "there is no such key", remedy, source)
        if isinstance(fields[key], type) and issubclass(fields[key], msgspec.Struct):
            _refuse_unknown(inner, fields[key], here, source)
        elif key in _ARRAYS and isinstance(inner, list):
            for number, one in enumerate(inner):
                _refuse_unknown(one, _ARRAYS[key], f"{here}[{number}]", source)


def _nearest(word: str, known: Iterable[str]) -> str:
    """Return the question whether the most similar of `known` is meant; empty where none is similar."""
    nearest = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"did you mean {nearest[0]!r}?" if nearest else ""


def _explained(error: msgspec.ValidationError, tables: Tables, source: str) -> ConfigError:
    """Return msgspec's error, which ends in " - at `$.pilot[0].cpus`", as a `ConfigError`."""
    text, _, at = str(error).partition(" - at `$")
    field = at.rstrip("`").lstrip(".")
    missing = re.match(r"Object missing required field `(\w+)`", text)
    if missing:
        name = missing.group(1)
        return ConfigError(f"{field}.{name}".lstrip("."), "it is missing", f'write for example {name} = "…"', source)
    value = _value_at(tables, field)
    if field in _ARRAYS:
        return ConfigError(field, "expected an array of tables", f"write each as [[{field}]]", source)
    if text.startswith("Expected `object`"):
        header = f"[[{field.partition('[')[0]}]]" if "[" in field else f"[{field}]"
        return ConfigError(field, f"{_toml(value)} is invalid: expected a table", f"write it as {header}", source)
    last = re.sub(r"\[.*?\]$", "", field).rsplit(".", 1)[-1]
    words = _words_of(field)
    if words:
        problem = f"{_toml(value)} is not one of {', '.join(words)}"
        return ConfigError(
            field, problem, _nearest(str(value), words) or f"write for example {last} = {_toml(words[0])}", source
        )
    return ConfigError(field, f"{_toml(value)} is invalid: {text[:1].lower()}{text[1:]}", _example(last), source)


def _example(name: str) -> str:
    """Return what to write for a field, with its unit where it is a duration."""
    default = _default_of(name)
    unit = next((words for end, words in _UNITS.items() if name.endswith(end)), "")
    if unit:
        return f"write {unit}, for example {name} = {_toml(10 if default is None else default)}"
    return "correct the value" if default is None else f"write for example {name} = {_toml(default)}"


def _words_of(field: str) -> tuple[str, ...]:
    """Return the words that a field takes, in the order of its `Literal`; none where it takes others too."""
    kind: Any = Config
    for part in re.findall(r"[A-Za-z_]\w*", field):
        kind = _ARRAYS.get(part) or get_type_hints(kind).get(part)
        if not (isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
            break
    return get_args(kind) if get_origin(kind) is Literal else ()


def _value_at(tables: object, field: str) -> object:
    for part in re.findall(r"\w+", field):
        if isinstance(tables, dict):
            tables = tables.get(part)
        elif isinstance(tables, list) and part.isdigit() and int(part) < len(tables):
            tables = tables[int(part)]
    return tables


def _default_of(name: str) -> object:
    """Return the default of the field called `name`, in whichever table it is."""
    kinds: list[type[msgspec.Struct]] = [Config, *_ARRAYS.values()]
    while kinds:
        for field in structs.fields(kinds.pop()):
            if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
                kinds.append(field.type)
            elif field.name == name and field.default not in (msgspec.NODEFAULT, None, ""):
                return field.default
    return None


def _toml(value: object) -> str:
    if isinstance(value, tuple | list):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, bool | str):
        return str(value).lower() if isinstance(value, bool) else f'"{value}"'
    return f"{value:g}" if isinstance(value, float) else str(value)


def _check(config: Config, source: str) -> None:
    """Refuse settings that contradict each other."""
    gateway = config.gateway
    if bool(gateway.tls_certificate) != bool(gateway.tls_key):
        field = "gateway.tls_key" if gateway.tls_certificate else "gateway.tls_certificate"
        raise ConfigError(field, "it is missing", "TLS needs both tls_certificate and tls_key", source)
    for name in ("tls_certificate", "tls_key", "tls_ca"):
        file = getattr(gateway, name)
        if file and not Path(file).is_file():
            raise ConfigError(f"gateway.{name}", f"there is no file {file}", "name a PEM file", source)
    if gateway.url and not gateway.url.lower().startswith(("http://", "https://")):
        remedy = 'write for example url = "http://login1:8321"'
        raise ConfigError("gateway.url", f'"{gateway.url}" is not an address', remedy, source)
    if config.harvest.partition and config.pilot:
        remedy = "leave it out, each [[pilot]] has its own partition"
        raise ConfigError("harvest.partition", "it applies only without [[pilot]] tables", remedy, source)
    _check_names("pilot", [pilot.name for pilot in config.pilot], "give each shape its own", source)
    _check_names("user", [user.name for user in config.user], "give each user their own", source)
    for number, user in enumerate(config.user):
        if user.name in {"user", "admin"}:
            remedy = '"user" (who runs `harvester up`) and "admin" always exist; choose another name'
            raise ConfigError(f"user[{number}].name", f'"{user.name}" is taken', remedy, source)
    _check_harvest(config, source)
    if config.scheduler.options and config.scheduler.kind in OWN_KINDS:
        kind = config.scheduler.kind
        problem = f'kind = "{kind}" does not read it'
        raise ConfigError("scheduler.options", problem, f"write [scheduler.{kind}]", source)
    if config.scheduler.kind == "local":
        _check_local(config, source)


def _check_names(kind: str, names: list[str], remedy: str, source: str) -> None:
    for number, name in enumerate(names):
        if name in names[:number]:
            raise ConfigError(f"{kind}[{number}].name", f'"{name}" is used twice', remedy, source)


def _check_harvest(config: Config, source: str) -> None:
    harvest = config.harvest
    try:
        by_name(harvest.policy)
    except ValueError as error:
        remedy = _nearest(harvest.policy, known()) or "choose another policy"
        raise ConfigError("harvest.policy", str(error), remedy, source) from None
    if harvest.everything and harvest.policy != "gap":
        problem = f'policy = "{harvest.policy}" does not support it'
        raise ConfigError("harvest.everything", problem, 'write policy = "gap", or leave it out', source)
    for number, text in enumerate(harvest.quiet_hours):
        try:
            quiet_hours.parse(text, harvest.time_zone)
        except ValueError as error:
            problem, _, remedy = str(error).partition("; ")
            field = "harvest.time_zone" if "time zone" in problem else f"harvest.quiet_hours[{number}]"
            raise ConfigError(field, problem, remedy, source) from None


def _check_local(config: Config, source: str) -> None:
    node = config.scheduler.local
    if config.harvest.partition not in {"", "harvest"}:
        problem = f'the local scheduler has no partition "{config.harvest.partition}" for pilots'
        raise ConfigError("harvest.partition", problem, 'write "harvest", or leave it out', source)
    for number, pilot in enumerate(config.pilot):
        if pilot.partition != "harvest":
            problem = f'the local scheduler has no partition "{pilot.partition}" for pilots'
            raise ConfigError(f"pilot[{number}].partition", problem, 'write partition = "harvest"', source)
        for name in ("cpus", "gpus", "memory_mb"):
            wanted, has = getattr(pilot, name), getattr(node, name)
            if wanted > has:
                problem = f"{wanted} is more than a local node has ({has})"
                remedy = f"lower it, or raise scheduler.local.{name}"
                raise ConfigError(f"pilot[{number}].{name}", problem, remedy, source)
