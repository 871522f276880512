"""waitpid with WNOHANG comes back at once; with a PID it waits for that child only."""

from forklab.harness import Choice, Parameter, Scenario, Stage, Text
from forklab.harness.reading import calls, end, ends, family, line, spans, value, zombie_ms


def run(stage: Stage) -> str:
    """Record a parent that polls while both children live, and then waits for the one that ended last."""
    program = stage.demo("waitpid", POLLS=stage["polls"])
    timeline = program.timeline
    parent, children = family(timeline)
    for each in program.said.splitlines():
        stage.says(each)
    ended = ends(children)
    if len(ended) != 2:
        stage.inconclusive("there were not two children that ended")
    early, late = ended
    waits = calls(timeline, parent, "wait")
    polls = [event for event in waits if "WNOHANG" in event.call and event.time < (early.ended or 0)]
    asleep = next((event for event in waits if "WNOHANG" not in event.call), None)
    chosen = next((event for event in waits if event.call.startswith(f"wait4({late.pid},") and value(event)), None)
    for event in [*polls[:2], asleep, chosen, waits[-1]]:
        if event:
            stage.evidence(line(timeline, event))
    for child in ended:
        stage.evidence(end(child))
    stage.timeline("Polls while both children live; then a wait for the one that ended last", timeline)

    zeros = sum(value(event) == 0 for event in polls)
    stage.measure(polls=len(polls), polls_that_returned_0=zeros)
    stage.expect(
        len(polls) == zeros >= stage["polls"],
        "while no child has ended each waitpid(WNOHANG) returns 0 at once instead of sleeping",
    )
    stage.expect(
        spans(asleep, early),
        "without WNOHANG one call sleeps until a child has ended",
    )
    passed_over = chosen is not None and value(chosen) == late.pid and (late.reaped or 0) < (early.reaped or 0)
    stage.expect(passed_over, "waitpid(PID) passes over a child that ended earlier, and waits for its own")
    stage.measure(passed_over_ms=zombie_ms(early))
    return (
        f"{zeros} calls with WNOHANG returned 0, one call without it slept; waitpid({late.pid}) left "
        f"PID {early.pid}, which had ended first, a zombie"
    )


SCENARIO = Scenario(
    question=Text(en="What does WNOHANG change?", ko="WNOHANG을 쓰면 무엇이 달라질까?"),
    expectation=Text(
        en="`waitpid(-1, &status, WNOHANG)` only looks. If a child has ended, it returns that child; if children "
        "live and none has ended, it returns 0 and does not sleep; without children it fails with `ECHILD`. So "
        "a server can ask between two clients, and a handler can ask until nothing is left. With a PID instead "
        "of -1 it is about that one child: others that ended earlier are passed over, and stay zombies.",
        ko="`waitpid(-1, &status, WNOHANG)`은 확인만 한다. 끝난 자식이 있으면 그 자식을 돌려주고, 자식은 있지만 "
        "끝난 자식이 없으면 잠들지 않고 0을 돌려준다. 자식이 하나도 없으면 `ECHILD`로 실패한다. 그래서 서버는 "
        "클라이언트를 처리하는 틈틈이 물어볼 수 있고, 핸들러는 더 남은 것이 없을 때까지 물어볼 수 있다. -1 "
        "대신 PID를 주면 그 자식만 본다. 먼저 끝난 다른 자식은 건너뛰며, 그 자식은 좀비로 남는다.",
    ),
    source="waitpid(2), wait(2); TLPI 26.1.2; UNP 5.10",
    explanation=Text(
        en="0 is no PID and no error: it means that children live and none has ended. The polls show what a loop "
        "around `WNOHANG` costs: call after call that learns nothing, and a processor kept busy. The single "
        "call without it slept and learned the same.\n\n"
        "So: `WNOHANG` where there is other work to go on with, above all in a SIGCHLD handler; sleep where "
        "there is none. Wait for one PID only when you mean that child.",
        ko="0은 PID도 오류도 아니다. 자식이 살아 있고 아직 아무도 끝나지 않았다는 뜻이다. 여러 번의 호출은 "
        "`WNOHANG`을 반복문으로 돌릴 때의 비용을 보여 준다. 아무것도 알아내지 못하는 호출이 이어지고 CPU만 "
        "쓴다. `WNOHANG` 없는 한 번의 호출은 잠들어 있다가 같은 것을 알아냈다.\n\n"
        "정리하면, 달리 할 일이 있을 때, 특히 SIGCHLD 핸들러에서는 `WNOHANG`을 쓰고, 할 일이 없으면 잠들어 "
        "기다린다. 특정 PID를 기다리는 것은 정말 그 자식이 필요할 때뿐이다.",
    ),
    prediction=Choice(
        ask=Text(
            en="Two children live and none has ended. What does waitpid(-1, &status, WNOHANG) return?",
            ko="자식 둘이 살아 있고 아직 아무도 끝나지 않았다. waitpid(-1, &status, WNOHANG)의 반환값은?",
        ),
        answers=(
            Text(en="0", ko="0"),
            Text(en="-1, with errno set to ECHILD", ko="-1, errno는 ECHILD"),
            Text(en="-1, with errno set to EAGAIN", ko="-1, errno는 EAGAIN"),
            Text(en="nothing yet: it sleeps until one has ended", ko="아직 반환되지 않는다: 하나가 끝날 때까지 잠든다"),
        ),
        right=0,
    ),
    run=run,
    parameters={"polls": Parameter(200, 10, 2000, "", "calls with WNOHANG while both children live")},
)
