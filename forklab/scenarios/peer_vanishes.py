"""A peer that vanishes says nothing: the server learns of it by a write, by keepalive, or by a limit of its own."""

import itertools
import math

from forklab.capture import CLIENT, SERVER, Connection
from forklab.capture.connections import KEEP_ALIVE, Step
from forklab.harness import Choice, Parameter, Scenario, Stage, Text
from forklab.lab import Lab
from forklab.observe import Socket, Timer, sysctl, timers
from forklab.timeline.model import Timeline
from forklab.timeline.replay import replay

REQUEST = "an answer, please\n"
TRIES, STEADY = 5, 1.4
"""How often the answer is sent, at least, and how many times as long as the one before each pause is, at least."""
INTERVAL, PROBES = 1, 2
"""Seconds between keep-alive probes, and how many may stay unanswered, where they are made that few."""
RTO_LEAST, RTO_MOST = 0.2, 120.0
"""Seconds: TCP_RTO_MIN and TCP_RTO_MAX of Linux, include/net/tcp.h."""


def run(stage: Stage) -> str:
    """Let a peer vanish that owes nothing, one that is owed an answer, and some under a limit on silence."""
    probed = kernel(stage)
    hours, limit = program(stage)
    stage.measure(keepalive_notices_after_s=probed, default_keepalive_h=hours, idle_limit_notices_after_s=limit)
    return (
        f"keepalive noticed after {probed:.1f} s, made that short, and would after {hours:.1f} h by default; "
        f"a write into the void was repeated in ever longer pauses; "
        f"a limit of the server's own noticed after {limit:.1f} s"
    )


def kernel(stage: Stage) -> float:
    """What the kernel does: keepalive on one connection, retransmission on the other; seconds until it noticed."""
    short = {"time": stage["keepalive"], "intvl": INTERVAL, "probes": PROBES}
    changed = {"sysctls": {f"net.ipv4.tcp_keepalive_{name}": str(value) for name, value in short.items()}}
    with stage.lab(trace=True, server=changed) as lab, stage.hand(lab) as hand, stage.wire(lab) as wire:
        idle, owed = hand.open(2, "x")
        sleeper, writer = (holder(stage, lab, name) for name in (idle, owed))
        with lab.faults.held("pause", who=str(writer), seconds="120s") as pause:
            hand.send(owed, REQUEST)
            stage.until(lambda: unread(lab, owed) == len(REQUEST))
            with lab.faults.held("partition", seconds="300s", target="client"):
                pause.heal()
                timer = timer_of(stage, lab, idle, "owes nothing")
                if timer:  # if not, it has run out already
                    claim = f"the idle connection has a keepalive timer, or nothing would ever end it: {timer.kind}"
                    stage.expect(timer.kind == "keepalive", claim)
                gone = stage.until(lambda: lab.snapshot(()).process(sleeper) is None)
                stage.until(lambda: len(sent(wire.connections()[owed])) >= TRIES)
                timer_of(stage, lab, owed, "owes an answer")
                row = lab.snapshot().connection(owed)
                timeline = replay(lab.trace(None))
    stage.timeline("Two peers vanish: keepalive ends one connection, the other one's answer is sent in vain", timeline)
    told = row is None or row.holders != (writer,)
    judge_owed(stage, wire.connections()[owed], writer, told)
    stage.expect(bool(gone), f"PID {sleeper}, asleep in recv, is told by keepalive, and ends")
    return judge_idle(stage, wire.connections()[idle], timeline, sleeper)


