"""A cut in the network costs a connection time and no byte, as long as it is shorter than TCP's patience."""

import itertools
from typing import Any

from forklab.capture import CLIENT, Connection
from forklab.capture.connections import RETRANSMISSION, Step
from forklab.harness import Choice, Parameter, Scenario, Stage, Text
from forklab.harness.charts import BLUE, GREY, RED, WIDTH, styled

BEFORE = "before\n"
STEADY = 1.4, 2.8
"""Between these a pause may be that many times the one before: twice, but a busy machine's timers go off late."""


def run(stage: Stage) -> str:
    """Cut the server off, let the client send meanwhile, and follow the bytes until their echo is there."""
    text = "x" * stage["bytes"]
    with stage.lab() as lab, stage.hand(lab) as hand, stage.wire(lab) as wire:
        (name,) = hand.open(1)
        hand.say(name, BEFORE)
        before = holder(lab.snapshot(), name)
        with lab.faults.held("partition", seconds=f"{stage['seconds']:g}s") as held:
            hand.send(name, text)
            held.wait(None)
        came = answer(hand, name, len(text))
        after = holder(lab.snapshot(), name)
        ahead = hand.clock()
    connection = wire.connections()[name]
    tries = [step for step in connection.steps if step.by == CLIENT and step.length and step.seq == 1 + len(BEFORE)]
    assert held.ended
    begin, end = (round((at + ahead) * 1e9) for at in (held.state["begin"], held.ended["time"]))
    meanwhile = [step for step in tries if begin < step.time < end]
    if len(meanwhile) < 3:
        stage.inconclusive(
            f"only {len(meanwhile)} tries were cut off in {stage['seconds']:g} s; choose --seconds longer"
        )
    show(stage, connection, tries, (begin, end))

    stage.expect(came == text, f"the bytes sent meanwhile arrive whole: {len(came):,} of {len(text):,} came back")
    stage.expect(before == after, f"the connection goes on with the same socket and process: {before}, then {after}")
    ends = [step.flags for step in connection.steps if set(step.flags.split(",")) & {"FIN", "RST"} and step.time < end]
    stage.expect(not ends, f"neither end closes the connection meanwhile: {ends}")
    growth = [later / earlier for earlier, later in itertools.pairwise(pauses(tries)[1:])]
    doubles = all(STEADY[0] < factor < STEADY[1] for factor in growth)
    stage.expect(doubles, f"each pause is twice the one before: factors {', '.join(f'{f:.2f}' for f in growth)}")
    late = (tries[-1].time - end) / 1e9
    stage.measure(
        partition_s=(end - begin) / 1e9,
        sent_bytes=len(text),
        lost_bytes=0,
        tries=len(tries),
        first_pause_ms=pauses(tries)[0] * 1000,
        last_pause_ms=pauses(tries)[-1] * 1000,
        silence_after_healing_ms=late * 1000,
    )
    return (
        f"cut off for {stage['seconds']:g} s: {len(tries)} tries in ever longer pauses, nobody was told, "
        f"nothing was lost; it went on {late:.1f} s after the healing"
    )


def holder(seen: Any, name: str) -> str:
    """The server's end of a connection: its state, its socket, and which process holds it."""
    rows = [row for row in seen.connections() if row.remote == name]
    return "; ".join(f"{row.state} socket:[{row.inode}] of PID {', '.join(map(str, row.holders))}" for row in rows)


def answer(hand: Any, name: str, count: int) -> str:
    """What came back; less than ``count`` when the connection ended."""
    try:
        return str(hand.back(name, count))
    except OSError:
        return ""


def pauses(tries: list[Step]) -> list[float]:
    """Seconds from each try to the next."""
    return [(later.time - earlier.time) / 1e9 for earlier, later in itertools.pairwise(tries)]


def show(stage: Stage, connection: Connection, tries: list[Step], cut: tuple[int, int]) -> None:
    """The lines and the picture of what was sent again and again."""
    start = tries[0].time
    waited = [0.0, *pauses(tries)]
    rows = []
    lines = [((cut[1] - start) / 1e9, "the partition ends")]
    for step, pause in zip(tries, waited, strict=True):
        at, dropped = (step.time - start) / 1e9, cut[0] < step.time < cut[1]
        again = f"again after {pause * 1000:.0f} ms" if RETRANSMISSION in step.notes else "for the first time"
        fate = "dropped" if dropped else "arrived"
        rows.append({"at": at, "ms": pause * 1000, "fate": fate})
        lines.append(
            (at, f"{connection.client} > {connection.server} seq={step.seq} len={step.length} {again}: {fate}")
        )
    for at, line in sorted(lines):
        stage.evidence(f"{at:8.3f} s  {line}")
    title = "Each try waits twice as long; the healing itself wakes nobody"
    span = {"from": (cut[0] - start) / 1e9, "to": (cut[1] - start) / 1e9, "fate": "cut off"}
    stage.draw(title, lambda: chart(rows[1:], span), "Grey: nothing arrives and nothing leaves.")


