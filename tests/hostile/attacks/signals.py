"""Tries to stop, end and kill the examiner, its init and whoever else is there, by their numbers."""

import os
import signal
import sys

mine, tried, arrived = os.getpid(), [], []
for pid in (int(name) for name in os.listdir("/proc") if name.isdigit()):
    if pid != mine:
        tried.append(pid)
        for number in (signal.SIGSTOP, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL):
            try:
                os.kill(pid, number)
                arrived.append((pid, number))
            except PermissionError:
                pass
print("PID 1 and the parent were tried:", {1, os.getppid()} <= set(tried), "signals that arrived:", arrived)
sys.exit(3)
