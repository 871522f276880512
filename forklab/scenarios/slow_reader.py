"""A client that never reads blocks the server's send; only those who are served after that send suffer from it."""

from dataclasses import dataclass, field
from functools import partial

from forklab.harness import Choice, Hand, Parameter, Pod, Scenario, Stage, Text, Words, charts
from forklab.harness.median import median
from forklab.observe import Snapshot, Socket

SERIAL = "iterative"
MODELS = ("fork", "prefork", "thread", "select", "poll", "epoll")
SLOWER = 10.0
"""Times: the others' round trips beside the slow reader take as long as before; on a busy machine somewhat longer."""
GROWTH_KIB = 4096
"""One process and one full buffer more take a fifth of it. What a server keeps and cannot send passes it at once."""
TRIES = 2
"""What is slow each time is slow because of the server, and not of the machine."""
PATIENCE = 8.0
"""Seconds after which a client that ought to be answered at once gives up."""
ALONE, BESIDE = "without it", "beside it"


@dataclass
class Seen:
    """One model: round trips in ms without and beside the slow reader, and how far the server's memory grew."""

    alone: list[float] = field(default_factory=list)
    beside: list[float] = field(default_factory=list)
    growth_kib: int = 0


def run(stage: Stage) -> str:
    """Give each model a client that never reads, and see how others fare beside it."""
    seen: dict[str, Seen] = {}
    with stage.client_alone() as hand:
        hand.give_up_after(PATIENCE)
        for model in (SERIAL, *(each for each in stage["models"] if each != SERIAL)):
            with stage.server(hand, model) as server:
                seen[model] = (serial if model == SERIAL else concurrent)(stage, hand, server, model)
    keep(stage, seen)
    slower = max(median(one.beside) / median(one.alone) for model, one in seen.items() if model != SERIAL)
    return (
        f"under {SERIAL} the next client waited until the slow reader had gone; under the others a round trip took at "
        f"most {slower:.1f} times as long as without it, and no server's memory grew by more than "
        f"{max(one.growth_kib for one in seen.values())} KiB"
    )


def serial(stage: Stage, hand: Hand, server: Pod, model: str) -> Seen:
    """One client after the other: the next one waits for the slow one."""
    found = Seen(alone=alone(stage, hand))
    hand.give_up_after(60)  # this one is meant to wait, for as long as the slow reader is there
    with server.faults.held("slow-reader", seconds="60s"):
        slow = stuck(stage, server, model)
        answer = hand.begin("arrivals", 1)
        seen = stage.until(partial(queued, server)) or server.snapshot()
        waiting = [each for each in seen.established() if not each.inode]
        say(stage, model, seen, slow)
        stage.expect(bool(waiting), f"{model} leaves the next client in the accept queue while one does not read")
        stage.evidence(f"{model}: {waiting[0].remote} is {waiting[0].state}, inode 0: nobody has accepted it")
    found.beside = [1000 * each for each in answer()]
    hand.give_up_after(PATIENCE)
    return found


def concurrent(stage: Stage, hand: Hand, server: Pod, model: str) -> Seen:
    """All at once: the others do not notice."""
    found = Seen(alone=alone(stage, hand))
    before = memory(stage.until(partial(at_rest, server)) or server.snapshot(("memory",)))
    with server.faults.held("slow-reader", seconds="60s"):
        slow = stuck(stage, server, model)
        try:
            found.beside = min((alone(stage, hand) for _ in range(TRIES)), key=median)
        except OSError as error:
            stage.expect(False, f"{model} answers others beside a client that never reads; one was not: {error}")
        seen = server.snapshot(("waits", "memory"))
        say(stage, model, seen, slow)
        still = any(each.remote == slow.remote and each.tx_queue for each in seen.established())
        found.growth_kib = memory(seen) - before
    if not still:
        stage.inconclusive(f"the client that never reads had gone from {model} before the others were answered")
    slower = median(found.beside) / median(found.alone)
    stage.expect(
        slower < SLOWER, f"{model} serves others as before beside a slow reader; they took {slower:.0f} times as long"
    )
    stage.expect(
        found.growth_kib < GROWTH_KIB,
        f"{model} reads no more from a client than it can send back; its memory grew by {found.growth_kib} KiB",
    )
    return found


def alone(stage: Stage, hand: Hand) -> list[float]:
    """Round trips of one client, in ms."""
    (name,) = hand.open(1, "x\n")
    trips = [1000 * each for each in hand.round_trips(name, stage["trips"])]
    hand.close()
    return trips


def stuck(stage: Stage, server: Pod, model: str) -> Socket:
    """The connection of the slow reader, once the server cannot send on it any more."""

    def look() -> Socket | None:
        return next((each for each in server.snapshot(()).established() if each.tx_queue), None)

    found = stage.until(look)
    if found is None:
        stage.inconclusive(f"the kernel took everything that {model} sent to the client that never reads")
    return found


def queued(server: Pod) -> Snapshot | None:
    """A look at the server once somebody waits to be accepted."""
    seen = server.snapshot()
    return seen if any(not each.inode for each in seen.established()) else None


def at_rest(server: Pod) -> Snapshot | None:
    """A look at the server's memory once nobody is connected and no child is left."""
    seen = server.snapshot(("memory",))
    return seen if not seen.established() and not seen.zombies() else None


def memory(seen: Snapshot) -> int:
    """PSS of all its processes together, in KiB; the resident size where the kernel does not tell PSS."""
    return sum(process.pss_kib or process.rss_kib or 0 for process in seen.processes)


