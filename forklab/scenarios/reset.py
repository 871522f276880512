"""A reset ends a connection at once and for both: what was not sent is gone, and nobody knows what was done."""

import re

from forklab.harness import Choice, Parameter, Scenario, Stage, Text
from forklab.timeline.model import Event, Lane, Timeline
from forklab.timeline.replay import replay

WORD = "still here\n"
ERRORS = {"ECONNABORTED", "ECONNRESET", "EPIPE"}
"""What the server's own call says: the first where the lab destroyed the socket, else one of the others."""


def run(stage: Stage) -> str:
    """Stop one child, let its client send, reset the connection, and see what child, client and the others notice."""
    count = stage["bytes"]
    with stage.lab(trace=True) as lab, stage.hand(lab) as hand:
        victim, *others = hand.open(stage["clients"], "x")
        row = lab.snapshot().connection(victim)
        if row is None or len(row.holders) != 1:
            stage.inconclusive(f"no single process serves {victim}")
        (child,) = row.holders
        with lab.faults.held("pause", who=str(child), seconds="120s"):
            hand.send(victim, "y" * count)
            full = stage.until(lambda: unread(lab.snapshot(()).connection(victim), count))
            if not full:
                stage.inconclusive(f"the {count} bytes did not reach the server's kernel before the reset")
            stage.evidence(
                f"before the reset: {row.local} <- {victim} {row.state}, {count} bytes unread, PID {child} is stopped"
            )
            state = lab.faults.start("reset", {"which": victim}).state
            told = hand.end_of(victim, 10)
            seen = lab.snapshot()
        held = [f"PID {d.pid} fd {d.fd} -> {d.target}" for d in seen.holders(row.inode)]
        kept = ", ".join(held) or "no descriptor"
        stage.evidence(
            f"after it: {kept}, but the kernel has {'a' if seen.connection(victim) else 'no'} row for {victim}"
        )
        spared = [hand.say(name, WORD) for name in others]
        gone = stage.until(lambda: lab.snapshot(()).process(child) is None)
        (late,) = hand.open(1, "x")
        timeline = replay(lab.trace(None))
    stage.measure(
        clients=len(others) + 1, bytes_sent=count, bytes_answered=0, reset_by=state["way"], spared_clients=len(others)
    )
    judge(stage, timeline, child, told, count)
    stage.expect(bool(gone), f"nothing is left of the child {child}: its parent has waited for it")
    stage.expect(spared == [WORD] * len(others), f"the other {len(others)} clients are served on: {spared}")
    return (
        f"the client has ECONNRESET and no answer, though the server had read its {count} bytes; "
        f"the child ended by itself, {len(others)} others and a new client ({late}) are served"
    )


def unread(row: object, count: int) -> bool:
    """Whether so many bytes lie in the server's receive queue."""
    return getattr(row, "rx_queue", 0) == count


def judge(stage: Stage, timeline: Timeline, child: int, told: str, count: int) -> None:
    """What the child's calls, its end and the segment say."""
    stage.timeline("One connection is reset: only the process that serves it notices", timeline)
    lane = next(lane for lane in timeline.lanes if lane.pid == child)
    resets = [(each, side, at) for each in timeline.connections for side, at in each.reset.items()]
    if not resets:
        stage.inconclusive("no RST was on the wire")
    (connection, side, at), *more = resets
    stage.evidence(f"{at / 1e6:.3f} ms  RST to {connection.client}, in the name of the {side}")
    calls = [event for event in timeline.events if event.lane == lane.id and event.begin and event.time > at]
    read = [event for event in calls if event.kind == "read" and event.fields.get("bytes") == count]
    errors = [event for event in calls if event.fields.get("error") in ERRORS]
    for event in [*read, *errors[:1]]:
        stage.evidence(line(lane, event))
    stage.evidence(f"PID {child}: {lane.how or 'has not ended'}")
    stage.measure(child_notices_with=errors[0].fields["error"] if errors else "nothing")
    stage.expect(told == "RST", f"the client's recv fails with ECONNRESET, it is not told the end of file: {told}")
    stage.expect(not more, f"one connection is reset and no other: {len(resets)} were")
    stage.expect(bool(errors), f"the next call of the child on its socket fails: {[e.call for e in calls][-3:]}")
    clean = lane.how == "exit status 0"
    stage.expect(clean, f"the child takes the error for the end of its one client, exit status 0: {lane.how}")


def line(lane: Lane, event: Event) -> str:
    """A call with its time."""
    said = re.sub(r'"(.{8})[^"]*"', r'"\1…"', event.call)
    return f"{event.time / 1e6:.3f} ms  PID {lane.pid}  {said}"


