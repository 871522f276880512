"""Clients of the service store that know what came back to them, and a check of the file against what they know."""

import os
import random
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count, pairwise
from pathlib import Path

from tests.deadline import until
from tests.unit.serving import Server


def line(connection: int, number: int) -> bytes:
    """One line, of 1 to 10,000 bytes and at times of 100,000, that tells where it comes from; the same at each call."""
    chance = random.Random(connection * 1_000_003 + number)
    size = chance.choice((1, 100, chance.randint(1, 10_000), chance.randint(1, 10_000)))
    if chance.random() < 0.005:
        size = 100_000
    head = b"%d %d " % (connection, number)
    filler = b"%x" % chance.getrandbits(64)
    return (head + filler * (size // len(filler) + 1))[: max(size, len(head))] + b"\n"


@dataclass
class Known:
    """What all clients know together: of which connection which numbers were sent, and which came back."""

    sent: dict[int, int] = field(default_factory=dict)
    echoed: dict[int, int] = field(default_factory=dict)
    errors: list[bytes] = field(default_factory=list)
    names: "count[int]" = field(default_factory=lambda: count(1))

    def came_back(self) -> int:
        """How many lines."""
        return sum(list(self.echoed.values()))

    def converse(self, peer: socket.socket, lines: int) -> int:
        """Send so many lines, a few at a time, and read them back; how many came back before it was broken off."""
        name = next(self.names)
        self.sent[name] = self.echoed[name] = 0
        chance = random.Random(name)
        with peer, peer.makefile("rb") as heard:
            try:
                while self.sent[name] < lines:
                    some = range(self.sent[name], min(lines, self.sent[name] + chance.randint(1, 5)))
                    self.sent[name] = some.stop
                    peer.sendall(b"".join(line(name, number) for number in some))
                    for number in some:
                        back = heard.readline()
                        if back.startswith(b"ERROR "):
                            self.errors.append(back)
                        if back != line(name, number):
                            assert line(name, number).startswith(back) or back in self.errors, back[:200]
                            return self.echoed[name]
                        self.echoed[name] += 1
            except OSError:  # its child is dead
                pass
        return self.echoed[name]

    def check(self, file: Path) -> int:
        """Compare with the file; how many lines it has beyond those that came back."""
        seen: dict[int, list[int]] = {}
        for row in file.read_bytes().splitlines(keepends=True):
            name, number = map(int, row.split(maxsplit=2)[:2])
            assert row == line(name, number), f"not whole: {row[:80]!r}, {len(row)} bytes"
            assert number < self.sent[name], "nobody sent this"
            seen.setdefault(name, []).append(number)
        for name, numbers in seen.items():
            assert all(a < b for a, b in pairwise(numbers)), f"connection {name}: twice, or not in order"
        for name, echoed in self.echoed.items():
            missing = set(range(echoed)) - set(seen.get(name, ()))
            assert not missing, f"connection {name}: came back but not in the file: {sorted(missing)[:5]}"
        return sum(map(len, seen.values())) - self.came_back()


def processes(file: Path) -> dict[int, str]:
    """All processes of servers that record in ``file``, and their names; zombies have no environment any more."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if b"forklab.store=" + os.fsencode(file) in (folder / "environ").read_bytes().split(b"\0"):
                found[int(folder.name)] = (folder / "comm").read_text().strip()
        except OSError:
            continue
    return found


def named(file: Path, name: str) -> int:
    """The keeper or the recorder, as soon as there is one."""
    return int(until(lambda: [pid for pid, its in processes(file).items() if its == name], f"a {name}")[0])


def storm(
    server: Server,
    clients: int,
    lines: int,
    victims: Callable[[], list[int]],
    pause: float,
    enough: Callable[[Known], bool],
) -> Known:
    """Let ``clients`` get ``lines`` back each, connecting anew when cut off, while somebody dies now and then.

    Args:
        server: to whom they talk.
        clients: how many at once.
        lines: for each of them.
        victims: who may be the next to get SIGKILL, by PID.
        pause: seconds between two deaths.
        enough: when the server itself is to be killed.
    """
    known = Known()

    def live() -> None:
        left = lines
        while left > 0 and server.process.poll() is None:
            try:
                left -= known.converse(server.connect(), left)
            except OSError:
                continue  # the server is dead, which the loop sees as well

    threads = [threading.Thread(target=live, daemon=True) for _ in range(clients)]
    for thread in threads:
        thread.start()
    chance = random.Random(clients)
    latest = time.monotonic() + 120
    while any(thread.is_alive() for thread in threads):
        assert time.monotonic() < latest, "a client hangs"
        time.sleep(pause)  # not to wait for something: this is how often somebody dies
        if server.process.poll() is None and enough(known):
            server.process.kill()
            server.process.wait()
        if pids := victims():
            with suppress(ProcessLookupError):
                os.kill(chance.choice(pids), signal.SIGKILL)
    return known
