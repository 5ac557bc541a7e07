"""A state folder that others can look into is closed to them, or refused where closing it might harm somebody."""

import pytest

from harvester.cli.state_folder import StateFolder, StateFolderError


def mode(path):
    return path.stat().st_mode & 0o7777


@pytest.mark.parametrize(("before", "was_open"), [(0o700, False), (0o755, True), (0o777, True)])
def test_an_empty_folder_and_one_that_was_ours_are_closed_to_others(tmp_path, before, was_open):
    folder = tmp_path / "state"
    folder.mkdir()
    for _ in range(2):
        folder.chmod(before)
        state = StateFolder(folder)
        state.close()
        assert (mode(folder), state.was_open) == (0o700, was_open)


def test_a_folder_of_other_things_is_left_as_it_is_or_refused_where_others_may_write(tmp_path):
    (tmp_path / "thesis.tex").touch()
    tmp_path.chmod(0o755)
    StateFolder(tmp_path).close()
    (tmp_path / "up.lock").unlink()
    tmp_path.chmod(0o777)
    with pytest.raises(StateFolderError, match=r"others may write.*mode 777.*chmod 700"):
        StateFolder(tmp_path)
    assert mode(tmp_path) == 0o777
    tmp_path.chmod(0o700)
