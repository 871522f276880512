"""With one client after the other the last one waits for all others; served at once, nobody waits for anybody."""

from dataclasses import dataclass
from itertools import pairwise

from forklab.harness import Hand, Number, Parameter, Pod, Scenario, Stage, Text, Words, charts
from forklab.observe import Snapshot

SERIAL = "iterative"
OWN_PROCESS = ("fork", "prefork")
LOOPS = ("select", "poll", "epoll")
MODELS = (*OWN_PROCESS, "thread", *LOOPS)
COMPANY = 4
"""Clients who come while the server computes for another one."""
TRIES = 3
"""A wait that was too long may have been the machine's; one that is too long each time was the server's."""
SHARE = 0.1
"""Of the longest wait under `iterative`: above it, a client of a concurrent server has waited for others."""
WAITING, SERVICE = "waits", "is served"


@dataclass(frozen=True)
class Visit:
    """One client: when it came, when its answer began, when it left, in seconds."""

    came: float
    answered: float
    left: float

    @property
    def wait(self) -> float:
        """From connecting to the first byte of the answer."""
        return self.answered - self.came


def run(stage: Stage) -> str:
    """All clients come together: to each model, and, while it computes for another client, once more."""
    clients = stage["clients"]
    visits: dict[str, list[Visit]] = {}
    computed: dict[str, list[Visit]] = {}
    with stage.client_alone() as hand:
        for model in (SERIAL, *(each for each in stage["models"] if each != SERIAL)):
            with stage.server(hand, model, "compute", f"--max-connections {clients + 1}") as server:
                if model == "prefork":
                    stage.until(lambda pod=server: len(pod.snapshot(()).processes) > clients)  # type: ignore[misc]
                if model == SERIAL:
                    visits[model] = in_turn(stage, hand, server)
                else:
                    visits[model] = together(stage, hand, model, limit=SHARE * longest(visits[SERIAL]))
                computed[model] = while_computing(stage, hand, model)
    figures(stage, visits, computed)
    last = longest(visits[SERIAL])
    return (
        f"{SERIAL}: the last of {clients} clients waited {last:.2f} s, {last / stage['service']:.1f} service times; "
        f"served at once, nobody waited longer than {1000 * max(map(longest, others(visits))):.0f} ms"
    )


def in_turn(stage: Stage, hand: Hand, server: Pod) -> list[Visit]:
    """Send the clients to the serial server, and look at its queue meanwhile."""
    clients, service = stage["clients"], stage["service"]
    answer = hand.begin("visits", clients, service)
    stage.evidence(queue(server.snapshot()))
    found = [Visit(*row) for row in answer()]
    say(stage, SERIAL, found)
    ordered = sorted(found, key=lambda visit: visit.answered)
    overlaps = sum(later.answered < earlier.left for earlier, later in pairwise(ordered))
    stage.expect(not overlaps, f"{SERIAL} answers nobody before the client in front has left; {overlaps} were answered")
    stage.expect(
        longest(found) >= (clients - 1) * service,
        f"the last of {clients} clients waits for {clients - 1} service times; it waited {longest(found):.2f} s",
    )
    return found


def together(stage: Stage, hand: Hand, model: str, limit: float) -> list[Visit]:
    """Send the clients to a server that serves them at once."""
    for _ in range(TRIES):
        found = [Visit(*row) for row in hand.visits(stage["clients"], stage["service"])]
        if longest(found) < limit:
            break
    say(stage, model, found)
    stage.expect(
        longest(found) < limit,
        f"{model} lets nobody wait for the others: under {limit:.2f} s, a tenth of the longest wait under {SERIAL}; "
        f"one waited {longest(found):.2f} s",
    )
    return found


