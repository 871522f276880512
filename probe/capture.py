"""Lets tcpdump(8) write what the kernel sees in this network namespace, and sees to it that tcpdump always ends.

Standard output is tcpdump's own: a classic pcap stream with nanoseconds. Standard error is ours, a JSON object a line:
``{"event": "capturing"}`` when the kernel keeps packets from now on, ``{"event": "ended"}`` with tcpdump's counters, or
``{"event": "refused"}`` with tcpdump's words.

Whoever asked holds the other end of standard input. A first byte starts, a second one stops; end of file says that he
is gone. The engine closes our standard input when its client is killed, but goes on to read what we write and throws
it away: a process that only writes would never learn that nobody listens.
"""

import json
import os
import re
import selectors
import signal
import struct
import subprocess
import sys
import time
from typing import Any

from protocol import exits

INTERFACE = "any"
"""All of the namespace, also the loopback device, which packet(7) shows twice and libpcap once."""

LINUX_SLL2, SNAPSHOT = 276, 65600
EMPTY = struct.pack("=IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, SNAPSHOT, LINUX_SLL2)
"""A pcap file of the kind that INTERFACE gives, without a packet."""

TCPDUMP = (
    # pdeathsig: the kernel kills tcpdump when we are killed (PR_SET_PDEATHSIG(2const)).
    *("setpriv", "--pdeathsig", "KILL"),
    # Root stays root (-Z): Debian's tcpdump would change to another user, for which the probe has no capability.
    *("tcpdump", "-i", INTERFACE, "-p", "-Z", "root"),
    # A slot of --immediate-mode's ring holds the longest packet: the usual 2 MiB would be a few slots, and packets were
    # dropped. These are hundreds, each of 64 KiB, as long as segmentation offload makes a packet.
    *("-B", "65536", "-s", str(SNAPSHOT)),
    # Each packet is handed on at once: neither libpcap (--immediate-mode) nor stdio (-U) waits for a buffer to fill.
    *("-U", "--immediate-mode", "--time-stamp-precision=nano", "-w", "-"),
)

COUNTERS = re.compile(r"(\d+) packets? captured, (\d+) packets? received by filter, (\d+) packets? dropped by kernel")
"""What tcpdump says of itself on SIGUSR1."""

_FENCE_SECONDS = 2.0
_ASK_SECONDS = 0.02
_SAME_LOOKS = 4
_END_SECONDS = 2.0


def capture(expression: str, seconds: float) -> int:
    """Capture for at most ``seconds``, what the pcap-filter(7) ``expression`` lets through.

    Returns:
        The exit code: exits.USAGE when tcpdump does not understand the expression.
    """
    if not os.read(sys.stdin.fileno(), 1):
        return exits.OK
    with subprocess.Popen(
        [*TCPDUMP, "--", expression], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, bufsize=0
    ) as tcpdump:
        try:
            return _Watch(tcpdump, expression).run(seconds)
        finally:
            tcpdump.kill()  # does nothing where it has ended


class _Watch:
    """Over one tcpdump: its words, the asker's, and the time."""

    def __init__(self, tcpdump: "subprocess.Popen[bytes]", expression: str) -> None:
        assert tcpdump.stderr
        self.tcpdump = tcpdump
        self.expression = expression
        self.said = tcpdump.stderr.fileno()
        self.asker = sys.stdin.fileno()
        self.text = ""
        self.lines: list[str] = []
        self.counters: tuple[int, ...] = ()
        self.select = selectors.DefaultSelector()
        self.select.register(self.said, selectors.EVENT_READ)
        self.select.register(self.asker, selectors.EVENT_READ)

    def run(self, seconds: float) -> int:
        deadline = time.monotonic() + seconds
        capturing = False
        while (left := deadline - time.monotonic()) > 0:
            ready = {key.fd for key, _ in self.select.select(left)}
            if self.asker in ready:
                if not os.read(self.asker, 1):
                    return exits.OK  # nobody reads on
                break
            if self.said in ready and not self._listen():
                return self._failed()
            if not capturing and any("listening on" in line for line in self.lines):
                capturing = True
                _tell(event="capturing", interface=INTERFACE, kernel=_kernel(), time=time.time())
        self._fence()
        self._end()
        _, received, dropped = self.counters or (None, None, None)  # it sleeps in write(2) and does not answer
        _tell(event="ended", received=received, dropped=dropped, time=time.time())
        return exits.OK

    def _listen(self) -> bool:
        """Take in what tcpdump says; False at its end."""
        piece = os.read(self.said, 65536)
        *whole, self.text = (self.text + piece.decode(errors="replace")).split("\n")
        self.lines += whole
        for line in whole:
            if found := COUNTERS.search(line):
                self.counters = tuple(map(int, found.groups()))
        return bool(piece)

    def _fence(self) -> None:
        """Wait until tcpdump has taken from the kernel what had arrived when we were told to stop.

        SIGTERM ends it at once, and what still lies in the socket's ring is lost. On SIGUSR1 it tells how much the
        kernel has for it and how much it took. It never takes what a loopback device shows a second time, so it has
        also taken all when it no longer takes more.
        """
        self.select.unregister(self.asker)
        deadline = time.monotonic() + _FENCE_SECONDS
        goal: int | None = None
        looks: list[int] = []
        while time.monotonic() < deadline:
            self.counters = ()
            self.tcpdump.send_signal(signal.SIGUSR1)
            while not self.counters and self.select.select(deadline - time.monotonic()) and self._listen():
                pass
            if not self.counters:
                break
            captured, received, dropped = self.counters
            goal = received if goal is None else goal
            looks.append(captured)
            if captured + dropped >= goal or looks[-_SAME_LOOKS:] == [captured] * _SAME_LOOKS:
                return
            time.sleep(_ASK_SECONDS)

    def _end(self) -> None:
        self.tcpdump.terminate()
        try:
            self.tcpdump.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:  # it sleeps in write(2), because nobody reads
            self.tcpdump.kill()

    def _failed(self) -> int:
        words = [line for line in self.lines if line.startswith("tcpdump: ") and "WARNING" not in line]
        _tell(event="refused", words=words[-1] if words else f"tcpdump ended with {self.tcpdump.wait()}")
        # With -d it compiles the expression for an empty file, and needs no permission to capture.
        compile_only = ["tcpdump", "-Z", "root", "-r", "-", "-d", "--", self.expression]
        compiled = subprocess.run(compile_only, capture_output=True, input=EMPTY)
        return exits.USAGE if compiled.returncode else exits.LAB_FAILED


def _kernel() -> str:
    system = os.uname()
    return f"{system.sysname} {system.release} {system.machine}"


def _tell(**event: Any) -> None:
    print(json.dumps(event), file=sys.stderr, flush=True)
