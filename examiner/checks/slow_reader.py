"""A client that never reads keeps nobody else from being served.

It sends until neither side takes another byte: the server's answers fill its buffer, and the server cannot send.
Whoever writes with a call that blocks sleeps in it from then on. Other clients must be served all the same.
"""

from examiner._check import Check
from examiner._exam import Exam

MOST = 16 << 20


def run(exam: Exam) -> str:
    """Fill the buffers of one connection, then ask the others."""
    subject = exam.start()
    (other,), slow = exam.clients(subject, 1), exam.connect(subject, small=True)
    exam.provoked(slow.served(), "another client is served")
    sent = slow.stuff(MOST)
    row = next((row for row in subject.sockets() if row["remote"] == slow.local), None)
    stuck = row and row["tx_queue"] > 0 and len(sent) < MOST
    exam.provoked(stuck or len(sent) == MOST, "the server cannot send to a client that does not read")
    if row:
        exam.note(
            f"{slow.local} has sent {len(sent):,} bytes and reads nothing; the server's socket holds "
            f"{row['tx_queue']:,} bytes that it cannot send, and {row['rx_queue']:,} that nobody has read"
        )
    if not stuck:
        exam.note("the server took all of it into its memory")
    for pid in sorted(subject.held_by(slow)):
        exam.note(f"process {pid} holds that connection and sleeps in {subject.sleeps_in(pid) or 'no call'}")
    exam.expect(other.served(), "a client that was served before is not served while another one does not read")
    exam.expect(exam.connect(subject).served(), "a new client is not served while another one does not read")
    return "others are served while one client does not read"


CHECK = Check(
    requirement="A client that does not read keeps nobody else from being served.",
    reference="send(2), fcntl(2) O_NONBLOCK; UNP 6.8 (denial-of-service attacks), 16.2; TLPI 63.1",
    expected="other clients are served while the server cannot send to one",
    cause="One process serves all clients, and sends with a call that blocks until the client reads.",
    mend="Make connections non-blocking (O_NONBLOCK), keep what is not taken in a buffer of that client, and send it "
    "when poll says POLLOUT; do not read from it before. In Python: setblocking(False) and EVENT_WRITE.",
    group="high",
    models=("fork", "prefork", "thread", "select", "poll", "epoll"),
    where=r"\b(write|send|sendall)\s*\(",
    run=run,
)
