"""shutdown(SHUT_WR) ends one direction and leaves the other: the answer comes back whole. After close it meets RST."""

from forklab.capture import CLIENT, SERVER, Connection, connections, ladder, picture
from forklab.capture.connections import Step
from forklab.capture.frames import File
from forklab.harness import Choice, Parameter, Scenario, Stage, Text
from forklab.harness.stage import Hand
from forklab.lab import Lab
from forklab.observe import Socket

HALF, WHOLE = "shutdown(SHUT_WR)", "close()"


def run(stage: Stage) -> str:
    """Two clients ask and end their asking, each in its way, before the server has read a byte; then it answers."""
    with stage.lab() as lab, stage.hand(lab) as hand:
        with stage.wire(lab) as wire:
            names = {how: ask(stage, lab, hand, how) for how in (HALF, WHOLE)}
        captured = wire.connections()
    told = {how: captured[name] for how, name in names.items()}
    draw(stage, told)
    for how, connection in told.items():
        for step in decisive(connection):
            stage.evidence(f"{how:17}  {connection.relative(step.time):9.6f} s  {step.by:6}  {ladder.label(step)}")

    half, whole = told[HALF], told[WHOLE]
    count = stage["bytes"]
    fins = [each.closing[0].by == CLIENT and each.closing[0].how == "FIN" for each in told.values() if each.closing]
    stage.expect(fins == [True, True], "both clients end with FIN: on the wire nobody sees how they called it")
    stage.expect(half.end != connections.RESET, f"nobody resets the connection after {HALF}")
    answered = half.after_fin(CLIENT)
    stage.expect(answered == count, f"the answer comes back whole after the FIN: {answered} of {count} bytes")
    stage.expect(half.end == connections.CLOSED, "the half-closed connection ends with the server's FIN")
    stage.expect(whole.end == connections.RESET and whole.reset_by == CLIENT, f"after {WHOLE} the answer meets RST")
    stage.measure(asked_bytes=count, answer_bytes_after_half_close=answered, end_half=half.end, end_whole=whole.end)
    return f"after {HALF} all {answered} bytes of the answer came back; after {WHOLE} the client's kernel sent RST"


def ask(stage: Stage, lab: Lab, hand: Hand, how: str) -> str:
    """Send a question to a server process that is stopped, end it, let the server go on; the client's address."""
    (name,) = hand.open(1, "hello\n")
    (child,) = stage.until(lambda: alone(lab, name)) or stage.inconclusive("no process serves the client")
    stage.signal(lab, "STOP", child)
    try:
        # One that was sent SIGSTOP and has not come to stop yet would still take bytes that come meanwhile.
        if not stage.until(lambda: stopped(lab, child)):
            stage.inconclusive(f"process {child} does not stop at SIGSTOP")
        hand.send(name, "x" * stage["bytes"])
        if how == HALF:
            hand.half_close(name)
        else:
            hand.close(name)
        arrived = stage.until(lambda: waiting(lab, name, stage["bytes"]))
        if not arrived:
            stage.inconclusive(f"the question and its FIN have not arrived at the server after {how}")
        assert arrived
        stage.evidence(f"{how:17}  server {arrived.state}, {arrived.rx_queue} in its receive queue, nothing read yet")
    finally:
        stage.signal(lab, "CONT", child)
    if how == HALF:
        try:
            stage.says(f"the client that called {HALF} has read {len(hand.back(name, stage['bytes']))} bytes")
        except OSError as error:
            stage.says(f"the client that called {HALF} could not read: {error}")
    stage.until(lambda: not server_end(lab, name))
    if how == HALF:
        hand.close(name)
    return str(name)


def server_end(lab: Lab, name: str) -> Socket | None:
    """The server's socket of a client's connection, until it ends."""
    return next((each for each in lab.snapshot().connections() if each.remote == name), None)


def alone(lab: Lab, name: str) -> tuple[int, ...]:
    """The process that serves the client, once the parent has closed its copy."""
    found = server_end(lab, name)
    return found.holders if found and len(found.holders) == 1 else ()


def stopped(lab: Lab, pid: int) -> bool:
    """Whether a process has been stopped by a signal."""
    found = lab.snapshot(()).process(pid)
    return found is not None and found.state == "T"


def waiting(lab: Lab, name: str, count: int) -> Socket | None:
    """The server's socket, once all bytes and the FIN are there; the FIN takes a place in the queue too (tcp(7))."""
    found = server_end(lab, name)
    return found if found and found.state == "CLOSE_WAIT" and found.rx_queue >= count else None


