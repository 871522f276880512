"""The client passes on every byte, both ways: NUL, 0xff, carriage returns, much at once, and an end without newline."""

from examiner._check import Check
from examiner._client import DoesNotConnect
from examiner._exam import Exam, Failed
from examiner.checks._bytes import difference

UP = bytes(range(256)) + b"\r\n\0\n" + b"what is typed " * 15_000 + b"ends without newline"
DOWN = bytes(reversed(range(256))) + b"\r\n\0\n" + b"what is sent " * 15_000 + b"ends without newline"
"""Larger than a pipe (64 KiB, pipe(7)); no line of them is a single q, which ends some clients."""


def run(exam: Exam) -> str:
    """Type all values and end the input; when all has come, send all values back and close."""
    try:
        client = exam.come()
    except DoesNotConnect as error:
        exam.provoked(True, "the client was started")
        raise Failed(
            str(error),
            cause="The client does not use the host and the port of its command line, or does not pass on its input.",
            mend="connect to argv[1] and argv[2]; in Python socket.create_connection((sys.argv[1], int(sys.argv[2]))).",
        ) from None
    taken = client.type(UP)
    client.end_input()
    client.wire.await_end()
    arrived, client.wire.got = client.wire.got, b""
    exam.provoked(True, "all byte values are typed")
    exam.note(f"{len(UP)} bytes are typed, then the input ends: {difference(UP, arrived) or 'all arrive unchanged'}")
    exam.expect(taken and arrived == UP, f"not every byte that is typed arrives: {difference(UP, arrived)}")
    before = len(client.printed)
    client.wire.send(DOWN)
    client.wire.close()
    shown = client.prints(DOWN)
    said = client.printed[before:]
    exam.note(f"{len(DOWN)} bytes are sent, then FIN; printed are {'just these' if shown else f'{len(said)} others'}")
    exam.expect(shown, f"not every byte that the server sends is printed as it is: {difference(DOWN, said)}")
    return f"{len(UP)} bytes with every value arrive, and {len(DOWN)} are printed, unchanged"


CHECK = Check(
    requirement="The client sends what it is given, and prints what it gets, byte for byte.",
    reference="read(2), write(2), string(3); UNP 3.9, 6.4-6.5; TLPI 4.3-4.4",
    expected="all that was typed at the server, all that was sent on standard output",
    cause="The bytes are treated as text: fgets, strlen, fputs and printf stop at a NUL, Python's input() and decode() "
    "fail on what is no UTF-8; or a short write is not continued.",
    mend="Copy with read and write_all, with the count that read returned. In Python os.read(0, 65536), sendall, and "
    "sys.stdout.buffer.write with flush.",
    group="client",
    where=r"\b(strlen|fgets|fputs|puts|printf|write|send|input|decode|print)\s*\(",
    run=run,
)
