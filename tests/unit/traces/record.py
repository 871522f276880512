"""Records the traces in this folder anew: ``python3 -m tests.unit.traces.record``, as root, with strace and cc.

Each server, in C and in Python, has two clients of which the first leaves last; strace is attached as the probe does.
"""

import gzip
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
MODELS = ("epoll", "fork", "iterative", "poll", "prefork", "select", "thread")
OPTIONS = (ROOT / "images" / "strace.options").read_text().split()
PORT = 9190


def main() -> None:
    """Every model in both languages, then the odd program."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        folder = Path(name)
        for source in ("server", "odd"):
            subprocess.run(["cc", "-O1", "-pthread", "-o", folder / source, HERE / f"{source}.c"], check=True)
        for model in MODELS:
            keep(f"c-{model}", served([str(folder / "server"), model], folder / "trace"), folder)
            keep(f"python-{model}", served([sys.executable, "-m", "server", model], folder / "trace"), folder)
        subprocess.run(["strace", *OPTIONS, "-o", folder / "trace", folder / "odd"], cwd="/", stdin=subprocess.DEVNULL)
        keep("c-odd", (folder / "trace").read_text(), folder)


def served(words: list[str], file: Path) -> str:
    """What strace says of a server with two clients."""
    server = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.DEVNULL)
    first = second = None
    try:
        connect().close()  # it listens, and has forked ahead what it forks ahead
        time.sleep(0.5)
        pids = [str(server.pid), *children(server.pid)]
        tracer = subprocess.Popen(["strace", *OPTIONS, "-o", file, *(w for pid in pids for w in ("-p", pid))])
        time.sleep(1)
        first, second = connect(), connect()
        for one in (first, second) if "iterative" not in words else (first,):
            one.sendall(b"hello\n")
            one.recv(100)
        second.shutdown(socket.SHUT_WR)
        if "iterative" in words:
            first.close()
        while second.recv(100):
            pass
        first.close()
        time.sleep(0.5)
        tracer.send_signal(2)
        tracer.wait()
    finally:
        for pid in (str(server.pid), *children(server.pid)):  # the parent first: it would fork others
            os.kill(int(pid), 9)
        server.wait()
    return file.read_text()


def connect() -> socket.socket:
    """A connection, as soon as the server listens."""
    deadline = time.monotonic() + 10
    while True:
        try:
            return socket.create_connection(("127.0.0.1", PORT))
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def children(pid: int) -> list[str]:
    """The PIDs of the children of a process."""
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def keep(name: str, text: str, folder: Path) -> None:
    """Write a fixture, without the names of this machine; always the same bytes for the same text."""
    for path in (str(folder), str(ROOT), sys.prefix, sys.base_prefix):
        text = text.replace(path, "/lab")
    (HERE / f"{name}.strace.gz").write_bytes(gzip.compress(text.encode(), mtime=0))


if __name__ == "__main__":
    main()
