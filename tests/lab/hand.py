"""Runs in a client container: ``client/_hand.py`` with what only tests want of it."""

import contextlib
import heapq
import random
import select
import selectors
import socket
import sys
import time

from client._hand import DEEDS, close, hear, held, main, send


def finish(name, size):
    """Write ``size`` bytes, half-close, then read to EOF: whether each byte came back, and how the end looked."""
    data = bytes(range(256)) * (size // 256)
    held[name].settimeout(30)
    for at in range(0, size, 65536):
        held[name].sendall(data[at : at + 65536])
    held[name].shutdown(socket.SHUT_WR)
    back = b""
    try:
        while more := held[name].recv(65536):
            back += more
        end = "FIN"
    except ConnectionResetError:
        end = "RST"
    return {"same": back == data, "end": end}


def end_after(name, text):
    """Read what came back for ``text`` that was sent before, then close."""
    back = hear(held[name], len(text)).decode()
    close(name)
    return back


def count_up(name, size):
    """Send numbered lines of ``size`` bytes, one after the other came back; how many did, and what came instead."""
    count = 0
    try:
        while True:
            text = str(count).rjust(size - 1) + "\n"
            send(name, text)
            back = hear(held[name], len(text)).decode()
            if back != text:
                return {"lines": count, "end": back}
            count += 1
    except OSError as error:
        return {"lines": count, "end": str(error)}


def visit(count):
    """Connect, exchange one byte and leave, one after the other."""
    for _ in range(count):
        with socket.create_connection((sys.argv[1], 9190), timeout=30) as c:
            c.sendall(b"x")
            hear(c, 1)


def churn(count, seconds, longest):
    """``count`` clients come, exchange a byte, stay up to ``longest`` seconds and leave, again and again."""
    end = time.monotonic() + seconds
    waiting = selectors.DefaultSelector()
    staying: list[tuple[float, int, socket.socket]] = []
    visits = 0

    def come():
        c = socket.socket()
        c.setblocking(False)
        c.connect_ex((sys.argv[1], 9190))
        waiting.register(c, selectors.EVENT_WRITE, c)

    for _ in range(count):
        come()
    while time.monotonic() < end:
        for key, event in waiting.select(0.01):
            c = key.data
            if event == selectors.EVENT_WRITE:
                c.send(b"x")
                waiting.modify(c, selectors.EVENT_READ, c)
            else:
                assert c.recv(1) == b"x"
                waiting.unregister(c)
                heapq.heappush(staying, (time.monotonic() + random.uniform(0, longest), key.fd, c))
        while staying and staying[0][0] < time.monotonic():
            heapq.heappop(staying)[2].close()
            visits += 1
            come()
    for c in [key.data for key in waiting.get_map().values()] + [c for _, _, c in staying]:
        c.close()
    return visits


def dash(count):
    """Connect and leave at once, one after the other; the addresses."""
    gone = []
    for _ in range(count):
        with socket.create_connection((sys.argv[1], 9190), timeout=30) as c:
            gone.append(c.getsockname())
    return ["{}:{}".format(*name) for name in gone]


def datagrams(count, port):
    """Send numbered datagrams to the server's address, slowly enough for any receiver, and then one that says end."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.connect((sys.argv[1], port))
        for number in range(count):
            s.send(b"%d" % number)
            if number % 20 == 19:
                time.sleep(0.004)
        time.sleep(0.2)  # longer than any fault of the tests keeps one back
        for _ in range(20):  # one of them comes through, and then nobody listens any more
            with contextlib.suppress(ConnectionRefusedError):
                s.send(b"end")


def flow(name, begin, seconds):
    """Send for as long as the kernel takes it; bits a second that reach this container from ``begin`` on for so long.

    Counted by its network device: frames, whatever is in them, for acknowledgements share the wire with data.
    """
    c, start = held[name], time.monotonic()
    counted: list[tuple[float, int]] = []
    c.setblocking(False)
    while (now := time.monotonic() - start) < begin + seconds:
        if now >= begin and not counted:
            counted = [(time.monotonic(), arrived())]
        readable, writable, _ = select.select([c], [c], [], 0.01)
        if writable:
            c.send(b"x" * 16384)
        if readable:
            c.recv(1 << 16)
    counted.append((time.monotonic(), arrived()))
    c.setblocking(True)
    (first, before), (last, after) = counted
    return (after - before) * 8 / (last - first)


def arrived():
    """How many bytes have come to this container."""
    with open("/sys/class/net/eth0/statistics/rx_bytes") as file:
        return int(file.read())


DEEDS.update({deed.__name__: deed for deed in (finish, end_after, count_up, visit, datagrams, flow, churn, dash)})
main()
