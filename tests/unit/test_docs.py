"""The documents say what is so: diagrams equal the tables, links and names lead somewhere, counts are today's."""

import ast
import re
from functools import cache

import pytest
from scripts import house
from support.sources import PACKAGES, ROOT, modules

from harvester.cli import plugins
from harvester.config import Config
from harvester.domain.model.invocations import INVOCATION
from harvester.domain.model.pilots import PILOT

DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("slurm-test/*.md")])
DECISIONS = sorted(ROOT.glob("docs/decisions/0*.md"))
NAMES = dict(modules())
# What documents shorten: a part of the package "harvester" without its name.
PARTS = ("cli", "daemon", "domain", "sdk", "simulator", "store")
SOURCES = ("api", "benchmarks", "docs", "examples", "harvester", "scheduler_adapters", "scripts", "tests", "worker")
FILES_OF_OURS = {"harvester.db", "harvester.log"}
ENTRY_POINTS = {plugins.POLICIES, plugins.SCHEDULERS}


def named(path):
    return str(path.relative_to(ROOT))


def in_backticks(document):
    """The words of a document's inline code, without its blocks."""
    text = re.sub(r"^```.*?^```", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)
    return [word for code in re.findall(r"`([^`\n]+)`", text) for word in code.split()]


@pytest.mark.parametrize("lifecycle", [INVOCATION, PILOT], ids=lambda lifecycle: lifecycle.name)
def test_the_diagrams_are_the_tables(lifecycle):
    assert f"```mermaid\n{lifecycle.mermaid()}\n```" in (ROOT / "docs/architecture.md").read_text()


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_links_between_documents_lead_to_files(document):
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", document.read_text()):
        if "://" not in target:
            assert (document.parent / target).exists(), f"{document.name} links to {target}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_links_to_a_heading_lead_to_one(document):
    for file, anchor in re.findall(r"\]\(([^)#\s]*)#([^)\s]+)\)", document.read_text()):
        if "://" not in file:
            target = (document.parent / file) if file else document
            headings = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
            anchors = {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}
            assert anchor in anchors, f"{document.name} links to {file}#{anchor}"


def test_the_readme_names_make_targets_that_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named_targets = set(re.findall(r"`?make ([a-z-]+)", (ROOT / "README.md").read_text()))
    assert {"demo", "test"} <= named_targets <= targets


@cache
def defined(module):
    """The names that a module defines, methods too, and those that it gives out when they are asked for."""
    names = set()
    for node in ast.walk(ast.parse(NAMES[module].read_text())):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.Dict):  # what `harvester` imports lazily
            names |= {key.value for key in node.keys if isinstance(key, ast.Constant)}
    return names


def is_there(dotted):
    """Whether a dotted name is a module of ours, or a name that one defines."""
    module, _, last = dotted.rpartition(".")
    return dotted in NAMES or (module in NAMES and last in defined(module))


def is_benchmark(dotted):
    path = ROOT.joinpath(*dotted.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_modules_that_a_document_names_exist(document):
    for word in in_backticks(document):
        dotted = word.strip(".,;:()")
        if not re.fullmatch(r"[a-z_]+(\.\w+)+", dotted) or dotted in FILES_OF_OURS | ENTRY_POINTS:
            continue
        top, _, rest = dotted.partition(".")
        if top in PACKAGES:
            assert is_there(dotted), f"{named(document)} names {dotted}"
        elif top == "benchmarks":
            assert is_benchmark(dotted), f"{named(document)} names {dotted}"
        elif top in PARTS:  # `store.url` is a setting
            is_setting = hasattr(getattr(Config(), top, None), rest)
            assert is_setting, f"{named(document)} names {dotted}: write harvester.{dotted}, if that exists"


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_files_that_a_document_names_exist(document):
    for word in in_backticks(document):
        path = word.strip(".,;:()")
        if re.fullmatch(r"[\w-]+(/[\w.-]+)+/?", path) and path.partition("/")[0] in (*SOURCES, *PACKAGES, *PARTS):
            assert (ROOT / path).exists(), f"{named(document)} names {path}"


def test_the_state_of_the_house_in_the_document_is_today_s():
    document = house.DOCUMENT.read_text()
    assert house.placed(document, house.report()) == document, "run `make house`"


def test_a_text_is_put_between_its_markers_and_nothing_else_changes():
    document = f"before {house.BEGIN}\nold\n{house.END} after"
    assert house.placed(document, "new") == f"before {house.BEGIN}\n\nnew\n\n{house.END} after"
    with pytest.raises(SystemExit):
        house.placed("no markers", "new")


@pytest.mark.parametrize("decision", DECISIONS, ids=named)
def test_a_decision_says_status_date_and_what_was_considered_and_is_listed(decision):
    text = decision.read_text()
    assert re.search(r"^Status: (accepted|superseded by \[\d{4}\]\(.*\))\. Date: 20\d\d-\d\d-\d\d", text, re.MULTILINE)
    assert "\n## Considered\n" in text
    title = text.partition("\n")[0].removeprefix("# ")
    assert f"[{decision.name[:4]}]({decision.name}) | {title}" in (decision.parent / "README.md").read_text()
