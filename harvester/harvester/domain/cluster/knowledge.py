"""Knowledge: what an adapter can tell of its scheduler. From the silence of one that cannot tell, nothing follows."""

from __future__ import annotations

import msgspec


class Knowledge(msgspec.Struct, frozen=True, kw_only=True):
    """What an adapter's looks contain. The default is everything."""

    nodes: bool = True  # the nodes, and everybody's batch jobs on them: without these there are no windows
    names: bool = True  # all our batch jobs that have not ended, by name: one that a look does not show is not there
    states: bool = True  # False: a batch job's state is a hint; whether a pilot lives is told by its heartbeat
    lost: tuple[str, ...] = ()  # what users and admins miss because of that, a sentence each


EVERYTHING = Knowledge()
