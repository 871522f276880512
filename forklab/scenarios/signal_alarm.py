"""A signal runs its handler in the middle of a sleep; sleep(3) ends early, Python's time.sleep goes back to sleep."""

import re

from forklab.harness import Choice, Parameter, Scenario, Stage, Text
from forklab.harness.reading import calls, family, line, took_ms, value
from forklab.timeline.model import Event


def run(stage: Stage) -> str:
    """Record a program that an alarm wakes from sleep(3) and from time.sleep, and that is sent SIGINT."""
    seconds, alarm = stage["seconds"], stage["alarm"] / 1000
    program = stage.demo("signal-alarm", SLEEP=seconds, ALARM=alarm, NAP=3 * alarm)
    timeline = program.timeline
    demo, _ = family(timeline)
    for each in program.said.splitlines():
        stage.says(each)
    sleeps = calls(timeline, demo, "clock_nanosleep")
    signals = [event for event in timeline.events if event.lane == demo.id and event.kind == "signal"]
    clocks = calls(timeline, demo, "alarm")
    handlers = [
        event for event in calls(timeline, demo, "rt_sigaction") if "{sa_handler=0x" in event.call.split(",")[1]
    ]
    shown = [*handlers, *calls(timeline, demo, "setitimer"), *sleeps, *calls(timeline, demo, "kill"), *clocks, *signals]
    for event in sorted(shown, key=lambda event: event.time if event.begin is None else event.begin):
        stage.evidence(line(timeline, event))
    stage.timeline("An alarm in the middle of two sleeps", timeline)

    stage.expect(demo.how == "exit status 0", f"a signal with a handler does not end the process; it ended: {demo.how}")
    slept = _sleep(stage, sleeps)
    _nap(stage, sleeps)
    names = [event.fields["signal"] for event in signals]
    stage.measure(handlers=names)
    stage.expect(
        names == ["SIGALRM", "SIGALRM", "SIGINT"],
        f"each alarm and the SIGINT is delivered once; found {', '.join(names)}",
    )
    taken_back = value(clocks[-1]) if clocks else None
    stage.measure(alarm_left_s=taken_back)
    stage.expect(
        taken_back in range(1, 31), "alarm(0) takes an alarm back and returns the seconds that were left of it"
    )
    return f"SIGALRM ended sleep({seconds}) after {slept:.0f} ms; time.sleep went back to sleep until the same instant"


def _sleep(stage: Stage, sleeps: list[Event]) -> float:
    """Judge sleep(3), which asks the kernel for a length of time; how many milliseconds it lasted."""
    first = next((event for event in sleeps if "TIMER_ABSTIME" not in event.call), None)
    stage.expect(
        first is not None and "ERESTART" in first.call and took_ms(first) < stage["seconds"] * 1000,
        f"SIGALRM ends sleep({stage['seconds']}) early: the call comes back interrupted",
    )
    assert first
    rest = re.findall(r"\{tv_sec=(\d+), tv_nsec=(\d+)\}", first.call)[-1]
    again = [event for event in sleeps if "TIMER_ABSTIME" not in event.call and event is not first]
    stage.measure(slept_ms=took_ms(first), left_s=int(rest[0]) + int(rest[1]) / 1e9)
    stage.expect(not again, "sleep(3) does not sleep on for the rest")
    return took_ms(first)


def _nap(stage: Stage, sleeps: list[Event]) -> None:
    """Judge time.sleep, which asks for an instant at which to wake."""
    naps = [event for event in sleeps if "TIMER_ABSTIME" in event.call]
    instants = {found[0] for event in naps if (found := re.search(r"\{tv_sec=\d+, tv_nsec=\d+\}", event.call))}
    stage.measure(naps=len(naps), nap_ms=sum(map(took_ms, naps)))
    stage.expect(
        len(naps) == 2 and "ERESTART" in naps[0].call and value(naps[1]) == 0 and len(instants) == 1,
        "Python's time.sleep goes back to sleep after the handler, until the same instant",
    )


