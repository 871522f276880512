"""The listener's backlog has room for the clients of a burst."""

from examiner._check import Check
from examiner._exam import Exam, Skipped, Told, Warned

FEW, MANY = 4, 32


def run(exam: Exam) -> str:
    """Read what the kernel keeps for the LISTEN socket."""
    subject = exam.start()
    limit = (subject.listener() or {}).get("backlog_limit")
    if limit is None:
        raise Skipped("this kernel does not tell the limit of a backlog (sock_diag(7))")
    exam.provoked(True, "the LISTEN socket is read")
    exam.note(f"LISTEN on port {subject.port}, backlog {limit} (ss -lt shows it as Send-Q)")
    words = f"{limit + 1} clients that come at once find room before the next one's SYN is dropped"
    if limit < FEW:
        raise Warned(words)
    if limit < MANY:
        raise Told(words)
    return f"the backlog has room for {limit} clients that wait to be accepted"


CHECK = Check(
    requirement="The backlog has room for a burst of clients.",
    reference="listen(2), tcp(7) (tcp_abort_on_overflow), proc_sys_net(5) (somaxconn); UNP 4.5; TLPI 56.5.2",
    expected="a backlog of 32 or more",
    cause="listen was called with a small number; a client whose SYN is dropped tries again after a second.",
    mend="listen(fd, SOMAXCONN), in Python listener.listen(socket.SOMAXCONN): it costs nothing while nobody waits.",
    group="advisory",
    where=r"\blisten\s*\(",
    run=run,
)
