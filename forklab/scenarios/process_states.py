"""One child in each state: running, asleep, stopped, ended and not waited for."""

from forklab.harness import Choice, Scenario, Stage, Text
from forklab.harness.reading import row, seen
from forklab.observe import Process, Snapshot

_PROGRAM = "import signal; from demos.process_states import one_of_each; one_of_each(); signal.pause()"
_STATES = ("R", "S", "T", "Z")
_WORK = 0.1
"""Seconds of processor time after which one sees who has run; the kernel counts it in hundredths."""


def run(stage: Stage) -> str:
    """Look at four children, see which of them gets processor time, then continue one and kill another."""
    with stage.pod("-c", _PROGRAM) as pod:
        first = seen(stage, pod, _settled, ("waits",))
        stage.measure(states=list(_states(first)))
        for process in first.processes:
            stage.evidence(_row(process))
        stage.expect(len(_children(first)) == 4, "the parent has four children")
        stage.expect(
            _states(first) == _STATES,
            f"one child is in each of the states R, S, T, Z; found {' '.join(_states(first))}",
        )
        runs, sleeps, stopped, zombie = (process.pid for process in _children(first))

        later = seen(stage, pod, lambda look: _cpu(look, runs) - _cpu(first, runs) >= _WORK, ("waits",))
        used = {pid: _cpu(later, pid) - _cpu(first, pid) for pid in (runs, sleeps, stopped)}
        stage.evidence(
            f"a moment later: {', '.join(f'PID {pid} used {s:.2f} s more of CPU' for pid, s in used.items())}"
        )
        stage.measure(cpu_s=used[runs], cpu_of_the_others_s=used[sleeps] + used[stopped])
        stage.expect(
            used[runs] >= _WORK and not used[sleeps] and not used[stopped],
            "only the running one gets processor time; asleep and stopped get none",
        )

        pod.signal(stopped, "CONT")
        pod.signal(zombie, "KILL")
        after = seen(stage, pod, lambda look: _states(look) == ("R", "S", "R", "Z"), ("waits",))
        for name, pid in (("SIGCONT", stopped), ("SIGKILL", zombie)):
            found = after.process(pid)
            stage.evidence(f"after {name}: {_row(found) if found else f'PID {pid} is gone'}")
        stage.expect(
            _states(after) == ("R", "S", "R", "Z"),
            f"SIGCONT lets the stopped one run, SIGKILL does nothing to the zombie; found {' '.join(_states(after))}",
        )
    return "R, S, T and Z stood beside each other; SIGCONT turned T into R, SIGKILL left Z as it was"


def _children(look: Snapshot) -> list[Process]:
    """The program's children in the order of their forks."""
    return [process for process in look.processes if process.ppid == look.server]


def _settled(look: Snapshot) -> bool:
    """Four children, and whoever still runs has done so for a while: it does not only come up."""
    children = _children(look)
    return len(children) == 4 and all(process.state != "R" or process.cpu >= _WORK for process in children)


def _states(look: Snapshot) -> tuple[str, ...]:
    return tuple(process.state for process in _children(look))


def _cpu(look: Snapshot, pid: int) -> float:
    """Seconds of processor time that a process has had; infinite when it is gone, so that nobody waits for it."""
    process = look.process(pid)
    return process.cpu if process else float("inf")


def _row(process: Process) -> str:
    sleeps_in = f"  Wchan: {process.wait_channel}" if process.wait_channel and process.state != "Z" else ""
    memory = "none" if process.rss_kib is None else f"{process.rss_kib} KiB"
    return f"{row(process)}  Rss: {memory}  CPU: {process.cpu:.2f} s{sleeps_in}"


SCENARIO = Scenario(
    question=Text(
        en="What does ps say of a process that runs, sleeps, is stopped, or has ended?",
        ko="실행 중이거나, 잠들었거나, 정지되었거나, 끝난 프로세스를 ps는 어떻게 보여 줄까?",
    ),
    expectation=Text(
        en="`R`: it runs, or is ready and waits for a processor; the kernel makes no difference here. `S`: it "
        "sleeps until something happens that it waits for, such as bytes in a pipe, or until a signal comes. "
        "`T`: a signal such as SIGSTOP has stopped it; it gets no processor time until SIGCONT. `Z`: it has "
        "ended; its memory is gone, only the entry with its exit status is left until its parent waits for it.",
        ko="`R`: 실행 중이거나, 준비된 채 CPU를 기다리고 있다. 커널은 이 둘을 구별하지 않는다. `S`: 파이프에 "
        "바이트가 들어오는 것처럼 기다리는 일이 생기거나 시그널이 올 때까지 잠들어 있다. `T`: SIGSTOP 같은 "
        "시그널로 정지되었다. SIGCONT가 올 때까지 CPU 시간을 받지 못한다. `Z`: 이미 끝났다. 메모리는 사라졌고, "
        "부모가 wait할 때까지 종료 상태가 든 항목만 남아 있다.",
    ),
    source="ps(1) PROCESS STATE CODES, proc_pid_stat(5), proc_pid_wchan(5), signal(7); TLPI 22.2 and 26.2",
    explanation=Text(
        en="Each row is /proc/PID/stat of one child, and PPid names the parent that forked it. Wchan is the "
        "function of the kernel in which a sleeping process waits: here the read of an empty pipe.\n\n"
        "When a server hangs, begin with these letters. R all the time: it computes, or spins. S: look at what "
        "it waits for. T: somebody has stopped it, perhaps Ctrl-Z. Z: look at the parent, not at the zombie. "
        "Two more that you may meet: `D` sleeps where no signal wakes it, mostly for a disk; `t` is held by a "
        "debugger.",
        ko="각 줄은 자식 하나의 /proc/PID/stat이고, PPid는 그 자식을 fork한 부모다. Wchan은 잠든 프로세스가 "
        "기다리고 있는 커널 함수다. 여기서는 빈 파이프의 read다.\n\n"
        "서버가 멈춘 것 같으면 이 글자부터 보자. 계속 R이면 계산 중이거나 헛돌고 있다. S라면 무엇을 기다리는지 "
        "본다. T라면 누군가 정지시킨 것이다. Ctrl-Z일 수도 있다. Z라면 좀비가 아니라 그 부모를 봐야 한다. 그 "
        "밖에 `D`는 시그널로도 깨울 수 없는 잠으로 대개 디스크를 기다리는 중이고, `t`는 디버거가 붙잡고 있는 "
        "상태다.",
    ),
    prediction=Choice(
        ask=Text(
            en="One processor, three processes that compute without pause. What does ps show for the two that "
            "have to wait for the processor?",
            ko="CPU는 하나이고, 쉬지 않고 계산하는 프로세스가 셋이다. CPU를 기다려야 하는 두 프로세스를 ps는 "
            "어떻게 표시할까?",
        ),
        answers=(
            Text(en="S: they sleep until it is their turn", ko="S: 차례가 올 때까지 잠들어 있다"),
            Text(en="T: the kernel has stopped them", ko="T: 커널이 정지시켰다"),
            Text(en="R: ready is shown like running", ko="R: 준비 상태도 실행 중과 똑같이 표시한다"),
            Text(en="W: they wait", ko="W: 기다리고 있다"),
        ),
        right=2,
    ),
    run=run,
)
