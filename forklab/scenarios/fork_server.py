"""A fork server has one process for each connection: the parent accepts, a child serves."""

from forklab.harness import Choice, Parameter, Scenario, Stage, Text
from forklab.harness.reading import line
from forklab.observe import Snapshot
from forklab.timeline.model import PROCESS, Connection, Event, Timeline

WORD = "hello\n"


def run(stage: Stage) -> str:
    """Let clients connect and stay, look who holds what, and read in the recording who did what."""
    clients = stage["clients"]
    with stage.lab() as lab, stage.hand(lab) as hand, stage.traced(lab) as timeline:
        names = hand.open(clients, WORD)
        # A child may answer its client before the parent has closed its own copy of the descriptor.
        seen = stage.until(lambda: one_each(lab.snapshot(), names)) or lab.snapshot()
        hand.close()
        stage.until(lambda: len(lab.snapshot(()).processes) == 1)
    stage.timeline(f"{clients} connections, and a process for each", timeline)
    looked = [socket for socket in seen.established() if socket.remote in names]
    stage.expect(len(looked) == clients, f"all {clients} connections are there at once, not {len(looked)}")
    for socket in sorted(looked, key=lambda row: row.holders):
        for held in seen.holders(socket.inode):
            stage.evidence(f"/proc/{held.pid}/fd/{held.fd} -> {held.target}  {socket.remote} {socket.state}")
    holding = holders(seen, names)
    stage.expect(all(len(pids) == 1 for pids in holding.values()), "each connection is held by one process alone")

    told = [connection for connection in timeline.connections if connection.client in names]
    stage.expect(len(told) == clients, f"the recording has all {clients} connections, not {len(told)}")
    parents = {connection.accepted_by for connection in told}
    stage.expect(len(parents) == 1 and None not in parents, "one process accepts all connections")
    (parent,) = parents
    assert parent is not None
    for event in story(timeline, told[0], parent):
        stage.evidence(line(timeline, event))
    serving = {connection.client: servers(timeline, connection) for connection in told}
    stage.expect(
        all(len(lanes) == 1 for lanes in serving.values()), "each connection is read and written by one process"
    )
    children = [timeline.lanes[lane] for lanes in serving.values() for lane in lanes]
    own = all(child.kind == PROCESS and child.parent == parent for child in children)
    stage.expect(
        own, "each connection is served by a process that the accepting one has forked, not by that one itself"
    )
    stage.expect(len({child.id for child in children}) == clients, "no two connections are served by the same process")
    late = all((connection.accepted or 0) < child.born for connection, child in zip(told, children, strict=True))
    stage.expect(late, "the child is forked when the connection has been accepted, not before")
    same = all(holding[client] == [timeline.lanes[lane].pid for lane in lanes] for client, lanes in serving.items())
    stage.expect(same, "who serves a connection is who holds its descriptor")
    stage.expect(all(child.reaped_by == parent for child in children), "the parent waits for each child")
    stage.measure(connections=clients, processes=len(children) + 1, accepts=len(told))
    return f"{clients} connections, {len(children)} children: the parent accepted them all and served none of them"


def holders(seen: Snapshot, names: list[str]) -> dict[str, list[int]]:
    """The processes that have a descriptor for each client's connection."""
    return {socket.remote: list(socket.holders) for socket in seen.established() if socket.remote in names}


def one_each(seen: Snapshot, names: list[str]) -> Snapshot | None:
    """The look, if each of these connections has one holder in it."""
    return seen if [len(held) for held in holders(seen, names).values()] == [1] * len(names) else None


def servers(timeline: Timeline, connection: Connection) -> set[int]:
    """The lanes that have read from the connection or written to it."""
    moved = (event for event in timeline.events if event.kind in ("read", "write"))
    return {event.lane for event in moved if event.fields.get("connection") == connection.id and event.lane is not None}