def judge_idle(stage: Stage, connection: Connection, timeline: Timeline, sleeper: int) -> float:
    """Probes that nobody answers, then RST and ETIMEDOUT; seconds from the peer's last segment to that."""
    last = max(at for at, step in enumerate(connection.steps) if step.by == CLIENT)
    alone = connection.steps[last + 1 :]
    probes = [step for step in alone if KEEP_ALIVE in step.notes]
    resets = [step for step in alone if "RST" in step.flags]
    for step in [connection.steps[last], *probes, *resets[:1]]:
        stage.evidence(line(connection, step))
    claim = f"{PROBES} keep-alive probes without an answer, then the server's kernel gives up with RST"
    stage.expect(len(probes) == PROBES and bool(resets), f"{claim}: {len(probes)} probes, {len(resets)} RST")
    lane = next(lane for lane in timeline.lanes if lane.pid == sleeper)
    errors = [e for e in timeline.events if e.lane == lane.id and e.fields.get("error") == "ETIMEDOUT"]
    for event in errors[:1]:
        stage.evidence(f"PID {sleeper}: {event.call}, then {lane.how}")
    stage.expect(bool(errors), f"recv of PID {sleeper} fails with ETIMEDOUT")
    return (resets[0].time - connection.steps[last].time) / 1e9


def judge_owed(stage: Stage, connection: Connection, writer: int, told: bool) -> None:
    """The answer is sent again in ever longer pauses; nobody is told as yet."""
    tries = sent(connection)
    if len(tries) < TRIES:
        stage.inconclusive(f"the answer was sent only {len(tries)} times in the time there was")
    for step in tries:
        stage.evidence(line(connection, step))
    pauses = [later.time - earlier.time for earlier, later in itertools.pairwise(tries)]
    growth = [later / earlier for earlier, later in itertools.pairwise(pauses[1:])]
    factors = ", ".join(f"{factor:.2f}" for factor in growth)
    stage.expect(min(growth) > STEADY, f"each pause is about twice the one before: factors {factors}")
    stage.expect(not told, f"PID {writer} waits for its peer and knows nothing")
    stage.measure(answer_sent_times=len(tries), last_pause_ms=pauses[-1] / 1e6)


def program(stage: Stage) -> tuple[float, float]:
    """The server's own limit on silence; hours until the kernel would have noticed, seconds until the server did."""
    options, count = f"--idle-timeout {stage['idle']:g}", stage["clients"]
    with stage.lab(options=options) as lab, stage.wire(lab) as wire:
        first, interval, probes, retries = defaults(lab)
        with lab.faults.held("half-open", connections=str(count), seconds="120s") as held:
            names = held.state["evidence"]["clients"]
            timer = timer_of(stage, lab, names[-1], f"has a limit of {stage['idle']:g} s")
            ended = stage.until(lambda: len(lab.snapshot(()).processes) == 1)
            for row in lab.snapshot().connections()[:1]:
                stage.evidence(f"afterwards the kernel still says FIN to {row.remote}: {row.state} of no process")
    hours = (first + interval * probes) / 3600
    stage.evidence(f"defaults here: keepalive {first} s + {probes} x {interval} s = {hours:.1f} h of silence")
    stage.evidence(
        f"defaults here: tcp_retries2 = {retries}, unanswered data {patience(retries) / 60:.1f} min at least"
    )
    if timer is None:
        stage.inconclusive(
            f"the limit of {stage['idle']:g} s had run out before anybody could look; choose --idle longer"
        )
    claim = f"by default the kernel would ask after {first} s of silence: {timer.kind} in {timer.seconds:.1f} s"
    stage.expect(timer.kind == "keepalive" and first / 2 < timer.seconds <= first, claim)
    stage.expect(bool(ended), f"the server's own limit ends all {count} children, though no peer said a word")
    silent = [silence(stage, wire.connections()[name]) for name in names]
    stage.expect(min(silent) >= 0.9 * stage["idle"], f"not before the limit has run out: {min(silent):.2f} s")
    return hours, min(silent)


def silence(stage: Stage, connection: Connection) -> float:
    """Seconds from the last that was heard of a peer to the server's FIN."""
    fin = next((step for step in connection.steps if step.by == SERVER and "FIN" in step.flags), None)
    stage.expect(fin is not None, f"the server closes its end of {connection.client}")
    assert fin
    heard = [step.time for step in connection.steps if step.by == CLIENT and step.time < fin.time]
    stage.evidence(line(connection, fin))
    return (fin.time - heard[-1]) / 1e9


