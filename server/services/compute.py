"""Sends back each line, and before its end computes for as many seconds as it asks for.

``compute 0.5`` comes back at once but for its newline, which follows when half a second of processor time has been
spent. So a client sees when the computation has begun and when it is done. Any other line comes back at once.

Waiting can be shared, computing cannot: while it computes it yields nothing, and an event loop stands still. Only
between two orders the others get their turn. A process of its own is put aside by the kernel, so that they need not
wait even so long. A thread is, too, but CPython's lock lets only one of them run Python code at a time, and hands it on
every 5 ms at most (sys.setswitchinterval).

Sources: UNP vol. 1, 6.2; TLPI 63.1; clock_gettime(2), CLOCK_THREAD_CPUTIME_ID; sched(7).
"""

import time

from server.services import READABLE, WRITABLE, send_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator

    from server._conversation import Conversation

ORDER = b"compute "
MOST = 10.0
"""Seconds; a line that asks for more is a line like any other."""
LONGEST = 4096
"""Bytes without a newline that are kept, in case they become an order."""
STEPS = 10_000
"""Additions between two looks at the clock: a fraction of a millisecond."""
REHEARSAL = b"compute 0.000001\n"


def converse(talk: "Conversation") -> "Generator[int]":
    """Answer line by line until the peer's FIN.

    Raises:
        OSError: the peer is gone.
    """
    kept = b""
    while True:
        try:
            data = talk.recv(LONGEST)
        except BlockingIOError:
            yield READABLE
            continue
        *lines, kept = (kept + data).split(b"\n")
        for line in lines:
            if seconds := asked(line):
                yield from send_all(talk, line)
                compute(seconds)
                line = b""
            yield from send_all(talk, line + b"\n")
            if seconds and talk.flags:
                yield WRITABLE  # which it mostly is, so this means: the others' turn
        if not data or len(kept) > LONGEST:
            yield from send_all(talk, kept)
            kept = b""
        if not data:
            return


def asked(line: bytes) -> float:
    """For how many seconds a line wants to be computed; 0 for a line that is no order."""
    if not line.startswith(ORDER):
        return 0.0
    try:
        seconds = float(line[len(ORDER) :])
    except ValueError:
        return 0.0
    return seconds if 0 < seconds <= MOST else 0.0


def compute(seconds: float) -> None:
    """Use so much processor time; how long that takes depends on who else wants the processors."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        sum(range(STEPS))
