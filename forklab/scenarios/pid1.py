"""PID 1 of a container gets no signal it has no handler for, and inherits orphans; under an init it is not PID 1."""

import contextlib

from forklab.errors import LabError
from forklab.harness import Choice, Scenario, Stage, Text
from forklab.harness.reading import gone, row, seen
from forklab.harness.stage import Pod
from forklab.observe import Process, Snapshot

_PROGRAM = "import signal; from demos.pid1 import make_orphan; make_orphan(); signal.pause()"
_INSIDE = ("USR1", "TERM", "KILL", "STOP")
"""Signals without a handler here; the last two can have none in any process."""
_BY_SIGNAL = 128
"""The exit code of a container whose program a signal has killed is this and the signal's number (docker run)."""
_SIGTERM, _SIGKILL = 15, 9


def run(stage: Stage) -> str:
    """Run a program as PID 1 and under an init: end an orphan of it, and send it signals from inside and outside."""
    stage.evidence("without an init:")
    with stage.pod("-c", _PROGRAM, init=False) as pod:
        _as_pid_1(stage, pod)
    stage.evidence("with an init:")
    with stage.pod("-c", _PROGRAM, init=True) as pod:
        _under_init(stage, pod)
    return (
        "as PID 1 it ignored SIGTERM and kept its orphan as a zombie; under an init SIGTERM ended it, no zombie stayed"
    )


def _as_pid_1(stage: Stage, pod: Pod) -> None:
    program, orphan = _orphaned(stage, pod)
    stage.expect(
        program.pid == 1 and orphan.ppid == 1, "without an init the program is PID 1, and its orphan's parent is 1"
    )

    with contextlib.suppress(LabError):  # it has ended at one of them: the look tells
        for name in _INSIDE:
            pod.signal(1, name)
    now = _look(pod)
    stage.evidence(f"after SIG{', SIG'.join(_INSIDE)} from inside: {_row(now) if now else 'the container has ended'}")
    ignored = now is not None and now.state == "S" and now.start == program.start
    stage.measure(pid1_survives_signals_from_inside=ignored)
    stage.expect(
        ignored, "from inside its namespace PID 1 gets no signal without a handler, not even SIGKILL or SIGSTOP"
    )

    pod.signal(orphan.pid, "KILL")
    dead = seen(stage, pod, lambda look: _state(look, orphan.pid) == "Z")
    stage.evidence(f"the orphan has ended: {row(left) if (left := dead.process(orphan.pid)) else 'it is gone'}")
    stage.measure(orphan_without_init=_state(dead, orphan.pid))
    stage.expect(
        _state(dead, orphan.pid) == "Z", "an orphan stays a zombie where PID 1 is a program that waits for no stranger"
    )

    pod.container.kill("SIGTERM")
    now = _look(pod)
    stage.evidence(f"after SIGTERM from outside (docker stop): {_row(now) if now else 'the container has ended'}")
    stage.expect(now is not None, "also from outside SIGTERM does nothing to a PID 1 without a handler for it")
    pod.container.kill("SIGKILL")
    code = _code(pod)
    stage.evidence(f"after SIGKILL from outside: the container has ended with exit code {code}")
    stage.measure(exit_code_without_init=code)
    stage.expect(
        code == _BY_SIGNAL + _SIGKILL,
        f"SIGKILL from the namespace above ends PID 1 and with it the container; code {code}",
    )


def _under_init(stage: Stage, pod: Pod) -> None:
    program, orphan = _orphaned(stage, pod)
    stage.expect(program.pid != 1 and program.ppid == 1, "with an init another program is PID 1, and ours is its child")
    stage.expect(orphan.ppid == 1, "the orphan's new parent is the init, and not its grandparent")

    pod.signal(orphan.pid, "KILL")
    dead = gone(stage, pod, orphan.pid)
    stage.evidence(
        f"the orphan has ended: {row(left) if (left := dead.process(orphan.pid)) else 'it is not in /proc any more'}"
    )
    stage.measure(orphan_with_init=_state(dead, orphan.pid))
    stage.expect(not dead.process(orphan.pid), "the init waits for the orphan, so no zombie stays")

    pod.container.kill("SIGTERM")
    code = _code(pod)
    stage.evidence(f"after SIGTERM from outside (docker stop): the container has ended with exit code {code}")
    stage.measure(exit_code_with_init=code)
    stage.expect(
        code == _BY_SIGNAL + _SIGTERM,
        f"the init passes SIGTERM on, and it ends a program without a handler; code {code}",
    )


def _orphaned(stage: Stage, pod: Pod) -> tuple[Process, Process]:
    """The program, and the child of its child, which has ended."""
    look = seen(stage, pod, lambda look: len(look.processes) == 2 and _no_middle(look), ("signals",))
    program = look.process(look.server or 0)
    orphan = next((process for process in look.processes if process.pid != look.server), None)
    if program is None or orphan is None:
        stage.inconclusive("the program made no orphan")
    for process in (program, orphan):
        stage.evidence(_row(process))
    stage.expect(_no_middle(look), f"PID 1 becomes the parent of a process whose parent has ended; it is {orphan.ppid}")
    return program, orphan


