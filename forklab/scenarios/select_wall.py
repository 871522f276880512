"""select gets three sets and leaves in them who is ready; no descriptor above 1,023 fits into such a set."""

import re
from dataclasses import dataclass

from forklab.harness import Choice, Hand, Parameter, Scenario, Stage, Text
from forklab.harness.reading import line
from forklab.observe import Snapshot
from forklab.timeline.model import Event, Timeline

FD_SETSIZE = 1024
_SELECT = re.compile(r"p?select6?\((\d+), ")
_PIPE = re.compile(r"(\d+)<pipe:\[(\d+)\]>")
_IN = re.compile(r"\(in \[([\d ]+)\]")


@dataclass(frozen=True)
class Crowd:
    """A server with many clients: how many it keeps, the highest descriptor of these, how many it turns away."""

    held: int
    highest: int
    turned_away: int


def run(stage: Stage) -> str:
    """First the sets of a small program, then two servers with more clients than a set has bits."""
    sets(stage)
    clients = stage["clients"]
    found: dict[str, Crowd] = {}
    with stage.client_alone() as hand:
        for model in ("select", "poll"):
            found[model] = crowd(stage, hand, model)
    stage.measure(**{f"{model}_{what}": value for model, one in found.items() for what, value in vars(one).items()})
    select, poll = found["select"], found["poll"]
    stage.expect(
        select.highest == FD_SETSIZE - 1, f"select serves up to descriptor 1023; the highest is {select.highest}"
    )
    stage.expect(
        select.held + select.turned_away == clients and select.turned_away > 0,
        f"each client beyond that is turned away; {select.turned_away} of {clients - select.held} were",
    )
    stage.expect(poll.held == clients, f"poll serves all; it held {poll.held} of {clients}")
    return (
        f"of {clients} clients select served {select.held}, up to descriptor {select.highest}, and turned "
        f"{select.turned_away} away; poll served all, up to descriptor {poll.highest}"
    )


def sets(stage: Stage) -> None:
    """The demo: what select is asked and what it answers, and both sides of the wall."""
    program = stage.demo("select-wall")
    for said in program.said.splitlines():
        stage.says(said)
    asked = named(program.timeline, r"p?select6?\(\d+, \[\d")
    polled = named(program.timeline, r"p?poll\(\[\{fd=\d+<pipe")
    if not asked:
        stage.inconclusive("strace does not show the calls of select here")
    ready = _IN.search(asked[0].call)
    before = [fd for fd, _ in _PIPE.findall(asked[0].call.partition("], [")[0])]
    stage.evidence(f"before and after: {line(program.timeline, asked[0])}")
    for event in (*asked[1:], *polled):
        stage.evidence(line(program.timeline, event))
    stage.measure(asked_to_read=len(before), ready_to_read=len(ready[1].split()) if ready else 0)
    written = {
        pipe for event in named(program.timeline, r'write\(\d+<pipe.*"x", 1\)') for _, pipe in _PIPE.findall(event.call)
    }
    seen = {pipe for fd, pipe in _PIPE.findall(asked[0].call) if ready and fd in ready[1].split() and fd in before}
    stage.expect(seen == written, "select leaves in the set the one pipe with a byte in it")
    highest = max(int(match[1]) - 1 for event in asked if (match := _SELECT.match(event.call)))
    stage.expect(
        highest == FD_SETSIZE - 1, f"the highest descriptor that select is ever asked for is 1023; it was {highest}"
    )
    beyond = [
        each for each in polled if f"fd={FD_SETSIZE}<" in each.call and f"fd={FD_SETSIZE}, revents=POLLIN" in each.call
    ]
    stage.expect(bool(beyond), f"poll sees descriptor {FD_SETSIZE}, which select cannot")


def named(timeline: Timeline, pattern: str) -> list[Event]:
    """The calls that begin so, in their order."""
    return [event for event in timeline.events if re.match(pattern, event.call)]


