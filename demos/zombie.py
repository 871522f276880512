"""A child that nobody waits for stays a zombie until its parent ends.

Question: What is left of a child nobody waits for, and until when?

Theory: Its memory and descriptors are gone; an entry in the process table stays, in the state Z, and holds the exit
status for the parent. No signal removes it, not even SIGKILL. When the parent waits, it goes. When the parent ends, the
child gets a new parent, as a rule PID 1, whose task it is to wait for such orphans.

Source: wait(2) NOTES; TLPI 26.2; UNP 5.9

The mistake is to fork and never wait. The parent here makes it with the first two children, and not with the third.
"""

import os
import signal
from pathlib import Path

from demos._kernel import row, state, status, until
from demos._show import Inconclusive, Show


def main(show: Show) -> str:
    """Look at a careless parent's children while it lives, and after its end."""
    told, tell = os.pipe()
    go_on, gate = os.pipe()
    parent = os.fork()
    if parent == 0:
        os.close(gate)
        careless(tell, go_on)
    os.close(tell)
    pids = [int(word) for word in os.read(told, 100).split()]
    zombies, waited_for = pids[:2], pids[2]

    for pid in zombies:
        show(row(pid))
        os.kill(pid, signal.SIGKILL)
    show(f"{row(waited_for)}: the parent waited for it")
    states = [state(pid) for pid in zombies]
    memory = Path(f"/proc/{zombies[0]}/maps").read_bytes()
    show(f"after SIGKILL: {states}; bytes in /proc/{zombies[0]}/maps: {len(memory)}")
    show.expect(states == ["Z", "Z"], "who is not waited for stays a zombie, SIGKILL or not")
    show.expect(memory == b"", "a zombie has no memory")
    show.expect(state(waited_for) == "", "who was waited for is gone")

    os.close(gate)  # end of file for the parent: it ends
    os.waitpid(parent, 0)
    new_parents = {status(pid).get("PPid") for pid in zombies} - {None}
    if new_parents == {"1"} and os.getppid() == 1:
        raise Inconclusive("this container has no init, so nobody waits for orphans; see the demo pid1")
    until(lambda: not any(map(state, zombies)), "the zombies are gone after their parent")
    for pid in zombies:
        show(f"{row(pid)}, after the end of its parent {parent}")
    show.measure(zombies_while_parent_lives=len(zombies), zombies_after=0)
    return "a zombie stays as long as its parent does, and no longer"


def careless(tell: int, go_on: int, forgotten: int = 2) -> None:
    """Fork children that end at once, wait for the last one, not for ``forgotten``, and live until ``go_on`` ends."""
    pids = [fork_and_end() for _ in range(forgotten + 1)]
    os.waitpid(pids[-1], 0)
    for pid in pids[:-1]:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # sleeps until it has ended, but leaves the zombie
    os.write(tell, " ".join(map(str, pids)).encode())
    os.read(go_on, 1)
    os._exit(0)


def fork_and_end() -> int:
    """Fork a child that ends at once; its PID."""
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    return pid