def _no_middle(look: Snapshot) -> bool:
    """The youngest process has lost its parent: it has PID 1 now."""
    return max(look.processes, key=lambda process: process.pid).ppid == 1


def _look(pod: Pod) -> Process | None:
    """The program now; None when it has ended, and the container with it."""
    try:
        look = pod.snapshot(("signals",))
    except LabError:
        return None
    return look.process(look.server or 0)


def _state(look: Snapshot, pid: int) -> str:
    found = look.process(pid)
    return found.state if found else "gone"


def _code(pod: Pod) -> int | None:
    """The container's exit code; None if it does not end."""
    try:
        return int(pod.container.wait(timeout=15)["StatusCode"])
    except OSError:  # what requests raises when the time is up
        return None


def _row(process: Process) -> str:
    caught = "" if process.caught is None else f"  SigCgt: {' '.join(process.caught) or 'none'}"
    return row(process) + caught


SCENARIO = Scenario(
    question=Text(
        en="What is special about PID 1 in a container?",
        ko="컨테이너의 PID 1은 무엇이 특별할까?",
    ),
    expectation=Text(
        en="A container has a PID namespace of its own, and its first process is PID 1 there. The kernel protects "
        "that process: a signal for which it has no handler is discarded. Sent from inside, that holds for "
        "SIGKILL and SIGSTOP too; sent from the namespace above (docker kill), these two work, and SIGTERM "
        "still does not. So a server without a handler for SIGTERM, run as PID 1, cannot be stopped "
        "politely.\n\n"
        "PID 1 also becomes the parent of every process whose parent has ended. If it does not wait for such "
        "strangers, they stay zombies. An init (`init: true`, `docker run --init`) is a small program that is "
        "PID 1 in place of the server: it passes signals on, and waits for everybody.",
        ko="컨테이너에는 자기만의 PID 네임스페이스가 있고, 첫 프로세스가 그 안에서 PID 1이다. 커널은 이 "
        "프로세스를 보호한다. 핸들러가 없는 시그널은 버려진다. 안에서 보낸 시그널이라면 SIGKILL과 SIGSTOP도 "
        "마찬가지다. 바깥 네임스페이스에서 보내면(docker kill) 이 둘은 통하지만 SIGTERM은 여전히 통하지 "
        "않는다. 그래서 SIGTERM 핸들러가 없는 서버를 PID 1로 실행하면 정상적인 방법으로는 멈출 수 없다.\n\n"
        "PID 1은 부모가 끝난 모든 프로세스의 부모도 된다. 이런 낯선 자식을 wait해 주지 않으면 좀비로 남는다. "
        "init(`init: true`, `docker run --init`)은 서버 대신 PID 1이 되는 작은 프로그램이다. 시그널을 전달하고 "
        "모든 자식을 wait한다.",
    ),
    source="pid_namespaces(7), kill(2) NOTES, signal(7); docker run --init; TLPI 28.3 and 26.2",
    explanation=Text(
        en="The same program ran twice. As PID 1 it took four signals without a trace; its SigCgt shows that it "
        "has a handler for SIGINT only, so Ctrl-C would have reached it. Its orphan's row shows PPid 1 and "
        "then State Z. Only SIGKILL from outside ended it: exit code 137 is 128 + 9. That is what `docker "
        "stop` does after 10 seconds of waiting.\n\n"
        "Under an init the same SIGTERM ended it at once (143 is 128 + 15), and the orphan was waited for. "
        "Give a container an init, or write a server that handles SIGTERM and reaps whatever it inherits.",
        ko="같은 프로그램을 두 번 실행했다. PID 1일 때는 네 가지 시그널을 받고도 아무 일이 없었다. SigCgt를 보면 "
        "핸들러는 SIGINT에만 있으므로 Ctrl-C라면 통했을 것이다. 고아의 줄에는 PPid 1이, 그다음에는 State Z가 "
        "보인다. 바깥에서 보낸 SIGKILL만이 프로그램을 끝냈다. 종료 코드 137은 128 + 9다. `docker stop`이 "
        "10초를 기다린 뒤에 하는 일이 바로 이것이다.\n\n"
        "init 아래에서는 같은 SIGTERM이 곧바로 프로그램을 끝냈고(143은 128 + 15), 고아도 거두어졌다. "
        "컨테이너에 init을 두거나, 서버가 SIGTERM을 처리하고 물려받은 자식을 모두 거두도록 만들자.",
    ),
    prediction=Choice(
        ask=Text(
            en="A server without signal handlers is PID 1 of its container. You open a shell in the container and "
            "type kill -9 1. What happens?",
            ko="시그널 핸들러가 없는 서버가 컨테이너의 PID 1이다. 컨테이너 안에서 셸을 열고 kill -9 1을 입력한다. "
            "어떻게 될까?",
        ),
        answers=(
            Text(en="nothing: the signal is discarded", ko="아무 일도 없다: 시그널은 버려진다"),
            Text(en="the server and the container end at once", ko="서버와 컨테이너가 곧바로 끝난다"),
            Text(en="the server becomes a zombie", ko="서버가 좀비가 된다"),
            Text(en="kill is refused with EPERM", ko="kill이 EPERM으로 거부된다"),
        ),
        right=0,
    ),
    run=run,
)
