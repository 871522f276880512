"""Tries to pass for the examiner: takes its name and words, and names that read as lines of /proc, or as no text."""

import ctypes
import os
import sys
import time

from honest import beside, serve

PR_SET_NAME = 15
libc = ctypes.CDLL(None)
if len(sys.argv) == 2:
    os.execv(sys.executable, ["python3 -m examiner --lanes 1", *sys.argv, "again"])


def wait_under(name):
    libc.prctl(PR_SET_NAME, name, 0, 0, 0)
    time.sleep(1000)


NAMES = (
    b"x) Z 1 1 1 1",
    b"x\nUid:\t0\t0\t0",
    b"x\x0bUid:\t0\t0\t0",
    b"TracerPid:\t1",
    b"SigPnd:\t7",
    b"\xff\xfe\x85",
    b"strace",
    b"python3",
)
for name in NAMES:
    beside(lambda name=name: wait_under(name))
libc.prctl(PR_SET_NAME, b"a) R 1 (b", 0, 0, 0)
serve(int(sys.argv[1]))