def say(stage: Stage, model: str, seen: Snapshot, slow: Socket) -> None:
    """The slow reader's connection and who holds it, as the kernel shows them."""
    now = next((each for each in seen.sockets if each.remote == slow.remote), slow)
    held = next((process for pid in now.holders if (process := seen.process(pid))), None)
    # The wait channel is the main thread's, and it is another one that sends.
    asleep = f"; PID {held.pid} {held.state} in {held.wait_channel or '?'}" if held and held.threads == 1 else ""
    stage.evidence(
        f"{model}: of {now.remote}, which never reads, {now.rx_queue} bytes are unread; to it {now.tx_queue} are unsent"
        + asleep
    )


def keep(stage: Stage, seen: dict[str, Seen]) -> None:
    """Keep what was measured, and draw it."""
    stage.measure(
        wait_beside_slow_reader_ms={model: round(median(one.beside), 3) for model, one in seen.items()},
        without_it_ms={model: round(median(one.alone), 3) for model, one in seen.items()},
        growth_kib={model: one.growth_kib for model, one in seen.items() if model != SERIAL},
    )
    samples, kinds = {}, {}
    for model, one in seen.items():
        for kind, values in ((ALONE, one.alone), (BESIDE, one.beside)):
            samples[f"{model}, {kind}"], kinds[f"{model}, {kind}"] = values, kind
    stage.draw(
        "Beside a client that never reads only the serial server's other clients wait",
        partial(charts.spreads, samples, "ms for a line there and back", kinds=kinds, log=True),
        f"{stage['trips']} round trips of one other client, the middle one in figures. Under {SERIAL} it waited until "
        "the slow reader had gone.",
    )


SCENARIO = Scenario(
    question=Text(en="Who suffers from a client that never reads?", ko="읽지 않는 클라이언트 때문에 누가 피해를 볼까?"),
    expectation=Text(
        en="What the server sends back fills the client's receive buffer and then the server's own send buffer. Then "
        "send() has no room: it puts the process to sleep, or says EAGAIN if it may not sleep. With `iterative` that "
        "one process is everybody's, so the next client stays in the accept queue until the slow one goes. With "
        "`fork`, `prefork` and `thread` somebody sleeps who serves nobody else. An event loop never sleeps in send: "
        "it waits for POLLOUT of that connection and serves the others meanwhile.\n\n"
        "No memory grows: a server that does not send does not read either, so the kernel's receive buffer fills, the "
        "window closes, and the client's own send blocks. That is backpressure.",
        ko="서버가 돌려보내는 데이터는 먼저 클라이언트의 수신 버퍼를, 그다음에는 서버 자신의 송신 버퍼를 채운다. "
        "그러면 send()는 자리가 없어 프로세스를 재우거나, 잠들면 안 되는 경우에는 EAGAIN을 돌려준다. "
        "`iterative`에서는 그 하나의 프로세스가 모두의 것이므로, 느린 클라이언트가 떠날 때까지 다음 클라이언트는 "
        "accept 큐에 머문다. `fork`, `prefork`, `thread`에서는 다른 누구도 서비스하지 않는 쪽이 잠든다. 이벤트 루프는 "
        "send에서 잠들지 않고 그 연결의 POLLOUT을 기다리면서 다른 클라이언트를 서비스한다.\n\n"
        "메모리는 늘지 않는다. 보내지 못하는 서버는 읽지도 않으므로 커널의 수신 버퍼가 차고 윈도가 닫혀, 결국 "
        "클라이언트의 send가 블록된다. 이것을 역압(backpressure)이라고 한다.",
    ),
    source="send(2), tcp(7), poll(2), RFC 9293 3.8.6; UNP 6.2, 16.2 and 30.10; TLPI 61.1 and 63.1",
    explanation=Text(
        en="One client's slowness must be its own. Give it a process or thread, or never block; and never keep in "
        "memory what you cannot send: stop reading instead. An event loop that calls a blocking send, or collects "
        "answers in a list without end, passes every test with polite clients.\n\n"
        "The slow one still costs something: a worker of a pool, a descriptor, some megabytes of the kernel's "
        "buffers. Real servers set a time limit (`--idle-timeout`).",
        ko="한 클라이언트의 느림은 그 클라이언트만의 문제여야 한다. 프로세스나 스레드를 따로 주거나 절대로 블록하지 "
        "말아야 하며, 보낼 수 없는 것을 메모리에 쌓지 말고 읽기를 멈춰야 한다. 블로킹 send를 부르거나 응답을 끝없이 "
        "리스트에 모으는 이벤트 루프도 얌전한 클라이언트만 쓰는 테스트는 모두 통과한다.\n\n"
        "느린 클라이언트에도 비용은 든다. 풀의 일꾼 하나, 디스크립터 하나, 커널 버퍼 몇 메가바이트이다. 실제 서버는 "
        "시간 제한을 둔다(`--idle-timeout`).",
    ),
    prediction=Choice(
        ask=Text(
            en="A client sends without end and never reads. Whose other clients are no longer answered?",
            ko="어떤 클라이언트가 끝없이 보내기만 하고 읽지 않는다. 어느 서버의 다른 클라이언트가 응답을 받지 못할까?",
        ),
        answers=(
            Text(en="nobody's: the kernel throws away what is not read", ko="없다: 읽지 않은 데이터는 커널이 버린다"),
            Text(
                en="those of select, poll and epoll, which have one process for all",
                ko="모두를 한 프로세스로 처리하는 select, poll, epoll의 클라이언트",
            ),
            Text(en="everybody's: the server's memory fills up", ko="모든 서버: 서버의 메모리가 가득 찬다"),
            Text(en="those of iterative alone", ko="iterative의 클라이언트뿐"),
        ),
        right=3,
    ),
    run=run,
    parameters={
        "trips": Parameter(50, 10, 5000, "", "round trips of the other client"),
        "models": Words(("fork", "thread", "epoll"), (SERIAL, *MODELS), "what is compared with iterative"),
    },
)
