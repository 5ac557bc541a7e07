"""Temporary folders of slots: each has its own, and nothing of them stays."""

import os
import tempfile
import threading
import time

import pytest

from harvester_worker.isolation.temporary_folders import TemporaryFolders


@pytest.fixture
def node(tmp_path, monkeypatch):
    """The node's temporary folder."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


# Newer Pythons warn of a fork beside threads, which other tests may have left; the copy here does next to nothing.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


def written(folders, slot):
    """Be this slot, as a fork of the zygote is, and write a file. Return the folder that it had."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        folders.enter(slot)
        with tempfile.NamedTemporaryFile(delete=False):
            os.write(writer, tempfile.gettempdir().encode())
        os._exit(0)
    os.wait()
    return os.read(reader, 1000).decode()


def has_no(path):
    until = time.monotonic() + 2
    while os.path.exists(path) and time.monotonic() < until:  # noqa: PTH110 - a word as it came
        time.sleep(0.001)
    return not os.path.exists(path)  # noqa: PTH110 - as above


def test_each_slot_has_a_folder_of_its_own_that_goes_with_it(node):
    folders = TemporaryFolders()
    first, second = written(folders, 1), written(folders, 2)
    assert len({first, second, str(node)}) == 3
    folders.leave(1)
    folders.leave(3)
    assert has_no(first)
    assert os.listdir(second)  # noqa: PTH208 - as above
    folders.close()
    assert list(node.iterdir()) == []


def test_what_a_killed_pilot_has_left_is_swept_and_a_living_ones_is_not(node):
    living, killed = TemporaryFolders(), TemporaryFolders()
    its = written(living, 1)
    left = written(killed, 1)
    assert killed._lock is not None
    os.close(killed._lock)  # as the kernel does it
    TemporaryFolders().sweep()
    for thread in threading.enumerate():
        if thread.name == "harvester-files":
            thread.join()
    assert has_no(left)
    assert os.listdir(its)  # noqa: PTH208 - as above


def test_without_room_slots_use_the_nodes_folder(node, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(node / "missing"))
    folders = TemporaryFolders()
    folders.enter(1)
    folders.leave(1)
    folders.sweep()
    folders.close()
    assert os.environ["TMPDIR"] == str(node)
