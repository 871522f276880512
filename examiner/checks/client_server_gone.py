"""When the server closes or resets, all of the client ends and says so, although its user has typed nothing."""

from examiner._check import Check
from examiner._client import FIRST_LINE
from examiner._exam import Exam, Warned


def run(exam: Exam) -> str:
    """Close, then, with a fresh client, reset."""
    told = [_gone(exam, "FIN"), _gone(exam, "RST")]
    if not all(told):
        raise Warned(
            "it ends, but does not tell its user why",
            cause="The end of the connection is taken for an ordinary end.",
            mend="When read returns 0 before the input has ended, say on standard error that the server has closed.",
        )
    return "after FIN and after RST all of its processes end, and its user is told"


def _gone(exam: Exam, how: str) -> bool:
    client = exam.meet()
    before = client.tree()
    exam.note(f"its processes: {sorted(before)}; the server sends {how}; nothing is typed, the input stays open")
    if how == "FIN":
        client.wire.close()
    else:
        client.wire.reset()
    exam.provoked(True, f"the server sends {how}")
    over = client.ends()
    for pid, process in client.tree().items():
        if process["state"] not in "ZX":
            exam.note(
                f"process {pid}, parent {process['ppid']}, state {process['state']}, "
                f"sleeps in {client.sleeps_in(pid) or 'no function'}"
            )
    left = [pid for pid, process in client.tree().items() if process["state"] not in "ZX"]
    exam.expect(over, f"after the server's {how} {len(left)} of its {len(before)} processes stay: {left}")
    said = client.said()
    exam.note(f"{client.status()}; on standard error: {said[-1] if said else 'nothing'}")
    client.end()
    return bool(said) or client.printed not in (b"", FIRST_LINE)


CHECK = Check(
    requirement="When the server goes away, the client ends with all its processes, and tells its user.",
    reference="read(2) (returns 0), kill(2), waitpid(2); UNP 5.12-5.13, 6.4, 16.2; TLPI 20.5",
    expected="none of its processes is left after the server's FIN, and none after its RST",
    cause="The process that reads the socket ends alone: the one that writes sleeps in a read of standard input, and "
    "nobody tells it.",
    mend="When the socket ends, the reader ends the writer and waits for it: kill(child, SIGTERM); waitpid(child, …); "
    "in Python os.kill(child, signal.SIGTERM); os.waitpid(child, 0).",
    group="client",
    where=r"\b(kill|fork|wait|waitpid)\s*\(",
    follows=("client-reads-while-writing",),
    run=run,
)
