"""A second signal waits for the handler, or kills; a read fails with EINTR, or goes on: the flags decide."""

from forklab.harness import Choice, Scenario, Stage, Text
from forklab.harness.reading import calls, family, line, value
from forklab.timeline.model import Event, Lane, Timeline


def run(stage: Stage) -> str:
    """Record two kinds of handler that are sent a second signal, and two reads that a signal interrupts."""
    program = stage.demo("sigaction")
    timeline = program.timeline
    demo, forked = family(timeline)
    for each in program.said.splitlines():
        stage.says(each)
    stage.timeline("Handlers, second signals and interrupted reads", timeline)

    kept = next((lane for lane in forked if _flags(timeline, lane, "SA_RESETHAND") is False), None)
    once = next((lane for lane in forked if _flags(timeline, lane, "SA_RESETHAND")), None)
    if kept is None or once is None:
        stage.inconclusive("the program did not install one handler that stays and one that works once")
    for lane in (kept, once):
        for event in _deeds(timeline, lane):
            stage.evidence(line(timeline, event))
        stage.evidence(f"PID {lane.pid} was {lane.how}")
    sent, delivered = _sent(timeline, kept, "SIGUSR1"), _delivered(timeline, kept, "SIGUSR1")
    # The one that empties the mask of blocked signals returns from the handler that was called first.
    returns = [event for event in calls(timeline, kept, "rt_sigreturn") if "mask=[]" in event.call]
    stage.measure(sent=len(sent), delivered=len(delivered), one_shot_ended=once.how)
    if len(sent) != 2 or not delivered or sent[1].time < delivered[0].time:
        stage.inconclusive("the second signal did not come while the handler ran")
    waited = len(delivered) == 2 and any(sent[1].time < event.time < delivered[1].time for event in returns)
    stage.expect(waited, "a signal is blocked in its own handler: the second one waits until the first has returned")
    stage.expect(
        once.how == "killed by SIGUSR1", f"a one-shot handler is gone when it runs: the second signal kills; {once.how}"
    )
    _reads(stage, timeline, demo)
    return "the second SIGUSR1 waited for sigaction's handler and killed the one-shot one; EINTR without SA_RESTART"


def _reads(stage: Stage, timeline: Timeline, demo: Lane) -> None:
    """Judge what became of each read that SIGUSR1 interrupted, by the flag that was in force then."""
    found: dict[bool, bool] = {}
    for event in calls(timeline, demo, "read"):
        if "ERESTARTSYS" not in event.call:
            continue
        installed = [e for e in _handlers(timeline, demo) if e.time < event.time][-1]
        number = event.call.partition("<")[0]  # read(4
        later = [e for e in calls(timeline, demo, number + "<") if e.time > event.time and value(e) == 1]
        for each in (installed, event, *later[:1]):
            stage.evidence(line(timeline, each))
        found["SA_RESTART" in installed.call] = bool(later)
    stage.measure(read_goes_on={"without SA_RESTART": found.get(False), "with SA_RESTART": found.get(True)})
    stage.expect(
        found.get(False) is False, "without SA_RESTART the interrupted read fails with EINTR and is not called again"
    )
    stage.expect(found.get(True) is True, "with SA_RESTART the interrupted read is started again, and gets its byte")


def _handlers(timeline: Timeline, lane: Lane) -> list[Event]:
    """Where a process told the kernel its handler for SIGUSR1."""
    return calls(timeline, lane, "rt_sigaction(SIGUSR1, {sa_handler=0x")


def _flags(timeline: Timeline, lane: Lane, flag: str) -> bool | None:
    """Whether a process's handler for SIGUSR1 has a flag; None if it has no handler of its own."""
    installed = _handlers(timeline, lane)
    return flag in installed[0].call if installed else None


def _sent(timeline: Timeline, lane: Lane, name: str) -> list[Event]:
    return [e for e in timeline.events if e.kind == "kill" and e.call.startswith(f"kill({lane.pid}, {name}")]


def _delivered(timeline: Timeline, lane: Lane, name: str) -> list[Event]:
    return [e for e in timeline.events if e.lane == lane.id and e.kind == "signal" and e.call.startswith(name)]


def _deeds(timeline: Timeline, lane: Lane) -> list[Event]:
    """The handler, the signals sent and delivered, and the returns from a handler, in their order."""
    returns = calls(timeline, lane, "rt_sigreturn")
    deeds = [*_handlers(timeline, lane), *_sent(timeline, lane, "SIGUSR"), *_delivered(timeline, lane, "SIGUSR")]
    return sorted([*deeds, *returns], key=lambda event: event.time)


