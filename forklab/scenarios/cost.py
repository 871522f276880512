"""A process for each connection costs most: memory, processor time and delay; an entry in an event loop least."""

from dataclasses import dataclass, field
from functools import partial

from forklab.harness import Choice, Hand, Parameter, Pod, Scenario, Stage, Text, Words, charts
from forklab.harness.median import median
from forklab.observe import Snapshot

STARTS = "fork"
"""The model that makes a process when a client has come."""
AHEAD = ("prefork", "select", "poll", "epoll")
"""Those that make nothing then: whoever serves is there already."""
MODELS = (STARTS, "prefork", "thread", "select", "poll", "epoll")
AT_LEAST = 1.5
"""Times as much processor time and memory as the others: that `fork` costs more is no chance of one run."""
PICTURES = (
    ("memory_kib", "Memory for one more connection", "KiB (PSS)", False),
    ("cpu_us", "Processor time for a connection, in all processes of the server", "microseconds", False),
    ("start_ms", "From connect to the first byte, one client after the other", "ms", True),
)
WARM = 20
"""Clients before those that count."""


@dataclass
class Costs:
    """What one model costs. Samples, one a round, but for ``start_ms``: one a connection."""

    idle_kib: float = 0.0
    memory_kib: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)
    start_ms: list[float] = field(default_factory=list)


def run(stage: Stage) -> str:
    """Measure each model in a server of its own, round by round."""
    costs: dict[str, Costs] = {}
    most = stage["held"] * stage["rounds"]
    with stage.client_alone() as hand:
        for model in dict.fromkeys((STARTS, *stage["models"])):
            with stage.server(hand, model, options=f"--max-connections {most}") as server:
                costs[model] = measure(stage, hand, server, processes=1 + most * (model == "prefork"))
                say(stage, model, costs[model])
    keep(stage, costs)
    judge(stage, costs)
    other = min(costs, key=lambda model: median(costs[model].cpu_us))
    fork, least = costs[STARTS], costs[other]
    return (
        f"a connection costs {STARTS} {median(fork.memory_kib):.0f} KiB and {median(fork.cpu_us):.0f} us of processor "
        f"time, {other} {median(least.memory_kib):.0f} KiB and {median(least.cpu_us):.0f} us"
    )


def measure(stage: Stage, hand: Hand, server: Pod, processes: int) -> Costs:
    """One model: clients that come and go, then clients that stay. ``processes`` are there with nobody connected."""
    count, held = stage["connections"], stage["held"]
    found = Costs()
    hand.arrivals(WARM)
    for _ in range(stage["rounds"]):
        before = server.cpu()
        found.start_ms += [1000 * seconds for seconds in hand.arrivals(count)]
        found.cpu_us.append((server.cpu() - before) / count * 1e6)

    def alone() -> Snapshot | None:
        seen = server.snapshot(("memory",))
        return seen if len(seen.processes) == processes and not seen.established() else None

    seen = stage.until(alone)
    if seen is None:
        stage.inconclusive("the processes of clients that have left have not ended: this machine is too busy")
    taken = found.idle_kib = memory(stage, seen)
    for _ in range(stage["rounds"]):
        hand.open(held, "x")
        now = memory(stage, server.snapshot(("memory",)))
        found.memory_kib.append((now - taken) / held)
        taken = now
    return found


def memory(stage: Stage, seen: Snapshot) -> float:
    """PSS of all its processes together, in KiB: a page that several share is counted once."""
    sizes = [process.pss_kib for process in seen.processes]
    if None in sizes:
        stage.inconclusive("this kernel does not tell PSS: /proc/PID/smaps_rollup came with Linux 4.14")
    return float(sum(size or 0 for size in sizes))


def judge(stage: Stage, costs: dict[str, Costs]) -> None:
    """What theory says of them, by medians of one run.

    The delay is shown and not judged: how soon a new process runs is up to whoever else wants the processors.
    """
    fork = costs[STARTS]
    pool = max(costs, key=lambda model: costs[model].idle_kib)
    if "prefork" in costs:
        stage.expect(pool == "prefork", f"with nobody there prefork takes the most memory; {pool} takes more")
    for model, other in costs.items():
        if model == STARTS:
            continue
        if model != "prefork":  # it has paid before; only what a worker's first client makes it copy comes now
            ratio = median(fork.memory_kib) / max(median(other.memory_kib), 0.1)
            stage.expect(ratio >= AT_LEAST, f"a connection costs {STARTS} more memory than {model}: {ratio:.1f} times")
        if model in AHEAD:
            ratio = median(fork.cpu_us) / median(other.cpu_us)
            stage.expect(
                ratio >= AT_LEAST, f"a connection costs {STARTS} more processor time than {model}: {ratio:.1f} times"
            )


def say(stage: Stage, model: str, costs: Costs) -> None:
    """A model's figures as a line."""
    start = sorted(costs.start_ms)
    stage.evidence(
        f"{model}: PSS {costs.idle_kib:.0f} KiB with nobody there, {median(costs.memory_kib):.1f} KiB more for each "
        f"connection; {median(costs.cpu_us):.0f} us of processor time; first byte after {start[0]:.2f} ms at best, "
        f"{median(start):.2f} ms in the middle"
    )