def while_computing(stage: Stage, hand: Hand, model: str) -> list[Visit]:
    """Have the server compute for one client, and send others when it has begun; those others."""
    first, *rest = (Visit(*row) for row in hand.visits(COMPANY, 0, f"compute {stage['compute']}"))
    before = sum(visit.answered < first.left for visit in rest)
    stage.evidence(
        f"{model} computes from {first.answered:.3f} s to {first.left:.3f} s; who came meanwhile was answered at "
        + ", ".join(f"{visit.answered:.3f}" for visit in rest)
    )
    if model in (SERIAL, *LOOPS):
        stage.expect(before == 0, f"while {model} computes for one client, nobody is answered; {before} were")
    else:
        wanted = COMPANY if model in OWN_PROCESS else 1
        claim = f"{model} answers others while it computes for one client; {before} of {COMPANY} were answered in time"
        stage.expect(before >= wanted, claim)
    return rest


def longest(visits: list[Visit]) -> float:
    """The longest wait, in seconds."""
    return max(visit.wait for visit in visits)


def others(visits: dict[str, list[Visit]]) -> list[list[Visit]]:
    """Those of the concurrent models."""
    return [found for model, found in visits.items() if model != SERIAL]


def queue(seen: Snapshot) -> str:
    """Who is served and who is not, as the kernel has it at that moment."""
    connections = seen.established()
    served = [each for each in connections if each.inode]
    queued = next((each.backlog for each in seen.sockets if each.state == "LISTEN"), None)
    pids = ", ".join(f"PID {process.pid} {process.state}" for process in seen.processes)
    return (
        f"{SERIAL}, meanwhile: {pids}; {len(served)} of {len(connections)} connections has a process, the others have "
        f"inode 0: {queued} in the accept queue"
    )


def say(stage: Stage, model: str, visits: list[Visit]) -> None:
    """Show the waits of a model's clients."""
    waits = sorted(visit.wait for visit in visits)
    stage.evidence(
        f"{model}: from connect to the first byte {1000 * waits[0]:.1f} ms at best, {1000 * waits[-1]:.1f} ms at worst"
    )


def figures(stage: Stage, visits: dict[str, list[Visit]], computed: dict[str, list[Visit]]) -> None:
    """Keep what was measured, and draw it."""
    last = longest(visits[SERIAL])
    stage.measure(
        clients=stage["clients"],
        service_s=stage["service"],
        last_wait_s=round(last, 3),
        last_wait_in_services=round(last / stage["service"], 2),
        longest_wait_ms={model: round(1000 * longest(found), 2) for model, found in visits.items()},
        longest_wait_while_computing_s={model: round(longest(found), 3) for model, found in computed.items()},
    )
    spans = [
        charts.Span(model, number, begin, end, what)
        for model, found in visits.items()
        for number, one in enumerate(found)
        for begin, end, what in ((one.came, one.answered, WAITING), (one.answered, one.left, SERVICE))
    ]
    stage.draw(
        "A staircase under iterative; under every other model all are served at once",
        lambda: charts.staircase(spans, {WAITING: charts.ORANGE, SERVICE: charts.BLUE}, "clients, first on top"),
        f"Each row is a client: it connects at the left, waits, and is served for {stage['service']:g} s.",
    )
    waits = {model: [one.wait for one in found] for model, found in computed.items()}
    kinds = {
        model: "one process for all" if model in (SERIAL, *LOOPS) else "a process or thread each" for model in waits
    }
    stage.draw(
        "Who waits while the server computes for somebody else",
        lambda: charts.spreads(waits, "seconds from connect to the first byte", kinds=kinds),
        f"One client has the server compute for {stage['compute']:g} s of processor time; {COMPANY} more come when "
        "it has begun. The bar is the median wait, the line goes from the shortest to the longest.",
    )


