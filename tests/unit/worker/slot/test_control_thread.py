"""The watching thread: it wakes in time, and not for what the main thread does itself before."""

import socket
import threading
import time

import pytest

from harvester_worker.slot.control_thread import ControlThread


@pytest.fixture
def watch():
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    looks = []
    watch = ControlThread(
        its, on_order=lambda _: None, look_after=lambda: looks.append(time.monotonic()), due_in_s=lambda: None
    )
    watch.looks, watch.ours = looks, ours  # `ours` stays open: at its end the thread ends the process
    threading.Thread(target=watch.keep, daemon=True).start()
    return watch


def looked(watch):
    until = time.monotonic() + 2
    while not watch.looks and time.monotonic() < until:
        time.sleep(0.001)
    return watch.looks


def test_what_is_put_off_is_looked_after_in_time(watch):
    began_at = time.monotonic()
    watch.put_off(0.02)
    assert looked(watch)[0] - began_at >= 0.02


def test_nobody_is_woken_for_what_is_put_off_again_and_again(watch):
    for _ in range(50):
        watch.put_off(1.0)
        time.sleep(0.001)
    assert not watch.looks
    watch.put_off(0.001)
    assert looked(watch)
