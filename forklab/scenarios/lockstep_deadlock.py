"""Two peers that send everything before they read anything sleep in send, both, for ever."""

import re

from forklab.harness import Choice, Scenario, Stage, Text
from forklab.harness.reading import children, family, line
from forklab.timeline.model import Event, Lane, Timeline


def run(stage: Stage) -> str:
    """Record two connected processes that exchange the same bytes all at once, and two that do it in small units."""
    program = stage.program("-m", "demos", "lockstep-deadlock")
    timeline = program.timeline
    for words in program.said.splitlines():
        stage.says(words)
    stage.timeline("Two processes that never return from send, and two that finish", timeline)
    demo, _ = family(timeline)
    peers = children(timeline, demo)
    stage.expect(len(peers) == 4, f"two pairs of processes talk to each other, not {len(peers) / 2:g}")

    stuck = [blocked(timeline, peer) for peer in peers[:2]]
    for peer, call in zip(peers, stuck, strict=False):
        stage.expect(call is not None, f"process {peer.pid}, which sends all before it reads, never returns from send")
        assert call
        stage.evidence(shortened(line(timeline, call)))
        stage.expect(not received(timeline, peer), f"process {peer.pid} has not read a byte when it sleeps in send")
    last = queues(timeline, demo, stuck)
    for event in last:
        stage.evidence(line(timeline, event))
    stage.expect(len(last) == 4, "the queues of both ends were looked at while both slept")
    stage.expect(all(event.fields["bytes"] > 0 for event in last), "in both directions bytes wait in the buffers")

    wanted = max(length(call) for call in stuck if call)
    for peer in peers[2:]:
        stage.evidence(f"PID {peer.pid} has read {received(timeline, peer)} bytes and ended: {peer.how}")
        stage.expect(received(timeline, peer) >= wanted, "in units both get as many bytes as were too many at once")
        stage.expect(peer.how == "exit status 0", f"process {peer.pid}, which reads after each unit, comes to its end")
    waiting = {f"{event.fields['queue']}_bytes": event.fields["bytes"] for event in last[:2]}
    stage.measure(stuck=len(stuck), **waiting, exchanged_in_units_bytes=received(timeline, peers[2]))
    return "both peers slept in send with full buffers in both directions; in small units both came to their end"


def blocked(timeline: Timeline, lane: Lane) -> Event | None:
    """The send of a process that never returned, None if all did: strace then knows no result."""
    sends = [each for each in timeline.events if each.lane == lane.id and each.call.startswith("sendto(")]
    return sends[-1] if sends and "bytes" not in sends[-1].fields else None


def length(call: Event) -> int:
    """How many bytes a send was to send."""
    found = re.search(r"\.\.\., (\d+), ", call.call)
    return int(found[1]) if found else 0


def received(timeline: Timeline, lane: Lane) -> int:
    """How many bytes a process has read from connections."""
    reads = [each for each in timeline.events if each.lane == lane.id and each.call.startswith("recvfrom(")]
    return sum(each.fields.get("bytes", 0) for each in reads)


def queues(timeline: Timeline, looker: Lane, stuck: list[Event | None]) -> list[Event]:
    """What the kernel told ``looker`` last of each queue of both ends, after both sends had begun and before an end."""
    begun = max((call.time for call in stuck if call), default=0)
    over = min((call.end or timeline.length for call in stuck if call), default=0)
    asked = [each for each in timeline.events if each.kind == "queue" and each.lane == looker.id]
    found = {(each.fields["fd"], each.fields["queue"]): each for each in asked if begun < each.time < over}
    return sorted(found.values(), key=lambda event: (event.fields["fd"], event.fields["queue"]))


def shortened(words: str) -> str:
    """Without the zeros that were sent."""
    head, _, rest = words.partition('"')
    return f'{head}"\\x00..."{rest.rpartition(chr(34))[2].removeprefix("...")}'