def holder(stage: Stage, lab: Lab, name: str) -> int:
    """The one process that serves a client."""

    def found() -> Socket | None:
        row = lab.snapshot(()).connection(name)
        return row if row and len(row.holders) == 1 else None

    row = stage.until(found)
    if row is None:
        stage.inconclusive(f"no single process serves {name}")
    return row.holders[0]


def unread(lab: Lab, name: str) -> int:
    """How many bytes lie in the server's receive queue of a connection."""
    row = lab.snapshot(()).connection(name)
    return row.rx_queue if row else -1


def timer_of(stage: Stage, lab: Lab, name: str, who: str) -> Timer | None:
    """What the kernel waits for on a connection of the server; None when it is over."""
    row = lab.snapshot(()).connection(name)
    timer = timers(lab.probe()).get(row.inode) if row else None
    if row and timer:
        due = "no timer" if timer.kind == "none" else f"timer {timer.kind}, due in {timer.seconds:,.1f} s"
        stage.evidence(
            f"{row.local} {row.remote} {row.state} of PID {row.holders}, {who}: {due}, tries {timer.retries}"
        )
    return timer


def sent(connection: Connection) -> list[Step]:
    """The segments with the answer, the first time and again."""
    return [step for step in connection.steps if step.by == SERVER and step.length == len(REQUEST)]


def line(connection: Connection, step: Step) -> str:
    """A segment with its time since the connection's first."""
    way = (connection.client, connection.server) if step.by == CLIENT else (connection.server, connection.client)
    said = f"{connection.relative(step.time):9.3f} s  {' > '.join(way)} {step.flags} seq={step.seq} len={step.length}"
    return f"{said} {', '.join(step.notes)}".rstrip()


def defaults(lab: Lab) -> tuple[int, int, int, int]:
    """Keepalive's first wait, its interval and how many probes; and how often unanswered data are sent again."""
    names = ("keepalive_time", "keepalive_intvl", "keepalive_probes", "retries2")
    first, interval, probes, retries = (sysctl(lab.probe(), f"net.ipv4.tcp_{name}") for name in names)
    return first, interval, probes, retries


def patience(retries: int) -> float:
    """Seconds of so many retransmissions in pauses that double, the last of which is waited for (tcp(7))."""
    return math.fsum(min(RTO_LEAST * 2**power, RTO_MOST) for power in range(retries + 1))


