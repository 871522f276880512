"""Who closes first keeps the connection in TIME_WAIT for a minute: what that does to a server that is restarted."""

import ipaddress
import re
from dataclasses import dataclass

from forklab.harness import Choice, Parameter, Scenario, Stage, Text
from forklab.harness.reading import line
from forklab.harness.stage import Hand
from forklab.lab import Lab
from forklab.timeline.model import Event, Timeline
from protocol.ports import SERVER_PORT

TIME_WAIT, ESTABLISHED = "06", "01"
"""States as /proc/net/tcp writes them (include/net/tcp_states.h)."""
TICKS = 100
"""Of /proc, in a second: USER_HZ."""
MINUTE = 60.0
"""TCP_TIMEWAIT_LEN in include/net/tcp.h, in seconds; no setting changes it."""
_RESTART_SECONDS = 15.0

MISTAKEN = f"""
import os, socket

listener = socket.socket()
try:
    listener.bind(("0.0.0.0", {SERVER_PORT}))  # the mistake: SO_REUSEADDR is not set
except OSError as error:
    os._exit(error.errno)
"""
SUPERVISOR = 'while :; do python3 -S -m server "$@"; python3 -S -c "$0"; done'
"""Starts the server again when it has ended; before that, a server with the mistake tries to bind."""


@dataclass(frozen=True)
class Row:
    """One TCP socket in /proc/net/tcp; ``left`` are the seconds until its timer runs out, 0 without one."""

    local: str
    remote: str
    state: str
    left: float


def run(stage: Stage) -> str:
    """Some clients close first, some are closed by the server; then the server is killed and started again."""
    count = stage["clients"]
    words = ["sh", "-c", SUPERVISOR, MISTAKEN]
    with stage.lab(server={"entrypoint": [word.replace("$", "$$") for word in words]}) as lab, stage.hand(lab) as hand:
        ours, theirs = hand.open(count, "hello\n"), hand.open(count, "hello\n")
        hand.close(*ours)
        end_by_the_server(stage, lab, hand, theirs)
        stage.until(lambda: len(waiting(table(stage.table(lab)))) >= count)
        at_server, at_client = waiting(table(stage.table(lab))), waiting(table(hand.table()))
        with stage.traced(lab) as timeline:
            new = restart(stage, lab)
            left = waiting(table(stage.table(lab)))
            came = hand.open(1, "again\n") if new else []
            beside = [row for row in table(stage.table(lab)) if row.state == ESTABLISHED and row.remote in came]
    for where, rows in (("server", at_server), ("client", at_client)):
        for row in rows:
            stage.evidence(f"{where}'s table: {row.local} {row.remote} TIME_WAIT, {row.left:.1f} s left")
    stage.timeline("The server is killed; a server without SO_REUSEADDR cannot bind, the lab's own can", timeline)
    stage.expect({row.remote for row in at_server} == set(theirs), "the server keeps those that it has closed first")
    stage.expect({row.local for row in at_client} == set(ours), "the client keeps those that it has closed first")
    longest = max(row.left for row in (*at_server, *at_client))
    stage.expect(0 < longest <= MINUTE, f"TIME_WAIT lasts a minute at most: {longest:.1f} s are left")

    binds = [each for each in timeline.events if each.kind == "bind" and f"htons({SERVER_PORT})" in each.call]
    for event in binds[:2]:
        stage.evidence(f"{line(timeline, event)}  {program(timeline, event)}")
    if not left:
        stage.inconclusive("TIME_WAIT was over before the server was started again")
    stage.expect(bool(binds), "the server is started again")
    refused = binds[0].fields.get("error")
    stage.expect(refused == "EADDRINUSE", "without SO_REUSEADDR bind fails while a connection is in TIME_WAIT")
    good = len(binds) > 1 and "error" not in binds[1].fields and new != 0
    stage.expect(good, "the restarted server, which sets SO_REUSEADDR, binds at once: TIME_WAIT does not keep it away")
    for row in beside:
        stage.evidence(f"server's table: {row.local} {row.remote} ESTABLISHED, beside {len(left)} in TIME_WAIT")
    stage.expect(bool(beside), "the restarted server serves a new client on the same port")
    stage.measure(
        time_wait_at_server=len(at_server), time_wait_at_client=len(at_client), longest_left_s=round(longest, 1)
    )
    return "who closed first had TIME_WAIT; it kept a server without SO_REUSEADDR from its port, and not the other one"


def end_by_the_server(stage: Stage, lab: Lab, hand: Hand, names: list[str]) -> None:
    """Kill the children that serve these clients: their kernel sends FIN first. Then the clients close, too."""
    seen = stage.until(lambda: seen_alone(lab, names))
    for pid in seen:
        stage.signal(lab, "KILL", pid)
    for name in names:
        hand.end_of(name)
    hand.close(*names)


def seen_alone(lab: Lab, names: list[str]) -> list[int]:
    """The processes that serve these clients, once each is held by one alone."""
    rows = [row.holders for row in lab.snapshot().established() if row.remote in names]
    return [pid for pids in rows for pid in pids] if [len(pids) for pids in rows] == [1] * len(names) else []


def restart(stage: Stage, lab: Lab) -> int:
    """Kill the server and wait for the next one; its PID, 0 if none listens."""
    (old,) = listening(lab) or (0,)
    stage.signal(lab, "KILL", old)
    found = stage.until(lambda: [pid for pid in listening(lab) if pid != old], _RESTART_SECONDS)
    return found[0] if found else 0


