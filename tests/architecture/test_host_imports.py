"""The host side runs on Windows too: it imports where the Unix part of the standard library is missing."""

import subprocess
import sys

from tests.architecture.source import ROOT, files, module

# Takes away what Windows lacks and adds what it has instead. The packages that we install adapt themselves by
# sys.platform, so they come first.
ON_WINDOWS = """
import importlib, os, sys, types
import docker, invoke, requests, rich.console
for absent in ("fcntl", "grp", "pty", "pwd", "readline", "resource", "syslog", "termios", "tty"):
    sys.modules[absent] = None
for absent in ("fork", "forkpty", "getuid", "geteuid", "getgid", "killpg", "setsid", "uname", "WNOHANG"):
    if hasattr(os, absent):
        delattr(os, absent)
sys.modules["msvcrt"] = types.ModuleType("msvcrt")
for name in sys.argv[1:]:
    importlib.import_module(name)
print("all imported")
"""


def test_the_host_side_imports_without_unix() -> None:
    """Every module of forklab, protocol and tasks imports with fork, fcntl, pwd and their kind taken away."""
    rooms = ("forklab/**/*.py", "protocol/**/*.py", "tasks.py")
    host = [module(file) for room in rooms for file in files(room)]
    assert "forklab.errors" in host
    done = subprocess.run([sys.executable, "-c", ON_WINDOWS, *host], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "all imported\n", done.stderr
