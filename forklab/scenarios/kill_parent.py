"""Children outlive their parent as orphans: they serve on, and the port is free if none of them holds the listener."""

from collections.abc import Iterable
from typing import Any

from forklab.harness import Choice, Parameter, Scenario, Stage, Text
from forklab.lab import Lab
from forklab.observe import Snapshot, Socket
from forklab.timeline.replay import replay

WORD = "still here\n"
INIT = 1
SUPERVISED = ["sh", "-c", 'until python3 -S -m server "$@"; do sleep 0.2; done', "supervisor"]
"""Starts the server again when it was killed, as systemd would. Without it the container would end with its server."""
PATIENCE = 10
"""Seconds that a client waits for its end."""


def run(stage: Stage) -> str:
    """Kill the parent of a fork server and of a prefork server, each below a supervisor, then a supervisor, too."""
    count = forked(stage)
    preforked(stage)
    stage.measure(fork_orphans=count, prefork_orphans=1)
    return (
        f"fork: {count} orphans served on while a new server took the port, until the container's first process was "
        f"killed, too; prefork: idle workers left, the busy one closed the listener and served its client on"
    )


def forked(stage: Stage) -> int:
    """Children that have closed the listener; how many served on."""
    with stage.lab(trace=True, server={"entrypoint": ["sh", "gate", *SUPERVISED]}) as lab, stage.hand(lab) as hand:
        names = hand.open(stage["clients"], "x")
        before, parent = family(stage, lab)
        children = {process.pid for process in before.processes if process.ppid == parent}
        tell(stage, "before", before, children)
        lab.faults.start("kill", {"who": str(parent)})
        after = lab.snapshot()
        tell(stage, f"PID {parent} is killed", after, children)
        fathers = [process.ppid for process in after.processes if process.pid in children]
        alive = f"all {len(names)} children outlive their parent, and are PID {INIT}'s now: PPid {fathers}"
        stage.expect(fathers == [INIT] * len(names), alive)
        port = listening(after)
        keepers = sorted(children & set(port.holders)) if port else []
        stage.expect(not keepers, f"no orphan holds the listener, so that the port is free: PID {keepers} do")
        new = stage.until(lambda: listening(lab.snapshot()))
        stage.expect(new is not None, "the server that was started again has the port")
        tell(stage, "started again", lab.snapshot(), ())
        answers = [hand.say(name, WORD) for name in names]
        stage.expect(answers == [WORD] * len(names), f"the orphans serve their clients on: {answers}")
        hand.open(1, "x")
        title = "The parent is killed: its children serve on beside a new server"
        stage.timeline(title, replay(lab.trace(None)))
        container_ends(stage, lab, hand, names)
        return len(fathers)


def container_ends(stage: Stage, lab: Lab, hand: Any, names: list[str]) -> None:
    """Kill the process that the container runs: its init ends, and with PID 1 the kernel kills all others."""
    (first,) = [process.pid for process in lab.snapshot(()).processes if process.name == "sh"]
    lab.faults.start("kill", {"who": str(first)})
    ends = [hand.end_of(name, PATIENCE) for name in names]
    stage.expect(stage.until(lambda: not lab.status().running), "the container ends with the process that it runs")
    stage.evidence(
        f"PID {first}, which init had started, is killed: the container ends, the orphans' clients have {ends}"
    )
    stage.expect("NONE" not in ends, f"no orphan outlives PID {INIT} of its container: {ends}")


