"""A client that writes and reads in two processes does not wait for a round trip with each line."""

from dataclasses import dataclass

from forklab.capture import CLIENT, SERVER, Connection
from forklab.harness import Choice, Parameter, Scenario, Stage, Text, charts
from forklab.harness.stage import Hand
from forklab.lab import Lab

SPLIT, LOCK = "fork-split", "lock-step"
SHARES = (0.2, 0.5, 1.0)
"""Of the chosen round-trip time: where it is measured."""
GAIN = 2.0
"""How many times faster the split client must be at least; theory says as many times as there are lines."""


@dataclass(frozen=True)
class Talk:
    """One conversation, from what went over the wire beside the server; seconds."""

    mode: str
    rtt: float
    shaken: float
    """From the SYN to the SYN,ACK on the wire: what a round trip really took."""
    seconds: float
    """From the first byte that came to the last one that left."""
    rate: float
    asked: int
    answered: int


def run(stage: Stage) -> str:
    """Have both clients send the same lines at three round-trip times, and time them on the wire."""
    rtts = [round(stage["rtt"] * share) / 1000 for share in SHARES]
    with stage.lab() as lab, stage.hand(lab) as hand:
        talks = [talk(stage, lab, hand, mode, rtt) for rtt in rtts for mode in (SPLIT, LOCK)]
    for each in talks:
        took = f"{stage['lines']} lines in {each.seconds:7.3f} s, {each.rate:9.1f} lines/s"
        stage.evidence(f"{each.mode:10}  round trip {each.shaken * 1000:7.1f} ms: {took}")
    split, lock = ([each for each in talks if each.mode == mode] for mode in (SPLIT, LOCK))
    theory = [(each.rtt * 1000, 1 / each.rtt) for each in lock]
    curves = {name: [(each.rtt * 1000, each.rate) for each in some] for name, some in ((SPLIT, split), (LOCK, lock))}
    stage.draw(
        "Lines per second: lock-step falls with the round trip, the split client far less",
        lambda: charts.curves(curves | {"one line per round trip": theory}, "round-trip time (ms)", "lines/s"),
    )
    for each in talks:
        stage.expect(each.answered == each.asked, f"{each.mode} gets all its lines back")
        if each.shaken < 0.9 * each.rtt:
            stage.inconclusive(
                f"a round trip of {each.rtt * 1000:.0f} ms was asked for; it took {each.shaken * 1000:.1f} ms"
            )
    for each in lock:
        least = 0.9 * each.rtt * stage["lines"]
        stage.expect(each.seconds > least, f"lock-step waits a round trip for each line, {least:.2f} s in all at least")
    gains = [slow.seconds / quick.seconds for quick, slow in zip(split, lock, strict=True)]
    for gain, each in zip(gains, split, strict=True):
        ms = each.rtt * 1000
        stage.expect(
            gain > GAIN, f"at {ms:.0f} ms the split client is more than {GAIN:g} times as fast: {gain:.1f} times"
        )
    stage.measure(
        lines=stage["lines"],
        rtt_ms=[each.rtt * 1000 for each in lock],
        split_lines_per_s=[round(each.rate, 1) for each in split],
        lockstep_lines_per_s=[round(each.rate, 1) for each in lock],
        gain=round(gains[-1], 1),
    )
    return f"at {stage['rtt']:g} ms the split client was {gains[-1]:.0f} times as fast: it does not wait between lines"


def talk(stage: Stage, lab: Lab, hand: Hand, mode: str, rtt: float) -> Talk:
    """Let the client send its lines while each packet that leaves the server is delayed by ``rtt`` seconds."""
    text = "".join(f"line {number}\n" for number in range(stage["lines"]))
    longest = min(600, 30 + 4 * rtt * stage["lines"])
    stage.say(f"{mode} at {rtt * 1000:.0f} ms")
    with lab.faults.held("delay", by=f"{rtt * 1000:g}ms", seconds=f"{longest:g}s"), stage.wire(lab) as wire:
        code, back = hand.converse(mode, text)
    stage.says(f"{mode} at {rtt * 1000:.0f} ms: exit code {code}, {back.count(chr(10))} lines printed")
    told = list(wire.connections().values())
    stage.expect(len(told) == 1, f"{mode} talks over one connection, not {len(told)}")
    connection = told[0]
    begin, end = span(connection)
    seconds = max(end - begin, 1) / 1e9
    shaken = (connection.steps[1].time - connection.steps[0].time) / 1e9
    sent = connection.bytes
    return Talk(mode, rtt, shaken, seconds, stage["lines"] / seconds, sent[CLIENT], sent[SERVER])


