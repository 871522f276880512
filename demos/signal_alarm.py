"""SIGALRM and SIGINT run a handler in the middle of whatever the program does, and end the sleep of sleep(3).

Question: How do SIGALRM and SIGINT reach a handler, and what becomes of sleep?

Theory: The kernel notes which signals are caught, and runs the handler when one arrives. It ends sleep(3) early: sleep
returns the seconds that were left. Python's time.sleep sleeps on for the rest (PEP 475). There is one alarm a process:
alarm(0) takes it back and returns what was left of it.

Source: alarm(2), sleep(3), signal(7); TLPI 20.4, 23.1 and 23.3; PEP 475

The mistake is to trust sleep(3) in a program that has handlers. The right way is to look at what it returns, or to wait
for the event itself.
"""

import ctypes
import os
import signal
import time

from demos._kernel import has_signal
from demos._show import Show

SLEEP = 2
ALARM = 0.1
NAP = 0.3  # more than ALARM, or nothing would interrupt it

libc = ctypes.CDLL(None)


def main(show: Show) -> str:
    """Interrupt sleep(3) and time.sleep with an alarm, then send ourselves a SIGINT."""
    arrived: list[tuple[str, float]] = []
    began = time.monotonic()
    before = has_signal(os.getpid(), "SigCgt", signal.SIGALRM)
    for number in (signal.SIGALRM, signal.SIGINT):
        signal.signal(number, lambda which, _frame: arrived.append((signal.Signals(which).name, time.monotonic())))
    after = has_signal(os.getpid(), "SigCgt", signal.SIGALRM)
    show(f"/proc/self/status, SIGALRM in SigCgt: {before} before signal(), {after} after it")

    signal.setitimer(signal.ITIMER_REAL, ALARM)  # alarm() for fractions of a second
    left = libc.sleep(SLEEP)
    slept = time.monotonic() - began
    show(f"sleep({SLEEP}) of the C library ended after {slept:.2f} s and returned {left}: the seconds left")

    signal.setitimer(signal.ITIMER_REAL, ALARM)
    napped = time.monotonic()
    time.sleep(NAP)
    napped = time.monotonic() - napped
    show(f"time.sleep({NAP}) with the same alarm after {ALARM} s took {napped:.2f} s: Python slept on")

    os.kill(os.getpid(), signal.SIGINT)  # what Ctrl-C sends; with a handler it does not end us
    signal.alarm(30)
    taken_back = signal.alarm(0)
    names = [name for name, _ in arrived]
    show(f"handlers ran: {', '.join(f'{name} at {at - began:.2f} s' for name, at in arrived)}")
    show(f"alarm(30), then alarm(0) returned {taken_back}")

    show.measure(handlers=names, sleep_returned=left, slept_s=slept, napped_s=napped, alarm_left_s=taken_back)
    show.expect(not before and after, "signal() is seen in the kernel's mask of caught signals")
    show.expect(names == ["SIGALRM", "SIGALRM", "SIGINT"], "each signal ran its handler once")
    show.expect(left > 0 and slept < SLEEP, "a handler ends sleep(3) early")
    show.expect(napped >= NAP, "Python's time.sleep sleeps on for the rest")
    show.expect(0 < taken_back <= 30, "alarm(0) returns what was left of the alarm before")
    return "the handlers ran in the middle of it, sleep(3) ended early, time.sleep did not"
