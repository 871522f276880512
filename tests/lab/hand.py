"""Runs in a client container: opens connections to the server as a test tells it to, a JSON line each way.

A test holds the other end of its standard input; when that closes, this ends and its connections with it.
"""

import json
import socket
import sys

held: dict[str, socket.socket] = {}


def names(connections):
    """The addresses by which the server's kernel knows these connections."""
    return ["{}:{}".format(*c.getsockname()) for c in connections]


def open_(count, say=""):
    """Connect ``count`` times; with ``say``, each has its echo back before the next command is read."""
    made = [socket.create_connection((sys.argv[1], 9190), timeout=30) for _ in range(count)]
    held.update(zip(names(made), made, strict=True))
    for c in made:
        c.sendall(say.encode())
    for c in made:
        hear(c, len(say))
    return names(made)


def hear(c, count):
    """Read ``count`` bytes, fewer only at EOF."""
    data = b""
    while len(data) < count and (more := c.recv(count - len(data))):
        data += more
    return data


def say(name, text):
    """Send a text and return what came back for it."""
    held[name].sendall(text.encode())
    return hear(held[name], len(text)).decode()


def send(name, text):
    """Send a text and read nothing."""
    held[name].sendall(text.encode())


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


def end_of(name):
    """What the connection ends in, reading on until it does."""
    try:
        while held[name].recv(65536):
            pass
    except ConnectionResetError:
        return "RST"
    return "FIN"


def end_after(name, text):
    """Read what came back for ``text`` that was sent before, then close."""
    back = hear(held[name], len(text)).decode()
    close(name)
    return back


def close(*which):
    """Close these connections, or all."""
    for name in which or list(held):
        held.pop(name).close()


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


DEEDS = {
    deed.__name__.rstrip("_"): deed for deed in (open_, say, send, finish, end_of, end_after, close, count_up, visit)
}


for line in sys.stdin:
    deed, words = json.loads(line)
    try:
        answer = {"ok": DEEDS[deed](*words)}
    except OSError as error:
        answer = {"error": str(error)}
    print(json.dumps(answer), flush=True)
