"""A process that is killed takes the clients it serves with it: one in a fork server, all in a thread server."""

from collections.abc import Sequence
from typing import Any

from forklab.harness import Choice, Parameter, Scenario, Stage, Text
from forklab.lab import Lab
from forklab.timeline.model import Connection, Lane, Timeline
from forklab.timeline.replay import replay

WORD = "still here\n"
PATIENCE = 10
"""Seconds that a client waits for its end."""


def run(stage: Stage) -> str:
    """Kill two children of a fork server, then, for comparison, the one process of a thread server."""
    ends, timeline, killed = forked(stage)
    idle, busy = killed
    stage.timeline("fork: two children are killed; the parent waits for them, the others serve on", timeline)
    lost = threaded(stage)
    stage.measure(
        clients=stage["clients"],
        fork_clients_lost=len(killed),
        thread_clients_lost=lost,
        bytes_unread_lost=stage["bytes"],
    )
    judge(stage, timeline, idle, "FIN", ends[0])
    judge(stage, timeline, busy, "RST", ends[1])
    stage.expect(lost == stage["clients"], f"the thread server's one process takes all its clients with it: {lost}")
    return (
        f"fork: {len(killed)} of {stage['clients']} clients were lost, those of the children that were killed, "
        f"and the parent waited for both; thread: {lost} of {stage['clients']} were lost"
    )


def forked(stage: Stage) -> tuple[list[str], Timeline, list[int]]:
    """Kill a child that has nothing to do, and one with bytes unread; what their clients saw, the calls, the PIDs."""
    with stage.lab(trace=True) as lab, stage.hand(lab) as hand:
        names = hand.open(stage["clients"], "x")
        pids = holders(stage, lab, names)
        ends = [kill(lab, hand, names[0], pids[0])]
        with lab.faults.held("pause", who=str(pids[1]), seconds="120s"):
            hand.send(names[1], "y" * stage["bytes"])
            if not stage.until(lambda: unread(lab, names[1]) == stage["bytes"]):
                stage.inconclusive("the bytes did not reach the server's kernel before the kill")
            stage.evidence(f"PID {pids[1]} is stopped and has {stage['bytes']} bytes of {names[1]} unread")
            ends.append(kill(lab, hand, names[1], pids[1]))
        others = [hand.say(name, WORD) for name in names[2:]]
        hand.open(1, "x")
        left = stage.until(lambda: not [p for p in lab.snapshot(()).processes if p.pid in pids[:2]], 5)
        seen = lab.snapshot(())
        for process in seen.processes:
            if process.pid in pids[:2]:
                stage.evidence(f"PID {process.pid} {process.state} PPid {process.ppid} {process.name}")
        stage.expect(others == [WORD] * len(others), f"all other clients are served on: {others}")
        stage.expect(left, f"the parent waits for the dead, no zombie stays: {[p.pid for p in seen.zombies()]}")
        return ends, replay(lab.trace(None)), pids[:2]


def threaded(stage: Stage) -> int:
    """The same signal to the process that serves the first of as many clients; how many lose their connection."""
    with stage.lab("thread") as lab, stage.hand(lab) as hand:
        names = hand.open(stage["clients"], "x")
        (pid,) = set(holders(stage, lab, names))
        stage.evidence(f"thread: PID {pid} holds all {len(names)} connections")
        ends = [kill(lab, hand, names[0], pid), *(hand.end_of(name, PATIENCE) for name in names[1:])]
        return sum(end != "NONE" for end in ends)


def holders(stage: Stage, lab: Lab, names: Sequence[str]) -> list[int]:
    """Which process serves each client: the only one that holds its connection."""

    def one_each() -> list[int]:
        seen = lab.snapshot(())
        rows = [seen.connection(name) for name in names]
        found = [row.holders[0] for row in rows if row and len(row.holders) == 1]
        return found if len(found) == len(names) else []

    found = stage.until(one_each)
    if not found:
        stage.inconclusive("not every connection is held by exactly one process")
    return found


def unread(lab: Lab, name: str) -> int:
    """How many bytes lie in the server's receive queue of a connection."""
    row = lab.snapshot(()).connection(name)
    return row.rx_queue if row else -1


def kill(lab: Lab, hand: Any, name: str, pid: int) -> str:
    """Kill a process; what its client's connection ends in."""
    lab.faults.start("kill", {"who": str(pid)})
    return str(hand.end_of(name, PATIENCE))


def judge(stage: Stage, timeline: Timeline, pid: int, end: str, told: str) -> None:
    """The end of a child, what the kernel sent for it, and who waited."""
    lane = next(lane for lane in timeline.lanes if lane.pid == pid)
    connection = next((each for each in timeline.connections if each.accepted and holds(timeline, each, lane)), None)
    sent = (connection.fin if end == "FIN" else connection.reset).get("server") if connection else None
    reaper = timeline.lanes[lane.reaped_by].pid if lane.reaped_by is not None else None
    stage.evidence(
        f"PID {pid} {lane.how} at {at(lane.ended)}; {end} to its client at {at(sent)}; "
        f"its parent {reaper} has its status at {at(lane.reaped)}"
    )
    stage.expect(lane.how == "killed by SIGKILL", f"PID {pid} was killed: {lane.how or 'it lives'}")
    stage.expect(told == end, f"the kernel says {end} in the name of PID {pid}: its client saw {told}")
    stage.expect(reaper == lane.ppid, f"the parent {lane.ppid} waits for PID {pid}: {reaper} did")
    assert lane.ended is not None
    assert lane.reaped is not None
    key = "idle" if end == "FIN" else "busy"
    stage.measure(**{f"{key}_child_zombie_ms": (lane.reaped - lane.ended) / 1e6})