def decisive(connection: Connection) -> list[Step]:
    """The client's FIN, the server's first bytes after it, and what then ends the connection."""
    steps = connection.steps
    fin = next((at for at, step in enumerate(steps) if step.by == CLIENT and "FIN" in step.flags), len(steps))
    after = steps[fin:]
    answer = [step for step in after if step.by == SERVER and step.length]
    ends = [step for step in after if "RST" in step.flags or (step.by == SERVER and "FIN" in step.flags)]
    return sorted([*after[:1], *answer[:1], *ends[:1]], key=lambda step: step.time)


def draw(stage: Stage, told: dict[str, Connection]) -> None:
    """A ladder for each."""
    reading = connections.collect((), File())
    reading.connections = list(told.values())
    titles = {HALF: "shutdown(SHUT_WR): FIN, then the whole answer", WHOLE: "close(): FIN, then RST for the answer"}
    for how, connection in told.items():
        stage.draw(titles[how], picture.svg(connection, reading))


SCENARIO = Scenario(
    question=Text(en="What does shutdown(SHUT_WR) promise?", ko="shutdown(SHUT_WR)은 무엇을 약속할까?"),
    expectation=Text(
        en="A connection has two directions. shutdown(SHUT_WR) ends one: everything written before arrives, then "
        "FIN; the server reads to the end of file, and can still answer, for the client goes on receiving. close "
        "sends the same FIN, so the server cannot tell the difference and answers too. But now nobody is there to "
        "receive: the client's kernel meets the first bytes of the answer with RST, and the server's next write "
        "fails.",
        ko="연결에는 두 방향이 있다. shutdown(SHUT_WR)은 한 방향만 끝낸다. 그 전에 쓴 것은 모두 도착하고 그다음에 "
        "FIN이 도착한다. 서버는 파일 끝(EOF)까지 읽은 뒤에도 응답할 수 있다. 클라이언트가 계속 받고 있기 때문이다. "
        "close도 똑같은 FIN을 보내므로 서버는 차이를 알지 못하고 역시 응답한다. 그러나 이번에는 받을 프로세스가 "
        "없다. 클라이언트의 커널은 응답의 첫 바이트에 RST로 답하고, 서버의 다음 쓰기는 실패한다.",
    ),
    source="shutdown(2), close(2), tcp(7); RFC 9293 3.6; RFC 1122 4.2.2.13; UNP 6.6; TLPI 61.2, 61.6.6",
    explanation=Text(
        en='Say "that was all" with shutdown(SHUT_WR), read until the end of file, and then close. This is the only '
        "way to know that the other side has had everything: its FIN comes after its answer. On the wire a "
        "half-close and a close begin alike; the difference is whether somebody still listens.",
        ko='"이것이 전부"라는 말은 shutdown(SHUT_WR)으로 하고, 파일 끝까지 읽은 다음에 close하라. 상대가 모두 '
        "받았음을 알 수 있는 방법은 이것뿐이다. 상대의 FIN은 응답 뒤에 오기 때문이다. 회선 위에서 half-close와 "
        "close는 똑같이 시작한다. 차이는 아직 듣는 쪽이 있느냐이다.",
    ),
    prediction=Choice(
        ask=Text(
            en="A client sends a question and calls close() at once. The server reads the question to its end and "
            "sends an answer. What happens to the answer?",
            ko="클라이언트가 질문을 보내고 곧바로 close()를 호출했다. 서버는 질문을 끝까지 읽고 응답을 보낸다. 그 "
            "응답은 어떻게 될까?",
        ),
        answers=(
            Text(
                en="There is none: after close the server reads nothing, and the question is lost.",
                ko="응답은 없다. close 뒤에는 서버가 아무것도 읽지 못하며 질문도 사라진다.",
            ),
            Text(
                en="It arrives and is thrown away; the server notices nothing.",
                ko="도착하지만 버려지고, 서버는 아무것도 알아차리지 못한다.",
            ),
            Text(
                en="The client's kernel answers its first bytes with RST.",
                ko="응답의 첫 바이트에 클라이언트의 커널이 RST로 답한다.",
            ),
            Text(
                en="It waits in the client's kernel until somebody opens the connection again.",
                ko="누군가 연결을 다시 열 때까지 클라이언트의 커널에서 기다린다.",
            ),
        ),
        right=2,
    ),
    run=run,
    parameters={"bytes": Parameter(20_000, 1, 50_000, "bytes", "how long the question and its answer are")},
)
