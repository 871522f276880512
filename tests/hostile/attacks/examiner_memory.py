"""Tries to read and write the examiner: ptrace, its memory, its descriptors, its environment, its folders."""

import contextlib
import ctypes
import errno
import os
import sys

PTRACE_ATTACH, PTRACE_SEIZE, PIDFD_OPEN, PIDFD_GETFD = 16, 0x4206, 434, 438
libc = ctypes.CDLL(None, use_errno=True)
buffer = ctypes.create_string_buffer(8)
reached, tried = [], 0
for pid in (int(name) for name in os.listdir("/proc") if name.isdigit()):
    if pid == os.getpid():
        continue
    tried += 1
    for file in (
        "mem",
        "environ",
        "maps",
        "fd",
        "fdinfo",
        "fd/0",
        "fd/1",
        "root/run/examiner",
        "cwd/x",
        "stack",
        "syscall",
    ):
        for flags in (os.O_RDONLY, os.O_WRONLY):
            with contextlib.suppress(OSError):
                os.close(os.open(f"/proc/{pid}/{file}", flags))
                reached.append((pid, file))
    for request in (PTRACE_ATTACH, PTRACE_SEIZE):
        if libc.ptrace(request, pid, None, None) == 0:
            reached.append((pid, "ptrace"))
    place = (ctypes.c_void_p * 2)(ctypes.addressof(buffer), 8)
    if libc.process_vm_readv(pid, place, 1, place, 1, 0) >= 0 or ctypes.get_errno() != errno.EPERM:
        reached.append((pid, "process_vm_readv"))
    pidfd = libc.syscall(PIDFD_OPEN, pid, 0)
    if pidfd >= 0 and libc.syscall(PIDFD_GETFD, pidfd, 1, 0) >= 0:
        reached.append((pid, "pidfd_getfd"))
print("others were tried:", tried > 1, "reached:", reached)
sys.exit(3)
