"""Tries to write where the examiner has its program, its notes and what was submitted, and to change its program."""

import contextlib
import os
import sys

BUILT = "/run/subject/built/subject"
written = []
for place in (
    "/lab/examiner/_exam.py",
    "/lab/new",
    "/run/examiner/new",
    "/run/subject/new",
    "/run/subject/source/new",
    f"{BUILT}/new",
    f"{BUILT}/{sys.argv[0]}",
    "/etc/ld.so.preload",
    "/usr/lib/python3/new",
    "/bin/sh",
    "/dev/new",
    "/sys/fs/cgroup/new",
):
    with contextlib.suppress(OSError):
        os.close(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_APPEND))
        written.append(place)
for place in (BUILT, "/run/subject/source", "/run/examiner"):
    with contextlib.suppress(OSError):
        os.rename(place, f"{place}.old")
        written.append(place)
print("written:", written)
sys.exit(3)
