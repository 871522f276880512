"""One process serves many: it sleeps until any connection is ready, and reads only where a read will not sleep."""

import re
from dataclasses import dataclass

from forklab.harness import Choice, Parameter, Scenario, Stage, Text
from forklab.harness.reading import family, line, value
from forklab.timeline.model import Event, Lane, Timeline

_READINESS = re.compile(r"(epoll_p?wait2?|p?select6?|p?poll)\(")


@dataclass(frozen=True)
class Server:
    """One of the two servers of the demo: a process, and what it called."""

    lane: Lane
    calls: list[Event]

    @property
    def sockets(self) -> list[int]:
        """The descriptors of the connections it works on."""
        return sorted({each.fields["fd"] for each in self.calls if each.fields.get("connection")})

    @property
    def answered(self) -> set[int]:
        """The connections on which it has sent something."""
        return {each.fields["connection"] for each in self.calls if each.call.startswith("sendto") and value(each)}

    @property
    def slept(self) -> list[Event]:
        """The reads that never returned: it was ended in them."""
        return [each for each in self.calls if each.kind == "read" and value(each) is None]

    @property
    def readiness(self) -> list[Event]:
        """The calls that told it who is ready."""
        return [each for each in self.calls if _READINESS.match(each.call) and value(each)]


def run(stage: Stage) -> str:
    """Record the demo: two servers, each with a silent client first, and clients who speak."""
    clients = stage["clients"]
    program = stage.demo("multiplexing", CLIENTS=clients)
    for said in program.said.splitlines():
        stage.says(said)
    demo, lanes = family(program.timeline)
    servers = [Server(lane, calls(program.timeline, lane)) for lane in lanes]
    if len(servers) < 2:
        stage.inconclusive("the recording does not show both servers; try again")
    turn, ready = servers[:2]
    unread = [left_unread(program.timeline, demo, server) for server in (turn, ready)]
    show(stage, "in turn", program.timeline, turn, unread[0])
    show(stage, "by readiness", program.timeline, ready, unread[1])
    stage.timeline(
        "One after the other it sleeps on the silent client; by readiness it serves all the others", program.timeline
    )
    stage.measure(
        clients=clients,
        sockets=len(ready.sockets),
        answered_in_turn=len(turn.answered),
        answered_by_readiness=len(ready.answered),
        readiness_calls=len(ready.readiness),
    )
    stage.expect(
        not turn.answered, f"who reads in turn sleeps on the silent client; {len(turn.answered)} were answered"
    )
    stage.expect(
        len(ready.answered) == clients - 1,
        f"by readiness each client that spoke is answered; {len(ready.answered)} of {clients - 1} were",
    )
    helpers = [lane for lane in program.timeline.lanes if lane.parent == ready.lane.id]
    stage.expect(not helpers, f"one process does it, without a thread or a child; it had {len(helpers)}")
    stage.expect(not ready.slept, "it never sleeps in a read, only where it waits for all of them at once")
    if not turn.slept:
        stage.inconclusive("the recording does not show the server that reads in turn asleep in recv; try again")
    return (
        f"one process with {len(ready.sockets)} sockets answered {len(ready.answered)} clients past a silent one; "
        "reading in turn, it answered none"
    )


def calls(timeline: Timeline, lane: Lane) -> list[Event]:
    """The system calls of a process, in their order."""
    return [event for event in timeline.events if event.lane == lane.id and event.call]


def left_unread(timeline: Timeline, demo: Lane, server: Server) -> int:
    """Bytes in the kernel that the server has not read, as ioctl(FIONREAD) told the demo last before it ended it."""
    last: dict[int, int] = {}
    for event in timeline.events:
        told = event.lane == demo.id and event.fields.get("queue") == "unread"
        if told and server.lane.born <= event.time <= (server.lane.ended or timeline.length):
            last[event.fields["thing"]] = event.fields["bytes"]
    return sum(last.values())