def holds(timeline: Timeline, connection: Connection, lane: Lane) -> bool:
    """Whether a process has had this connection."""
    thing = connection.things.get("server")
    return thing is not None and any(hold[0] == lane.id for hold in timeline.things[thing].holds)


def at(time: int | None) -> str:
    """A time of the recording."""
    return "never" if time is None else f"{time / 1e6:.3f} ms"


SCENARIO = Scenario(
    question=Text(
        en="A process of the server is killed. Which clients notice, and what do they see?",
        ko="서버의 프로세스 하나가 강제로 종료되면, 어느 클라이언트가 무엇을 보게 될까?",
    ),
    expectation=Text(
        en="SIGKILL runs no line of the program, but the kernel tidies up: it closes every descriptor of the dead "
        "process. The last descriptor of a connection closes the connection: FIN if all that had arrived was read, "
        "RST if bytes were left unread, because a FIN would pretend that they were taken (RFC 2525, 2.17). The "
        "process becomes a zombie, its parent gets SIGCHLD and waits for it. In a fork server the dead child had one "
        "connection, so one client is lost. Threads share one process: the signal ends them all, and every client "
        "with them.",
        ko="SIGKILL을 받으면 프로그램은 한 줄도 더 실행되지 않는다. 뒷정리는 커널이 한다. 커널은 죽은 프로세스의 "
        "모든 디스크립터를 닫는다. 연결의 마지막 디스크립터가 닫히면 연결이 닫히는데, 도착한 데이터를 모두 읽은 "
        "상태라면 FIN을, 읽지 않은 데이터가 남았다면 RST를 보낸다. 이때 FIN을 보내면 데이터를 받아들인 척하는 것이 "
        "되기 때문이다(RFC 2525, 2.17). 죽은 프로세스는 좀비가 되고, 부모는 SIGCHLD를 받아 wait한다. fork 서버의 "
        "자식은 연결을 하나만 가지므로 클라이언트 하나만 잃는다. 스레드는 프로세스 하나를 함께 쓰므로 시그널 하나로 "
        "모두 끝나고 클라이언트도 모두 잃는다.",
    ),
    source="signal(7); exit_group(2); wait(2); RFC 2525, 2.17; RFC 9293, 3.5.2; UNP vol. 1, 5.12; TLPI 25.2, 26.2 "
    "and 61.4",
    explanation=Text(
        en="A process is the unit of dying. What the fork model costs in memory and time it gives back here: a child "
        "may crash, be killed, or run out of memory, and the harm ends with its one client. Note how the lost client "
        "learns of it. With nothing under way it sees the end of file, as if the server had said good-bye; only RST "
        "tells it that something was lost. An end of file that comes too early is an error that the application has "
        "to notice itself.",
        ko="죽음의 단위는 프로세스이다. fork 모델이 메모리와 시간으로 치른 값은 여기서 돌려받는다. 자식이 "
        "잘못되거나, 강제로 종료되거나, 메모리가 모자라 죽어도 피해는 그 클라이언트 하나로 끝난다. 연결을 잃은 "
        "클라이언트가 그것을 어떻게 알게 되는지도 눈여겨보자. 주고받던 것이 없었다면 서버가 작별 인사를 한 것처럼 "
        "EOF를 볼 뿐이고, 무언가 잃었다는 것은 RST만이 알려 준다. 너무 일찍 온 EOF가 오류인지는 응용 프로그램이 "
        "스스로 판단해야 한다.",
    ),
    prediction=Choice(
        ask=Text(
            en="A fork server serves several clients. One child is killed with kill -9 while it has nothing to do. "
            "What happens?",
            ko="fork 서버가 여러 클라이언트를 처리하고 있다. 할 일 없이 기다리던 자식 하나를 kill -9로 종료한다. "
            "어떻게 될까?",
        ),
        answers=(
            Text(
                en="Its client waits for ever: nobody is left to send a FIN.",
                ko="그 클라이언트는 영원히 기다린다. FIN을 보낼 프로세스가 없기 때문이다.",
            ),
            Text(
                en="Its client has the end of file at once, since the kernel closes for the dead; all others are "
                "served on.",
                ko="커널이 대신 닫아 주므로 그 클라이언트는 바로 EOF를 본다. 나머지는 계속 처리된다.",
            ),
            Text(
                en="The parent takes the connection over, since it has accepted it.",
                ko="연결을 accept한 것은 부모이므로 부모가 연결을 이어받는다.",
            ),
            Text(
                en="The whole server ends: they are one program.",
                ko="같은 프로그램이므로 서버 전체가 끝난다.",
            ),
        ),
        right=1,
    ),
    run=run,
    parameters={
        "clients": Parameter(5, 2, 50, "", "how many are connected when the processes are killed"),
        "bytes": Parameter(1000, 1, 10000, "bytes", "what one of them has sent and nobody has read yet"),
    },
)
