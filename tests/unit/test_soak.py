"""Every model under bad company for a while: afterwards everything is where it was.

FORKLAB_SOAK=3600 makes it an hour for each model.
"""

import contextlib
import os
import random
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.deadline import until
from tests.unit.serving import MODELS, Server, hear, say, serving

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the server runs in Linux containers")

ROUNDS = 150
SECONDS = float(os.environ.get("FORKLAB_SOAK", "0"))
"""At least so many of each."""
RESET = struct.pack("ii", 1, 0)


def polite(server: Server) -> None:
    """Says something, reads it back, leaves."""
    with server.connect() as client:
        assert say(client, b"hello") == b"hello"


def half_closes(server: Server) -> None:
    """Says a lot, says that this was all, and reads to the end."""
    with server.connect() as client:
        client.sendall(b"x" * 30_000)
        client.shutdown(socket.SHUT_WR)
        assert len(hear(client, 40_000)) == 30_000


def resets(server: Server) -> None:
    """Breaks off in the middle, with RST."""
    with server.connect() as client:
        client.sendall(b"x" * 1000)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)


def says_nothing(server: Server) -> None:
    """Connects and leaves."""
    server.connect().close()


def never_reads(server: Server) -> None:
    """Sends until both directions are full, and leaves without having read a byte."""
    with server.connect() as client:
        client.settimeout(0.02)
        try:
            while True:
                client.send(b"x" * 65536)
        except (TimeoutError, ConnectionError):
            pass


def is_bereaved(server: Server) -> None:
    """Loses the process that serves it."""
    with server.connect() as client:
        say(client, b"x")
        if children := list(server.children()):
            with contextlib.suppress(ProcessLookupError):  # it has just served another one to the end
                os.kill(random.choice(children), signal.SIGKILL)


COMPANY: list[Callable[[Server], None]] = [polite, half_closes, resets, says_nothing, never_reads, is_bereaved]


def resident(server: Server) -> int:
    """Memory of the server's main process, in pages."""
    return int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1])


def mappings(server: Server) -> int:
    """How many mappings the main process has."""
    return len(Path(f"/proc/{server.process.pid}/maps").read_text().splitlines())


@pytest.mark.parametrize("words", [*((model,) for model in MODELS), ("fork", "--spare", "4")], ids=" ".join)
def test_bad_company_leaves_nothing(words: tuple[str, ...], tmp_path: Path) -> None:
    """After resets, slow readers and killed children: descriptors, processes and memory as before, and it serves."""
    rude = random.Random(9190)
    with serving(tmp_path, *words, pool=4 if "--spare" in words else None) as server:
        for guest in [*COMPANY, *rude.choices(COMPANY, k=ROUNDS // 3)]:
            guest(server)
        until(lambda: len(server.children()) == server.pool, "quiet after the first round")
        until(lambda: not any(target.startswith("socket") for target in clients_of(server)), "no client's socket")
        before, memory, mapped = server.descriptors(), resident(server), mappings(server)
        end = time.monotonic() + SECONDS
        rounds = 0
        while rounds < ROUNDS or time.monotonic() < end:
            rude.choice(COMPANY)(server)
            rounds += 1
        until(lambda: server.descriptors() == before, "the descriptors are as before")
        until(lambda: list(server.children().values()) == ["S"] * server.pool, "only idle workers, no zombie")
        assert resident(server) < 1.2 * memory
        # Two mappings each: some arenas of an allocator, and the stacks of ended threads that glibc keeps.
        assert mappings(server) <= mapped + 20
        print(f"{rounds} guests; {len(before)} descriptors, {mapped} mappings, {memory} -> {resident(server)} pages")
        polite(server)


def clients_of(server: Server) -> list[str]:
    """What the main process holds beside its listener."""
    targets = server.descriptors()
    sockets = [target for target in targets if target.startswith("socket")]
    return sockets[1:]
