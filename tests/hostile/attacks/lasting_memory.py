"""Tries to take memory that stays when it has gone: System V segments and queues, files in /dev/shm and /dev/mqueue."""

import ctypes
import os
import sys

IPC_PRIVATE, IPC_CREAT = 0, 0o1000
libc = ctypes.CDLL(None, use_errno=True)
libc.shmat.restype = ctypes.c_void_p
libc.shmat.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_int)
megabytes = 0
for _ in range(1000):
    segment = libc.shmget(IPC_PRIVATE, 1 << 20, IPC_CREAT | 0o666)
    if segment < 0:
        break
    ctypes.memset(libc.shmat(segment, None, 0), 1, 1 << 20)
    megabytes += 1
queues = 0
while libc.msgget(IPC_PRIVATE, IPC_CREAT | 0o666) >= 0:
    queues += 1
sets = 0
while libc.semget(IPC_PRIVATE, 250, IPC_CREAT | 0o666) >= 0:
    sets += 1
try:
    with open("/dev/shm/left", "wb") as file:
        while True:
            file.write(bytes(1 << 20))
            megabytes += 1
except OSError:
    pass
print(
    "bounded:",
    megabytes < 100 and queues < 100 and sets < 100,
    megabytes,
    "MiB",
    queues,
    "queues",
    sets,
    "sets",
    os.getuid(),
)
sys.exit(3)
