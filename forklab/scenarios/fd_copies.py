"""fork copies every descriptor, and TCP sends FIN only when the last copy is closed: the parent must close its own."""

import time
from dataclasses import dataclass, field

from forklab.harness import Choice, Parameter, Scenario, Stage, Text
from forklab.lab import Lab
from forklab.observe import ESTABLISHED, Snapshot
from forklab.timeline.model import Connection, Event, Lane, Timeline

_CLOSE_SECONDS = 8.0
LEAKY = """
import os, signal, socket

kept = []
signal.signal(signal.SIGUSR1, lambda *_: [connection.close() for connection in kept])
signal.signal(signal.SIGCHLD, lambda *_: os.waitpid(-1, os.WNOHANG))
listener = socket.create_server(("", 9190))
while True:
    connection, _ = listener.accept()
    if os.fork() == 0:
        listener.close()
        while data := connection.recv(4096):
            connection.sendall(data)
        os._exit(0)
    kept.append(connection)  # the mistake: connection.close() belongs here
"""
"""A server whose parent keeps its copy of each connection, until somebody asks it by SIGUSR1 to close them."""


@dataclass
class Visit:
    """One client's connection to a server of which the serving child is killed; looks before and after its death."""

    timeline: Timeline
    name: str
    serving: Snapshot = field(init=False)
    after: Snapshot = field(init=False)

    @property
    def connection(self) -> Connection:
        """As the recording has it."""
        return next(each for each in self.timeline.connections if each.client == self.name)

    def rows(self, seen: Snapshot) -> list[str]:
        """Who holds the connection, a line of /proc for each descriptor, and its TCP state at the server."""
        (socket,) = [row for row in seen.connections() if row.remote == self.name]
        held = [f"/proc/{each.pid}/fd/{each.fd} -> {each.target}" for each in seen.holders(socket.inode)]
        return [f"{words}  {socket.remote} {socket.state}" for words in held or ["no process holds it:"]]

    def state(self, seen: Snapshot) -> str:
        """The TCP state of the server's end; empty when the kernel has it no more."""
        return next((row.state for row in seen.connections() if row.remote == self.name), "")

    def holders(self, seen: Snapshot) -> set[int]:
        """The processes that hold it."""
        return {pid for row in seen.connections() if row.remote == self.name for pid in row.holders}

    def child(self) -> Lane:
        """The process that was forked for it."""
        accepted = self.connection.accepted or 0
        return next(lane for lane in self.timeline.lanes if lane.parent is not None and lane.born > accepted)

    def closing(self) -> Event | None:
        """The parent's close of its copy."""
        parent, mine = self.child().parent, self.connection.id
        closes = (each for each in self.timeline.events if each.kind == "close" and each.lane == parent)
        return next((each for each in closes if each.fields.get("connection") == mine), None)


def run(stage: Stage) -> str:
    """Kill the child that serves a client: where the parent has closed its copy, and where it keeps it."""
    stage.say("a server whose parent closes its copy of each connection")
    with stage.lab() as lab:
        right = visit(stage, lab, closes=True)
    stage.say("a server whose parent keeps its copy")
    with stage.lab(server={"entrypoint": ["python3", "-S", "-c", LEAKY]}) as lab:
        leaky = visit(stage, lab, closes=False)
    stage.timeline("The parent has closed its copy: FIN leaves when the child dies", right.timeline)
    stage.timeline("The parent keeps its copy: FIN leaves when the parent closes it, long after", leaky.timeline)
    judge_right(stage, right)
    judge_leaky(stage, leaky)
    return (
        "FIN left with the last close: when the child died where the parent had closed its copy, else not before it did"
    )


def visit(stage: Stage, lab: Lab, *, closes: bool) -> Visit:
    """Connect, look, kill the child, and look again; a parent that ``closes`` not at once does it on SIGUSR1."""
    with stage.hand(lab) as hand, stage.traced(lab) as timeline:
        (name,) = hand.open(1, "hello\n")
        found = Visit(timeline, name)

        def look(copies: int) -> Snapshot | None:
            seen = lab.snapshot()
            return seen if len(found.holders(seen)) == copies else None

        # The child may answer before the parent has closed.
        found.serving = stage.until(lambda: look(1 if closes else 2), _CLOSE_SECONDS) or lab.snapshot()
        held = found.holders(found.serving)
        child = max(held)
        stage.signal(lab, "KILL", child)

        def dead() -> Snapshot | None:
            seen = lab.snapshot()
            over = found.state(seen) != ESTABLISHED or len(held) > 1
            return seen if over and seen.process(child) is None else None

        found.after = stage.until(dead) or lab.snapshot()
        if not closes:
            end = time.monotonic() + stage["seconds"]
            while time.monotonic() < end and found.state(found.after) == ESTABLISHED:
                found.after = lab.snapshot()
            stage.signal(lab, "USR1", found.after.server or 0)
            stage.until(lambda: found.state(lab.snapshot(())) != ESTABLISHED)
    return found