SCENARIO = Scenario(
    question=Text(
        en="What do sa_mask, SA_RESTART and one-shot signal() change?",
        ko="sa_mask, SA_RESTART, 그리고 한 번만 동작하는 signal()은 무엇을 바꿀까?",
    ),
    expectation=Text(
        en="While a handler runs, the kernel blocks its own signal, and those in `sa_mask`. One that comes "
        "meanwhile is kept pending, and delivered when the handler returns. The old System V `signal()` asks "
        "for the opposite (SA_NODEFER and SA_RESETHAND): nothing is blocked, and the handler is set back to "
        "the default before it runs, so a second SIGUSR1 kills. A slow call such as `read` that a handler "
        "interrupts fails with `EINTR`; with `SA_RESTART` the kernel starts it again.",
        ko="핸들러가 실행되는 동안 커널은 그 시그널 자체와 `sa_mask`에 든 시그널을 블록한다. 그동안 온 시그널은 "
        "보류(pending)되었다가 핸들러가 반환되면 전달된다. 옛 System V의 `signal()`은 정반대를 "
        "요청한다(SA_NODEFER, SA_RESETHAND). 아무것도 블록하지 않고, 핸들러를 실행하기 전에 기본 동작으로 "
        "되돌린다. 그래서 두 번째 SIGUSR1이 프로세스를 죽인다. `read`처럼 오래 걸릴 수 있는 호출이 핸들러에 "
        "중단되면 `EINTR`로 실패한다. `SA_RESTART`가 있으면 커널이 그 호출을 다시 시작한다.",
    ),
    source="sigaction(2), signal(2) PORTABILITY, sysv_signal(3), signal(7); TLPI 20.13, 21.5 and 22.7; UNP 5.8",
    explanation=Text(
        en="Read the two blocks of lines. In the first, the second `kill` stands before the return from the "
        "handler (the `rt_sigreturn` that empties the mask of blocked signals), and its delivery right after "
        "it: the signal waited. SIGUSR2 is there only to make the handler return. In the second block the same "
        "two signals end the process. The flags in the `rt_sigaction` lines are the whole difference.\n\n"
        "Then the two reads: the same signal, the same `read`; only the one with SA_RESTART is called again "
        "and gets its byte. Use `sigaction`, say `SA_RESTART` where you want it, and treat `EINTR` all the "
        "same: some calls, such as `select` and `epoll_wait`, are never restarted.",
        ko="두 묶음의 줄을 보자. 첫 번째 묶음에서는 두 번째 `kill`이 핸들러의 반환(블록된 시그널 마스크를 비우는 "
        "`rt_sigreturn`)보다 먼저 나오고, 그 시그널의 전달은 반환 직후에 나온다. 시그널이 기다린 것이다. "
        "SIGUSR2는 핸들러를 반환시키려고 보냈을 뿐이다. 두 번째 묶음에서는 같은 두 시그널이 프로세스를 끝냈다. "
        "차이는 `rt_sigaction` 줄의 플래그뿐이다.\n\n"
        "그다음은 두 번의 read다. 같은 시그널에 같은 `read`인데, SA_RESTART가 있는 쪽만 다시 호출되어 바이트를 "
        "받는다. `sigaction`을 쓰고, 필요하면 `SA_RESTART`를 명시하되, `EINTR`도 반드시 처리하자. `select`나 "
        "`epoll_wait` 같은 호출은 절대로 다시 시작되지 않는다.",
    ),
    prediction=Choice(
        ask=Text(
            en="The handler for SIGUSR1 is running (installed with sigaction, no flags). A second SIGUSR1 "
            "arrives. What happens?",
            ko="SIGUSR1 핸들러가 실행 중이다(sigaction으로 등록, 플래그 없음). 이때 두 번째 SIGUSR1이 온다. "
            "어떻게 될까?",
        ),
        answers=(
            Text(en="it is lost, for the handler is busy", ko="핸들러가 실행 중이므로 버려진다"),
            Text(en="it interrupts the handler, which runs nested", ko="핸들러를 중단하고 핸들러가 겹쳐 실행된다"),
            Text(en="it waits until the handler has returned", ko="핸들러가 반환될 때까지 기다린다"),
            Text(en="it kills the process", ko="프로세스를 죽인다"),
        ),
        right=2,
    ),
    run=run,
)
