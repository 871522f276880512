"""A line that arrives byte by byte, and three lines that arrive at once, are answered like any other.

TCP is a stream: how many bytes one read returns has nothing to do with how many the other side wrote at a time. Each
byte is sent only when the one before was read, which the server's receive queue tells.
"""

from examiner._check import Check
from examiner._exam import Exam
from examiner.checks._bytes import difference, shown

LINE = b"one byte after the other\n"
GLUED = b"first\nsecond\nthird\n"


def run(exam: Exam) -> str:
    """Send one line in single bytes, then three lines in one segment."""
    subject = exam.start()
    client = exam.connect(subject)
    exam.provoked(client.served(), "a client is served")
    for byte in LINE:
        exam.expect(client.send(bytes([byte])), f"the connection ended ({client.ended or 'no more is taken'})")
        alone = subject.eventually(lambda: not subject.unread(client) or client.ended)
        exam.provoked(alone, "each byte is read before the next is sent")
    exam.note(f"{len(LINE)} bytes sent one at a time; before each, the server's receive queue was empty again")
    back = client.receive(len(LINE))
    exam.note(f"came back: {shown(back)}")
    exam.expect(back == LINE, f"a line that comes byte by byte is not answered as it is: {difference(LINE, back)}")
    back = client.ask(GLUED)
    exam.note(f"{shown(GLUED)} sent in one write; came back: {shown(back)}")
    exam.expect(back == GLUED, f"three lines that come at once are not answered as they are: {difference(GLUED, back)}")
    exam.expect(client.served(), "after them the next line gets no answer, or more came than was sent")
    return "the line that came in single bytes and the three that came together are answered exactly"


CHECK = Check(
    requirement="The server takes its input as a stream of bytes, however it is cut into segments.",
    reference="tcp(7), read(2) (fewer bytes than asked for is no error); RFC 9293, 3.8; UNP 3.9; TLPI 61.1",
    expected="the bytes that were sent, no more and no fewer, for single bytes and for several lines at once",
    cause="What one read returns is taken for one message: something is appended to each piece, or only its first line "
    "is answered.",
    mend="Answer exactly the n bytes that read returned; if lines matter, gather bytes in a buffer until there is a "
    "'\\n' in it, answer every whole line, keep the rest. In Python: buffer += connection.recv(4096), then split it.",
    group="breadth",
    where=r"\b(read|recv)\s*\(",
    follows=("echo-bytes",),
    run=run,
)
