"""What a wrong value of an option is told as."""

import pytest

from harvester.cli.render.usage import plain


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ({"type": "int_parsing", "msg": "Input should be …", "input": "abc"}, "'abc' is not a whole number"),
        ({"type": "float_parsing", "msg": "Input should be …", "input": "x"}, "'x' is not a number"),
        (
            {"type": "greater_than_equal", "msg": "Input should be …", "input": 0, "ctx": {"ge": 1}},
            "0 is out of range: it must be 1 or more",
        ),
        (
            {"type": "less_than_equal", "msg": "Input should be …", "input": 99999, "ctx": {"le": 65535}},
            "99999 is out of range: it must be 65535 or less",
        ),
        ({"type": "value_error", "msg": "Value error, 'x' is not one of 'a', 'b'."}, "'x' is not one of 'a', 'b'."),
        ({"type": "path_type", "msg": "Input is not a valid path"}, "Input is not a valid path"),
    ],
)
def test_what_pydantic_says_of_a_value_is_said_in_plain_words(error, said):
    assert plain(error) == said
