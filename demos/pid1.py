"""PID 1 gets no signal it has no handler for, and becomes the parent of orphans: a container's program may be PID 1.

Question: What is special about PID 1 in a container?

Theory: The first process of a PID namespace gets only the signals for which it has a handler, and from inside not even
SIGKILL. So a server without a handler for SIGTERM cannot be stopped politely. It becomes the parent of each process
whose parent has ended, and those stay zombies if it does not wait for them. An init does both: it passes signals on,
and waits.

Source: pid_namespaces(7), kill(2) NOTES; TLPI 28.3; docker run --init

`docker compose run --rm demo pid1` has an init. To see it without one: `docker run --rm forklab-demo pid1`.
"""

import os
import signal

from demos._kernel import PATIENCE, has_signal, row, state, status, until
from demos._show import Inconclusive, NotSo, Show


def main(show: Show) -> str:
    """Tell who PID 1 is; send signals to it if it is ours; make an orphan and see who waits for it."""
    name, mine = status(1)["Name"], os.getppid() == 1
    show(f"PID 1 is {name}; this process is {os.getpid()}, its parent {os.getppid()}")

    victim = sleeping_child()
    os.kill(victim, signal.SIGUSR1)
    _, ended = os.waitpid(victim, 0)
    killer = signal.Signals(os.WTERMSIG(ended)).name
    show(f"SIGUSR1 to PID {victim}, which is not PID 1 and has no handler: it was killed by {killer}")
    if mine:
        show(f"PID 1 has no handler for SIGUSR1 either: in SigCgt {has_signal(1, 'SigCgt', signal.SIGUSR1)}")
        for number in (signal.SIGUSR1, signal.SIGKILL):
            os.kill(1, number)
            show(f"{number.name} to PID 1, and it lives: {row(1)}")
            show.expect(bool(state(1)), f"PID 1 ignores {number.name}")

    orphan, gate = make_orphan()
    show(f"{row(orphan)}, after its parent has ended")
    new_parent = int(status(orphan)["PPid"])
    os.close(gate)
    if mine:
        until(lambda: state(orphan) == "Z", "an orphan that ends stays a zombie where PID 1 waits for no stranger")
        show(row(orphan))
    else:
        try:
            until(lambda: not state(orphan), "")
        except NotSo:
            raise Inconclusive(
                f"PID {new_parent} has not waited for its orphan in {PATIENCE:g} s; is it an init?"
            ) from None
        show(f"{row(orphan)}: PID {new_parent} waited for it")

    show.measure(pid1=name, init=not mine, adopted_by=new_parent, orphan_left=bool(state(orphan)))
    show.expect(killer == "SIGUSR1", "a process without a handler dies of SIGUSR1")
    if mine:
        show.expect(new_parent == 1, "PID 1 becomes the orphan's parent")
        return "without an init: PID 1 ignored SIGUSR1 and SIGKILL, and the orphan stayed a zombie"
    show.expect(new_parent != os.getpid(), "the orphan's new parent is not its grandparent")
    return f"with an init: {name} is PID 1, and the orphan was waited for (without: docker run --rm forklab-demo pid1)"


def sleeping_child() -> int:
    """Fork a child that sleeps until a signal ends it; its PID."""
    pid = os.fork()
    if pid == 0:
        signal.pause()
        os._exit(os.EX_SOFTWARE)
    return pid


def make_orphan() -> tuple[int, int]:
    """Fork a child that forks another one and ends; the PID of the orphan, and what to close to end it."""
    told, tell = os.pipe()
    go_on, gate = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(gate)
        orphan = os.fork()
        if orphan == 0:
            os.read(go_on, 1)
            os._exit(0)
        os.write(tell, str(orphan).encode())
        os._exit(0)
    os.waitpid(child, 0)
    return int(os.read(told, 20)), gate
