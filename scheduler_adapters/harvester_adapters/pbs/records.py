r"""PBS's answers taken apart: objects with a name and attributes, all of it text.

Pure. Knows the three forms in which PBS prints objects, and no attribute. `qstat -f -F dsv` is one line an object,
which no batch job's name or variable can break: line breaks, backslashes and the delimiter are escaped in values. (Its
JSON is spoiled for everybody by one byte of anybody's that is not UTF-8, turns texts into numbers, and answers only the
first of several ids.) `qmgr -c 'list …'` and `pbs_rstat -f` are blocks of lines.
"""

from __future__ import annotations

import re

import msgspec

from harvester_adapters.asking import malformed

DELIMITER = "\x1f"
"""What `qstat -F dsv -D` is told to put between attributes."""

_UNESCAPED = re.compile(rf"(?<!\\)((?:\\\\)*){DELIMITER}")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_HEADS = {"Job Id": "a batch job", "Queue": "a queue", "Server": "a server"}


class PbsRecord(msgspec.Struct, frozen=True):
    """One object of PBS: a batch job, a queue, a server, a scheduler, a reservation."""

    name: str
    attributes: dict[str, str]

    def get(self, name: str) -> str:
        """Return an attribute; empty where PBS does not show it, because it is unset."""
        return self.attributes.get(name, "")


def dsv(text: str, head: str) -> list[PbsRecord]:
    """Return the objects in an answer of `qstat -f -F dsv -D DELIMITER`.

    Parameters
    ----------
    head: what each of them begins with: "Job Id", "Queue", "Server".

    Raises `SchedulerUnavailable` for an answer that is cut off or not of this form.
    """
    if text and not text.endswith("\n"):
        raise malformed("an answer of qstat that was cut off", text[-200:])
    prefix = f"{head}: "
    found: list[PbsRecord] = []
    for line in text.split("\n"):  # splitlines() would split at more than line ends
        if not line:
            continue
        if not line.startswith(prefix):
            raise malformed(f"{_HEADS[head]} of qstat", line)
        parts = _parts(line)
        attributes = {}
        for part in parts[1:]:
            key, _, value = part.partition("=")
            attributes[key] = value
        if not (name := parts[0][len(prefix) :].strip()):
            raise malformed(f"{_HEADS[head]} of qstat", line)
        found.append(PbsRecord(name, attributes))
    return found


def _parts(line: str) -> list[str]:
    if "\\" + DELIMITER not in line:
        return line.split(DELIMITER)
    pieces = _UNESCAPED.split(line)  # text, the escaped backslashes before a delimiter, text, …
    return [text + tail for text, tail in zip(pieces[::2], [*pieces[1::2], ""], strict=True)]


def unescaped(value: str) -> str:
    r"""Return a value of dsv as it was written: `\n` is a line break, `\\` a backslash."""
    return _ESCAPE.sub(lambda found: "\n" if found[1] == "n" else found[1], value) if "\\" in value else value


def blocks(text: str, head: str) -> list[PbsRecord]:
    """Return the objects in an answer of `qmgr -c 'list …'`: a line `Server NAME`, then indented `key = value`."""
    return _blocks(text, re.compile(rf"{head} (\S+)\s*"), f"{head.lower()} of qmgr")


def reservation_blocks(text: str) -> list[PbsRecord]:
    """Return the objects in an answer of `pbs_rstat -f`: a line `Resv ID: NAME`, then `key = value`."""
    return _blocks(text, re.compile(r"Resv ID: (\S+)\s*"), "reservation of pbs_rstat")


def _blocks(text: str, head: re.Pattern[str], what: str) -> list[PbsRecord]:
    found: list[PbsRecord] = []
    for line in text.split("\n"):
        if not line.strip():
            continue
        if (begin := head.fullmatch(line)) is not None:
            found.append(PbsRecord(begin[1], {}))
            continue
        key, is_there, value = line.partition(" = ")
        if not found:
            raise malformed(f"a {what}", line)
        if is_there:  # a value of several lines goes on without a key; none that is asked for has such
            found[-1].attributes.setdefault(key.strip(), value.strip())
    return found