SCENARIO = Scenario(
    question=Text(
        en="When do two polite peers block each other for ever?",
        ko="예의 바른 두 프로세스는 언제 서로를 영원히 기다리게 될까?",
    ),
    expectation=Text(
        en="send copies bytes into the send buffer and returns; when the buffer is full it sleeps until the peer's "
        "kernel confirms some. That happens only while the peer's receive buffer has room, so only if the peer "
        "reads. If both send more than both buffers on the way hold before either of them reads, both sleep in "
        "send: each waits for a read that comes after the other's send. TCP sees nothing wrong, and there is no "
        "timeout. Peers that send no more than the buffers hold before they read the same amount cannot get there.",
        ko="send는 바이트를 송신 버퍼에 복사하고 돌아온다. 버퍼가 가득 차면 상대 커널이 일부를 확인(ACK)해 줄 "
        "때까지 잠든다. 상대의 수신 버퍼에 자리가 있어야, 곧 상대가 읽어야 그렇게 된다. 양쪽 모두 읽기 전에 버퍼 "
        "용량보다 많은 바이트를 보내면 둘 다 send 안에서 잠든다. 서로 상대의 send 다음에 올 읽기를 기다리는 것이다. "
        "TCP가 보기에는 아무 이상이 없고 타임아웃도 없다. 버퍼에 들어갈 만큼만 보내고 같은 양을 읽는 두 프로세스는 "
        "이런 일을 겪지 않는다.",
    ),
    source="send(2), tcp(7) SIOCINQ and SIOCOUTQ, socket(7) SO_SNDBUF; RFC 9293 3.8.6; UNP 6.5, 16.2; TLPI 61.1",
    explanation=Text(
        en="A blocking protocol needs a bound: how much may be under way before somebody must read. If there is "
        "none, read and write at the same time: with two processes (a split client), with two threads, or with poll "
        "and sockets that do not block. Larger buffers only put the day off: the program then hangs with the first "
        "large file, and not in your tests.",
        ko="블로킹 방식의 프로토콜에는 한계가 있어야 한다. 누군가 읽기 전까지 얼마나 보낼 수 있는지를 정해 두어야 "
        "한다. 그런 한계가 없다면 읽기와 쓰기를 동시에 해야 한다. 프로세스 둘(입출력을 나눈 클라이언트), 스레드 둘, "
        "또는 poll과 논블로킹 소켓을 쓰면 된다. 버퍼를 키우는 것은 문제를 미룰 뿐이다. 시험할 때는 잘되다가 "
        "처음으로 큰 파일을 보낼 때 멈춘다.",
    ),
    prediction=Choice(
        ask=Text(
            en="Two processes have a TCP connection with 16 KiB buffers. Each calls send for 256 KiB and only then "
            "reads what the other has sent. What happens?",
            ko="두 프로세스가 버퍼 16 KiB인 TCP 연결로 이어져 있다. 각자 256 KiB를 send로 보낸 다음에야 상대가 보낸 "
            "것을 읽는다. 어떻게 될까?",
        ),
        answers=(
            Text(
                en="Nothing special: the kernel takes all of it, and both read afterwards.",
                ko="별일 없다. 커널이 전부 받아 두고, 둘은 나중에 읽는다.",
            ),
            Text(
                en="Both sleep in send for ever, with bytes in the buffers of both directions.",
                ko="둘 다 send 안에서 영원히 잠든다. 양방향 버퍼에는 바이트가 남아 있다.",
            ),
            Text(
                en="send fails with EAGAIN when the buffer is full.",
                ko="버퍼가 가득 차면 send가 EAGAIN으로 실패한다.",
            ),
            Text(
                en="TCP notices that nothing moves and resets the connection.",
                ko="TCP가 아무것도 움직이지 않는 것을 알아차리고 연결을 재설정(RST)한다.",
            ),
        ),
        right=1,
    ),
    run=run,
)
