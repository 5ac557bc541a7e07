"""The blob directory: whether this pilot sees the gateway's directory of large payloads.

Pure. The agent looks at the directory, because a network filesystem may hang.
"""

from harvester.domain.protocol.wire import Welcome
from harvester_worker.core.effects import LookAtBlobs, Reconnect, ShareBlobs


class BlobDirectory:
    """What one pilot shares with its gateway."""

    def __init__(self) -> None:
        self.is_on = False
        self._directory = self._mark = ""
        self._blob_bytes = 0

    def welcomed(self, welcome: Welcome) -> list[LookAtBlobs | ShareBlobs]:
        """Record the directory that the gateway names, on each connection anew."""
        effects: list[LookAtBlobs | ShareBlobs] = []
        if self.is_on and (welcome.blobs, welcome.blobs_mark) != (self._directory, self._mark):
            effects.append(self._off())
        self._directory, self._mark, self._blob_bytes = welcome.blobs, welcome.blobs_mark, welcome.blob_bytes
        if welcome.blobs:
            effects.append(LookAtBlobs(directory=welcome.blobs, mark=welcome.blobs_mark))
        return effects

    def is_with(self, welcome: Welcome) -> bool:
        """Return whether it is on already with the directory that a gateway names: results may lie there."""
        return self.is_on and (welcome.blobs, welcome.blobs_mark) == (self._directory, self._mark)

    def seen(self, directory: str, mark: str) -> list[ShareBlobs]:
        """Record that the directory is there, unless another one counts by now."""
        if not directory or (directory, mark) != (self._directory, self._mark):
            return []
        self.is_on = True
        return [ShareBlobs(directory=directory, mark=mark, blob_bytes=self._blob_bytes)]

    def lost(self) -> list[ShareBlobs | Reconnect]:
        """Record that the directory is gone; the gateway learns of it by a connection without `SharesBlobs`."""
        return [self._off(), Reconnect()]

    def _off(self) -> ShareBlobs:
        self.is_on = False
        return ShareBlobs(directory="", mark="", blob_bytes=0)
