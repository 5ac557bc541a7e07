"""The documents say what is so: diagrams equal the tables, links and names lead somewhere, counts are today's."""

import ast
import importlib
import re
from enum import StrEnum
from functools import cache

import pytest
import typer
from scripts import house
from support.sources import PACKAGES, ROOT, modules

from harvester.cli import plugins
from harvester.cli.app import app
from harvester.config import Config
from harvester.domain.model.invocations import INVOCATION
from harvester.domain.model.pilots import PILOT
from harvester.domain.supervision.pilot_output import telling_line

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
def test_no_merge_has_left_its_marks(document):
    assert re.findall(r"^(?:<{7} .*|={7}|>{7} .*)$", document.read_text(), re.MULTILINE) == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_links_between_documents_lead_to_files(document):
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", document.read_text()):
        if "://" not in target:
            assert (document.parent / target).exists(), f"{document.name} links to {target}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_a_merge_has_left_no_marks(document):
    assert not re.findall(r"^(?:<{7} .*|={7}|>{7} .*)$", document.read_text(), re.MULTILINE)


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
    """Whether a dotted name is a module of ours, a name that one defines, or a group of entry points."""
    module, _, last = dotted.rpartition(".")
    return dotted in ENTRY_POINTS or dotted in NAMES or (module in NAMES and last in defined(module))


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


GLOSSARY = ROOT / "docs/glossary.md"


def terms():
    """The terms of the glossary, those of one row apart."""
    rows = re.findall(r"^\| (\*\*.*?) \|", GLOSSARY.read_text(), re.MULTILINE)
    return [term for row in rows for term in re.findall(r"\*+([^*]+)\*+", row)]


def test_no_term_is_in_the_glossary_twice():
    assert len(terms()) > 90
    assert sorted(terms()) == sorted(set(terms()))


def test_every_term_of_the_glossary_is_used():
    texts = [path.read_text() for path in DOCUMENTS if path != GLOSSARY] + [path.read_text() for path in NAMES.values()]
    used = re.sub(r"\s+", " ", "\n".join(texts).lower().replace("handover", "hand-over").replace("_", " "))
    assert [term for term in terms() if term.lower() not in used] == []


def test_every_folder_is_a_term_of_the_glossary():
    folders = {module.folder.rpartition(".")[2] for module in house.modules()} - set(PACKAGES)
    # Names of others, of commands, and the plurals of terms.
    folders -= {"cli", "local", "pbs", "psij", "sdk", "slurm", "up"}
    known = {*terms(), *(f"{term}s" for term in terms()), "policies"}
    assert folders - known == set()


def test_every_state_and_kind_of_the_domain_is_in_the_glossary():
    rows = {name: row for row in GLOSSARY.read_text().splitlines() for name in re.findall(r"\(`(\w+)`\)", row)}
    for name in NAMES:
        if not name.startswith("harvester.domain."):
            continue
        for kind in vars(importlib.import_module(name)).values():
            if not (isinstance(kind, type) and issubclass(kind, StrEnum) and kind.__module__ == name):
                continue
            if kind.__name__ in {"LifecycleWord", "Cause"}:  # no members; sentences, which docs/operations.md has
                continue
            words = set(re.findall(r"`([^`]+)`", rows[kind.__name__]))
            assert {member.value for member in kind} == words - {kind.__name__}, kind.__name__


@cache
def sources():
    """All texts that our programs may print: string constants, an f-string's as its fixed parts, spaces folded."""
    found = []
    for path in NAMES.values():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else "…" for part in node.values]
                found.append("".join(parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return "\n".join(found)


# What Slurm, its steps and Python write, and not we.
WRITTEN_BY_OTHERS = (
    "execve(): /opt/python: No such file or directory",
    "No module named harvester_worker",
    "Unable to create step for job …",
    "*** JOB … CANCELLED … DUE TO TIME LIMIT ***",
)


def told():
    """The lines of pilots that docs/operations.md explains."""
    text = (ROOT / "docs/operations.md").read_text().partition("| what is told |")[2].partition("\n\n")[0]
    return re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE)


def test_the_lines_that_operations_explains_are_ours_or_known_ones_of_others():
    assert len(told()) > 4
    for line in told():
        if line in WRITTEN_BY_OTHERS:
            shown = f"srun: error: {line}"
            assert telling_line(f"a line\n{shown}\nanother") == shown
        else:
            for part in re.split(r"…|pilot\.unreachable|http://|\(Connection refused\)", line):
                assert part.strip() in sources(), line


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_words_with_hyphens_in_code_are_ours(document):
    """Types of problems, commands and the like."""
    others = {"site-packages", "hpc-harvester", "fastapi-offline", "uuid-utils", "pilot-file"}
    ours = "\n".join([sources(), *(path.read_text() for path in [ROOT / "Makefile", *ROOT.glob("slurm-test/**/*.py")])])
    for word in in_backticks(document):
        if re.fullmatch(r"[a-z]+(-[a-z]+)+", word) and word not in others:
            assert word in ours, f"{named(document)} names {word}"


def commands():
    """Each command of the command line by its words, with its options."""

    def below(command, words):
        yield words, {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        for name, inner in getattr(command, "commands", {}).items():
            yield from below(inner, (*words, name))

    return dict(below(typer.main.get_command(app), ()))


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_commands_and_options_that_a_document_names_exist(document):
    known = commands()
    text = document.read_text()
    quoted = [*re.findall(r"`harvester ([^`]+)`", text), *re.findall(r"^ +harvester (.+)$", text, re.MULTILINE)]
    for line in quoted:
        words = line.split("#")[0].split()
        path = ()
        for word in words:
            if (*path, word) not in known:
                break
            path = (*path, word)
        assert path or words[0].startswith(("-", "…", "COMMAND")), f"{named(document)}: harvester {line}"
        given = {word.partition("=")[0] for word in words if word.startswith("--")} - {"--help", "--version"}
        given -= {option for option in given if option.endswith("completion")}
        assert given <= known[path] | known[()], f"{named(document)}: harvester {line}"