def judge_right(stage: Stage, right: Visit) -> None:
    """FIN leaves when the child dies."""
    for row in right.rows(right.serving):
        stage.evidence(row)
    child, closing, fin = right.child(), right.closing(), right.connection.fin.get("server")
    stage.expect(closing is not None, "the parent closes its copy of the connection")
    assert closing
    stage.evidence(f"{closing.time / 1e6:9.3f} ms  PID {child.ppid}  {closing.call}")
    stage.expect(right.holders(right.serving) == {child.pid}, "when the parent has closed, the child alone holds it")
    stage.expect(right.state(right.serving) == ESTABLISHED, "the parent's close does not end the connection")
    stage.expect(fin is not None, "when the child is dead, the server's kernel has sent FIN")
    assert fin is not None
    stage.evidence(f"{fin / 1e6:9.3f} ms  FIN leaves the server")
    stage.evidence(f"{(child.ended or 0) / 1e6:9.3f} ms  PID {child.pid}, which held the last copy, is {child.how}")
    stage.expect(closing.time < fin < (child.reaped or right.timeline.length), "FIN leaves when the last copy goes")
    for row in right.rows(right.after):
        stage.evidence(row)


def judge_leaky(stage: Stage, leaky: Visit) -> None:
    """No FIN leaves before the parent has closed."""
    rows = leaky.rows(leaky.serving)
    for row in rows:
        stage.evidence(row)
    stage.expect(len(rows) == 2, "where the parent keeps its copy, two processes hold one socket: the same inode twice")
    for row in leaky.rows(leaky.after):
        stage.evidence(row)
    child, closing, fin = leaky.child(), leaky.closing(), leaky.connection.fin.get("server")
    stage.expect(leaky.state(leaky.after) == ESTABLISHED, "the child is dead, and the client still has a connection")
    stage.expect(closing is not None and fin is not None, "the parent closes its copy at last, and FIN leaves")
    assert closing
    assert fin is not None
    stage.evidence(f"{(child.ended or 0) / 1e6:9.3f} ms  PID {child.pid}, which served the client, is {child.how}")
    stage.evidence(f"{closing.time / 1e6:9.3f} ms  PID {child.ppid}  {closing.call}")
    stage.evidence(f"{fin / 1e6:9.3f} ms  FIN leaves the server")
    stage.expect((child.ended or 0) < closing.time <= fin, "no FIN leaves before the parent has closed its copy")
    stage.measure(copies=len(rows), fin_after_the_childs_death_s=round((fin - (child.ended or 0)) / 1e9, 3))


SCENARIO = Scenario(
    question=Text(
        en="What does fork copy, and why must each side close?",
        ko="fork는 무엇을 복사하며, 왜 부모와 자식이 각자 닫아야 할까?",
    ),
    expectation=Text(
        en="fork copies the table of descriptors. Parent and child then have descriptors that lead to the same "
        "socket: the same inode in both /proc/PID/fd. close takes away one descriptor; only with the last one does "
        "the kernel end the connection and send FIN. So the parent's close does not harm the child. But if the "
        "parent keeps its copy, the client gets no FIN when the child ends, not even when the child is killed: it "
        "waits, ESTABLISHED, until the parent closes too.",
        ko="fork는 디스크립터 표를 복사한다. 그래서 부모와 자식의 디스크립터는 같은 소켓을 가리키고, 두 "
        "/proc/PID/fd에 같은 아이노드 번호가 보인다. close는 디스크립터 하나를 없앨 뿐이며, 마지막 하나가 사라질 때 "
        "비로소 커널이 연결을 끝내고 FIN을 보낸다. 따라서 부모의 close는 자식에게 해롭지 않다. 그러나 부모가 사본을 "
        "닫지 않으면 자식이 끝나도, 심지어 죽임을 당해도 클라이언트는 FIN을 받지 못한다. 부모가 닫을 때까지 "
        "ESTABLISHED 상태로 기다린다.",
    ),
    source="fork(2), close(2), proc_pid_fd(5), tcp(7); RFC 9293 3.6; UNP 4.8; TLPI 24.2.1, 60.3",
    explanation=Text(
        en="The parent of a fork server closes each connection right after fork, in every path, also when fork "
        "fails. A parent that forgets it leaks a descriptor for each client: clients hang at the end, and one day "
        "accept fails with EMFILE. shutdown is different: it ends the connection itself, however many descriptors "
        "there are.",
        ko="fork 서버의 부모는 fork 직후에 연결을 닫아야 한다. fork가 실패한 경우를 포함해 모든 경로에서 그래야 "
        "한다. 이를 잊은 부모는 클라이언트마다 디스크립터를 하나씩 흘린다. 클라이언트는 마지막에 멈춰 있고, "
        "언젠가는 accept가 EMFILE로 실패한다. shutdown은 다르다. 디스크립터가 몇 개이든 연결 자체를 끝낸다.",
    ),
    prediction=Choice(
        ask=Text(
            en="The parent of a fork server has forgotten to close its copy of the connection. The child that "
            "serves the client is killed by SIGKILL. What does the client get?",
            ko="fork 서버의 부모가 연결의 사본을 닫는 것을 잊었다. 클라이언트를 처리하던 자식이 SIGKILL로 죽었다. "
            "클라이언트는 무엇을 받을까?",
        ),
        answers=(
            Text(
                en="FIN: the kernel closes all that a dead process had.",
                ko="FIN. 죽은 프로세스가 가진 것은 커널이 모두 닫는다.",
            ),
            Text(en="RST: its process was killed.", ko="RST. 처리하던 프로세스가 죽임을 당했기 때문이다."),
            Text(
                en="Nothing, as long as the parent has its copy.",
                ko="부모가 사본을 가지고 있는 동안은 아무것도 받지 못한다.",
            ),
            Text(en="Nothing now; FIN after a minute.", ko="지금은 아무것도 받지 못하고 1분 뒤에 FIN을 받는다."),
        ),
        right=2,
    ),
    run=run,
    parameters={"seconds": Parameter(0.5, 0.0, 60.0, "s", "how long to wait for the FIN that does not come")},
)
