"""Clients that connect in one burst each get a thread with a connection of its own.

The address of one variable, handed to every new thread, names the next connection by the time a thread looks at it.
Six connections wait in the backlog while the server is stopped; then it goes on, and strace holds every new thread at
its first call, as a busy processor would. What else happens rarely then happens every time.
"""

from examiner._check import Check
from examiner._connection import Connection
from examiner._exam import Exam, Inconclusive
from examiner._strace import CannotTrace

CLIENTS = 6
STARTING = "?rseq,set_robust_list,write"
"""A new thread calls the first two before its own code; many write a line before they look at their argument."""
DELAY = f"{STARTING}:delay_enter=100000:when=1"


def run(exam: Exam) -> str:
    """Let all of them be accepted in one go while new threads are slow to begin."""
    subject = exam.start()
    exam.provoked(subject.stop(), "the server stops")
    try:
        with subject.traced(calls=f"accept,accept4,{STARTING}", inject=DELAY) as trace:
            clients = [exam.connect(subject) for _ in range(CLIENTS)]
            waiting = subject.eventually(lambda: (subject.listener() or {}).get("rx_queue") == CLIENTS)
            exam.provoked(waiting, f"{CLIENTS} connections wait in the backlog")
            exam.note(f"server stopped, {CLIENTS} connections in the accept queue of its listener; SIGCONT")
            subject.go_on()
            unserved = [number for number, client in enumerate(clients, 1) if not _in_turn(client)]
    except CannotTrace as error:
        raise Inconclusive(f"threads cannot be slowed down here: {error}") from None
    accepted = [call for call in trace.calls() if call.name.startswith("accept") and (call.value or -1) >= 0]
    for call in accepted[:CLIENTS]:
        exam.note(f"{call.time:.6f} {call.name}(…) = {call.value} in thread {call.pid}")
    exam.provoked(len(accepted) >= CLIENTS, f"all {CLIENTS} are accepted")
    for number in unserved:
        client = clients[number - 1]
        exam.note(f"client {number}: {subject.unread(client)} bytes wait in its connection, which nobody serves")
    exam.expect(not unserved, f"{len(unserved)} of {CLIENTS} clients of one burst are accepted and never served")
    return f"all {CLIENTS} clients of one burst are served"


def _in_turn(client: Connection) -> bool:
    """Whether it is served; then it leaves, for a pool may have fewer threads than there are clients."""
    served = client.served()
    if served:
        client.close()
    return served


CHECK = Check(
    requirement="Each thread serves the connection that it was started for.",
    reference="pthread_create(3) (arg), accept(2); UNP 26.4 (Passing Arguments to New Threads); TLPI 29.2",
    expected="every client of a burst gets its answer",
    cause="All threads get the address of the same variable; the next accept overwrites it before the thread "
    "has read it.",
    mend="Hand over a copy: int *own = malloc(sizeof *own); *own = fd; pthread_create(…, serve, own), and free it in "
    "the thread. In Python: Thread(target=serve, args=(connection,)), not a global or a lambda that looks it up later.",
    group="breadth",
    models=("thread",),
    where=r"pthread_create\s*\(|Thread\s*\(",
    follows=("concurrent",),
    run=run,
)
