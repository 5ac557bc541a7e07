"""Payload places: where the arguments of a run are found, and where its result is put.

Owns which payloads travel on the line, which beside a message, and which lie in the directory of large payloads.
"""

from harvester.domain.blobs import BlobRef, blob_name
from harvester.domain.buffers import Part
from harvester.domain.invocations import FailureKind
from harvester_worker import blob_files, frames
from harvester_worker.failures import failed
from harvester_worker.slot_wire import Beside, Payload, Run, Share


def found(run: Run, beside: memoryview | None, share: Share) -> Part:
    """Return the arguments of a run. Raises `RunFailed`, and `DirectoryLost` where their directory is gone."""
    arguments = run.arguments
    if isinstance(arguments, bytes):
        return arguments
    if isinstance(arguments, Beside):
        return beside if beside is not None else b""
    try:
        return blob_files.mapped(share.directory, share.mark, arguments)
    except blob_files.BlobMissing as error:
        message = f"the arguments cannot be read from their file, {error}: invoke the function again"
        raise failed(FailureKind.ARGUMENTS, message) from None


def placed(run: Run, pieces: list[Part], share: Share) -> tuple[Payload, list[Part]]:
    """Return what tells where the result is, and the pieces to be sent beside it."""
    size = sum(map(len, pieces))
    if share.directory and size >= share.blob_bytes:
        try:
            return _written(run, pieces, share), []
        except OSError:
            pass  # the disk is full, or the directory is gone: it travels as any other
    if size >= frames.BESIDE_BYTES:
        return Beside(size), pieces
    return bytes(pieces[0]) if len(pieces) == 1 else b"".join(pieces), []


def _written(run: Run, pieces: list[Part], share: Share) -> BlobRef:
    name = blob_name(run.invocation_id, f"r{run.fence}")
    return blob_files.write(share.directory, name, pieces)
