"""Device variables: those by which a scheduler names the GPUs of an allocation, whatever their vendor.

Owns their forms, and what they say to a slot that has some of the devices. Slurm, unless told the vendor, sets the
variables of all of them; so each that is there is narrowed, in the same places of its list, and none is invented. Where
a cgroup hides devices, Slurm's own lists count all of the node and the vendors' only what is left: so places count, not
ids. Pure, but for `is_amd`.
"""

from collections.abc import Mapping
from pathlib import Path

CUDA, ROCR, HIP, ORDINAL, ZE = (
    "CUDA_VISIBLE_DEVICES",
    "ROCR_VISIBLE_DEVICES",
    "HIP_VISIBLE_DEVICES",
    "GPU_DEVICE_ORDINAL",
    "ZE_AFFINITY_MASK",
)
_SLURMS = ("SLURM_STEP_GPUS", "SLURM_JOB_GPUS")
_COUNT = "SLURM_GPUS_ON_NODE"
NAMES = (CUDA, ROCR, HIP, ORDINAL, ZE, *_SLURMS, _COUNT)

_BY_ROCR = (CUDA, HIP, ORDINAL)
"""AMD's other layers, which take CUDA's variable for HIP's: each counts only what ROCR_VISIBLE_DEVICES has left."""

_HIDDEN = dict.fromkeys((ROCR, HIP, ORDINAL, ZE), "-1") | {CUDA: ""}
"""Values that show no device. Some vendors read an empty value as all devices; none has an impossible id."""

_NONE = {"nodevfiles", "none", "void", "-1"}  # NoDevFiles is Slurm's word for "no device of yours"


def parse(text: str) -> tuple[str, ...]:
    """Return the device ids in `text`: `0,1`, `0-3`, `GPU-<uuid>`, `MIG-<uuid>`, `NoDevFiles` or nothing."""
    devices: list[str] = []
    for part in (part.strip() for part in text.split(",")):
        if part.lower() in _NONE:
            break  # CUDA, too, sees no device behind an invalid one
        first, dash, last = part.partition("-")
        if dash and first.isdecimal() and last.isdecimal():
            devices += [str(index) for index in range(int(first), int(last) + 1)]
        elif part:
            devices.append(part)
    return tuple(dict.fromkeys(devices))


def is_amd() -> bool:
    """Return whether this node's GPUs are AMD's."""
    return Path("/dev/kfd").exists() and not Path("/dev/nvidiactl").exists()


def told(environ: Mapping[str, str], *, amd: bool) -> tuple[str, ...] | None:
    """Return the ids of the allocation's devices; None where no variable says anything."""
    vendors = (ROCR, HIP, ORDINAL, CUDA, ZE) if amd else (CUDA, ROCR, HIP, ORDINAL, ZE)
    for name in (*vendors, *_SLURMS):
        if name in environ:
            return parse(environ[name])
    return None


def narrowed(environ: Mapping[str, str], mine: tuple[str, ...], *, amd: bool) -> dict[str, str | None]:
    """Return what these variables say to a slot that has the devices `mine`; None for one that is to be absent.

    Parameters
    ----------
    environ: of the allocation.
    mine: ids as `told` returned them.
    amd: whether the devices are AMD's.
    """
    all_ids = told(environ, amd=amd)
    ids = mine if all_ids is None else all_ids
    places = [ids.index(device) for device in mine if device in ids]
    said: dict[str, str | None] = {}
    for name in NAMES[:-1]:
        if name not in environ:
            continue
        its = parse(environ[name])
        if amd and ROCR in environ and name in _BY_ROCR:
            its = tuple(map(str, range(len(places))))
            said[name] = ",".join(its) or _HIDDEN[name]
        elif not places:
            said[name] = _HIDDEN.get(name)
        elif len(its) == len(ids):
            said[name] = ",".join(its[place] for place in places)
        else:
            said[name] = None  # it counts something else, and would mislead
    if _COUNT in environ:
        said[_COUNT] = str(len(places))
    if not any(name in environ for name in _HIDDEN):
        name = ROCR if amd else CUDA
        said[name] = ",".join(mine) or _HIDDEN[name]
    return said
