"""A tiny LSF of files: run as `bsub`, `bjobs` and `bkill`, it keeps its batch jobs in the folder $LSF_ENVDIR.

Tests drive it by files in that folder: `hold` keeps what is submitted pending; `bsub.lost` lets bsub submit and then
say that nobody answered; `bjobs.garbage` spoils what bjobs says; `bjobs.slow` lets it hang.
"""

import fcntl
import fnmatch
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TextIO

_OVER = ("DONE", "EXIT")


def install(folder: Path) -> dict[str, str]:
    """Make the commands in `folder`/bin, and return what the environment needs to find them."""
    commands = folder / "bin"
    commands.mkdir(parents=True)
    for name in ("bsub", "bjobs", "bkill"):
        path = commands / name
        path.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "{__file__}" {name} "$@"\n')
        path.chmod(0o755)
    return {"PATH": f"{commands}:{os.environ['PATH']}", "LSF_ENVDIR": str(folder)}


def records(folder: Path) -> list[dict[str, str]]:
    """Return the batch jobs, in the order of their submission."""
    found = sorted(folder.glob("*.job"), key=lambda path: int(path.stem))
    return [json.loads(path.read_text()) for path in found]


def _say(to: TextIO, words: str) -> None:
    to.write(words + "\n")


def _put(folder: Path, record: dict[str, str]) -> None:
    part = folder / f"{record['JOBID']}.part"
    part.write_text(json.dumps(record))
    part.rename(folder / f"{record['JOBID']}.job")


def _bsub(folder: Path, argv: list[str]) -> int:
    *options, script = argv
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        number = len(list(folder.glob("*.job"))) + 1
        name = options[options.index("-J") + 1]
        record = {
            "JOBID": str(number),
            "STAT": "PEND",
            "JOB_NAME": name,
            "EXIT_REASON": "",
            "OPTIONS": " ".join(options),
        }
        _put(folder, record)
    log = (folder / "run.log").open("ab")
    subprocess.Popen(
        [sys.executable, "-S", __file__, "run", str(number), script],
        stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
    )  # fmt: skip
    if (folder / "bsub.lost").exists():
        (folder / "bsub.lost").unlink()
        _say(sys.stderr, "Failed in an LSF library call: Communication time out.")
        return 255
    _say(sys.stdout, f"Job <{number}> is submitted to queue <{options[options.index('-q') + 1]}>.")
    return 0


def _run(folder: Path, argv: list[str]) -> int:
    """Be the host that runs one batch job."""
    number, script = argv
    path = folder / f"{number}.job"
    while (folder / "hold").exists() and json.loads(path.read_text())["STAT"] == "PEND":
        time.sleep(0.05)
    record = json.loads(path.read_text())
    if record["STAT"] != "PEND":
        return 0
    environment = os.environ | {"LSB_JOBID": number}
    with subprocess.Popen(["/bin/sh", "-c", f"exec {script}"], start_new_session=True, env=environment) as process:
        _put(folder, record | {"STAT": "RUN", "PID": str(process.pid)})
        code = process.wait()
    reason = "" if code == 0 else f"exited with {code}"
    _put(folder, json.loads(path.read_text()) | {"STAT": "EXIT" if code else "DONE", "EXIT_REASON": reason})
    return 0


def _bjobs(folder: Path, argv: list[str]) -> int:
    if (folder / "bjobs.slow").exists():
        time.sleep(60)
    if (folder / "bjobs.garbage").exists():
        _say(sys.stdout, '{"COMMAND":"bjobs","JOBS":1,"RECORDS":[{"JOBID":"1","STAT')
        return 0
    ids = [word for word in argv if word.isdigit()]
    shown = records(folder)
    if "-a" not in argv:
        shown = [record for record in shown if record["STAT"] not in _OVER]
    if "-J" in argv:
        shown = [each for each in shown if fnmatch.fnmatch(each["JOB_NAME"], argv[argv.index("-J") + 1])]
    if ids:
        shown = [record for record in shown if record["JOBID"] in ids]
        known = {record["JOBID"] for record in shown}
        shown += [{"JOBID": each, "ERROR": f"Job <{each}> is not found"} for each in ids if each not in known]
    if not shown:
        _say(sys.stderr, "No unfinished job found")
        return 255
    _say(sys.stdout, json.dumps({"COMMAND": "bjobs", "JOBS": len(shown), "RECORDS": shown}))
    return 0


def _bkill(folder: Path, argv: list[str]) -> int:
    code = 0
    for number in argv:
        path = folder / f"{number}.job"
        record = json.loads(path.read_text()) if path.exists() else {"STAT": "EXIT"}
        if record["STAT"] in _OVER:
            _say(sys.stderr, f"Job <{number}>: Job has already finished")
            code = 255
        elif record["STAT"] == "PEND":
            _put(folder, record | {"STAT": "EXIT", "EXIT_REASON": "TERM_OWNER"})
        else:
            os.killpg(int(record["PID"]), signal.SIGTERM)
        _say(sys.stdout, f"Job <{number}> is being terminated")
    return code


if __name__ == "__main__":
    verb, *words = sys.argv[1:]
    sys.exit(
        {"bsub": _bsub, "run": _run, "bjobs": _bjobs, "bkill": _bkill}[verb](Path(os.environ["LSF_ENVDIR"]), words)
    )
