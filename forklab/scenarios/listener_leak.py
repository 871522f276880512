"""A child that keeps the listening socket keeps its port: the restarted server cannot bind."""

import re

from forklab.harness import Choice, Scenario, Stage, Text
from forklab.harness.reading import calls, family, line
from forklab.timeline.model import Event, Thing, Timeline


def run(stage: Stage) -> str:
    """Record a server that ends while its child lives, and the bind of the next one: listener kept, and closed."""
    program = stage.program("-m", "demos", "listener-leak")
    timeline = program.timeline
    for words in program.said.splitlines():
        stage.says(words)
    stage.timeline("Who holds the listener: the port is taken until the last bar ends", timeline)
    demo, _ = family(timeline)
    binds = calls(timeline, demo, "bind(")
    stage.expect(len(binds) == 3, f"the server is started again three times, not {len(binds)}")
    kept, after, closed = binds
    leaked, clean = (old_listener(timeline, event) for event in (kept, closed))

    stage.evidence(held(timeline, leaked, kept))
    stage.evidence(line(timeline, kept))
    stage.expect(bool(holders(leaked, kept)), "when the server is started again, its old child holds the listener")
    stage.expect(kept.fields.get("error") == "EADDRINUSE", "while a child holds the listener, bind fails: EADDRINUSE")
    clients = [one for one in calls(timeline, demo, "connect(") if kept.time < one.time < after.time]
    stage.expect(bool(clients), "meanwhile a client connects")
    stage.evidence(line(timeline, clients[0]))
    accepts = [one for one in timeline.events if one.kind == "accept" and kept.time < one.time < after.time]
    stage.expect(not accepts, "the kernel takes that client, and no process accepts it")
    stage.evidence(held(timeline, leaked, after))
    stage.evidence(line(timeline, after))
    stage.expect("error" not in after.fields, "when the last process that held the listener has ended, bind succeeds")

    stage.evidence(held(timeline, clean, closed))
    stage.evidence(line(timeline, closed))
    child = timeline.lanes[max(clean.holds, key=lambda hold: hold[2] or 0)[0] or 0]
    stage.expect((child.ended or 0) > closed.time, "when the second server is restarted, its child still lives")
    stage.expect(not holders(clean, closed), "the second server's child has closed its copy of the listener")
    stage.expect("error" not in closed.fields, "when the child has closed the listener, bind succeeds while it lives")
    ends = sorted(hold[3] or timeline.length for hold in leaked.holds)
    stage.measure(binds=len(binds), refused=1, port_taken_after_the_servers_end_ms=round((ends[-1] - ends[0]) / 1e6, 3))
    return "bind failed with EADDRINUSE while a child held the listener, and succeeded where the child had closed it"


def old_listener(timeline: Timeline, bind: Event) -> Thing:
    """The listener that the port of ``bind`` had before."""
    port = re.search(r"htons\((\d+)\)", bind.call)
    suffix = f":{port[1] if port else '?'}"
    return next(each for each in timeline.things if each.kind == "listener" and each.label.endswith(suffix))


def holders(thing: Thing, event: Event) -> list[tuple[int, int]]:
    """Lane and number of each descriptor that led to it when the call was made."""
    at = event.begin or event.time
    return [(lane or 0, fd or 0) for lane, fd, begin, end in thing.holds if (begin or 0) <= at < (end or at + 1)]


def held(timeline: Timeline, thing: Thing, event: Event) -> str:
    """Who held it at that moment, as a line of evidence."""
    who = [f"PID {timeline.lanes[lane].pid} as fd {fd}" for lane, fd in holders(thing, event)]
    at = (event.begin or event.time) / 1e6
    return f"{at:9.3f} ms  the listener {thing.label} is held by {', '.join(who) or 'nobody'}"


SCENARIO = Scenario(
    question=Text(
        en="Why can the restarted server not bind?",
        ko="다시 시작한 서버는 왜 bind에 실패할까?",
    ),
    expectation=Text(
        en="fork gives the child a copy of the listening socket's descriptor. When the server ends, only its own "
        "copy goes; the socket stays in LISTEN as long as the child holds another one. bind on that port then fails "
        "with EADDRINUSE. SO_REUSEADDR does not help: it lets a socket bind beside old connections (TIME_WAIT), "
        "never beside a listener. The kernel even completes handshakes with new clients, and nobody will ever "
        "accept them. A child that closes the listener first keeps no port.",
        ko="fork를 하면 자식 프로세스는 듣기 소켓의 디스크립터 사본을 갖는다. 서버가 끝나면 서버의 사본만 사라지고, "
        "자식이 사본을 가지고 있는 동안 소켓은 LISTEN 상태로 남는다. 그래서 같은 포트에 bind하면 EADDRINUSE로 "
        "실패한다. SO_REUSEADDR도 소용없다. 이 옵션은 옛 연결(TIME_WAIT)이 남은 포트에는 bind를 허용하지만, 듣기 "
        "소켓이 있는 포트에는 허용하지 않는다. 커널은 새 클라이언트와 연결까지 맺어 주지만, 그 연결을 accept할 "
        "프로세스는 없다. 자식이 듣기 소켓을 먼저 닫았다면 포트는 남지 않는다.",
    ),
    source="fork(2), bind(2), close(2), socket(7) SO_REUSEADDR; UNP 4.8, 7.5; TLPI 60.3, 61.10",
    explanation=Text(
        en="A descriptor is a reference. close and exit take one reference away; the socket, and with it the port, "
        "goes with the last one. So the first thing a child does is to close what it does not use, above all the "
        "listener. If a server cannot be started again, ask who still holds its port: ss -ltnp, or /proc/PID/fd.",
        ko="디스크립터는 참조이다. close와 exit는 참조를 하나 없앨 뿐이고, 소켓과 포트는 마지막 참조가 사라질 때 "
        "함께 사라진다. 그러므로 자식은 가장 먼저 자기가 쓰지 않는 디스크립터, 특히 듣기 소켓을 닫아야 한다. 서버를 "
        "다시 시작할 수 없다면 누가 아직 포트를 가지고 있는지 ss -ltnp나 /proc/PID/fd로 확인하라.",
    ),
    prediction=Choice(
        ask=Text(
            en="A server has ended; its child still serves a client and has not closed the listener. The server is "
            "started again at once and sets SO_REUSEADDR. What does bind do?",
            ko="서버는 끝났고, 듣기 소켓을 닫지 않은 자식이 아직 클라이언트를 처리하고 있다. 서버를 바로 다시 "
            "시작하면서 SO_REUSEADDR를 설정했다. bind는 어떻게 될까?",
        ),
        answers=(
            Text(
                en="It succeeds: the port was the server's, and the server has ended.",
                ko="성공한다. 포트는 서버의 것이었고 서버는 끝났기 때문이다.",
            ),
            Text(en="It succeeds, because of SO_REUSEADDR.", ko="SO_REUSEADDR 덕분에 성공한다."),
            Text(
                en="It fails with EADDRINUSE until the child has ended or closed the listener.",
                ko="자식이 끝나거나 듣기 소켓을 닫을 때까지 EADDRINUSE로 실패한다.",
            ),
            Text(
                en="It fails with EADDRINUSE for a minute: that is TIME_WAIT.",
                ko="1분 동안 EADDRINUSE로 실패한다. TIME_WAIT 때문이다.",
            ),
        ),
        right=2,
    ),
    run=run,
)
