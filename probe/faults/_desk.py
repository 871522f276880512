"""Where the faults of a lab meet: a folder in the probe's /dev/shm, the one place there that can be written to.

Each fault that is held has a UNIX socket there, named FAULT@TARGET. Whoever connects to it can ask what is held, or
have it undone; when the holder has died the kernel refuses the connection, so nothing stale is ever believed. Holders
in containers of their own share the folder by the probe's IPC namespace, which is what /dev/shm belongs to.

Beside them lies the journal: a JSON line for each begin and each end.
"""

import contextlib
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SHARED = Path("/dev/shm")
BEGIN, END = "fault-begin", "fault-end"
HEAL = b"heal\n"
ASK = b"ask\n"
PATIENCE = 10.0
"""Seconds that a holder has for an answer, and for undoing what it did."""


def folder() -> Path:
    """The folder; made when first asked for. Not sticky: see protected_regular, proc_sys_fs(5)."""
    place = SHARED / "forklab"
    if not place.exists():
        place.mkdir(exist_ok=True)
        place.chmod(0o777)
    return place


def journal(event: str, **facts: Any) -> None:
    """Add an event. Lines shorter than a page that are appended by one write(2) do not mix."""
    line = json.dumps({"event": event, **facts}) + "\n"
    descriptor = os.open(folder() / "journal", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        with contextlib.suppress(PermissionError):  # another user's: it has the right mode already
            os.fchmod(descriptor, 0o666)
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


def events() -> list[dict[str, Any]]:
    """All begins and ends, in order of time."""
    try:
        lines = (folder() / "journal").read_text().splitlines()
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in lines]


def claim(key: str) -> socket.socket | None:
    """Become the holder of ``key``, a fault and its target; None when there is one already."""
    with _one_at_a_time():
        if call(key, ASK) is not None:
            return None
        _bury(key)
        desk = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        path = folder() / f"{key}.sock"
        desk.bind(str(path))
        path.chmod(0o666)
        desk.listen()
        return desk


def bury() -> list[str]:
    """Take away what holders that were killed have left on the desk, and note their end; their keys."""
    with _one_at_a_time():
        return [key for key in claims() if call(key, ASK) is None and _bury(key)]


def _bury(key: str) -> bool:
    path = folder() / f"{key}.sock"
    if not path.exists():
        return False
    path.unlink()
    fault, _, target = key.partition("@")
    journal(END, time=time.monotonic(), fault=fault, target=target, reason="its holder was killed")
    return True


@contextlib.contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Between finding that nobody is there and taking the place nobody else may do the same."""
    descriptor = os.open(folder(), os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def leave(key: str) -> None:
    """Give up ``key``."""
    (folder() / f"{key}.sock").unlink(missing_ok=True)


def claims() -> list[str]:
    """What is held, or was held by somebody who was killed."""
    return sorted(path.stem for path in folder().glob("*.sock"))


def call(key: str, words: bytes) -> str | None:
    """Say ``words`` to the holder of ``key`` and read until it closes; None when nobody is there."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        line.settimeout(PATIENCE)
        try:
            line.connect(str(folder() / f"{key}.sock"))
        except (ConnectionRefusedError, FileNotFoundError):
            return None
        answer = b""
        with contextlib.suppress(OSError):  # it ended meanwhile, or takes too long
            line.sendall(words)
            while more := line.recv(65536):
                answer += more
        return answer.decode()
