"""Two threads that read the same number before either writes lose one of their two additions; a lock prevents it."""

import re
from dataclasses import dataclass

from forklab.harness import Choice, Parameter, Scenario, Stage, Text
from forklab.harness.reading import line
from forklab.timeline.model import THREAD, Event, Timeline

WITHOUT, WITH = "add_without_lock", "add_with_lock"
_NUMBER = re.compile(r'(pread64|pwrite64)\(\d+</memfd:(\w+)[^,]*, *"(\d+)"')


@dataclass(frozen=True)
class Access:
    """One thread reads or writes the counter."""

    event: Event
    writes: bool
    value: int

    @property
    def thread(self) -> int | None:
        """Which one: a lane of the time-line."""
        return self.event.lane


def run(stage: Stage) -> str:
    """Record the demo, and follow the counter through the calls that read and write it."""
    program = stage.demo("thread-race", ROUNDS=stage["rounds"])
    for said in program.said.splitlines():
        stage.says(said)
    without, locked = (accesses(program.timeline, name) for name in (WITHOUT, WITH))
    lost, kept = additions(without) - final(without), additions(locked) - final(locked)
    met, met_locked = collisions(without), collisions(locked)
    stage.measure(additions=additions(without), lost_without_lock=lost, lost_with_lock=kept)
    if not met or not locked:
        stage.inconclusive("the two threads never met between reading and writing; try again")
    show(stage, "without a lock", program.timeline, met[0])
    show(stage, "with a lock", program.timeline, met_locked[0] if met_locked else locked[:4])
    stage.timeline("Two threads a round: they meet without a lock, and take turns with one", program.timeline)
    stage.expect(
        lost == len(met), f"each write between another thread's read and write costs an addition; {lost} are lost"
    )
    stage.expect(
        not met_locked,
        f"with a lock nobody writes between another thread's read and write; {len(met_locked)} times it did",
    )
    stage.expect(kept == 0, f"with a lock no addition is lost; {kept} of {additions(locked)} are")
    return f"{lost} of {additions(without)} additions were lost without a lock, none of {additions(locked)} with it"


def accesses(timeline: Timeline, name: str) -> list[Access]:
    """What threads read from and wrote to the counter of that name, in the order in which it took effect."""
    found = []
    for event in sorted(timeline.events, key=lambda event: event.end or event.time):
        match = _NUMBER.match(event.call)
        # The main thread, which is the process, sets the counter to 0 before and reads it afterwards.
        if match and match[2] == name and event.lane is not None and timeline.lanes[event.lane].kind == THREAD:
            found.append(Access(event, match[1] == "pwrite64", int(match[3])))
    return found


def additions(found: list[Access]) -> int:
    """How many there were: one for each write."""
    return sum(access.writes for access in found)


def final(found: list[Access]) -> int:
    """The sum that was written last."""
    return next((access.value for access in reversed(found) if access.writes), 0)


def collisions(found: list[Access]) -> list[list[Access]]:
    """Each write that falls between another thread's read and write, in a stretch from that read to that write."""
    stretches = []
    for end, write in enumerate(found):
        begin = next((at for at in range(end - 1, -1, -1) if found[at].thread == write.thread), None)
        if not write.writes or begin is None:
            continue
        between = found[begin + 1 : end]
        if any(access.writes for access in between):
            stretches.append(found[max(0, begin - 1) : end + 1])
    return stretches


def show(stage: Stage, how: str, timeline: Timeline, found: list[Access]) -> None:
    """Quote the calls of one round."""
    for access in found:
        stage.evidence(f"{how}: {line(timeline, access.event)}")


SCENARIO = Scenario(
    question=Text(en="What goes wrong without a lock?", ko="락이 없으면 무엇이 잘못될까?"),
    expectation=Text(
        en="Adding is three steps: read, add, write. When both threads read before either writes, both write the same "
        "value, and one addition is lost. A lock makes the three steps one: who comes second sleeps in the kernel "
        "(`futex`) until the first has written. The program makes the threads meet between read and write, so what as "
        "a rule happens once in a million times happens each round.",
        ko="더하기는 읽기, 더하기, 쓰기의 세 단계이다. 어느 쪽도 쓰기 전에 두 스레드가 모두 읽으면 둘 다 같은 값을 "
        "쓰게 되어 더하기 하나가 사라진다(lost update). 락은 세 단계를 하나로 묶는다. 나중에 온 스레드는 먼저 온 "
        "스레드가 쓸 때까지 커널에서 잠든다(`futex`). 이 프로그램은 두 스레드가 읽기와 쓰기 사이에서 만나게 하므로, "
        "보통은 백만 번에 한 번 일어날 일이 매번 일어난다.",
    ),
    source="pthread_mutex_lock(3), futex(2), pthreads(7), memfd_create(2); UNP 26.7; TLPI 30.1",
    explanation=Text(
        en="No line of such a program is wrong; the order of two lines in two threads is. That is why tests rarely "
        "find it, and why each variable that two threads change needs a lock, even for `count += 1`. Python's own "
        "lock (GIL) is no help: it may change hands between any two steps.\n\n"
        "Processes after `fork` have no such trouble, for each has its own copy: see `fork-memory`. They get it back "
        "as soon as they share a file or memory, as the counter here.",
        ko="이런 프로그램에는 틀린 줄이 없다. 두 스레드에 있는 두 줄의 순서가 문제이다. 그래서 테스트로는 좀처럼 "
        "발견되지 않으며, 두 스레드가 바꾸는 변수는 `count += 1` 한 줄이라도 락이 필요하다. 파이썬의 락(GIL)은 도움이 "
        "되지 않는다. 어느 두 단계 사이에서든 다른 스레드로 넘어갈 수 있기 때문이다.\n\n"
        "`fork`로 만든 프로세스는 각자 사본을 가지므로 이런 문제가 없다(`fork-memory` 참고). 하지만 여기의 카운터처럼 "
        "파일이나 메모리를 공유하는 순간 같은 문제가 생긴다.",
    ),
    prediction=Choice(
        ask=Text(
            en="The counter is 7. Two threads each add 1 without a lock, and meet after both have read. What is it "
            "then?",
            ko="카운터가 7이다. 두 스레드가 락 없이 각각 1을 더하는데, 둘 다 읽은 뒤에 만난다. 카운터는 얼마가 될까?",
        ),
        answers=(
            Text(en="7: they block each other", ko="7: 서로를 막는다"),
            Text(en="8: both write the same value", ko="8: 둘 다 같은 값을 쓴다"),
            Text(en="9: the kernel does one write after the other", ko="9: 커널이 쓰기를 하나씩 차례로 처리한다"),
            Text(en="9: Python's own lock prevents the collision", ko="9: 파이썬의 GIL이 충돌을 막는다"),
        ),
        right=1,
    ),
    run=run,
    parameters={"rounds": Parameter(20, 2, 100, "", "how often the two threads add")},
)
