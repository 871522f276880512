"""Tries to get rights: user namespaces, set-user-ID programs, other users, keys, bpf, a higher priority."""

import contextlib
import ctypes
import os
import subprocess
import sys

CLONE_NEWUSER = 0x10000000
ADD_KEY, KEYCTL, BPF = {"x86_64": (248, 250, 321), "aarch64": (217, 219, 280)}[os.uname().machine]
libc = ctypes.CDLL(None, use_errno=True)
got = []
if os.fork() == 0:
    os._exit(0 if libc.unshare(CLONE_NEWUSER) == 0 else 1)
if os.wait()[1] == 0:
    got.append("unshare")
for call, words in ((os.setuid, (0,)), (os.setgid, (0,)), (os.setgroups, ([0],)), (os.nice, (-5,))):
    with contextlib.suppress(OSError):
        call(*words)
        got.append(call.__name__)
if libc.syscall(ADD_KEY, b"user", b"name", b"x", 1, -5) >= 0 or libc.syscall(KEYCTL, 0, -3, 0) >= 0:
    got.append("keys")
if libc.syscall(BPF, 0, bytes(128), 128) >= 0:
    got.append("bpf")
for words in (
    ["su", "-c", "id -u"],
    ["mount", "-t", "tmpfs", "none", "."],
    ["newgrp", "root"],
    ["passwd", "-S", "root"],
):
    with contextlib.suppress(OSError):
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=5)
        got += [words[0]] if done.returncode == 0 else []
print("got:", got)
sys.exit(3)