def chart(rows: list[dict[str, Any]], span: dict[str, Any]) -> Any:
    """Each try: when, and how long was the pause before it."""
    import altair as alt

    ends = alt.Scale(domain=[min(0, span["from"]), rows[-1]["at"] * 1.02], nice=False)
    x = alt.X("at:Q", scale=ends, title="time since the bytes were sent first (s)")
    times = [200 * 2**power for power in range(8)]
    axis = alt.Axis(values=times, title="pause before the try (ms, logarithmic)")
    fates = alt.Scale(domain=["dropped", "arrived"], range=[RED, BLUE])
    shapes = alt.Scale(domain=["dropped", "arrived"], range=["cross", "circle"])
    grey = alt.Chart(alt.InlineData(values=[span])).mark_rect(color="#DDDDDD").encode(x=alt.X("from:Q"), x2="to:Q")
    tries = alt.Chart(alt.InlineData(values=rows)).encode(
        x=x, y=alt.Y("ms:Q", scale=alt.Scale(type="log", base=2), axis=axis)
    )
    legend = alt.Legend(title=None, orient="bottom")
    points = tries.mark_point(size=90, filled=True, opacity=1).encode(
        color=alt.Color("fate:N", scale=fates, legend=legend), shape=alt.Shape("fate:N", scale=shapes, legend=legend)
    )
    lines = tries.mark_line(color=GREY, strokeWidth=1)
    return styled(alt.layer(grey, lines, points).properties(width=WIDTH - 70, height=200))


SCENARIO = Scenario(
    question=Text(
        en="What becomes of a connection when the network is cut and comes back?",
        ko="네트워크가 끊겼다가 다시 이어지면 연결은 어떻게 될까?",
    ),
    expectation=Text(
        en="No packet tells TCP that the network is cut. What is not acknowledged is sent again when the "
        "retransmission timeout (RTO) runs out, on Linux after 200 ms at the earliest, and each further try waits "
        "twice as long as the one before. Both ends stay ESTABLISHED; there is no FIN and no RST. When the network "
        "is back, the kernel does not notice that either: it waits for its next try, which may be as far away as the "
        "cut has lasted. Linux gives a connection up only after 15 tries (tcp_retries2), about 15 minutes. A shorter "
        "cut costs time and no byte.",
        ko="네트워크가 끊겼다고 TCP에 알려 주는 패킷은 없다. 확인 응답(ACK)을 받지 못한 데이터는 재전송 "
        "타임아웃(RTO, 리눅스에서는 최소 200 ms)이 지나면 다시 보내고, 그다음 시도는 매번 앞의 두 배만큼 기다린다. "
        "양쪽 모두 ESTABLISHED 상태로 남으며 FIN도 RST도 없다. 네트워크가 복구되어도 커널은 그 사실을 모른다. 다음 "
        "재전송 시각까지 그냥 기다리는데, 그 시간은 끊겨 있던 시간만큼 길 수도 있다. 리눅스는 15번(tcp_retries2), 약 "
        "15분 동안 시도한 뒤에야 연결을 포기한다. 그보다 짧은 단절은 시간을 잃게 할 뿐 한 바이트도 잃게 하지 않는다.",
    ),
    source="RFC 6298, 5.5; RFC 9293, 3.8.1; tcp(7), tcp_retries2; TLPI 58.6.3; UNP vol. 1, 5.14",
    explanation=Text(
        en="A TCP connection is a state in two kernels, not a wire. It survives what no segment contradicts. So a "
        "server need not do anything about a short cut, and a client that connects anew too early throws away what "
        "was already on its way. The price of the doubling is the silence afterwards: a connection can stay mute for "
        "as long again as the network was away. A program that cannot wait that long sets a limit of its own: a "
        "timeout on recv, or TCP_USER_TIMEOUT.",
        ko="TCP 연결은 전선이 아니라 두 커널 안에 있는 상태이다. 그 상태를 부정하는 세그먼트가 오지 않는 한 연결은 "
        "살아 있다. 그래서 짧은 단절에 대해 서버가 할 일은 없고, 너무 일찍 새로 접속하는 클라이언트는 이미 보내고 "
        "있던 데이터를 버리는 셈이다. 대기 시간이 두 배씩 늘어나는 대가는 복구 뒤의 침묵이다. 네트워크가 끊겨 있던 "
        "만큼 더 조용할 수 있다. 그렇게 오래 기다릴 수 없는 프로그램은 recv의 타임아웃이나 TCP_USER_TIMEOUT 같은 "
        "한도를 스스로 정해야 한다.",
    ),
    prediction=Choice(
        ask=Text(
            en="The network is away for some seconds, and the client sends meanwhile. What happens?",
            ko="네트워크가 몇 초 동안 끊기고, 그사이 클라이언트가 데이터를 보낸다. 어떻게 될까?",
        ),
        answers=(
            Text(
                en="The kernel closes the connection; the client has to connect again.",
                ko="커널이 연결을 닫는다. 클라이언트는 다시 접속해야 한다.",
            ),
            Text(
                en="The connection stays, but what was sent meanwhile is lost.",
                ko="연결은 유지되지만 그사이 보낸 데이터는 사라진다.",
            ),
            Text(
                en="The connection stays, and the bytes arrive at the very moment the network is back.",
                ko="연결은 유지되고, 네트워크가 복구되는 바로 그 순간 데이터가 도착한다.",
            ),
            Text(
                en="The connection stays, and the bytes arrive at the next try after the network is back.",
                ko="연결은 유지되고, 복구된 뒤의 다음 재전송 때 데이터가 도착한다.",
            ),
        ),
        right=3,
    ),
    run=run,
    parameters={
        "seconds": Parameter(2.0, 1.0, 10.0, "s", "how long the server is cut off"),
        "bytes": Parameter(1000, 1, 10000, "bytes", "what the client sends meanwhile"),
    },
)