def keep(stage: Stage, costs: dict[str, Costs]) -> None:
    """Keep the figures, and draw them."""
    stage.measure(idle_kib={model: one.idle_kib for model, one in costs.items()})
    note = f"The middle of {stage['rounds']} rounds; the line goes from the lowest to the highest."
    for name, title, unit, log in PICTURES:
        samples = {model: getattr(one, name) for model, one in costs.items()}
        stage.measure(**{name: {model: round(median(values), 2) for model, values in samples.items()}})
        stage.draw(title, partial(charts.spreads, samples, unit, log=log), note)
    pool = {model: [one.idle_kib] for model, one in costs.items()}
    stage.draw("Memory with nobody there: a pool is paid for in advance", partial(charts.spreads, pool, "KiB (PSS)"))


SCENARIO = Scenario(
    question=Text(en="What does a connection cost in each model?", ko="연결 하나의 비용은 모델마다 얼마나 다를까?"),
    expectation=Text(
        en="`fork` pays for each client: the kernel copies the parent's page table and makes a task, each page that "
        "parent or child writes to is copied, and at the end the child is torn down and waited for. So a connection "
        "costs hundreds of KiB and a millisecond or so, and its first byte comes later. `prefork` pays the same "
        "before anybody comes, and holds the memory while nobody is there. A thread shares the memory and has a stack "
        "of its own, of which only the touched pages count. `select`, `poll` and `epoll` add a few objects to one "
        "process.",
        ko="`fork`는 클라이언트마다 비용을 치른다. 커널이 부모의 페이지 테이블을 복사해 태스크를 만들고, 부모나 "
        "자식이 쓰는 페이지는 그때 복사되며(copy-on-write), 끝나면 자식을 정리하고 wait해야 한다. 그래서 연결 하나에 "
        "수백 KiB와 1 ms 정도가 들고 첫 바이트도 늦게 온다. `prefork`는 같은 비용을 아무도 오기 전에 미리 치르고, "
        "아무도 없을 때도 메모리를 차지한다. 스레드는 메모리를 공유하고 자기 스택만 따로 가지는데, 실제로 쓴 페이지만 "
        "센다. `select`, `poll`, `epoll`은 한 프로세스에 객체 몇 개만 더한다.",
    ),
    source="fork(2) NOTES, pthreads(7), epoll(7), proc_pid_smaps(5), cgroups(7); UNP 30.5 to 30.9; TLPI 24.2.2 and "
    "28.3",
    explanation=Text(
        en="What is dear about `fork` is not the call but what follows it: page faults, the exit, the wait. That buys "
        "isolation: a child may block, leak or crash. Prefork moves the cost off the client's way, threads avoid most "
        "of it, and event loops nearly all; each gives up some of that isolation.\n\n"
        "PSS counts a page that N processes share as 1/N in each, so the sum is what the server really takes. RSS, "
        "which `ps` shows, would count shared pages N times. Neither counts what the kernel itself keeps: page "
        "tables, kernel stacks, socket buffers.",
        ko="`fork`에서 비싼 것은 호출 자체가 아니라 그 뒤에 오는 페이지 폴트, 종료, wait이다. 그 값으로 격리를 "
        "얻는다. 자식은 블록되거나 메모리를 흘리거나 죽어도 된다. prefork는 그 비용을 클라이언트가 오기 전으로 "
        "옮기고, 스레드는 대부분을, 이벤트 루프는 거의 전부를 피하지만, 각각 그만큼 격리를 포기한다.\n\n"
        "PSS는 N개의 프로세스가 공유하는 페이지를 각각 1/N로 세므로, 합이 서버가 실제로 차지하는 메모리이다. `ps`가 "
        "보여 주는 RSS는 공유 페이지를 N번 센다. 페이지 테이블, 커널 스택, 소켓 버퍼처럼 커널이 가진 것은 어느 쪽에도 "
        "들어가지 않는다.",
    ),
    prediction=Choice(
        ask=Text(
            en="Which of these makes one more client cheap, but costs the most memory while nobody is there?",
            ko="다음 중 클라이언트 한 명이 더 오는 비용은 싸지만, 아무도 없을 때 메모리를 가장 많이 쓰는 것은?",
        ),
        answers=(
            Text(
                en="fork: the parent keeps a copy for each client", ko="fork: 부모가 클라이언트마다 사본을 가지고 있다"
            ),
            Text(
                en="thread: every stack of 8 MiB is there from the start", ko="thread: 8 MiB 스택이 처음부터 모두 있다"
            ),
            Text(en="prefork: all workers are there from the start", ko="prefork: 모든 일꾼 프로세스가 처음부터 있다"),
            Text(
                en="epoll: the kernel keeps room for all clients", ko="epoll: 커널이 모든 클라이언트의 자리를 잡아 둔다"
            ),
        ),
        right=2,
    ),
    run=run,
    parameters={
        "connections": Parameter(100, 20, 2000, "", "clients of a round, one after the other"),
        "held": Parameter(10, 4, 50, "", "clients more in each round that stay, to measure memory"),
        "rounds": Parameter(3, 2, 20, "", "how often each is measured"),
        "models": Words(MODELS, MODELS, "what is compared with fork"),
    },
)
