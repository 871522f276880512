"""Five children end at once and the kernel says it once: waiting once leaves four zombies, waiting in a loop none."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from forklab.harness import Number, Parameter, Scenario, Stage, Text
from forklab.harness.reading import row, seen
from forklab.harness.stage import Pod
from forklab.observe import Process, Snapshot

ONCE, LOOP = "wait_once", "wait_in_a_loop"
"""The handlers of demos/reap_burst.py, and the names of the processes that have them."""

_RESTS = "all-at-rest"
"""The name that the program takes while every parent has handled what it was sent (PR_SET_NAME(2const))."""

_PROGRAM = """
import pathlib, signal
from demos.reap_burst import Family, wait_in_a_loop, wait_once

def name(word):
    pathlib.Path("/proc/self/comm").write_text(word)

signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
lasting = []
for handler in (wait_once, wait_in_a_loop):
    for _ in range({runs}):
        family = Family(handler, {children})
        family.end_children()
        family.ask()
    lasting.append(Family(handler, {children}))
while True:
    name("{rests}")
    signal.sigwait([signal.SIGUSR1])
    name("asks")
    for family in lasting:
        family.ask()
"""
"""For each handler: families whose children simply end together, then one whose children live on; SIGUSR1 asks those
whether they have handled what they were sent."""

_COME_SECONDS = 90
"""For some 700 processes to come and go, on a machine that is busy with something else."""


def run(stage: Stage) -> str:
    """Count what each handler leaves when children simply end; then stop two parents and kill their children."""
    children, runs = stage["children"], stage["runs"]
    program = _PROGRAM.format(children=children, runs=runs, rests=_RESTS)
    with stage.pod("-c", program, pids=2 * (runs + 1) * (children + 1) + 20) as pod:
        first = seen(stage, pod, _rests, ("signals",), _COME_SECONDS)
        if not _rests(first):
            stage.inconclusive("not all families of processes had come and ended in time")
        spread = {name: _spread(first, name, children) for name in (ONCE, LOOP)}
        left = _provoke(stage, pod, first, children)

    naive = spread[ONCE]
    stage.measure(
        children=children,
        runs=runs,
        provoked_once=left[ONCE],
        provoked_loop=left[LOOP],
        once_by_chance={str(zombies): times for zombies, times in sorted(naive.items())},
        loop_by_chance={str(zombies): times for zombies, times in sorted(spread[LOOP].items())},
    )
    for name, counts in spread.items():
        times = ", ".join(f"{zombies} left in {n}" for zombies, n in sorted(counts.items()))
        stage.evidence(f"{name}, {children} children simply end together, {runs} runs: {times}")
    stage.draw(
        "How many zombies a handler leaves: by chance, and for certain",
        lambda: _chart(spread, left, children, runs),
        "Bars: runs in which children simply ended together. Diamonds: the parent was stopped until all were dead.",
    )
    stage.expect(
        left[ONCE] == children - 1,
        f"one SIGCHLD stands for {children} children: waiting once leaves {children - 1} zombies; found {left[ONCE]}",
    )
    stage.expect(
        left[LOOP] == 0 and set(spread[LOOP]) == {0},
        f"waiting in a loop leaves no zombie; found {left[LOOP]}, and {max(spread[LOOP])} in one of {runs} runs",
    )
    return (
        f"stopped until all {children} were dead, waiting once left exactly {left[ONCE]}, the loop 0; by chance "
        f"waiting once left {min(naive)} to {max(naive)} in {runs} runs, the loop 0"
    )


def _provoke(stage: Stage, pod: Pod, first: Snapshot, children: int) -> dict[str, int]:
    """Stop the parents whose children live, kill the children, let the parents go on; the zombies each then has."""
    parents = {name: _waiting(first, name, children) for name in (ONCE, LOOP)}
    pids = [parent.pid for parent in parents.values()]
    program = parents[ONCE].ppid
    young = [process.pid for process in first.processes if process.ppid in pids]
    pod.signal(pids[0], "STOP", pids[1])
    pod.signal(young[0], "KILL", *young[1:])

    def dead(look: Snapshot) -> bool:
        told = [found for pid in pids if (found := look.process(pid)) and "SIGCHLD" in (found.pending or ())]
        return len(told) == 2 and sum(process.ppid in pids for process in look.zombies()) == len(young)

    stopped = seen(stage, pod, dead, ("signals",))
    if not dead(stopped) or any(process.state != "T" for process in stopped.processes if process.pid in pids):
        stage.inconclusive("the parents did not stay stopped until all of their children were dead")
    _show(stage, stopped, parents, "stopped")
    pod.signal(program, "USR1")
    asks = seen(stage, pod, lambda look: not _rests(look))
    if _rests(asks):
        stage.inconclusive("the program did not ask its parents")
    pod.signal(pids[0], "CONT", pids[1])
    after = seen(stage, pod, _rests, ("signals",))
    if not _rests(after):
        stage.inconclusive("a parent did not come to rest after SIGCONT")
    _show(stage, after, parents, "continued")
    return {name: sum(process.ppid == parent.pid for process in after.zombies()) for name, parent in parents.items()}


def _show(stage: Stage, look: Snapshot, parents: Mapping[str, Process], when: str) -> None:
    """Each parent, and one line for its zombies."""
    for parent in parents.values():
        now = look.process(parent.pid)
        if now is None:
            stage.inconclusive(f"the parent {parent.pid} has ended")
        pending = f"  pending: {' '.join(now.pending or ()) or 'nothing'}"
        zombies = [str(process.pid) for process in look.zombies() if process.ppid == parent.pid]
        there = f"{len(zombies)} children in state Z: {' '.join(zombies)}" if zombies else "no child in state Z"
        stage.evidence(f"{when}: {row(now)}{pending}; {there}")


def _parents(look: Snapshot, name: str) -> list[Process]:
    """The parents with a handler; their children have the same name, and another parent."""
    return [process for process in look.processes if process.name == name and process.ppid == look.server]


def _living(look: Snapshot, parent: Process) -> int:
    return sum(process.ppid == parent.pid and process.state != "Z" for process in look.processes)


def _waiting(look: Snapshot, name: str, children: int) -> Process:
    """The one parent with a handler whose children live."""
    return next(parent for parent in _parents(look, name) if _living(look, parent) == children)


def _rests(look: Snapshot) -> bool:
    """Every parent has answered that it has handled what it was sent."""
    return any(process.pid == look.server and process.name == _RESTS for process in look.processes)


def _spread(look: Snapshot, name: str, children: int) -> Counter[int]:
    """How many families of a kind have how many zombies, of those whose children have ended."""
    families = [parent.pid for parent in _parents(look, name) if _living(look, parent) != children]
    zombies = Counter(process.ppid for process in look.zombies())
    return Counter(zombies[pid] for pid in families)


def _chart(spread: Mapping[str, Counter[int]], left: Mapping[str, int], children: int, runs: int) -> Any:
    import altair as alt

    from forklab.harness.charts import BLUE, INK, ORANGE, WIDTH

    words = {ONCE: "waits once", LOOP: "waits in a loop"}
    rows = [
        {"handler": words[name], "zombies": zombies, "runs": counts[zombies]}
        for name, counts in spread.items()
        for zombies in range(children + 1)
    ]
    certain = [{"handler": words[name], "zombies": zombies, "at": runs * 1.13} for name, zombies in left.items()]
    label = [row | {"words": "parent stopped"} for row in certain]
    colours = alt.Scale(domain=list(words.values()), range=[ORANGE, BLUE])
    x = alt.X("zombies:O", axis=alt.Axis(title=f"zombies left of {children} children", labelAngle=0))
    base = alt.Chart(width=WIDTH - 60, height=110)
    bars = base.mark_bar(size=22).encode(
        x=x,
        y=alt.Y(
            "runs:Q", axis=alt.Axis(title=f"of {runs} runs", tickCount=4), scale=alt.Scale(domain=[0, runs * 1.25])
        ),
        color=alt.Color("handler:N", scale=colours, legend=None),
    )
    points = base.mark_point(shape="diamond", filled=True, size=110, color=INK, opacity=1).encode(x=x, y="at:Q")
    side = alt.ExprRef("datum.zombies > 1 ? 'right' : 'left'")  # where there is room
    shift = alt.ExprRef("datum.zombies > 1 ? -9 : 9")
    text = base.mark_text(align=side, dx=shift, color=INK).encode(x=x, y="at:Q", text="words:N")
    layers = alt.layer(
        bars.transform_filter("isValid(datum.runs)"),
        points.transform_filter("isValid(datum.at)"),
        text.transform_filter("isValid(datum.words)"),
        data=alt.InlineData(values=[*rows, *label]),
    )
    header = alt.Header(title=None, labelFontSize=12, labelFontWeight="bold", labelAnchor="start", labelOrient="top")
    rows_of = alt.Row("handler:N", sort=list(words.values()), header=header)
    style = layers.facet(row=rows_of, spacing=14).configure(background="white", font="Arial, Helvetica, sans-serif")
    return style.configure_axis(titleFontWeight="normal").configure_view(stroke=None)


SCENARIO = Scenario(
    question=Text(
        en="What if five children end at once: does a handler that waits once do, or must it loop?",
        ko="자식 다섯이 한꺼번에 끝나면, 핸들러가 wait를 한 번만 불러도 될까, 아니면 반복해야 할까?",
    ),
    expectation=Text(
        en="A pending signal is a flag, not a queue: while a SIGCHLD is pending, a further one adds nothing. When "
        "the parent is stopped until all N children are dead, exactly one SIGCHLD waits for it. A handler that "
        "waits once then takes one status, and N-1 zombies stay for good; one that calls waitpid(-1, WNOHANG) "
        "until nothing is left takes them all.\n\n"
        "When children simply end together, it is chance: how many are left depends on how often the parent "
        "gets to run its handler in between. Books that print one number for this show one run on one machine.",
        ko="보류 중인 시그널은 큐가 아니라 플래그다. SIGCHLD가 이미 보류 중이면 또 와도 더해지지 않는다. 자식 "
        "N개가 모두 끝날 때까지 부모가 정지해 있었다면 부모를 기다리는 SIGCHLD는 정확히 하나다. wait를 한 번만 "
        "부르는 핸들러는 종료 상태 하나만 거두고 좀비 N-1개가 계속 남는다. waitpid(-1, WNOHANG)을 더 남은 것이 "
        "없을 때까지 부르는 핸들러는 모두 거둔다.\n\n"
        "자식들이 그냥 함께 끝날 때는 우연에 달렸다. 그 사이에 부모가 핸들러를 몇 번 실행하느냐에 따라 남는 "
        "수가 달라진다. 이 경우에 숫자 하나를 적어 둔 책은 어느 한 컴퓨터에서 한 번 실행한 결과를 보여 주는 "
        "것이다.",
    ),
    source="signal(7), wait(2), waitpid(2); POSIX.1-2017 XSH 2.4.1; UNP 5.10; TLPI 20.10 and 26.3.1",
    explanation=Text(
        en="The lines show the same two parents twice: stopped, with all children dead and one SIGCHLD pending, "
        "then continued. The one that waits once has reaped one child and will never be told of the others: "
        "their signals have been merged into that one.\n\n"
        "The bars show why this mistake survives tests: how many are left differs from run to run, and "
        "children that end one after the other leave none. So wait in a loop, `while waitpid(-1, &status, "
        "WNOHANG) > 0`, whatever a test has shown. And to test it, stop the parent first.",
        ko="같은 두 부모가 두 번 나온다. 먼저 정지된 모습으로, 자식은 모두 죽었고 SIGCHLD 하나가 보류 중이다. "
        "다음은 다시 실행된 뒤다. 한 번만 wait한 부모는 자식 하나를 거두었고, 나머지에 대해서는 다시는 알림을 "
        "받지 못한다. 그 시그널들은 이미 하나로 합쳐졌기 때문이다.\n\n"
        "막대는 이 실수가 왜 테스트를 통과하는지 보여 준다. 남는 수는 실행할 때마다 다르고, 자식들이 하나씩 "
        "차례로 끝나면 하나도 남지 않는다. 그러니 테스트 결과가 어떻든 `while waitpid(-1, &status, WNOHANG) > "
        "0`처럼 반복해서 wait하자. 그리고 시험하려면 부모부터 정지시키자.",
    ),
    prediction=Number(
        ask=Text(
            en="Five children (or as many as you choose) end while their parent is stopped. Then it goes on, and "
            "its SIGCHLD handler calls waitpid once. How many zombies stay?",
            ko="부모가 정지해 있는 동안 자식 다섯(직접 고른 값이 있으면 그 수)이 끝난다. 그 뒤 부모가 다시 "
            "실행되고 SIGCHLD 핸들러는 waitpid를 한 번만 부른다. 좀비는 몇 개 남을까?",
        ),
        key="provoked_once",
        unit="zombies",
    ),
    run=run,
    parameters={
        "children": Parameter(5, 2, 10, "", "children of each parent"),
        "runs": Parameter(50, 5, 60, "", "times that children simply end together, for each handler"),
    },
)