SCENARIO = Scenario(
    question=Text(
        en="How do SIGALRM and SIGINT reach a handler, and what becomes of sleep?",
        ko="SIGALRM과 SIGINT는 어떻게 핸들러에 도달하고, 자고 있던 sleep은 어떻게 될까?",
    ),
    expectation=Text(
        en="`sigaction` tells the kernel which function to call for a signal; without one SIGALRM and SIGINT end "
        "the process. When the signal comes while the process sleeps, the kernel wakes it and runs the handler "
        "at once. The sleep is over then: `sleep` returns early, with the seconds that were left. Python's "
        "`time.sleep` is written differently (PEP 475): after the handler it sleeps on until the instant it "
        "was meant to end at. There is one alarm clock a process: `alarm(0)` takes it back and returns what "
        "was left of it.",
        ko="`sigaction`은 시그널이 오면 어떤 함수를 부를지 커널에 알려 준다. 등록하지 않으면 SIGALRM과 SIGINT는 "
        "프로세스를 끝낸다. 잠든 프로세스에 시그널이 오면 커널은 프로세스를 깨워 곧바로 핸들러를 실행한다. "
        "이때 잠은 끝난다. `sleep`은 남은 초를 돌려주며 일찍 반환된다. 파이썬의 `time.sleep`은 다르게 "
        "만들어졌다(PEP 475). 핸들러가 끝나면 원래 깨어나기로 한 시각까지 다시 잔다. 알람 시계는 프로세스마다 "
        "하나뿐이다. `alarm(0)`은 알람을 취소하고 남은 시간을 돌려준다.",
    ),
    source="alarm(2), sigaction(2), sleep(3), clock_nanosleep(2), signal(7); TLPI 20.4, 23.1 and 23.3; PEP 475",
    explanation=Text(
        en="The first `clock_nanosleep` is the C library's `sleep`: it was asked for whole seconds and came back "
        "interrupted (ERESTART_RESTARTBLOCK), with the rest in its last argument. The next two are one "
        "`time.sleep`: both name the same instant (TIMER_ABSTIME), the first was interrupted, the second slept "
        "on.\n\n"
        "The kernel runs a handler between any two instructions of your program. So a handler does little: it "
        "sets a flag or writes to a pipe. And who uses `sleep` in a program with handlers looks at what it "
        "returns, or waits for the event itself.",
        ko="첫 번째 `clock_nanosleep`은 C 라이브러리의 `sleep`이다. 몇 초 동안 자겠다고 요청했지만 도중에 "
        "중단되었고(ERESTART_RESTARTBLOCK), 남은 시간이 마지막 인자에 들어 있다. 다음 두 줄은 `time.sleep` 한 "
        "번이다. 둘 다 같은 시각(TIMER_ABSTIME)을 가리키며, 첫 번째는 중단되었고 두 번째가 이어서 잤다.\n\n"
        "커널은 프로그램의 어느 명령어 사이에서든 핸들러를 실행할 수 있다. 그래서 핸들러에서는 플래그를 "
        "세우거나 파이프에 쓰는 정도의 작은 일만 한다. 핸들러가 있는 프로그램에서 `sleep`을 쓴다면 반환값을 "
        "확인하거나, 기다리는 사건 자체를 기다려야 한다.",
    ),
    prediction=Choice(
        ask=Text(
            en="A C program with a handler for SIGALRM calls alarm(1), then sleep(10). What happens?",
            ko="SIGALRM 핸들러가 있는 C 프로그램이 alarm(1)을 부르고 이어서 sleep(10)을 부른다. 어떻게 될까?",
        ),
        answers=(
            Text(
                en="the handler runs after 10 seconds, when sleep is over",
                ko="10초 뒤 sleep이 끝나면 핸들러가 실행된다",
            ),
            Text(
                en="the handler runs after 1 second, then sleep goes on for the other 9",
                ko="1초 뒤 핸들러가 실행되고, sleep은 나머지 9초를 더 잔다",
            ),
            Text(en="SIGALRM ends the program after 1 second", ko="1초 뒤 SIGALRM이 프로그램을 끝낸다"),
            Text(
                en="the handler runs after 1 second, and sleep returns 9",
                ko="1초 뒤 핸들러가 실행되고, sleep은 9를 반환한다",
            ),
        ),
        right=3,
    ),
    run=run,
    parameters={
        "seconds": Parameter(2, 1, 5, "s", "what sleep(3) is asked for"),
        "alarm": Parameter(100, 20, 900, "ms", "until the alarm that interrupts it"),
    },
)
