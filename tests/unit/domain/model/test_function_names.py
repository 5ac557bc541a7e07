import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harvester.domain.model.function_names import PATTERN, fitting, is_name, normal


@pytest.mark.parametrize("name", ["area", "9to5", "_x.y-z", "площадь", "面积", "مساحة", "क्षेत्रफल", "Fläche", "l·l"])
def test_letters_of_any_script_make_a_name_and_nothing_of_it_is_dropped(name):
    assert is_name(normal(name))
    assert fitting(name) == normal(name)


@pytest.mark.parametrize("name", ["", ".a", "-a", "a b", "a/b", "a@1", "a%20", "a\n", "a\u200bb", "€", 129 * "x"])
def test_what_a_path_or_an_id_is_cut_at_is_in_no_name(name):
    assert not is_name(name)


def test_how_a_name_was_typed_makes_no_other_name_of_it():
    decomposed = unicodedata.normalize("NFD", "Fläche")
    assert decomposed != "Fläche"
    assert normal(decomposed) == fitting(decomposed) == "Fläche"


@given(st.text())
def test_what_fits_is_a_name(text):
    kept = fitting(text)
    assert kept == "" or is_name(normal(kept))


@given(st.from_regex(re.compile(PATTERN), fullmatch=True))
def test_what_the_document_promises_is_taken(name):
    assert is_name(name)


@pytest.mark.parametrize("name", ["a", "a.b-c_9", "é", "я9"])
def test_the_document_promises_them(name):
    assert re.search(PATTERN, name)