SCENARIO = Scenario(
    question=Text(
        en="First come, first served, or all at once: how long does each client wait?",
        ko="온 순서대로 한 명씩 서비스할 때와 모두 동시에 서비스할 때, 각 클라이언트는 얼마나 기다릴까?",
    ),
    expectation=Text(
        en="With `iterative`, client N waits for the N-1 before it: the kernel completes each handshake and keeps the "
        "connection in the listener's accept queue, until the one process calls accept again. So the last of 20 "
        "clients waits 19 service times. If each client has a process or a thread, or one process sleeps on all "
        "connections at once, nobody waits for anybody else: the waits are a flat line near zero.\n\n"
        "That holds while the service waits. When it computes, an event loop (`select`, `poll`, `epoll`) stands "
        "still, for it has one thread, and that is busy: everybody waits for the computation. Processes are put aside "
        "by the kernel after a few milliseconds, so others are answered, on one processor too. So are threads, but "
        "CPython's lock lets only one of them run Python code at a time and hands it on every 5 ms, so they answer "
        "later.",
        ko="`iterative`에서는 N번째 클라이언트가 앞의 N-1명을 기다린다. 커널이 3-way 핸드셰이크를 끝내고 연결을 "
        "리스너의 accept 큐에 넣어 두지만, 하나뿐인 프로세스가 다시 accept를 호출해야 서비스가 시작된다. 따라서 20명 "
        "중 마지막 클라이언트는 서비스 시간의 19배를 기다린다. 클라이언트마다 프로세스나 스레드가 있거나, 한 "
        "프로세스가 모든 연결을 한꺼번에 기다리면 서로를 기다리지 않으므로 대기 시간은 0에 가까운 평평한 선이 "
        "된다.\n\n"
        "이것은 서비스가 기다리는 동안에만 그렇다. 서비스가 계산을 하면 이벤트 루프(`select`, `poll`, `epoll`)는 "
        "멈춘다. 스레드가 하나뿐이고 그 스레드가 바쁘기 때문에 모두가 계산이 끝나기를 기다린다. 프로세스는 커널이 몇 "
        "밀리초마다 교대시키므로 프로세서가 하나여도 다른 클라이언트가 응답을 받는다. 스레드도 그렇지만 CPython의 "
        "락(GIL)은 한 번에 한 스레드만 파이썬 코드를 실행하게 하고 5 ms마다 넘겨주므로 응답이 더 늦다.",
    ),
    source="listen(2), accept(2), select(2), epoll(7), sched(7); UNP 1.5, 6.2 and 30; TLPI 60.1 and 63.1",
    explanation=Text(
        en="A client of the serial server is connected at once and served late: connect() says nothing about service. "
        "Which model you need depends on what your service does while it serves. If it waits, for the client, a disk "
        "or a database, one event loop serves thousands. If it computes, one process per processor is needed, and an "
        "event loop has to hand the work to others.\n\n"
        "A server that answers within the time of one system call looks concurrent even when it is serial. Test it "
        "with a client that holds its connection.",
        ko="순차 서버의 클라이언트는 곧바로 연결되지만 서비스는 늦게 받는다. connect()의 성공은 서비스를 받고 있다는 "
        "뜻이 아니다. 어떤 모델이 필요한지는 서비스가 그동안 무엇을 하는지에 달려 있다. 클라이언트, 디스크, "
        "데이터베이스를 기다린다면 이벤트 루프 하나로 수천 명을 서비스할 수 있다. 계산을 한다면 프로세서마다 "
        "프로세스가 필요하고, 이벤트 루프는 그 일을 다른 프로세스에 맡겨야 한다.\n\n"
        "시스템 콜 한 번의 시간에 응답하는 서버는 순차 서버여도 동시 서버처럼 보인다. 연결을 붙잡고 있는 클라이언트로 "
        "시험해 보라.",
    ),
    prediction=Number(
        ask=Text(
            en="20 clients come together, and each keeps its connection for 0.1 s once it is answered (or as many, "
            "and for as long, as you chose). How many seconds does the last one wait for its first byte under "
            "`iterative`?",
            ko="클라이언트 20명이 동시에 와서 응답을 받은 뒤 각각 0.1초 동안 연결을 유지한다(직접 고른 값이 있으면 그 "
            "값). `iterative`에서 마지막 클라이언트는 첫 바이트를 받기까지 몇 초를 기다릴까?",
        ),
        key="last_wait_s",
        unit="s",
    ),
    run=run,
    parameters={
        "clients": Parameter(20, 10, 100, "", "how many clients come together"),
        "service": Parameter(0.1, 0.1, 2.0, "s", "how long each keeps its connection"),
        "compute": Parameter(0.3, 0.2, 5.0, "s", "processor time that one client asks for in the second part"),
        "models": Words(MODELS, (SERIAL, *MODELS), "what is compared with iterative"),
    },
)