SCENARIO = Scenario(
    question=Text(
        en="What does a reset do to a connection, and who notices?",
        ko="리셋(RST)은 연결에 무슨 일을 하고, 누가 그것을 알아차릴까?",
    ),
    expectation=Text(
        en="FIN says: I have said all, in order, after the last byte. RST says: this connection does not exist. Its "
        "state is thrown away at once at both ends: no retransmission, no TIME_WAIT, what was not sent yet is gone. "
        "The peer's next recv fails with ECONNRESET instead of giving 0. The server's process keeps its descriptor, "
        "which leads nowhere now: it can still read what had arrived before, and its next send fails. In a fork "
        "server that is one child, which ends; the parent and the other clients are in other processes, with other "
        "sockets, and notice nothing.",
        ko="FIN은 '마지막 바이트까지 차례대로 다 보냈다'는 뜻이고, RST는 '그런 연결은 없다'는 뜻이다. RST가 오면 "
        "양쪽의 연결 상태는 그 자리에서 버려진다. 재전송도 TIME_WAIT도 없고, 아직 보내지 못한 데이터는 사라진다. "
        "상대의 다음 recv는 0을 돌려주지 않고 ECONNRESET으로 실패한다. 서버 프로세스의 디스크립터는 그대로 남지만 "
        "이제 이어진 곳이 없다. 이미 도착해 있던 데이터는 읽을 수 있어도 다음 send는 실패한다. fork 서버에서는 그 "
        "연결을 맡은 자식 하나만 끝난다. 부모와 다른 클라이언트는 다른 프로세스, 다른 소켓이므로 아무것도 모른다.",
    ),
    source="RFC 9293, 3.5.2 and 3.10.7.4; send(2), recv(2); ss(8), -K; UNP vol. 1, 5.13, 5.15 and 7.5",
    explanation=Text(
        en="After a reset the client knows one thing only: that it does not know. Its request may have been lost, or "
        "read, or carried out; here it was read, and the answer had nowhere to go. Whoever sends it again must be "
        "sure that twice does no harm. For a server a reset is everyday life: a client that was killed with bytes "
        "unread, a router that forgot. ECONNRESET, ECONNABORTED and EPIPE are the end of one client, never of the "
        "server.",
        ko="리셋을 받은 클라이언트가 아는 것은 하나, 아무것도 모른다는 사실뿐이다. 요청은 사라졌을 수도, 읽혔을 "
        "수도, 이미 처리되었을 수도 있다. 여기서는 서버가 읽었지만 답이 갈 곳이 없었다. 그래서 다시 보내려면 두 번 "
        "처리되어도 괜찮은 요청이어야 한다. 서버에게 리셋은 일상이다. 읽지 않은 데이터를 남긴 채 죽은 클라이언트, "
        "연결을 잊어버린 라우터가 모두 리셋을 보낸다. ECONNRESET, ECONNABORTED, EPIPE는 클라이언트 하나의 끝이지 "
        "서버의 끝이 아니다.",
    ),
    prediction=Choice(
        ask=Text(
            en="A client has sent a request. Before the server's child reads it, the connection is reset. What "
            "happens?",
            ko="클라이언트가 요청을 보냈다. 서버의 자식이 그것을 읽기 전에 연결이 리셋된다. 어떻게 될까?",
        ),
        answers=(
            Text(
                en="The client sees the end of file, as after a FIN; the request was never there.",
                ko="클라이언트는 FIN을 받은 것처럼 EOF를 본다. 요청은 처음부터 없던 것이 된다.",
            ),
            Text(
                en="TCP sends the request again on its own until it is answered.",
                ko="TCP가 답을 받을 때까지 요청을 스스로 다시 보낸다.",
            ),
            Text(
                en="The client has ECONNRESET. The child still reads the request; its answer fails. The others "
                "notice nothing.",
                ko="클라이언트는 ECONNRESET을 받는다. 자식은 요청을 읽지만 답을 보내는 데 실패한다. 나머지는 "
                "아무것도 모른다.",
            ),
            Text(
                en="The server's parent has the error too, and closes all connections.",
                ko="서버의 부모도 오류를 받고 모든 연결을 닫는다.",
            ),
        ),
        right=2,
    ),
    run=run,
    parameters={
        "clients": Parameter(3, 1, 50, "", "how many are connected, the one that is reset among them"),
        "bytes": Parameter(1000, 1, 4095, "bytes", "what that one has sent and nobody has read yet"),
    },
)