def span(connection: Connection) -> tuple[int, int]:
    """When the first bytes of the client came, and when the last ones of the server left."""
    first = next((step.time for step in connection.steps if step.by == CLIENT and step.length), connection.start)
    last = max((step.time for step in connection.steps if step.by == SERVER and step.length), default=connection.start)
    return first, last


SCENARIO = Scenario(
    question=Text(en="What does a split client gain?", ko="입출력을 나눈 클라이언트는 무엇을 얻을까?"),
    expectation=Text(
        en="A lock-step client sends a line and waits for its echo before it sends the next: one line per round "
        "trip, whatever the bandwidth. At 100 ms that is ten lines a second. The split client has two processes on "
        "one connection: the child writes on while the parent reads what comes back, so all lines are under way at "
        "once and the whole takes little more than one round trip. Its gain is about the number of lines.",
        ko="한 줄씩 주고받는(lock-step) 클라이언트는 한 줄을 보내고 그 에코가 올 때까지 기다린 다음에 다음 줄을 "
        "보낸다. 대역폭이 얼마이든 왕복 한 번에 한 줄이다. 왕복 시간이 100 ms이면 초당 10줄이다. 입출력을 나눈 "
        "클라이언트는 연결 하나를 두 프로세스가 쓴다. 부모가 돌아오는 것을 읽는 동안 자식은 계속 쓰므로, 모든 줄이 "
        "한꺼번에 길 위에 있고 전체가 왕복 한 번 남짓이면 끝난다. 이득은 대략 줄의 수만큼이다.",
    ),
    source="tcp(7), tc-netem(8); UNP 6.5, and 16.2 with the times of five such clients; TLPI 61.1",
    explanation=Text(
        en="Latency, not bandwidth, limits whoever waits for each answer. More than one request under way at a time "
        "is what helps, and that needs somebody who reads while somebody writes: two processes, two threads, or "
        "poll. The price is order: nobody may assume that the answer to the last line is there when the next one is "
        "sent.",
        ko="응답을 하나씩 기다리는 프로그램의 한계는 대역폭이 아니라 지연이다. 요청을 여러 개 동시에 보내 두어야 "
        "빨라지며, 그러려면 누군가 쓰는 동안 누군가 읽어야 한다. 프로세스 둘, 스레드 둘, 또는 poll이 필요하다. "
        "대가는 순서이다. 다음 줄을 보낼 때 앞줄의 응답이 와 있다고 가정할 수 없다.",
    ),
    prediction=Choice(
        ask=Text(
            en="A round trip takes 100 ms, and the bandwidth is high. About how long does a lock-step client need "
            "for 20 lines, and how long a split client?",
            ko="왕복 시간은 100 ms이고 대역폭은 충분하다. 20줄을 보내고 받는 데 lock-step 클라이언트는 얼마나 "
            "걸리고, 입출력을 나눈 클라이언트는 얼마나 걸릴까?",
        ),
        answers=(
            Text(en="Both about 0.1 s: the lines are short.", ko="둘 다 약 0.1초. 줄이 짧기 때문이다."),
            Text(
                en="Both about 2 s: each line has to go there and back.",
                ko="둘 다 약 2초. 줄마다 왕복해야 하기 때문이다.",
            ),
            Text(
                en="Lock-step about 2 s, split about 1 s: two processes.",
                ko="lock-step 약 2초, 나눈 쪽 약 1초. 프로세스가 둘이다.",
            ),
            Text(en="Lock-step about 2 s, split about 0.1 s.", ko="lock-step 약 2초, 나눈 쪽 약 0.1초."),
        ),
        right=3,
    ),
    run=run,
    parameters={
        "rtt": Parameter(100, 20, 500, "ms", "the longest round-trip time; a half and a fifth of it are measured too"),
        "lines": Parameter(20, 10, 200, "", "how many lines each client sends"),
    },
)
