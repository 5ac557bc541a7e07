#!/usr/bin/env python3
"""The state of the source tree: folders and what they own, modules and functions that are too long, double class names.

    make house                          # print it, and write it into docs/architecture.md between its markers
    python scripts/house.py             # only print it

Owns what is counted and how it is printed. The limits that fail a build are in tests/unit/test_import_arrows.py and
tests/unit/test_names.py; tests/unit/test_docs.py holds that the document is up to date.
"""

from __future__ import annotations

import argparse
import ast
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT = ROOT / "docs/architecture.md"
BEGIN, END = "<!-- house: written by `make house` -->", "<!-- house: end -->"
PACKAGES = {
    "harvester": "harvester/harvester",
    "harvester_adapters": "scheduler_adapters/harvester_adapters",
    "harvester_worker": "worker/harvester_worker",
    "harvester_api": "api/harvester_api",
}
MODULE_LINES = 300
FUNCTION_LINES = 45


@dataclass(frozen=True)
class Module:
    """One source file, read and parsed. `name` is dotted; a folder's `__init__` has the folder's name."""

    name: str
    path: Path
    lines: int
    tree: ast.Module

    @property
    def is_folder(self) -> bool:
        """Whether this is a folder's `__init__`."""
        return self.path.name == "__init__.py"

    @property
    def folder(self) -> str:
        """The folder that it lies in."""
        return self.name if self.is_folder else self.name.rpartition(".")[0]

    @property
    def owns(self) -> str:
        """The first paragraph of its docstring, on one line."""
        return " ".join((ast.get_docstring(self.tree) or "").partition("\n\n")[0].split())


def modules() -> Iterator[Module]:
    """Yield every module of the four packages, by package and path."""
    for package, folder in PACKAGES.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            name = ".".join((package, *parts)).removesuffix(".__init__")
            text = path.read_text(encoding="utf-8")
            yield Module(name, path.relative_to(ROOT), len(text.splitlines()), ast.parse(text))


def imported(module: Module, names: frozenset[str]) -> set[str]:
    """Return the modules of ours that `module` imports, wherever in it that happens."""
    found: set[str] = set()
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            full = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in names else node.module for name in full}
    return found & names


def arrows(house: Iterable[Module]) -> dict[str, set[str]]:
    """Return the folders that each folder imports from, itself aside."""
    by_name = {module.name: module for module in house}
    names, found = frozenset(by_name), defaultdict(set)
    for module in by_name.values():
        found[module.folder] |= {by_name[name].folder for name in imported(module, names)}
    return {folder: others - {folder} for folder, others in found.items()}


def long_functions(module: Module) -> Iterator[tuple[str, int]]:
    """Yield each function of more than `FUNCTION_LINES` lines, signature and docstring included, and its length."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > FUNCTION_LINES:
                yield node.name, length


def doubles(house: Iterable[Module]) -> dict[str, list[str]]:
    """Return the public class names that several modules define, each with those modules."""
    defined: dict[str, list[str]] = defaultdict(list)
    for module in house:
        for node in module.tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                defined[node.name].append(module.name)
    return {name: where for name, where in sorted(defined.items()) if len(where) > 1}


def report() -> str:
    """Return the whole report as Markdown."""
    house = list(modules())
    long_modules = [f"`{module.path}` ({module.lines})" for module in house if module.lines > MODULE_LINES]
    long_ones = [f"`{module.name}.{name}` ({length})" for module in house for name, length in long_functions(module)]
    twice = [f"`{name}`: {', '.join(f'`{module}`' for module in where)}" for name, where in doubles(house).items()]
    return "\n".join(
        (
            *_folder_table(house),
            "",
            *_listed(f"Modules over {MODULE_LINES} lines", long_modules),
            *_listed(f"Functions over {FUNCTION_LINES} lines", long_ones),
            *_listed("Public class names defined more than once", twice),
        )
    ).rstrip()


def _folder_table(house: list[Module]) -> Iterator[str]:
    counts: dict[str, int] = defaultdict(int)
    for module in house:
        counts[module.folder] += not module.is_folder
    graph = arrows(house)
    owners = {module.folder: module.owns for module in house if module.is_folder}
    yield f"{sum(counts.values())} modules in {len(owners)} folders.\n"
    yield "| folder | modules | owns | imports of its part |\n|---|---|---|---|"
    for folder in sorted(owners):
        near = ", ".join(f"`{name}`" for name in _near(folder, graph[folder]))
        yield f"| `{folder}` | {counts[folder]} | {owners[folder]} | {near} |"


def _near(folder: str, others: Iterable[str]) -> list[str]:
    """Return the folders of the same part among `others`, by the rest of their names; the part itself is `.`."""
    part = ".".join(folder.split(".")[: 2 if folder.startswith("harvester.") else 1])
    if part == "harvester":
        return []
    return sorted(other[len(part) + 1 :] or "." for other in others if f"{other}.".startswith(f"{part}."))


def _listed(title: str, items: list[str]) -> Iterator[str]:
    yield f"**{title}**: {len(items) or 'none'}.\n"
    if items:
        yield "\n".join(f"- {item}" for item in items) + "\n"


def placed(document: str, text: str, markers: tuple[str, str] = (BEGIN, END)) -> str:
    """Return `document` with `text` between its markers. Raises `SystemExit` where they are missing."""
    before, begin, rest = document.partition(markers[0])
    _, end, after = rest.partition(markers[1])
    if not (begin and end):
        raise SystemExit(f"{DOCUMENT.name} lacks the markers {' and '.join(markers)}")
    return f"{before}{begin}\n\n{text}\n\n{end}{after}"


def main() -> None:
    """Print the report; with `--write`, put it into the document as well."""
    parser = argparse.ArgumentParser(description="Print the state of the source tree.")
    parser.add_argument("--write", action="store_true", help=f"write it into {DOCUMENT.relative_to(ROOT)} as well")
    is_written = parser.parse_args().write
    text = report()
    if is_written:
        DOCUMENT.write_text(placed(DOCUMENT.read_text(encoding="utf-8"), text), encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