SCENARIO = Scenario(
    question=Text(
        en="A peer loses power or its network. Who at the server notices, and when?",
        ko="상대의 전원이나 네트워크가 끊어졌다. 서버에서는 누가, 언제 그것을 알아차릴까?",
    ),
    expectation=Text(
        en="A peer that vanishes sends no FIN, so nothing changes at the server: the connection is half-open, its "
        "state stays ESTABLISHED, and the process sleeps in recv. There are three ways to notice. First, write: "
        "unacknowledged data are sent again after 0.2 s, 0.4 s, 0.8 s and so on, and after 15 retransmissions "
        "(tcp_retries2), 15 minutes at least, the call fails with ETIMEDOUT. Second, SO_KEEPALIVE: after 2 hours of "
        "silence the kernel asks, and after 9 questions 75 s apart without an answer recv fails with ETIMEDOUT. "
        "Third, a limit of the program's own on silence, which cannot tell a dead peer from a quiet one. A server "
        "that only reads and sets neither waits for ever.",
        ko="사라진 상대는 FIN을 보내지 않으므로 서버에서는 아무것도 바뀌지 않는다. 연결은 한쪽만 열린(half-open) "
        "상태가 되고, 상태는 여전히 ESTABLISHED이며, 프로세스는 recv에서 잠들어 있다. 알아차리는 방법은 세 가지이다. "
        "첫째는 쓰기이다. 확인 응답을 받지 못한 데이터는 0.2초, 0.4초, 0.8초… 간격으로 다시 보내지고, 15번의 "
        "재전송(tcp_retries2), 적어도 15분이 지나면 호출이 ETIMEDOUT으로 실패한다. 둘째는 SO_KEEPALIVE이다. 2시간 "
        "동안 조용하면 커널이 물어보기 시작하고, 75초 간격으로 9번 물어도 답이 없으면 recv가 ETIMEDOUT으로 실패한다. "
        "셋째는 프로그램이 스스로 정한 침묵의 한도인데, 죽은 상대와 조용한 상대를 구별하지는 못한다. 읽기만 하면서 "
        "아무것도 설정하지 않은 서버는 영원히 기다린다.",
    ),
    source="tcp(7), tcp_keepalive_time, tcp_retries2; socket(7), SO_KEEPALIVE, SO_RCVTIMEO; RFC 1122, 4.2.3.6; RFC "
    "9293, 3.5.1 and 3.8.4; UNP vol. 1, 5.14 and 7.5",
    explanation=Text(
        en="A connection that says nothing looks the same whether the peer is alive or not. Whoever has to know must "
        "ask, and decide how long is too long. Keepalive asks in the kernel and costs the program nothing, but its "
        "two hours are meant to find the dead by and by, not quickly; TCP_KEEPIDLE sets them for one socket, and "
        "TCP_USER_TIMEOUT bounds unanswered data. A limit in the program, or a ping in the protocol, is what servers "
        "use that pay for each idle client with a process. Note that keepalive is silent while data are "
        "unacknowledged: then retransmission asks already.",
        ko="아무 말도 없는 연결은 상대가 살아 있든 죽었든 똑같아 보인다. 알아야 하는 쪽이 물어보고, 얼마나 기다리면 "
        "너무 긴 것인지도 스스로 정해야 한다. keepalive는 커널이 대신 물어보므로 프로그램에는 부담이 없지만, 두 "
        "시간이라는 값은 죽은 연결을 언젠가 찾아내기 위한 것이지 빨리 찾아내기 위한 것이 아니다. 소켓마다 "
        "TCP_KEEPIDLE로 줄일 수 있고, 답이 없는 데이터는 TCP_USER_TIMEOUT으로 한도를 정할 수 있다. 놀고 있는 "
        "클라이언트마다 프로세스 하나를 치르는 서버는 프로그램 안의 타임아웃이나 프로토콜의 ping을 쓴다. 확인 응답을 "
        "받지 못한 데이터가 있는 동안에는 keepalive가 침묵한다는 점도 기억하자. 그때는 재전송이 이미 묻고 있기 "
        "때문이다.",
    ),
    prediction=Choice(
        ask=Text(
            en="A client's machine loses power while the server's child waits in recv with SO_KEEPALIVE set, nothing "
            "else. When does the child notice, by default?",
            ko="서버의 자식이 recv에서 기다리는 동안 클라이언트의 전원이 나갔다. SO_KEEPALIVE만 켜져 있다면 기본 "
            "설정에서 자식은 언제 알아차릴까?",
        ),
        answers=(
            Text(
                en="At once: the network reports that the peer is gone.",
                ko="곧바로. 네트워크가 상대가 사라졌다고 알려 준다.",
            ),
            Text(en="After about a minute, as soon as a probe fails.", ko="약 1분 뒤, 확인 패킷이 처음 실패할 때."),
            Text(en="After a little more than two hours.", ko="두 시간이 조금 넘은 뒤."),
            Text(en="Never, as long as it does not write.", ko="쓰지 않는 한 영원히 알아차리지 못한다."),
        ),
        right=2,
    ),
    run=run,
    parameters={
        "keepalive": Parameter(1, 1, 10, "s", "silence after which the kernel asks; 7200 by default"),
        "idle": Parameter(3.0, 1.0, 20.0, "s", "silence after which the server gives a client up in the second part"),
        "clients": Parameter(2, 1, 50, "", "how many vanish in the second part"),
    },
)
