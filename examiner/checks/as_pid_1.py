"""The server could be PID 1 of a container: it handles SIGTERM itself.

In a container started without an init the first process of the program is PID 1, and the kernel delivers to PID 1 only
those signals that it handles, or blocks and fetches; SIGTERM's default does not apply (pid_namespaces(7)). So what it
would do as PID 1, its masks tell, and it need not be one.
"""

import signal

from examiner._check import Check
from examiner._exam import Exam, Warned


def run(exam: Exam) -> str:
    """Read the masks of caught and blocked signals."""
    subject = exam.start()
    masks = {name: int(subject.field(subject.pid, name) or "0", 16) for name in ("SigCgt", "SigBlk", "SigIgn")}
    exam.provoked(True, "the masks are read")
    exam.note(
        f"process {subject.pid}: {', '.join(f'{name} {mask:016x}' for name, mask in masks.items())}; "
        f"SIGTERM is bit {signal.SIGTERM - 1}"
    )
    bit = 1 << (signal.SIGTERM - 1)
    if masks["SigCgt"] & bit:
        return "it has a handler for SIGTERM"
    if masks["SigBlk"] & bit:
        return "it blocks SIGTERM, to fetch it with signalfd or sigwait"
    raise Warned("it leaves SIGTERM to the default: as PID 1 of a container it would not hear it")


CHECK = Check(
    requirement="The server handles SIGTERM, so that it can be stopped also as PID 1 of a container.",
    reference="pid_namespaces(7) (The namespace init process), kill(2) (Notes), signal(7); TLPI 28.2.1",
    expected="SIGTERM in SigCgt or SigBlk of /proc/PID/status",
    cause="No handler for SIGTERM is set. docker stop then waits ten seconds and kills the server, with its clients.",
    mend="sigaction(SIGTERM, …) with a handler that sets a flag and ends the accept loop; in Python "
    "signal.signal(signal.SIGTERM, stop). Or start the container with an init: docker run --init.",
    group="advisory",
    where=r"\bmain\s*\(|\b(signal|sigaction)\s*\(",
    run=run,
)