def crowd(stage: Stage, hand: Hand, model: str) -> Crowd:
    """More clients than a set has bits, one after the other; all that are kept are answered."""
    clients = stage["clients"]
    with stage.server(hand, model, options=f"--max-connections {clients + 1}") as server:
        names = hand.open(clients)

        def settled() -> Snapshot | None:
            seen = server.snapshot(("descriptors",))
            return seen if all(each.inode for each in seen.established()) else None

        seen = stage.until(settled)
        if seen is None:
            stage.inconclusive(f"{model} has not accepted {clients} clients; this machine is too busy")
        ours = {each.remote: held for each in seen.established() for held in seen.holders(each.inode)}
        last = max(ours.values(), key=lambda held: held.fd)
        stage.evidence(
            f"{model}: PID {last.pid} holds {len(ours)} of {clients} connections; the highest is fd {last.fd} -> "
            f"{last.target}"
        )
        kept = [name for name in names if name in ours]
        for name in (kept[0], kept[-1]):
            stage.expect(hand.say(name, "x\n") == "x\n", f"{model} answers those whom it keeps")
        away = [name for name in names if name not in ours]
        ends = [hand.end_of(name) for name in away]
        if away:
            stage.evidence(f"{model}: {away[0]} was accepted and closed at once: the client got a {ends[0]}")
        hand.close()
    return Crowd(len(ours), last.fd, len(ends))


SCENARIO = Scenario(
    question=Text(en="What does select see, and where does it end?", ko="select는 무엇을 보며, 어디에서 끝날까?"),
    expectation=Text(
        en="select gets three sets of descriptors, to read, to write, exceptional, and leaves in them those that are "
        "ready. A set is an array of FD_SETSIZE = 1024 bits, fixed when the C library was built: descriptor 1024 has "
        "no bit, whatever the process may open. In C, FD_SET then writes past the array's end; Python refuses. So a "
        "select server ends at descriptor 1023, and what it can serve is 1024 less the few it needs itself. poll gets "
        "a list of numbers and has no such wall.",
        ko="select는 읽기, 쓰기, 예외의 세 디스크립터 집합을 받아, 준비된 것만 그 안에 남긴다. 집합은 FD_SETSIZE = "
        "1024비트의 배열이고 그 크기는 C 라이브러리를 만들 때 정해졌다. 프로세스가 파일을 몇 개까지 열 수 있든 "
        "디스크립터 1024번의 비트는 없다. C에서는 FD_SET이 배열 너머에 쓰고, 파이썬은 거부한다. 그래서 select 서버는 "
        "디스크립터 1023에서 끝나며, 서비스할 수 있는 수는 1024에서 서버 자신이 쓰는 몇 개를 뺀 것이다. poll은 번호의 "
        "목록을 받으므로 그런 벽이 없다.",
    ),
    source="select(2) BUGS, poll(2), getrlimit(2); POSIX sys/select.h; UNP 6.3, 6.10 and 6.11; TLPI 63.2.1",
    explanation=Text(
        en="The wall is in the number of the descriptor, not in the count of those that are watched: a process with "
        "1,100 open files cannot watch even one more with select. No limit of the kernel moves it. A server has to "
        "know its wall and turn away whom it cannot serve; in C, nobody would have stopped it, and it would have "
        "written into its neighbour's memory.\n\n"
        "And select's sets are both question and answer, so they are filled anew for each call.",
        ko="벽은 지켜보는 개수가 아니라 디스크립터 번호에 있다. 파일 1,100개를 연 프로세스는 select로 단 하나도 더 "
        "지켜볼 수 없다. 커널의 어떤 한도도 이 벽을 옮기지 못한다. 서버는 자기 벽을 알고, 서비스할 수 없는 "
        "클라이언트를 돌려보내야 한다. C라면 아무도 막지 않아 이웃한 메모리에 썼을 것이다.\n\n"
        "또한 select의 집합은 질문이면서 답이므로 호출할 때마다 다시 채워야 한다.",
    ),
    prediction=Choice(
        ask=Text(
            en="A process may open 8,192 files. It has 1,100 open, and asks select about descriptor 1,050 alone. What "
            "happens in C?",
            ko="어떤 프로세스는 파일을 8,192개까지 열 수 있다. 1,100개를 연 상태에서 디스크립터 1,050 하나만 select에 "
            "묻는다. C에서는 어떻게 될까?",
        ),
        answers=(
            Text(en="it works: only one descriptor is watched", ko="된다: 지켜보는 디스크립터는 하나뿐이다"),
            Text(en="it works: the limit on open files is 8,192", ko="된다: 열 수 있는 파일의 한도가 8,192이다"),
            Text(en="select answers EBADF", ko="select가 EBADF로 답한다"),
            Text(en="FD_SET writes past the end of the set", ko="FD_SET이 집합의 끝을 넘어 쓴다"),
        ),
        right=3,
    ),
    run=run,
    parameters={"clients": Parameter(1040, 1030, 4000, "", "clients of the two servers")},
)
