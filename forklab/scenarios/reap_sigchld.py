"""A SIGCHLD handler waits for each child that ends, and no zombie stays."""

import re

from forklab.harness import Choice, Parameter, Scenario, Stage, Text
from forklab.harness.reading import calls, end, family, line, zombie_ms
from forklab.timeline.model import Event, Lane, Timeline


def run(stage: Stage) -> str:
    """Record a parent whose children end first without a handler, then with one."""
    codes = list(range(11, 11 + stage["children"]))
    program = stage.demo("reap-sigchld", CODES=codes)
    timeline = program.timeline
    parent, children = family(timeline)
    for each in program.said.splitlines():
        stage.says(each)
    installed = next(iter(calls(timeline, parent, "rt_sigaction(SIGCHLD, {sa_handler=0x")), None)
    if installed is None or len(children) != 2 * len(codes):
        stage.inconclusive(
            f"the parent did not fork {len(codes)} children before it had a handler and {len(codes)} after"
        )
    before = [child for child in children if child.born < installed.time]
    after = [child for child in children if child.born > installed.time]
    for child in before:
        stage.evidence(f"without a handler: {end(child)}")
    stage.evidence(line(timeline, installed))
    reaps = {child.pid: _reap(timeline, parent, child) for child in after}
    for child in after:
        stage.evidence(f"with the handler:  {end(child)}")
        if event := reaps[child.pid]:
            stage.evidence(line(timeline, event))
    stage.timeline("Zombies without a handler, and with one", timeline)

    stage.measure(
        children=len(codes),
        longest_zombie_without_ms=max(map(zombie_ms, before)),
        longest_zombie_with_ms=max(map(zombie_ms, after)),
    )
    # All of the first were dead at once: each was left alone although the kernel had told its parent.
    last = max(child.ended or 0 for child in before)
    stage.expect(
        all((child.reaped or timeline.length) > last for child in before),
        "without a handler each child that has ended stays a zombie",
    )
    left = [child.pid for child in after if not reaps[child.pid]]
    stage.measure(zombies_left=len(left))
    stage.expect(not left, f"the handler waits for each child; PID {', '.join(map(str, left))} was left a zombie")
    told = [_code(reaps[child.pid]) for child in after]
    stage.measure(exit_codes=told)
    stage.expect(told == codes, "the handler gets each child's own exit code")
    return f"{len(before)} zombies without a handler, none left with it, and every exit code was delivered"


def _reap(timeline: Timeline, parent: Lane, child: Lane) -> Event | None:
    """The call by which the handler took the child's status: with WNOHANG, for the parent has other work."""
    told = [e.time for e in timeline.events if e.lane == parent.id and e.kind == "signal" and "SIGCHLD" in e.call]
    for event in calls(timeline, parent, "wait4"):
        mine = event.kind == "reap" and event.fields.get("child") == child.id and "WNOHANG" in event.call
        if mine and any(child.born < time < event.time for time in told):
            return event
    return None


def _code(event: Event | None) -> int | None:
    found = re.search(r"WEXITSTATUS\(s\) == (\d+)", event.call) if event else None
    return int(found[1]) if found else None


SCENARIO = Scenario(
    question=Text(en="How does a SIGCHLD handler end zombies?", ko="SIGCHLD 핸들러는 어떻게 좀비를 없앨까?"),
    expectation=Text(
        en="When a child ends, the kernel sends its parent SIGCHLD. The default is to do nothing, so the child "
        "stays a zombie until the parent happens to wait. A handler that calls `waitpid` takes the exit status "
        "at that moment, and the zombie is gone, while the parent goes on with its own work. It must call "
        "`waitpid` with `WNOHANG` until nothing is left, for one pending SIGCHLD may stand for several "
        "children.",
        ko="자식이 끝나면 커널은 부모에게 SIGCHLD를 보낸다. 기본 동작은 아무것도 하지 않는 것이라서, 부모가 "
        "wait할 때까지 자식은 좀비로 남는다. 핸들러가 `waitpid`를 부르면 그 자리에서 종료 상태를 거두고 좀비는 "
        "사라진다. 그동안 부모는 자기 일을 계속한다. 보류된 SIGCHLD 하나가 여러 자식을 뜻할 수 있으므로, "
        "`WNOHANG`으로 더 남은 것이 없을 때까지 `waitpid`를 불러야 한다.",
    ),
    source="wait(2), signal(7), sigaction(2) SA_NOCLDWAIT; TLPI 26.3; UNP 5.8 and 5.9",
    explanation=Text(
        en="Compare the two groups. Without a handler the children were zombies until the parent came to wait for "
        "them; with one only for the time that a signal takes. The `wait4` lines with WNOHANG are the "
        "handler's, and hold the exit codes.\n\n"
        "Install the handler before the first fork: a child may end before `fork` has returned in the parent. "
        "Ignoring SIGCHLD (`SIG_IGN`) removes zombies too, but throws the exit statuses away, and `wait` then "
        "fails with ECHILD.",
        ko="두 그룹을 비교해 보자. 핸들러가 없을 때 자식들은 부모가 wait하러 올 때까지 좀비였고, 핸들러가 있을 "
        "때는 시그널이 전달되는 동안만 좀비였다. WNOHANG이 있는 `wait4` 줄이 핸들러가 부른 것이며, 종료 코드가 "
        "들어 있다.\n\n"
        "핸들러는 첫 fork보다 먼저 등록해야 한다. 부모에서 `fork`가 반환되기도 전에 자식이 끝날 수 있기 "
        "때문이다. SIGCHLD를 무시해도(`SIG_IGN`) 좀비는 사라지지만, 종료 상태도 버려지고 `wait`는 ECHILD로 "
        "실패한다.",
    ),
    prediction=Choice(
        ask=Text(
            en="A parent has no handler for SIGCHLD and never waits. Its child ends. What does the kernel do with "
            "the SIGCHLD?",
            ko="부모는 SIGCHLD 핸들러가 없고 wait도 하지 않는다. 자식이 끝나면 커널은 SIGCHLD를 어떻게 할까?",
        ),
        answers=(
            Text(
                en="it is ignored by default, and the zombie goes away by itself",
                ko="기본 동작이 무시이므로 좀비도 저절로 사라진다",
            ),
            Text(
                en="it is ignored by default, and the child stays a zombie",
                ko="기본 동작이 무시이므로 자식은 좀비로 남는다",
            ),
            Text(en="it ends the parent", ko="부모를 종료시킨다"),
            Text(en="it is kept pending until the parent waits", ko="부모가 wait할 때까지 보류해 둔다"),
        ),
        right=1,
    ),
    run=run,
    parameters={"children": Parameter(3, 1, 12, "", "children that end, without the handler and with it")},
)
