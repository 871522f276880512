"""A child has its own copy of every variable; what it writes, the parent never sees.

Question: Does a child share the parent's variables?

Theory: fork returns twice: 0 in the child, the child's PID in the parent. Both have the same addresses, but what either
writes goes to a page of its own (copy on write). Only memory mapped with MAP_SHARED is one memory for both.

Source: fork(2), mmap(2); TLPI 24.2 and 49.7

The mistake is to count in a variable and expect the parent to see it. The right way is shared memory, as here, or a
pipe.
"""

import ctypes
import mmap
import os
from pathlib import Path

from demos._show import Show


def main(show: Show) -> str:
    """Let a child write to both kinds of memory, then read the memory of both processes at the same addresses."""
    returned, private = ctypes.c_int32(-1), ctypes.c_int32(1)  # C variables: they have an address to look at
    shared = ctypes.c_int32.from_buffer(mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_SHARED | mmap.MAP_ANONYMOUS))
    shared.value = 1
    told, tell = os.pipe()
    go_on, gate = os.pipe()

    returned.value = os.fork()
    if returned.value == 0:
        os.close(gate)
        private.value = 2
        shared.value = 2
        os.write(tell, b"x")
        os.read(go_on, 1)  # stays until the parent has looked
        os._exit(0)
    os.read(told, 1)  # the child has written

    parent, child = os.getpid(), returned.value
    show(f"PID {parent} is the parent, PID {child} the child")
    values = {}
    for name, number in (("returned", returned), ("private", private), ("shared", shared)):
        address = ctypes.addressof(number)
        values[name] = [memory(pid, address) for pid in (parent, child)]
        show(f"{name} variable at 0x{address:x}: {values[name][0]} in the parent, {values[name][1]} in the child")
    os.close(gate)
    os.waitpid(child, 0)

    show.measure(**values)
    show.expect(values["returned"] == [child, 0], "fork returns the child's PID in the parent and 0 in the child")
    show.expect(values["private"] == [1, 2], "the child's write to a variable stays in the child")
    show.expect(values["shared"] == [2, 2], "both see a write to memory that is mapped shared")
    return "a variable is copied, only shared memory is shared"


def memory(pid: int, address: int) -> int:
    """The 32-bit number at an address of a process: proc_pid_mem(5)."""
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as file:
        return ctypes.c_int32.from_buffer_copy(os.pread(file.fileno(), 4, address)).value
