"""Each byte that a client sends comes back, in order, and nothing else does.

Lines of many lengths, each waited for; then all of them at once; and then silence, in which nothing may come.
"""

from examiner._check import Check
from examiner._exam import Exam

LENGTHS = (1, 2, 3, 10, 80, 200, 17, 127, 128, 129)
QUIET_SECONDS = 0.3


def run(exam: Exam) -> str:
    """Send, compare, and listen for more."""
    subject = exam.start(greet=False)
    client = exam.connect(subject)
    lines = [_line(length) for length in LENGTHS]
    exam.provoked(client.send(lines[0]), "the server's kernel takes a line")
    for number, line in enumerate(lines):
        answer = client.receive(len(line)) if number == 0 else client.ask(line)
        exam.expect(answer == line, _differs(line, answer, client.ended))
    together = b"".join(lines) * 5
    answer = client.ask(together)
    exam.expect(answer == together, _differs(together, answer, client.ended))
    subject.eventually(client.more, seconds=QUIET_SECONDS)
    exam.expect(not client.got, f"after the answer comes more: {client.got[:40]!r}")
    exam.expect(not client.ended, f"the server ends the conversation ({client.ended}) while the client still talks")
    count = sum(map(len, lines)) + len(together)
    exam.note(f"{count} bytes sent, the same {count} came back")
    return "every byte came back, in order, and nothing else"


def _line(length: int) -> bytes:
    """A line of so many bytes; those of different lengths differ from the first byte on."""
    return bytes(33 + (length + each) % 90 for each in range(length - 1)) + b"\n"


def _differs(sent: bytes, came: bytes, ended: str) -> str:
    differ = (at for at, (one, other) in enumerate(zip(sent, came, strict=False)) if one != other)
    same = next(differ, min(len(sent), len(came)))
    words = f"of {len(sent)} bytes {len(came)} came back"
    if same < len(came):
        return f"{words}, different from byte {same} on: {came[same : same + 20]!r}, not {sent[same : same + 20]!r}"
    return f"{words}{f', then {ended}' if ended else ', and then nothing'}"


CHECK = Check(
    requirement="Each byte that a client sends comes back, in order, and nothing else does.",
    reference="RFC 862; read(2), write(2); UNP 5.3",
    expected="the same bytes, line by line and all at once, and silence afterwards",
    cause="The answer is not what was read: a fixed count is written instead of what read returned, there is a "
    "greeting, or a buffer is treated as a C string.",
    mend="Write exactly what was read: n = read(fd, buffer, sizeof buffer), then n bytes of it; in Python: "
    "connection.sendall(connection.recv(4096)).",
    where=r"\b(read|recv|write|send|sendall|fgets|printf)\s*\(",
    run=run,
)
