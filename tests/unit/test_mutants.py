"""Which unit tests `make mutants` asks about a module."""

import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "mutants.py"


@pytest.fixture(scope="module")
def mutants():
    spec = importlib.util.spec_from_file_location("mutants", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_tests_of_a_modules_folder_are_asked_first(mutants):
    asked = mutants.tests_of(Path("worker/harvester_worker/core/settling.py"))
    own = [test.startswith("tests/unit/worker/core/") for test in asked]
    assert "tests/unit/worker/core/test_settling.py" in asked
    assert own == sorted(own, reverse=True)


def test_tests_that_reach_a_module_through_what_tests_share_are_asked(mutants):
    asked = mutants.tests_of(Path("harvester/harvester/domain/dispatch/dispatcher.py"))
    assert "tests/unit/domain/dispatch/leasing/test_prefetch.py" in asked  # by support.dispatching


def test_a_module_that_no_test_imports_is_held_by_all_of_them(mutants):
    assert mutants.tests_of(Path("api/harvester_api/routes/nowhere.py")) == ["tests/unit"]
