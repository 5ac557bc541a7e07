"""Descendants: whether a run of this slot has had processes of its own, and whether any of them lives.

A scheduler's signal goes to every process of the pilot. The slot withstands it; what a function has started dies of it,
and may be reaped before anything can look for it. So what counts is whether there have been any since the run began,
living or dead; in doubt there have. The slot adopts those whose own parents are gone, so it sees all of them but one
kind: a program, started otherwise than by `os.fork`, that ends while a function ignores SIGCHLD and undoes that within
the same run.

Owns the evidence. A look costs about 2 µs, and there is one after each run.
"""

import ctypes
import os
import resource
import signal

_P_ALL = 0
_LOOK = os.WEXITED | os.WNOHANG | os.WNOWAIT | 0x40000000  # __WALL: also those that would not send SIGCHLD
_SIG_IGN = 1
_SA_NOCLDWAIT = 2

# Not `CDLL`, which lets go of the interpreter's lock: none of these calls waits for anything.
_libc = ctypes.PyDLL(None)
_waitid = _libc.waitid
_waitid.argtypes = (ctypes.c_int, ctypes.c_uint, ctypes.c_void_p, ctypes.c_int)
_sigaction = _libc.sigaction
_sigaction.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)


class _SigAction(ctypes.Structure):
    """As glibc and musl have it."""

    _fields_ = (
        ("handler", ctypes.c_void_p),
        ("mask", ctypes.c_ulong * (128 // ctypes.sizeof(ctypes.c_ulong))),
        ("flags", ctypes.c_int),
        ("restorer", ctypes.c_void_p),
    )


class Descendants:
    """What this process has started since the present run began."""

    def __init__(self) -> None:
        self._was_there = False
        self._forks = self._forks_before = 0
        self._action = _SigAction()
        self._to_action = ctypes.addressof(self._action)
        self._spent_before = resource.getrusage(resource.RUSAGE_CHILDREN)
        os.register_at_fork(before=self._count)

    def begin(self) -> None:
        """Begin a run. What still lives of an earlier one counts for this one too."""
        if self._was_there:  # else nothing has changed since the last look
            self._forks_before = self._forks
            self._spent_before = resource.getrusage(resource.RUSAGE_CHILDREN)
            self._was_there = False

    def look(self) -> bool:
        """Look whether there has been any process of this run; return it, and remember it for the rest of the run."""
        if self._was_there:
            return True
        if (
            self._forks != self._forks_before  # it may have been reaped unseen, while SIGCHLD was ignored
            or _waitid(_P_ALL, 0, None, _LOOK) == 0  # one lives, or is dead and not waited for
            or resource.getrusage(resource.RUSAGE_CHILDREN) != self._spent_before  # one was waited for
            or self._are_reaped_unseen()
        ):
            self._was_there = True
        return self._was_there

    def reap(self) -> bool:
        """Reap the processes of the run that are dead; return whether any still lives. After the run's end."""
        if not self.look():
            return False
        if self._are_reaped_unseen():
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # or the next function's programs would have no exit codes
        while True:
            try:
                if os.waitpid(-1, os.WNOHANG)[0] == 0:
                    return True
            except ChildProcessError:
                return False

    def _count(self) -> None:
        self._forks += 1

    def _are_reaped_unseen(self) -> bool:
        """Return whether children leave no trace because SIGCHLD is ignored, by Python or by C: the kernel knows."""
        if _sigaction(signal.SIGCHLD, None, self._to_action) != 0:
            return True
        return self._action.handler == _SIG_IGN or bool(self._action.flags & _SA_NOCLDWAIT)
