"""A function's pickle and its label: the packages that go along, and the content of the modules that are only named.

A function of an importable module travels by its name, so its pickle stays the same when the module is edited. The
digest of the module's file, and of all files of its package, tells the versions apart.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import io
import itertools
import operator
import sys
import sysconfig
import types
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from harvester.domain.model.callables import innermost
from harvester.domain.payload.pickles import PROTOCOL
from harvester.domain.payload.shipped import label
from harvester.sdk.payload import pickler
from harvester.sdk.payload.references import imported_names

_STDLIB = sysconfig.get_path("stdlib")
MOST_FILES = 500
_NOT_USERS = frozenset({"__main__", "harvester"})


def packages_of(fn: Callable[..., Any]) -> frozenset[str]:
    """Return the package that `ship_module` sends along: the top one of the function's module, or the module itself.

    Of a namespace that installed packages share, only the part below it is somebody's own.
    """
    name = getattr(innermost(fn), "__module__", None) or ""
    if name == "__main__":
        name = sys.modules[name].__package__ or name  # of `python -m package.module`
    return frozenset(_above(name)[:1])


def labelled(fn: Callable[..., Any], packages: frozenset[str]) -> bytes:
    """Return the pickle of a callable. Raises whatever pickling raises."""

    def written(packages: frozenset[str]) -> bytes:
        try:
            return _written(fn, packages, is_whole=True)
        except Exception:
            if not packages:
                raise
            # A module whose content cannot be sent may not be needed: what imports it will say so when it runs.
            return _written(fn, packages, is_whole=False)

    return pickler.settled(written, packages)


def _written(fn: Callable[..., Any], packages: frozenset[str], *, is_whole: bool) -> bytes:
    with io.BytesIO() as file:
        writer = _Writer(file, protocol=PROTOCOL)
        writer.named = set()
        modules = _Imported(writer.named, packages if is_whole else pickler.NO_PACKAGES)
        writer.dump(_Labelled(fn, modules, _Label(packages, writer.named)))
        return file.getvalue()


class _Writer(pickler.Pickler):
    """Takes note of the modules whose functions and classes it only names, and of those that its code imports."""

    named: set[str]

    def reducer_override(self, obj: Any) -> Any:  # noqa: ANN401 - whatever is pickled
        reduced = super().reducer_override(obj)
        if reduced is NotImplemented:
            if isinstance(obj, types.ModuleType):
                self.named.add(obj.__name__)
            elif isinstance(obj, (type, types.FunctionType, types.BuiltinFunctionType)):
                self.named.add(obj.__module__ or "")
        elif isinstance(obj, types.FunctionType):
            self.named.update(imported_names(obj))
        return reduced


class _Imported:
    """Those modules of the packages sent along that functions import when they run.

    Written behind the function, when it is known which, and so often as their own functions import others.
    """

    def __init__(self, named: set[str], packages: frozenset[str], known: frozenset[str] = frozenset()) -> None:
        self._named, self._packages, self._known = named, packages, known

    def __reduce__(self) -> tuple[Any, ...]:
        wanted = {above for name in self._named if _is_in(name, self._packages) for above in _above(_loaded(name))}
        new = sorted(wanted - self._known)
        more = (_Imported(self._named, self._packages, self._known | wanted),) if new else ()
        return tuple, ((*(sys.modules[name] for name in new), *more),)


class _Label:
    """Written last, when it is known what is named."""

    def __init__(self, packages: frozenset[str], named: set[str]) -> None:
        self._packages, self._named = packages, named

    def __reduce__(self) -> tuple[Any, ...]:
        return str, (label(self._packages, content_of(self._named)),)


class _Labelled:
    """Unpickles to the first of some things: the function."""

    def __init__(self, *all_of_it: object) -> None:
        self._all = all_of_it

    def __reduce__(self) -> tuple[Any, ...]:
        return operator.getitem, (self._all, 0)


def _is_in(module: str, packages: frozenset[str]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages - {"__main__"})


def _loaded(module: str) -> str:
    """Return a module's name; loads it, as the function would. Empty where there is none."""
    try:
        importlib.import_module(module)
    except Exception:  # noqa: BLE001 - a user's module may raise anything; it does so again when the function runs
        return ""
    return module


def content_of(modules: Iterable[str]) -> str:
    """Return a digest of the files of the packages that these modules are in; "" for none.

    Modules that are installed change by being installed, on each machine by itself, and are left out.
    """
    tops = {above[0] for module in modules if (above := _above(module)) and _is_edited(above[0])}
    files = [(top, *each) for top in sorted(tops) for each in _files_of(sys.modules[top])]
    return hashlib.sha256(repr(files).encode()).hexdigest() if files else ""


def _is_edited(module: str) -> bool:
    """Whether a module's files are such as their user edits."""
    return module not in _NOT_USERS and not any(map(_is_installed, _places_of(sys.modules[module])))


def _files_of(module: types.ModuleType) -> list[tuple[str, str]]:
    """Return the files of a module, or of its whole package, loaded or not, each with its digest."""
    own = Path(getattr(module, "__file__", None) or "")
    if not hasattr(module, "__path__"):
        return [(own.name, _content(own))]
    found = ((path.relative_to(place), path) for place in _places_of(module) for path in place.rglob("*.py"))
    chosen = list(itertools.islice(found, MOST_FILES + 1))
    if len(chosen) > MOST_FILES:  # the package's own file must do: thousands would take seconds
        chosen = [(Path(own.name), own)]
    return sorted((name.as_posix(), _content(path)) for name, path in chosen)


def _places_of(module: types.ModuleType) -> list[Path]:
    """Return the folders of a package, the file of another module; none of what is built in."""
    file = getattr(module, "__file__", None)
    return [Path(each) for each in getattr(module, "__path__", (file,) if file else ())]


def _is_installed(path: Path) -> bool:
    return bool({"site-packages", "dist-packages"} & set(path.parts)) or path.is_relative_to(_STDLIB)


def _content(path: Path) -> str:
    try:
        found = path.stat()
        return _digest(path, found.st_mtime_ns, found.st_size)
    except OSError:
        return ""  # it is gone, or in an archive


@functools.lru_cache(4 * MOST_FILES)
def _digest(path: Path, _mtime_ns: int, _size: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _above(module: str) -> list[str]:
    """Return the names of the packages that a module is in, from the top, and its own; not what is built in.

    A namespace is a package where nothing of it is installed.
    """
    parts = module.split(".")
    names = [".".join(parts[:end]) for end in range(1, len(parts) + 1)]
    return [name for name in names if name == "__main__" or _is_package_or_file(sys.modules.get(name))]


def _is_package_or_file(module: types.ModuleType | None) -> bool:
    if module is None:
        return False
    if getattr(module, "__file__", None):
        return True
    places = _places_of(module)
    return bool(places) and not any(map(_is_installed, places))