def listening(lab: Lab) -> list[int]:
    """The processes that hold the listener."""
    return [pid for row in lab.snapshot().sockets if row.state == "LISTEN" for pid in row.holders]


def waiting(rows: list[Row]) -> list[Row]:
    """Those in TIME_WAIT."""
    return [row for row in rows if row.state == TIME_WAIT]


def table(text: str) -> list[Row]:
    """The connections of the server's port in /proc/net/tcp."""
    pattern = r"^ *\d+: (\w+:\w+) (\w+:\w+) (\w\w) \w+:\w+ (\w\w):(\w+)"
    rows = []
    for local, remote, state, timer, ticks in re.findall(pattern, text, flags=re.MULTILINE):
        row = Row(address(local), address(remote), state, int(ticks, 16) / TICKS if timer != "00" else 0.0)
        if f":{SERVER_PORT}" in (row.local[-5:], row.remote[-5:]):
            rows.append(row)
    return rows


def address(word: str) -> str:
    """``0200680A:23E6`` as ``10.104.0.2:9190``: the address is printed as the processor's own number."""
    number, _, port = word.partition(":")
    return f"{ipaddress.IPv4Address(int.from_bytes(bytes.fromhex(number), 'little'))}:{int(port, 16)}"


def program(timeline: Timeline, event: Event) -> str:
    """Which of the two servers it was."""
    ran = [each for each in timeline.events if each.kind == "exec" and each.lane == event.lane]
    ours = bool(ran) and "-m server" in ran[0].fields["command"]
    return "the lab's server, with SO_REUSEADDR" if ours else "a server without SO_REUSEADDR"


SCENARIO = Scenario(
    question=Text(
        en="Who has TIME_WAIT, and what does it do to a restarted server?",
        ko="TIME_WAIT은 어느 쪽에 남으며, 다시 시작하는 서버에 어떤 영향을 줄까?",
    ),
    expectation=Text(
        en="The side that sends the first FIN keeps the connection in TIME_WAIT for a minute on Linux (RFC 9293 "
        "asks for 2 MSL): it has to answer when its last ACK is lost, and old segments must not come into a new "
        "connection of the same addresses. No process holds it; it is a row in the kernel's table. When the server "
        "closed first, these rows have its port, and bind of the restarted server fails with EADDRINUSE, unless "
        "SO_REUSEADDR is set. When the client closed first, the server has no such row.",
        ko="첫 FIN을 보낸 쪽이 연결을 TIME_WAIT 상태로 간직하며, 리눅스에서는 1분이다(RFC 9293은 2 MSL을 요구한다). "
        "마지막 ACK가 사라지면 다시 응답해야 하고, 옛 세그먼트가 같은 주소의 새 연결에 끼어들면 안 되기 때문이다. "
        "어떤 프로세스도 이 연결을 가지고 있지 않다. 커널의 표에 있는 행일 뿐이다. 서버가 먼저 닫았다면 이 행들에 "
        "서버의 포트가 있으므로, 다시 시작한 서버의 bind는 SO_REUSEADDR를 설정하지 않는 한 EADDRINUSE로 실패한다. "
        "클라이언트가 먼저 닫았다면 서버에는 그런 행이 없다.",
    ),
    source="RFC 9293 3.4.2, 3.6.1; bind(2), socket(7) SO_REUSEADDR, proc_net(5); UNP 2.7, 7.5; TLPI 61.6.7, 61.10",
    explanation=Text(
        en="TIME_WAIT is no leak and no error: it is the price of closing first, paid by the kernel and not by a "
        "process. Let clients close first where you can, and set SO_REUSEADDR in every server before bind, also in "
        "the first one: Linux asks for it on the old sockets as well as on the new one. It allows a port with old "
        "connections, never one where somebody listens.",
        ko="TIME_WAIT은 누수도 오류도 아니다. 먼저 닫은 값을 프로세스가 아니라 커널이 치르는 것이다. 될 수 있으면 "
        "클라이언트가 먼저 닫게 하고, 모든 서버에서 bind 전에 SO_REUSEADDR를 설정하라. 처음 시작하는 서버도 "
        "마찬가지이다. 리눅스는 새 소켓뿐 아니라 옛 소켓에도 이 옵션이 있기를 요구한다. 이 옵션은 옛 연결이 남은 "
        "포트를 허용할 뿐, 누군가 듣고 있는 포트는 허용하지 않는다.",
    ),
    prediction=Choice(
        ask=Text(
            en="Three clients have closed their connections first; three others were closed first by the server. "
            "Then the server is killed. Which of the six stand in its kernel's table in TIME_WAIT?",
            ko="클라이언트 셋은 자기가 먼저 연결을 닫았고, 다른 셋의 연결은 서버가 먼저 닫았다. 그다음 서버가 "
            "죽었다. 여섯 연결 가운데 서버 쪽 커널의 표에 TIME_WAIT으로 남는 것은?",
        ),
        answers=(
            Text(en="All six: each connection ends in TIME_WAIT.", ko="여섯 모두. 모든 연결은 TIME_WAIT으로 끝난다."),
            Text(en="None: the server is dead.", ko="없다. 서버가 죽었기 때문이다."),
            Text(en="The three that the clients closed first.", ko="클라이언트가 먼저 닫은 셋."),
            Text(en="The three that the server closed first.", ko="서버가 먼저 닫은 셋."),
        ),
        right=3,
    ),
    run=run,
    parameters={"clients": Parameter(3, 1, 50, "", "how many clients close first, and how many are closed first")},
)
