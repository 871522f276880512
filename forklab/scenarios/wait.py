"""wait sleeps until a child has ended, and returns which one and how: in the order of their ends."""

import re

from forklab.harness import Choice, Parameter, Scenario, Stage, Text
from forklab.harness.reading import calls, end, ends, family, line, spans, took_ms, value


def run(stage: Stage) -> str:
    """Record a parent of two children of which the second one ends first, and only when the parent sleeps."""
    program = stage.demo("wait", CODES=(5, stage["code"]))
    timeline = program.timeline
    parent, children = family(timeline)
    for each in program.said.splitlines():
        stage.says(each)
    waits = calls(timeline, parent, "wait")
    for event in [*calls(timeline, parent, "clone"), *waits]:
        stage.evidence(line(timeline, event))
    for child in children:
        stage.evidence(end(child))
    stage.timeline("The parent sleeps in wait until a child has ended", timeline)

    ended = ends(children)
    if len(children) != 2 or len(ended) != 2 or ended[0].pid != children[1].pid:
        stage.inconclusive("the second of two children did not end first")
    stage.expect(
        spans(next(iter(waits), None), ended[0]),
        "wait sleeps until a child has ended: it is called before that and returns after it",
    )
    stage.measure(blocked_ms=took_ms(waits[0]))

    returned = [(value(event), _status(event.call)) for event in waits if (value(event) or -1) > 0]
    stage.measure(order=[pid for pid, _ in returned], exit_codes=[code for _, code in returned])
    stage.expect(
        [pid for pid, _ in returned] == [child.pid for child in ended],
        "wait returns the child that ended first, not the one that was forked first",
    )
    told = [f"exit status {code}" for _, code in returned]
    stage.expect(told == [child.how for child in ended], "the status holds each child's own exit code")
    last = waits[-1]
    stage.expect(value(last) == -1 and "ECHILD" in last.call, "without children wait fails with ECHILD")
    return (
        f"wait slept until PID {ended[0].pid}, forked last, had ended: exit code {returned[0][1]}, "
        f"status {(returned[0][1] or 0) << 8}"
    )


def _status(call: str) -> int | None:
    """The exit code in a status as strace takes it apart."""
    found = re.search(r"WIFEXITED\(s\) && WEXITSTATUS\(s\) == (\d+)", call)
    return int(found[1]) if found else None


SCENARIO = Scenario(
    question=Text(en="What does wait return, and does it block?", ko="wait는 무엇을 돌려주고, 그동안 멈춰 있을까?"),
    expectation=Text(
        en="`wait` blocks while there are children and none of them has ended. It returns the PID of one that "
        "has, and fills in a status. The exit code is one field of that status: `WIFEXITED` says that the "
        "child called exit, `WEXITSTATUS` gives the code; for a child that a signal killed there are "
        "`WIFSIGNALED` and `WTERMSIG`. Children come in the order in which they end. With no child left `wait` "
        "fails with `ECHILD`.",
        ko="`wait`는 자식이 있지만 아직 아무도 끝나지 않았으면 블록된다. 끝난 자식이 있으면 그 PID를 돌려주고 "
        "상태 값을 채운다. 종료 코드는 이 상태 값의 한 부분이다. `WIFEXITED`는 자식이 exit로 끝났음을, "
        "`WEXITSTATUS`는 그 종료 코드를 알려 준다. 시그널로 죽은 자식이라면 `WIFSIGNALED`와 `WTERMSIG`를 쓴다. "
        "자식은 끝난 순서대로 나온다. 남은 자식이 없으면 `wait`는 `ECHILD`로 실패한다.",
    ),
    source="wait(2); TLPI 26.1; UNP 5.10",
    explanation=Text(
        en="The first `wait4` line spans the time that the parent slept: the child's end lies within it. The "
        "kernel put the parent to sleep and woke it when the child had ended, so waiting costs no processor "
        "time.\n\n"
        "The status is not the exit code: exit code 3 is the status 768, that is 3 times 256. Take it apart "
        "with the macros (in Python `os.waitstatus_to_exitcode`). Only 8 bits of an exit code arrive: "
        "exit(256) looks like success.",
        ko="첫 번째 `wait4` 줄은 부모가 잠들어 있던 시간이며, 자식이 끝난 시점이 그 안에 들어 있다. 커널이 부모를 "
        "재우고 자식이 끝나자 깨웠으므로 기다리는 동안 CPU 시간은 들지 않는다.\n\n"
        "상태 값은 종료 코드가 아니다. 종료 코드 3은 상태 값 768, 곧 3 곱하기 256이다. 매크로로 풀어서 읽어야 "
        "한다(파이썬에서는 `os.waitstatus_to_exitcode`). 종료 코드는 8비트만 전달된다. exit(256)은 성공처럼 "
        "보인다.",
    ),
    prediction=Choice(
        ask=Text(
            en="A parent forks A, then B. B ends first. What does the parent's first wait do?",
            ko="부모가 A를 fork하고 이어서 B를 fork했다. B가 먼저 끝난다. 부모의 첫 번째 wait는 어떻게 될까?",
        ),
        answers=(
            Text(en="it waits for A, for that was forked first", ko="먼저 fork한 A가 끝날 때까지 기다린다"),
            Text(
                en="it sleeps until B has ended and returns B's PID", ko="B가 끝날 때까지 잠들었다가 B의 PID를 돌려준다"
            ),
            Text(
                en="it returns 0 at once, for no child has ended yet",
                ko="아직 끝난 자식이 없으므로 곧바로 0을 돌려준다",
            ),
            Text(en="it returns B's exit code", ko="B의 종료 코드를 돌려준다"),
        ),
        right=1,
    ),
    run=run,
    parameters={"code": Parameter(3, 0, 255, "", "exit code of the child that ends first")},
)