def preforked(stage: Stage) -> None:
    """Workers that share the listener, and are told by a pipe that their parent has died."""
    options = f"--max-connections {stage['clients'] + 1}"
    with stage.lab("prefork", options=options, server={"entrypoint": SUPERVISED}) as lab, stage.hand(lab) as hand:
        (name,) = hand.open(1, "x")
        before, parent = family(stage, lab)
        workers = {process.pid for process in before.processes if process.ppid == parent}
        (busy,) = {row.holders for row in before.established()}
        lab.faults.start("kill", {"who": str(parent)})
        left = stage.until(lambda: [p.pid for p in lab.snapshot(()).processes if p.pid in workers] == list(busy))
        tell(stage, f"prefork, PID {parent} is killed", lab.snapshot(), workers)
        stage.expect(left, f"the idle workers learn of their parent's end and leave, PID {busy[0]} serves on")
        new = stage.until(lambda: listening(lab.snapshot(), without=busy))
        stage.expect(new is not None, f"PID {busy[0]} has let go of the listener: a new server has the port")
        tell(stage, "started again", lab.snapshot(), busy)
        stage.expect(hand.say(name, WORD) == WORD, f"the busy worker {busy[0]} answers its client")
        for said in b"".join(lab.logs(4)).decode(errors="replace").splitlines():
            stage.says(said)


def family(stage: Stage, lab: Lab) -> tuple[Snapshot, int]:
    """The lab when each connection has one holder, all of them children of the process that opened the listener."""

    def settled() -> tuple[Snapshot, int] | None:
        seen = lab.snapshot()
        one_each = all(len(row.holders) == 1 for row in seen.established())
        (supervisor,) = [process.pid for process in seen.processes if process.name == "sh"]
        parents = [process.pid for process in seen.processes if process.ppid == supervisor]
        return (seen, parents[0]) if one_each and len(parents) == 1 else None

    found = stage.until(settled)
    if not found:
        stage.inconclusive("not every connection is held by exactly one process")
    return found


def listening(seen: Snapshot, without: Iterable[int] = ()) -> Socket | None:
    """The listener, if some process holds one, and none of these."""
    rows = [row for row in seen.served() if row.state == "LISTEN" and row.holders]
    return next((row for row in rows if not set(without) & set(row.holders)), None)


def tell(stage: Stage, when: str, seen: Snapshot, pids: Iterable[int]) -> None:
    """Who holds the port, and the first of these processes."""
    port = listening(seen)
    stage.evidence(f"{when}: {row_of(port) if port else 'nobody listens'}")
    for process in [process for process in seen.processes if process.pid in pids][:2]:
        mine = [row_of(row) for row in seen.established() if process.pid in row.holders]
        stage.evidence(f"    PID {process.pid} PPid {process.ppid} {process.state}  {', '.join(mine) or 'idle'}")


def row_of(row: Socket) -> str:
    """A row of the table of sockets, and who holds it."""
    who = f"PID {', '.join(map(str, row.holders))}" if row.holders else "no process"
    return f"{row.local} {row.remote} {row.state} socket:[{row.inode}] of {who}"


