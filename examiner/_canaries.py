"""Notices that memory ends before it ends for us, and ends the subject then (proc_pid_oom_score_adj(5)).

A subject can take back that it goes first, and consist of many processes, each smaller than ours: then the kernel would
end us. But before any of us it takes the canaries, which have something to give back. The first one to go has a pipe
open, at whose end the guards wait: one for each lane, with the rights of its user already. Until the other canaries
are used up, too, they have ended all of the subject.
"""

import os
import signal
from collections.abc import Callable
from functools import partial

from examiner import _jail

_FIRST, _OTHERS = 24 << 20, 12 * (4 << 20,)
"""Bytes. The largest one is taken first; the others are many, for it lasts until hundreds of processes have ended."""


class Canaries:
    """Those of one examination: ``pipe`` ends with the ``first`` of them; ``pids`` are all of them, and the guards."""

    def __init__(self, users: list[_jail.User]) -> None:
        self._users = users
        self._start()

    def _start(self) -> None:
        self.pids = [_fork(partial(_sit, size)) for size in _OTHERS]
        self.pipe, theirs = os.pipe()
        self.first = _fork(lambda: _sit(_FIRST))
        os.close(theirs)
        self.pids += [self.first, *(_fork(partial(self._guard, user)) for user in self._users)]
        _jail.SPARED.these(self.pids, self.pipe)

    def renew(self) -> None:
        """Be ready again, after memory has ended."""
        self.end()
        self._start()

    def end(self) -> None:
        """They are not needed any more."""
        _jail.SPARED.none()
        for pid in reversed(self.pids):  # the guards first
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        self.pids = []
        os.close(self.pipe)

    def _guard(self, user: _jail.User) -> None:
        user.become(_jail.GUARD)
        os.read(self.pipe, 1)
        if user.uid is not None:
            os.kill(-1, signal.SIGKILL)


def _fork(deed: Callable[[], object]) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                signal.signal(number, signal.SIG_DFL)
            deed()
        finally:
            os._exit(0)
    return pid


def _sit(size: int) -> None:
    _jail.go_first()
    kept = b"x" * size
    while kept:
        signal.pause()