def show(stage: Stage, how: str, timeline: Timeline, server: Server, unread: int) -> None:
    """Quote the calls that decide it."""
    fds = ", ".join(map(str, server.sockets))
    stage.evidence(f"{how}: PID {server.lane.pid} has fd {fds}; {unread} bytes were left unread in the kernel")
    said = [each for each in server.calls if each.kind in ("read", "write") and each.fields.get("connection")]
    for event in (server.readiness[:1] + said[:2]) or server.calls[:1]:
        stage.evidence(f"{how}: {line(timeline, event)}")


SCENARIO = Scenario(
    question=Text(en="How does one process serve many?", ko="한 프로세스가 어떻게 여러 클라이언트를 서비스할까?"),
    expectation=Text(
        en="It asks the kernel for all its connections at once (`select`, `poll`, `epoll`) and gets those on which a "
        "read will not sleep. Then it reads those, answers, and asks again: the one place in which it sleeps is that "
        "question. A silent client costs nothing.\n\n"
        "A process that reads from one connection after the other sleeps in recv at the first silent one. The bytes "
        "of all others arrive, and lie unread in the kernel.",
        ko="자기가 가진 모든 연결을 한꺼번에 커널에 묻고(`select`, `poll`, `epoll`), 읽어도 잠들지 않을 연결들을 "
        "돌려받는다. 그 연결들을 읽고 응답한 뒤 다시 묻는다. 잠드는 곳은 이 질문 한 군데뿐이고, 말이 없는 "
        "클라이언트에는 아무 비용도 들지 않는다.\n\n"
        "연결을 차례대로 읽는 프로세스는 처음 만나는 말 없는 연결의 recv에서 잠든다. 다른 연결의 바이트는 도착하지만 "
        "커널에 읽히지 않은 채 남는다.",
    ),
    source="epoll(7), select(2), recv(2); UNP 6.2, 6.3 and 6.8; TLPI 63.1",
    explanation=Text(
        en="Readiness turns many sleeps into one. It does not make anything parallel: while the process handles one "
        "client, the others wait, so each step has to be short. See `waiting-time` for what a long one does, and "
        "`select-wall` for where `select` ends.\n\n"
        "The same could be had with a process or a thread for each connection: then many sleep, one each, and the "
        "kernel's scheduler does what the loop does here.",
        ko="준비 통지(readiness)는 여러 번의 잠을 하나로 만든다. 무엇을 병렬로 하는 것은 아니다. 한 클라이언트를 "
        "처리하는 동안 다른 클라이언트는 기다리므로 한 단계가 짧아야 한다. 긴 단계가 어떤 일을 일으키는지는 "
        "`waiting-time`에서, `select`의 한계는 `select-wall`에서 볼 수 있다.\n\n"
        "연결마다 프로세스나 스레드를 두어도 같은 결과를 얻는다. 그때는 여럿이 하나씩 잠들고, 여기서 루프가 하는 일을 "
        "커널의 스케줄러가 한다.",
    ),
    prediction=Choice(
        ask=Text(
            en="Five clients are connected to one process that calls recv on one after the other. The first says "
            "nothing, the others send a line. Who is answered?",
            ko="클라이언트 다섯이 한 프로세스에 연결되어 있고, 이 프로세스는 차례대로 recv를 호출한다. 첫 번째는 아무 "
            "말이 없고 나머지는 한 줄씩 보낸다. 누가 응답을 받을까?",
        ),
        answers=(
            Text(en="the four who spoke: recv skips who has nothing", ko="말한 네 명: recv는 데이터가 없으면 건너뛴다"),
            Text(en="nobody, and the four lines are lost", ko="아무도 못 받고, 네 줄은 사라진다"),
            Text(en="nobody; the four lines wait in the kernel", ko="아무도 못 받고, 네 줄은 커널에서 기다린다"),
            Text(en="one after the other, once recv times out", ko="recv가 시간 초과되면 차례대로"),
        ),
        right=2,
    ),
    run=run,
    parameters={"clients": Parameter(5, 2, 40, "", "connections, the first of them silent")},
)
