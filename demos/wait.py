"""wait() sleeps until some child has ended, and returns its PID and how it ended.

Question: What does wait return, and does it block?

Theory: It blocks while there are children and none has ended; it returns the PID of one that has, and a status in which
the exit code is one field among others; with no children left it fails with ECHILD. Children come in the order in which
they end, not in that in which they were forked.

Source: wait(2); TLPI 26.1; UNP 5.10

The mistake is to take the status for the exit code: exit code 3 is the status 768. The macros WIFEXITED and
WEXITSTATUS, or in Python os.waitstatus_to_exitcode, take it apart.
"""

import errno
import os

from demos._kernel import state, until
from demos._show import Show

CODES = (5, 3)
"""The exit codes of the first child and of the second."""


def main(show: Show) -> str:
    """Wait for two children; the second one ends first, and not before it has seen us asleep."""
    parent = os.getpid()
    first_done, gate = os.pipe()

    first = os.fork()
    if first == 0:
        os.close(gate)
        os.read(first_done, 1)  # end of file: the second child has ended, and we after it
        os._exit(CODES[0])

    second = os.fork()
    if second == 0:
        # We call nothing else that sleeps, so a parent in the state S is one that waits.
        until(lambda: state(parent) == "S", "the parent sleeps in wait")
        os._exit(CODES[1])
    show(f"forked {first}, which will exit with {CODES[0]}, then {second}, which ends when it sees {parent} asleep")

    found = {}
    for _ in range(2):
        pid, status = os.wait()
        show(
            f"wait returned PID {pid}, status {status} = 0x{status:04x}: "
            f"WIFEXITED {os.WIFEXITED(status)}, WEXITSTATUS {os.WEXITSTATUS(status)}"
        )
        found[pid] = (os.WIFEXITED(status), os.WEXITSTATUS(status))
        if pid == second:
            os.close(gate)
    try:
        os.wait()
        failed = 0
    except ChildProcessError as error:
        failed = error.errno or 0
    show(f"the third wait failed: {errno.errorcode.get(failed)}")

    show.measure(order=list(found), exit_codes=[code for _, code in found.values()], third=errno.errorcode.get(failed))
    show.expect(list(found) == [second, first], "wait returns first who ended first")
    show.expect(found[second] == (True, CODES[1]), "the child saw its parent asleep, and its exit code came back")
    show.expect(found[first] == (True, CODES[0]), "the other one's exit code came back")
    show.expect(failed == errno.ECHILD, "without children wait fails with ECHILD")
    return "wait blocked until a child ended, and told which and how"
