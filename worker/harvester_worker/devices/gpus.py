"""GPUs: which devices the allocation has. NVML is asked only where no variable of the environment names any."""

import logging
from collections.abc import Mapping

from harvester_worker.devices import variables

log = logging.getLogger(__name__)


def found(environ: Mapping[str, str], *, wanted: int, amd: bool = False) -> tuple[str, ...]:
    """Return at most `wanted` device ids of the allocation.

    Parameters
    ----------
    environ: of the batch job.
    wanted: devices asked of the scheduler; with 0 the pilot looks for none.
    amd: whether the node's devices are AMD's.
    """
    if wanted <= 0:
        return ()
    told = variables.told(environ, amd=amd)
    return (_ask_nvml() if told is None else told)[:wanted]


def _ask_nvml() -> tuple[str, ...]:
    try:
        import pynvml  # noqa: PLC0415 - half of the pilots have no GPU, and none should wait for this import

        pynvml.nvmlInit()
        try:
            return tuple(str(index) for index in range(pynvml.nvmlDeviceGetCount()))
        finally:
            pynvml.nvmlShutdown()
    except ImportError:
        log.warning("gpus.unknown: the environment names no device and nvidia-ml-py is not installed")
    except pynvml.NVMLError as error:
        log.warning("gpus.unknown: the environment names no device and NVML fails: %s", error)
    return ()