SCENARIO = Scenario(
    question=Text(
        en="The parent of a fork server is killed. What becomes of its children, of their clients, and of the port?",
        ko="fork 서버의 부모가 강제로 종료되면 자식과 클라이언트, 그리고 포트는 어떻게 될까?",
    ),
    expectation=Text(
        en="Nothing in the kernel ends a child because its parent has ended. The child becomes an orphan: PID 1, or "
        "the next subreaper, is its parent from then on, and waits for it in the end. It keeps its descriptors, so "
        "it serves its client on. The port is taken as long as any process holds the listener. The children of the "
        "fork model have closed theirs, so a new server can bind at once (with SO_REUSEADDR, for their connections "
        "are still there). The workers of prefork share the listener. Each has one end of a pipe whose other end only "
        "the parent held, and the kernel sends SIGIO when that is closed: an idle worker leaves, one that serves "
        "closes the listener and goes on until its client has gone. Another way is PR_SET_PDEATHSIG (prctl(2)). In a "
        "container PID 1 is the end of all: when it ends, the kernel kills every process of its PID namespace.",
        ko="부모가 끝났다고 자식을 끝내는 장치는 커널에 없다. 자식은 고아가 된다. 그때부터 PID 1(또는 가장 가까운 "
        "subreaper)이 부모가 되어 나중에 wait해 준다. 디스크립터도 그대로이므로 자기 클라이언트를 계속 처리한다. "
        "포트는 어느 프로세스든 리스닝 소켓을 가지고 있는 동안 사용 중이다. fork 모델의 자식은 그것을 이미 "
        "닫았으므로 새 서버가 곧바로 bind할 수 있다(기존 연결이 남아 있으므로 SO_REUSEADDR가 필요하다). prefork의 "
        "일꾼(worker)들은 리스닝 소켓을 함께 쓴다. 일꾼마다 파이프의 한쪽 끝을 가지고 있고 반대쪽 끝은 부모만 "
        "가진다. 그 끝이 닫히면 커널이 SIGIO를 보낸다. 쉬던 일꾼은 물러나고, 처리 중인 일꾼은 리스닝 소켓을 닫고 "
        "자기 클라이언트가 떠날 때까지 계속 처리한다. 다른 방법으로 PR_SET_PDEATHSIG(prctl(2))가 있다. 컨테이너에서는 "
        "PID 1이 모두의 끝이다. PID 1이 끝나면 커널은 그 PID 네임스페이스의 모든 프로세스를 종료한다.",
    ),
    source="wait(2) and prctl(2), orphans and subreapers; bind(2), EADDRINUSE; pid_namespaces(7); TLPI 26.2; UNP "
    "vol. 1, 4.8 and 7.5",
    explanation=Text(
        en="Orphans are no accident that has to be prevented, but they have to be thought of. Who is to outlive the "
        "parent, and what may it hold then? A child that has closed the listener does no harm: its client does not "
        "even notice. A process that keeps the listener lets clients connect whom nobody will ever accept, and stops "
        "the new server with EADDRINUSE. So close in the child what is not the child's, and give long-lived workers "
        "a way to notice that their parent has gone.",
        ko="고아 프로세스는 막아야 할 사고가 아니라 미리 생각해 두어야 할 상황이다. 누가 부모보다 오래 살아야 하고, "
        "그때 무엇을 가지고 있어도 되는가? 리스닝 소켓을 닫은 자식은 해를 끼치지 않는다. 그 클라이언트는 아무 일도 "
        "없었던 것처럼 느낀다. 그러나 리스닝 소켓을 쥔 프로세스가 남으면, 아무도 accept하지 않을 클라이언트가 "
        "연결되고 새 서버는 EADDRINUSE로 시작하지 못한다. 그러니 자식의 것이 아닌 디스크립터는 자식에서 닫고, 오래 "
        "사는 일꾼에게는 부모가 사라진 것을 알아차릴 방법을 마련해 주어야 한다.",
    ),
    prediction=Choice(
        ask=Text(
            en="A fork server has three clients. Its parent is killed with kill -9. What becomes of the clients?",
            ko="fork 서버에 클라이언트가 셋 있다. 부모를 kill -9로 종료하면 클라이언트들은 어떻게 될까?",
        ),
        answers=(
            Text(
                en="All three are served on by orphans, and a new server can have the port at once.",
                ko="고아가 된 자식들이 셋 모두를 계속 처리하고, 새 서버는 곧바로 그 포트를 쓸 수 있다.",
            ),
            Text(
                en="All three lose their connections: children end with their parent.",
                ko="셋 다 연결을 잃는다. 부모가 끝나면 자식도 끝나기 때문이다.",
            ),
            Text(
                en="All three are served on, but the port is taken until the last of them leaves.",
                ko="셋 다 계속 처리되지만, 마지막 클라이언트가 떠날 때까지 포트는 사용 중이다.",
            ),
            Text(
                en="The children become zombies, since nobody waits for them.",
                ko="wait해 줄 프로세스가 없으므로 자식들은 좀비가 된다.",
            ),
        ),
        right=0,
    ),
    run=run,
    parameters={
        "clients": Parameter(3, 1, 20, "", "how many are connected to the fork server; prefork has one idle each")
    },
)