def story(timeline: Timeline, connection: Connection, parent: int) -> list[Event]:
    """The calls that tell a connection's beginning: accept, fork, the first read and write, the parent's close."""
    after = [event for event in timeline.events if event.time >= (connection.accepted or 0) and event.begin is not None]
    mine = [event for event in after if event.fields.get("connection") == connection.id]
    wanted = [
        next((event for event in mine if event.kind == "accept"), None),
        next((event for event in after if event.kind in ("fork", "thread") and event.lane == parent), None),
        next((event for event in mine if event.kind == "read"), None),
        next((event for event in mine if event.kind == "write"), None),
        next((event for event in mine if event.kind == "close" and event.lane == parent), None),
    ]
    return sorted(filter(None, wanted), key=lambda event: event.time)


SCENARIO = Scenario(
    question=Text(en="One process for each connection?", ko="연결마다 프로세스가 하나씩일까?"),
    expectation=Text(
        en="A fork server's parent only accepts. accept returns a new descriptor for the connection; fork copies "
        "the whole table of descriptors, so the child has it too. The parent closes its copy and goes back to "
        "accept, the child closes its copy of the listener and serves. So at any moment each connection's socket is "
        "held by exactly one process, its own child, and N clients at once are N children beside the parent. A "
        "child that ends costs nobody else anything.",
        ko="fork 서버의 부모는 accept만 한다. accept는 연결을 위한 새 디스크립터를 돌려주고, fork는 디스크립터 표 "
        "전체를 복사하므로 자식도 그것을 갖는다. 부모는 자기 사본을 닫고 다시 accept로 돌아가며, 자식은 듣기 소켓의 "
        "사본을 닫고 클라이언트를 처리한다. 그래서 언제 보아도 연결의 소켓은 프로세스 하나, 곧 그 연결을 맡은 "
        "자식만 가지고 있고, 클라이언트가 동시에 N개면 부모 옆에 자식이 N개 있다. 자식 하나가 끝나도 다른 연결에는 "
        "아무 영향이 없다.",
    ),
    source="accept(2), fork(2), close(2), proc_pid_fd(5); UNP 4.8, 5.2-5.5, 30.5; TLPI 60.3",
    explanation=Text(
        en="The inode in /proc/PID/fd names the socket: the same number in two processes is the same socket. Look "
        "for it when you want to know who serves whom. The price of this order is a fork for each connection and a "
        "process for each client; what it buys is that a child may block, leak or crash on its own.",
        ko="/proc/PID/fd에 보이는 아이노드 번호가 소켓의 이름이다. 두 프로세스에서 번호가 같으면 같은 소켓이다. "
        "누가 누구를 처리하는지 알고 싶으면 이 번호를 보라. 이 구조의 값은 연결마다 fork 한 번, 클라이언트마다 "
        "프로세스 하나이다. 그 대신 자식은 혼자서 블록되거나 자원을 흘리거나 죽어도 된다.",
    ),
    prediction=Choice(
        ask=Text(
            en="Three clients are connected to a fork server, and all have been answered. Which processes hold a "
            "descriptor for the second client's connection?",
            ko="fork 서버에 클라이언트 셋이 연결되어 있고 모두 응답을 받았다. 두 번째 클라이언트의 연결에 대한 "
            "디스크립터는 어느 프로세스가 가지고 있을까?",
        ),
        answers=(
            Text(
                en="The parent, which hands the lines on to its children.",
                ko="부모. 부모가 받은 줄을 자식에게 넘겨준다.",
            ),
            Text(en="The parent and the second child.", ko="부모와 두 번째 자식."),
            Text(en="The second child alone.", ko="두 번째 자식만."),
            Text(
                en="The second child and the third, which was forked after it.",
                ko="두 번째 자식과, 그다음에 fork된 세 번째 자식.",
            ),
        ),
        right=2,
    ),
    run=run,
    parameters={"clients": Parameter(3, 1, 50, "", "how many clients are connected at once")},
)
