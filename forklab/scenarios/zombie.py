"""A child that has ended stays a zombie until its parent waits for it, or ends itself."""

from forklab.harness import Choice, Parameter, Scenario, Stage, Text
from forklab.harness.reading import gone, row, seen
from forklab.observe import Process, Snapshot

_PROGRAM = """
import os, signal
from demos.zombie import careless
(_, told), (go_on, _held_open) = os.pipe(), os.pipe()
parent = os.fork()
if parent == 0:
    careless(told, go_on, {zombies})
os.waitpid(parent, 0)
signal.pause()
"""
"""The careless parent is a child itself: so there is somebody who outlives it, and waits for it."""


def run(stage: Stage) -> str:
    """Look at the children of a careless parent; kill them, in vain; then kill the parent."""
    wanted = stage["zombies"]
    with stage.pod("-c", _PROGRAM.format(zombies=wanted)) as pod:
        first = seen(stage, pod, lambda look: len(look.zombies()) >= wanted and len(_alive(look)) == 2)
        parent = next((process for process in _alive(first) if process.pid != first.server), None)
        if parent is None:
            stage.inconclusive("the careless parent did not come up")
        zombies = [process for process in first.zombies() if process.ppid == parent.pid]
        stage.evidence(f"{row(parent)}  Rss: {parent.rss_kib} KiB: the parent")
        for process in zombies:
            stage.evidence(_row(process))
        stage.measure(children=wanted + 1, zombies=len(zombies))
        stage.expect(
            len(zombies) >= wanted, f"{wanted} children that nobody waits for stay zombies; found {len(zombies)}"
        )
        stage.expect(
            len(zombies) == wanted,
            f"the child that was waited for is gone, and not a zombie; found {len(zombies)} zombies",
        )
        stage.expect(
            not any(process.command for process in zombies), "a zombie has no memory, so no command line either"
        )

        pids = [process.pid for process in zombies]
        pod.signal(pids[0], "KILL", *pids[1:])
        killed = pod.snapshot(())
        stage.evidence(f"after SIGKILL to each of them: {_letters(killed, pids)}")
        stage.expect(_letters(killed, pids) == _letters(first, pids), "SIGKILL does not remove a zombie")

        pod.signal(parent.pid, "KILL")
        last = gone(stage, pod, *pids, parent.pid)
        stage.evidence(f"after the end of their parent {parent.pid}: {_letters(last, pids)}")
        left = [process for process in last.zombies() if process.pid in pids]
        stage.measure(zombies_after_the_parent=len(left))
        stage.expect(not left, f"the zombies are gone when their parent has ended; {len(left)} are left")
    stage.timeline("Each child's life, and its time as a zombie", stage.demo("zombie").timeline)
    return f"{wanted} zombies stayed, also after SIGKILL, and went when their parent {parent.pid} ended"


def _alive(look: Snapshot) -> list[Process]:
    return [process for process in look.processes if process.state != "Z"]


def _row(process: Process) -> str:
    return f"{row(process)}  Rss: none  Cmdline: {process.command or 'empty'}"


def _letters(look: Snapshot, pids: list[int]) -> str:
    states = {pid: found.state if (found := look.process(pid)) else "not in /proc any more" for pid in pids}
    return ", ".join(f"{pid} {state}" for pid, state in states.items())


SCENARIO = Scenario(
    question=Text(
        en="What is left of a child that nobody waits for, and until when?",
        ko="아무도 wait하지 않는 자식 프로세스는 무엇이 남고, 언제까지 남을까?",
    ),
    expectation=Text(
        en="Its memory and its descriptors are gone. What stays is an entry in the process table, in the state Z "
        "(zombie), with its PID and its exit status: the kernel keeps it for the parent, who may still ask. No "
        "signal removes it, not even SIGKILL, for it has ended already. It goes when the parent waits. When "
        "the parent ends first, the child gets a new parent, as a rule PID 1, whose task it is to wait for "
        "such orphans.",
        ko="메모리와 디스크립터는 사라진다. 남는 것은 프로세스 테이블의 항목 하나다. 상태는 Z(좀비)이고 PID와 "
        "종료 상태가 들어 있다. 부모가 나중에 물어볼 수 있으므로 커널이 보관하는 것이다. 이미 끝났으므로 어떤 "
        "시그널로도, SIGKILL로도 없앨 수 없다. 부모가 wait하면 사라진다. 부모가 먼저 끝나면 자식은 새 부모를 "
        "얻는다. 대개 PID 1이며, 이런 고아를 wait해 주는 것이 PID 1의 일이다.",
    ),
    source="wait(2) NOTES, proc_pid_stat(5); TLPI 26.2; UNP 5.9",
    explanation=Text(
        en="Each row with State Z is one ended child; its PPid names the process to mend. The parent waited for "
        "one more child, and that one is not in the table any more. SIGKILL changed nothing; the end of the "
        "parent did.\n\n"
        "One zombie costs little. But each holds a PID, and a server that forks a child for every client and "
        "never waits collects one for every client, until fork fails with EAGAIN. Killing zombies is no "
        "remedy: the parent must call `wait`.",
        ko="State가 Z인 줄 하나가 끝난 자식 하나다. PPid가 고쳐야 할 프로세스를 알려 준다. 부모가 wait한 또 "
        "하나의 자식은 이미 테이블에 없다. SIGKILL로는 아무것도 바뀌지 않았고, 부모가 끝나자 사라졌다.\n\n"
        "좀비 하나의 비용은 작다. 그러나 하나하나가 PID를 차지한다. 클라이언트마다 자식을 fork하고 wait하지 "
        "않는 서버는 클라이언트 수만큼 좀비를 쌓다가 결국 fork가 EAGAIN으로 실패한다. 좀비를 죽이는 것은 "
        "해결책이 아니다. 부모가 `wait`를 불러야 한다.",
    ),
    prediction=Choice(
        ask=Text(
            en="You find a zombie and send it SIGKILL. Its parent goes on and never waits. What happens?",
            ko="좀비를 발견하고 SIGKILL을 보냈다. 부모는 계속 살아 있고 wait하지 않는다. 어떻게 될까?",
        ),
        answers=(
            Text(en="it is removed, for nothing survives SIGKILL", ko="사라진다: SIGKILL을 견디는 것은 없다"),
            Text(en="it goes after a minute, when the kernel cleans up", ko="1분쯤 뒤 커널이 정리하면 사라진다"),
            Text(en="the parent is told once more, and it is removed", ko="부모에게 다시 알림이 가고, 좀비는 사라진다"),
            Text(
                en="nothing: it stays until its parent waits or ends",
                ko="변화가 없다: 부모가 wait하거나 끝날 때까지 남는다",
            ),
        ),
        right=3,
    ),
    run=run,
    parameters={"zombies": Parameter(2, 1, 20, "", "children that the parent does not wait for")},
)
