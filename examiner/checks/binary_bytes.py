"""Every byte value comes back: NUL, 0xff, carriage returns, and what is no UTF-8."""

from examiner._check import Check
from examiner._exam import Exam
from examiner.checks._bytes import difference, shown

MESSAGES = {
    "all 256 values": bytes(value for value in range(256) if value != ord("\n")) + b"\n",
    "a NUL first and in the middle": b"\0a\0\0b\n",
    "carriage returns": b"one\rtwo\r\r\n",
    "no UTF-8": b"\xff\xfe\xc3(\x80\n",
}


def run(exam: Exam) -> str:
    """Send each message, a single line, on a connection of its own, so that one loss does not hide another."""
    subject = exam.start()
    wrong = []
    for name, message in MESSAGES.items():
        client = exam.connect(subject)
        exam.provoked(client.served() and client.send(message), "a client is served, and its bytes are sent")
        back = client.receive(len(message))
        differs = difference(message, back)
        exam.note(f"{name}: {differs or 'came back as it was'}; sent {shown(message)}, got {shown(back)}")
        if differs:
            wrong.append(f"{name}: {differs}")
        client.close()
    exam.expect(not wrong, "; ".join(wrong[:2]))
    return f"{sum(map(len, MESSAGES.values()))} bytes with every value come back unchanged"


CHECK = Check(
    requirement="The server sends back every byte value, as it came.",
    reference="read(2), write(2), string(3); UNP 3.9; TLPI 4.3-4.4",
    expected="each of the 256 byte values back, in its place",
    cause="The bytes are treated as text: strlen, strcpy, fputs or printf stop at a NUL; decode() and text mode fail "
    "on what is no UTF-8 and change line ends.",
    mend="Use the count that read returned: write_all(fd, buffer, n), never strlen(buffer). In Python keep bytes as "
    "bytes: connection.sendall(data), without decode, and makefile('rb') instead of makefile().",
    group="breadth",
    services=("echo",),
    where=r"\b(strlen|strcpy|strncpy|fputs|fgets|dprintf|fprintf|decode|makefile)\s*\(",
    follows=("echo-bytes",),
    run=run,
)
