"""What happens to a second signal, and to a system call, is decided by the flags a handler is installed with.

Question: What do sa_mask, SA_RESTART and one-shot signal() change?

Theory: While a handler runs, its own signal is blocked and waits (sa_mask adds others). Old System V signal() blocks
nothing and sets the signal back to its default, so the second one kills. A system call that a handler interrupts fails
with EINTR; with SA_RESTART it is started again.

Source: sigaction(2), signal(2) PORTABILITY, sysv_signal(3), signal(7); TLPI 20.13, 21.5 and 22.7; UNP 5.8

The C library has both ways: signal() is BSD's and the right one, sysv_signal() the mistaken one. Their handler here is
pause(2), a C function that returns when another signal has been handled: so there is time to look into it. A Python
program has the right way always.
"""

import ctypes
import errno
import os
import signal
from typing import Any

from demos._kernel import has_signal, state, until
from demos._show import Show

libc: Any = ctypes.CDLL(None, use_errno=True)
USR1, USR2 = signal.SIGUSR1, signal.SIGUSR2


def main(show: Show) -> str:
    """Send two signals to each kind of handler; then interrupt a read with and without SA_RESTART."""
    seen = {}
    for install in ("signal", "sysv_signal"):
        pid, started = sleeper(install), "the handler runs"
        os.kill(pid, USR1)
        until(lambda: not has_signal(pid, "ShdPnd", USR1) and state(pid) == "S", started)
        caught, blocked = has_signal(pid, "SigCgt", USR1), has_signal(pid, "SigBlk", USR1)
        os.kill(pid, USR1)
        if blocked:
            waits = has_signal(pid, "ShdPnd", USR1)
            os.kill(pid, USR2)  # ends pause(2), and so the first handler
            until(lambda: not has_signal(pid, "ShdPnd", USR1) and state(pid) == "S", "the handler runs again")
            second = "waits for the handler's return" if waits else "is lost"
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        else:
            _, status = os.waitpid(pid, 0)
            second = f"kills it, {signal.Signals(os.WTERMSIG(status)).name}"
        show(f"{install}(): in the handler SigBlk {blocked}, still in SigCgt {caught}; the second signal {second}")
        seen[install] = (blocked, caught, second)

    interrupted, restarted = read_with_signal(restart=False), read_with_signal(restart=True)
    show(f"read(2), handler without SA_RESTART: {interrupted}; with SA_RESTART: {restarted}")

    show.measure(**seen, read=interrupted, read_with_sa_restart=restarted)
    show.expect(seen["signal"] == (True, True, "waits for the handler's return"), "a signal is blocked in its handler")
    show.expect(seen["sysv_signal"] == (False, False, "kills it, SIGUSR1"), "a one-shot handler works once")
    show.expect(interrupted == "EINTR", "without SA_RESTART the read fails with EINTR")
    show.expect(restarted == "1 byte", "with SA_RESTART the read goes on and gets the byte")
    return "blocked and kept against one-shot, EINTR against restart"


def sleeper(install: str) -> int:
    """Fork a child that sleeps with the handler pause(2) for SIGUSR1; its PID."""
    pid = os.fork()
    if pid == 0:
        # An address, for ctypes would take the handler for a number of 32 bits.
        libc[install](USR1, ctypes.cast(libc.pause, ctypes.c_void_p))
        libc.signal(USR2, ctypes.cast(libc.abs, ctypes.c_void_p))  # any function that takes a number and returns
        libc.pause()
        os._exit(os.EX_SOFTWARE)
    until(lambda: has_signal(pid, "SigCgt", USR1) and state(pid) == "S", "the child has its handler and sleeps")
    return pid


def read_with_signal(*, restart: bool) -> str:
    """Sleep in the C library's read (Python's would restart by itself) and be sent a signal, then a byte."""
    signal.signal(USR1, lambda *_: None)
    signal.siginterrupt(USR1, not restart)
    parent = os.getpid()
    reader, writer = os.pipe()
    helper = os.fork()
    if helper == 0:
        until(lambda: state(parent) == "S", "the parent sleeps in read")
        os.kill(parent, USR1)
        until(lambda: not has_signal(parent, "ShdPnd", USR1) and state(parent) == "S", "it sleeps again")
        os.write(writer, b"x")
        os._exit(0)
    got = libc.read(reader, ctypes.create_string_buffer(1), 1)
    failed = ctypes.get_errno()
    os.waitpid(helper, 0)
    return errno.errorcode[failed] if got < 0 else f"{got} byte"
