"""The documents say what is so: diagrams equal the tables, links lead somewhere."""

import re
from pathlib import Path

import pytest

from harvester.domain.model.invocations import INVOCATION
from harvester.domain.model.pilots import PILOT

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("slurm-test/*.md")])


@pytest.mark.parametrize("lifecycle", [INVOCATION, PILOT], ids=lambda lifecycle: lifecycle.name)
def test_the_diagrams_are_the_tables(lifecycle):
    assert f"```mermaid\n{lifecycle.mermaid()}\n```" in (ROOT / "docs/architecture.md").read_text()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_between_documents_lead_to_files(document):
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", document.read_text()):
        if "://" not in target:
            assert (document.parent / target).exists(), f"{document.name} links to {target}"


def test_the_readme_names_make_targets_that_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"`?make ([a-z-]+)", (ROOT / "README.md").read_text()))
    assert {"demo", "test"} <= named <= targets
