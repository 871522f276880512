"""How the client ends by a signal, so that a shell, a script and a container runtime can see that it did.

A program that catches SIGINT and calls exit(130) looks to its shell like one that chose to leave: a loop around it
goes on after Ctrl-C. So the client cleans up and then dies of the same signal with its default disposition.
"""

import os
import signal
from types import FrameType
from typing import NoReturn

from protocol import exits

STOPPING = (signal.SIGINT, signal.SIGTERM)
"""The signals that ask the client to stop."""


class Stopped(BaseException):
    """The client has to end by the signal ``signum``, once what is open is in order."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


def end_at_once() -> None:
    """Let the stopping signals end this process on the spot, also inside a long call of the C library.

    The kernel drops signals with default disposition for PID 1 of a PID namespace (pid_namespaces(7)): there a
    handler has to do it.
    """
    _on_stop(_exit_by if os.getpid() == 1 else signal.SIG_DFL)


def raise_stopped() -> None:
    """Let the first stopping signal raise Stopped, wherever the process is; a second one ends it at once."""
    _on_stop(_raise)


def ended(code: int) -> int:
    """Die of the signal that ``code`` means, if it is above SIGNAL_BASE; else it is returned for a normal exit."""
    if code <= exits.SIGNAL_BASE:
        return code
    signum = code - exits.SIGNAL_BASE
    signal.signal(signum, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signum})
    os.kill(os.getpid(), signum)
    return code  # still here: we are PID 1, for which the kernel drops the signal


def _on_stop(action: "signal._HANDLER") -> None:
    for signum in STOPPING:
        # Ignored at the start means: started by nohup, or by a script with &. That has to stay so.
        if signal.getsignal(signum) != signal.SIG_IGN:
            signal.signal(signum, action)


def _exit_by(signum: int, _frame: FrameType | None) -> NoReturn:
    os._exit(exits.SIGNAL_BASE + signum)


def _raise(signum: int, _frame: FrameType | None) -> NoReturn:
    end_at_once()
    raise Stopped(signum)
