"""What the configured pilots can have, held against what a function asks: resources, Python, time.

Owns the rules and their wording. Everything here raises `Refusal` and changes nothing. Without offers nothing is known
of the pilots, and nothing is refused for them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from harvester.domain.model.functions import FunctionVersion
from harvester.domain.model.resources import Resources
from harvester_api.problems import invalid, refusal
from harvester_api.schemas.requests import MOST
from harvester_api.settings import Offer

PYTHON = re.compile(r"\d+\.\d+")


def check_python(python: str, offers: Sequence[Offer], field: str, remedy: str) -> None:
    """Check that some configured pilot runs a Python minor version. Raises `Refusal` (422)."""
    if PYTHON.fullmatch(python) is None:
        raise invalid(field, f"{python[:40]!r} is not a minor version of Python", "Write it like '3.11'.")
    pythons = sorted({offer.python for offer in offers if offer.python})
    if pythons and python not in pythons and all(offer.python for offer in offers):
        ours = " and ".join(pythons)
        raise refusal(
            422,
            "wrong-python",
            f"it was pickled by Python {python}, and the configured pilots run Python {ours}; "
            "a pickle does not travel between minor versions",
            field=field,
            remedy=f"{remedy} Python {ours}, or ask the admin for pilots with Python {python}.",
        )


def check_cloudpickle(version: str, offers: Sequence[Offer]) -> None:
    """Check that some configured pilot may read what this version of cloudpickle wrote. Raises `Refusal` (422).

    A pickle names functions of the cloudpickle that made it, and those change with the major version.
    """
    theirs = sorted({offer.cloudpickle for offer in offers if offer.cloudpickle})
    if not theirs or any(not offer.cloudpickle or _major(offer.cloudpickle) == _major(version) for offer in offers):
        return
    ours = " and ".join(theirs)
    raise refusal(
        422,
        "wrong-cloudpickle",
        f"it was pickled by cloudpickle {version[:40]}, and the configured pilots have cloudpickle {ours}",
        field="cloudpickle",
        remedy=f"Install cloudpickle {ours} where you register it, or register it as module:function or source.",
    )


def _major(version: str) -> str:
    return version.partition(".")[0]


def check_fits(function: FunctionVersion, offers: Sequence[Offer]) -> None:
    """Check that some configured pilot can run a function to its end. Raises `Refusal` (422)."""
    check_resources(function.resources, function.python, offers)
    if function.walltime_s is None or function.checkpoints:
        return
    suitable = [
        offer
        for offer in offers
        if function.resources.fits(offer.resources) and (not function.python or offer.python in {"", function.python})
    ]
    known = [offer.longest_s for offer in suitable if offer.longest_s is not None]
    if not known or len(known) < len(suitable) or function.walltime_s <= max(known):
        return
    raise refusal(
        422,
        "does-not-fit",
        f"walltime_s: one run may take {function.walltime_s:g} s, and the longest that fits into a configured pilot "
        f"is {max(known):g} s",
        field="walltime_s",
        remedy=f"Declare at most {max(known):g} s, let it checkpoint, or ask the admin for longer pilots.",
    )


def check_resources(asked: Resources, python: str, offers: Sequence[Offer]) -> None:
    """Check that some configured pilot can have `asked`. Raises `Refusal` (422) naming what comes nearest."""
    if asked.cpus < 1 or asked.gpus < 0 or asked.memory_mb < 0 or max(asked.cpus, asked.gpus, asked.memory_mb) > MOST:
        raise invalid(
            "resources", f"{asked} cannot be had", f"Ask for at least 1 CPU, no negative amount, and at most {MOST}."
        )
    suitable = [offer for offer in offers if not python or offer.python in {"", python}] or list(offers)
    if not suitable or any(asked.fits(offer.resources) for offer in suitable):
        return
    nearest = min(suitable, key=lambda offer: _shortage(asked, offer.resources))
    raise refusal(
        422,
        "does-not-fit",
        f"asked {asked}; the largest configured pilot that comes nearest has {nearest.resources} "
        f"(shape {nearest.name})",
        field="resources",
        remedy="Ask for less, or ask the admin for a larger pilot shape.",
    )


def _shortage(asked: Resources, room: Resources) -> tuple[int, float, int]:
    pairs = [(asked.cpus, room.cpus), (asked.gpus, room.gpus), (asked.memory_mb, room.memory_mb)]
    lacking = [(want - have) / want for want, have in pairs if want > have]
    return len(lacking), sum(lacking), -room.cpus
