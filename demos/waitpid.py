"""waitpid(WNOHANG) looks whether a child has ended and comes back at once; waitpid(PID) waits for one child only.

Question: What does WNOHANG change?

Theory: While there are children and none has ended, waitpid(-1, WNOHANG) returns 0 instead of sleeping. So a server can
look between two clients. With a PID it passes over others that ended earlier.

Source: waitpid(2); TLPI 26.1.2; UNP 5.10

The mistake is to call it in a circle until something comes: that keeps a processor busy for nothing. Who has nothing
else to do calls it without WNOHANG, and sleeps.
"""

import os
import time

from demos._kernel import state, until
from demos._show import Show

POLLS = 1000


def main(show: Show) -> str:
    """Poll while two children live, let both end, then wait for the one that ended last."""
    go_on, gate = os.pipe()
    children = [child(go_on, gate, code) for code in (3, 5)]

    began = time.process_time()
    early = [os.waitpid(-1, os.WNOHANG) for _ in range(POLLS)]
    spent = time.process_time() - began
    show(f"{POLLS} times waitpid(-1, WNOHANG) while both children live: {set(early)}")
    show(f"processor time spent on that: {spent * 1000:.1f} ms")

    began = time.process_time()
    os.write(gate, b"x")  # one of the two reads it, and ends
    ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)  # sleeps until then; WNOWAIT leaves the zombie as it is
    slept = time.process_time() - began
    assert ended
    other = next(pid for pid in children if pid != ended.si_pid)
    show(f"PID {ended.si_pid} ended; sleeping until then took {slept * 1000:.1f} ms of processor time")

    still = os.waitpid(other, os.WNOHANG)
    os.close(gate)  # end of file: the other one ends too
    chosen, _ = os.waitpid(other, 0)
    rest, _ = os.waitpid(-1, os.WNOHANG)
    show(f"waitpid({other}, WNOHANG) returned {still}: it lives, and that {ended.si_pid} ended does not count")
    show(
        f"waitpid({other}, 0) returned {chosen}, though {rest} had ended earlier; waitpid(-1, WNOHANG) returned {rest}"
    )

    show.measure(polls=POLLS, polls_that_returned_0=early.count((0, 0)), order=[chosen, rest], cpu_s=[spent, slept])
    show.expect(set(early) == {(0, 0)}, "WNOHANG returns 0 while no child has ended")
    show.expect(still == (0, 0), "with a PID, waitpid looks at that child only")
    show.expect((chosen, rest) == (other, ended.si_pid), "waitpid(PID) passes over one that ended earlier")
    return f"WNOHANG came back {POLLS} times with 0 while both lived; without it, waitpid slept"


def child(go_on: int, gate: int, code: int) -> int:
    """Fork a child that exits with ``code`` when it can read something, or the end of file; its PID."""
    pid = os.fork()
    if pid == 0:
        os.close(gate)
        os.read(go_on, 1)
        try:
            until(lambda: state(os.getppid()) == "S", "the parent sleeps")  # in its wait: it opens the gate before
        finally:
            os._exit(code)
    return pid
