"""The server starts, and listens on the port that it was given.

Nothing is connected: the LISTEN row of the port is read, and that one of the server's own processes holds its socket.
"""

from examiner._check import Check
from examiner._exam import Exam, Failed
from examiner._subject import DoesNotListen


def run(exam: Exam) -> str:
    """Start it and read the table of sockets."""
    try:
        subject = exam.launch()
    except DoesNotListen as error:
        exam.provoked(True, "the server was started")
        exam.evidence += error.evidence
        raise Failed(str(error)) from None
    exam.provoked(True, "the server was started")
    row = subject.listener()
    exam.expect(row, f"it listened, and does not any more; {subject.status()}")
    assert row
    exam.note(f"LISTEN {row['local']}, socket inode {row['inode']}, backlog {row['backlog_limit']}")
    return f"it listens on {row['local']}"


CHECK = Check(
    requirement="The server starts, and listens on the port that it was given.",
    reference="socket(7), bind(2), listen(2); UNP 4.2-4.5",
    expected="a LISTEN socket on the port, held by the server, within a few seconds",
    cause="The port on the command line is not used, or bind or listen failed and nobody looked.",
    mend="Take the port from the first argument: htons(atoi(argv[1])); in Python: int(sys.argv[1]). Look at what bind "
    "and listen return. If it is started in another way, say so with --run './server -p {port}'.",
    where=r"\b(bind|listen)\s*\(",
    run=run,
)
