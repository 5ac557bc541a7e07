"""Payload placement: where a run's arguments and its result lie: in the message, beside it, or in a file.

Owns what the slot knows of the directory that pilot and gateway share.
"""

from collections.abc import Sequence
from typing import assert_never

from harvester.domain.model.invocations import FailureKind
from harvester.domain.payload.blobs import BlobRef, blob_name
from harvester.domain.payload.buffers import Part
from harvester_worker.ipc import blob_files, frames
from harvester_worker.ipc.slot_messages import Beside, Payload, Run, ShareDirectory
from harvester_worker.slot.failures import failed


class PayloadPlacement:
    """One slot's arguments and results."""

    def __init__(self) -> None:
        self.share = ShareDirectory(directory="", mark="", blob_bytes=0)

    def arguments(self, run: Run, beside: memoryview | None) -> Part:
        """Return the arguments of a run. Raises `RunFailed` and `DirectoryLost`."""
        arguments = run.arguments
        match arguments:
            case bytes():
                return arguments
            case Beside():
                return beside if beside is not None else b""
            case BlobRef():
                return self._mapped(arguments)
            case _:
                assert_never(arguments)

    def _mapped(self, ref: BlobRef) -> Part:
        try:
            return blob_files.mapped(self.share.directory, self.share.mark, ref)
        except blob_files.BlobMissing as error:
            message = f"the arguments cannot be read from their file, {error}: invoke the function again"
            raise failed(FailureKind.ARGUMENTS, message) from None

    def placed(self, run: Run, pieces: list[Part]) -> tuple[Payload, Sequence[Part]]:
        """Put the result in its place; return what names the place, and the pieces to be sent beside the message."""
        size = sum(map(len, pieces))
        if self.share.directory and size >= self.share.blob_bytes:
            name = blob_name(run.invocation_id, f"r{run.fence}")
            try:
                return blob_files.write(self.share.directory, name, pieces), ()
            except OSError:
                pass  # the disk is full, or the directory is gone: it travels as any other
        if size >= frames.BESIDE_BYTES:
            return Beside(size), pieces
        return bytes(pieces[0]) if len(pieces) == 1 else b"".join(pieces), ()
