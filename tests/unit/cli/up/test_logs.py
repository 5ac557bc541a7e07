"""The log of `harvester up` on bad days."""

import logging
import os
import sys
from pathlib import Path

from harvester.cli.up.logs import Lines, LogFile, OnceInAWhile, log_to


def record(text, level=logging.WARNING):
    return logging.LogRecord("daemon", level, __file__, 1, text, (), None)


def test_a_warning_that_repeats_is_logged_once_a_minute():
    now = [0.0]
    once = OnceInAWhile(lambda: now[0])
    assert [once.filter(record("full")) for _ in range(3)] == [True, False, False]
    assert once.filter(record("something else"))
    assert all(once.filter(record("tick", logging.INFO)) for _ in range(3))
    now[0] = 61.0
    assert [once.filter(record("full")) for _ in range(2)] == [True, False]


def raised(error, text):
    try:
        raise error
    except type(error):
        return logging.LogRecord("daemon", logging.ERROR, __file__, 1, text, (), sys.exc_info())


def test_a_traceback_that_repeats_is_logged_once_a_minute_whatever_numbers_its_text_has():
    now = [0.0]
    once = OnceInAWhile(lambda: now[0])
    records = [raised(ValueError(f"at {number}"), f"failed at {number}") for number in range(3)]
    assert [once.filter(each) for each in records] == [True, False, False]
    assert once.filter(raised(TypeError("at 1"), "failed at 1"))
    now[0] = 61.0
    assert once.filter(records[0])


def test_the_log_file_has_a_trouble_that_lasts_once_a_minute_and_each_line_below_a_warning(tmp_path):
    before = logging.root.handlers[:], logging.root.level
    try:
        log_to(tmp_path / "log")
        for _ in range(30):
            logging.getLogger("daemon").info("tick")
            logging.getLogger("daemon").warning("the store failed")
    finally:
        for handler in logging.root.handlers:
            handler.close()
        logging.root.handlers[:], logging.root.level = before
    lines = (tmp_path / "log").read_text().splitlines()
    assert [sum(words in line for line in lines) for words in ("tick", "the store failed")] == [30, 1]


def test_what_the_filter_remembers_has_an_end():
    once = OnceInAWhile()
    for number in range(3000):
        once.filter(record(f"invocation {number}"))
    assert len(once._told_at) <= 1000


def test_a_log_that_cannot_be_written_is_told_once_until_it_can(tmp_path, capsys):
    file = LogFile(tmp_path / "log")
    whole = file.stream
    for _ in range(2):
        with Path("/dev/full").open("w") as file.stream:
            for _ in range(3):
                file.emit(record("lost"))
            told = capsys.readouterr().err
            assert told.count("\n") == 1
            assert told.startswith(f"WARNING the log {tmp_path}/log cannot be written (No space left on device)")
            os.dup2(os.open(os.devnull, os.O_WRONLY), file.stream.fileno())  # so that what is buffered can be let go
        file.stream = whole
        file.emit(record("kept"))
    file.close()
    assert (tmp_path / "log").read_text().splitlines() == ["kept", "kept"]
    assert capsys.readouterr().err == ""


def test_the_terminal_gets_a_line_where_the_file_gets_a_traceback():
    try:
        1 / 0  # noqa: B018
    except ZeroDivisionError:
        failed = logging.LogRecord("up", logging.ERROR, __file__, 1, "up %s", ("failed",), sys.exc_info())
    assert Lines().format(failed) == "ERROR up failed"
