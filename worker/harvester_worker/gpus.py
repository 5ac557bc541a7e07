"""GPUs: which devices the allocation has, by the ids that CUDA understands.

Owns the forms in which schedulers write them. NVML is asked only where the environment says nothing.
"""

import logging
from collections.abc import Mapping

log = logging.getLogger(__name__)

_VARIABLES = ("CUDA_VISIBLE_DEVICES", "SLURM_STEP_GPUS", "SLURM_JOB_GPUS")
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


def found(environ: Mapping[str, str], *, wanted: int) -> tuple[str, ...]:
    """Return at most `wanted` device ids of the allocation.

    Parameters
    ----------
    environ: of the batch job.
    wanted: devices asked of the scheduler; with 0 nobody is asked, and nobody's device is taken.
    """
    if wanted <= 0:
        return ()
    for name in _VARIABLES:
        if name in environ:
            return parse(environ[name])[:wanted]
    return _ask_nvml()[:wanted]


def _ask_nvml() -> tuple[str, ...]:
    try:
        import pynvml  # noqa: PLC0415 - half of the pilots have no GPU, and none should wait for this import

        pynvml.nvmlInit()
        try:
            return tuple(str(index) for index in range(pynvml.nvmlDeviceGetCount()))
        finally:
            pynvml.nvmlShutdown()
    except ImportError:
        log.warning("gpus.unknown the environment names no device and nvidia-ml-py is not installed")
    except pynvml.NVMLError as error:
        log.warning("gpus.unknown the environment names no device and NVML says: %s", error)
    return ()
