"""A container that does one thing: fed, read line by line, and gone afterwards, however that comes.

When this process is killed, the engine closes the container's standard input (StdinOnce); what runs in it ends itself
on that, and the engine removes it (auto_remove).
"""

import contextlib
import queue
import threading
from collections import deque
from collections.abc import Iterator
from typing import Any

from docker import DockerClient
from docker.errors import APIError, NotFound
from docker.models.containers import Container

from forklab import engine
from forklab.errors import LabError

Piece = tuple[bytes | None, bytes | None] | None
"""Bytes of standard output and of standard error; None at the end."""


def lines(
    client: DockerClient, container: Container, last: "deque[str]", *, silence: float, hangs: str, feed: bytes = b""
) -> Iterator[str]:
    """Start a container that was created with ``stdin_open``; its standard output, line by line.

    Args:
        client: of the engine that has the container.
        container: not started yet.
        last: gets the last lines of standard error.
        silence: seconds without a word after which it hangs.
        hangs: what to say then.
        feed: bytes for its standard input, which stays open afterwards until the last line was read.

    Raises:
        LabError: it hangs.
    """
    # Attached before the start, so that no word is lost.
    said = container.attach(stdout=True, stderr=True, stream=True, demux=True)
    held = client.api.attach_socket(str(container.id), params={"stdin": 1, "stream": 1})
    container.start()
    pieces: queue.SimpleQueue[Piece] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(said, pieces), daemon=True).start()
    if feed:
        threading.Thread(target=_feed, args=(held, feed), daemon=True).start()
    out, err = b"", b""
    try:
        while piece := _next(pieces, silence, hangs):
            *whole, out = (out + (piece[0] or b"")).split(b"\n")
            *words, err = (err + (piece[1] or b"")).split(b"\n")
            last.extend(line.decode(errors="replace") for line in words)
            yield from (line.decode(errors="replace") for line in whole if line)
    finally:
        held.close()


def _feed(held: Any, data: bytes) -> None:
    """In a thread of its own: a container that does not read must not keep us from listening."""
    # On a local socket the SDK answers with a read-only file around it; elsewhere with what can be written to.
    wire = getattr(held, "_sock", held)
    with contextlib.suppress(OSError, ValueError):  # it has ended, and with it the connection
        wire.settimeout(None)
        wire.sendall(data)


def _read(said: Iterator[tuple[bytes | None, bytes | None]], pieces: "queue.SimpleQueue[Piece]") -> None:
    """In a thread of its own: on Windows Ctrl-C does not interrupt a read from the engine, but one from a queue."""
    try:
        for piece in said:
            pieces.put(piece)
    except Exception:  # the engine went away or the container was removed: for us both are the end
        pass
    finally:
        pieces.put(None)


def _next(pieces: "queue.SimpleQueue[Piece]", silence: float, hangs: str) -> Piece:
    try:
        return pieces.get(timeout=silence)
    except queue.Empty:
        raise LabError(hangs) from None


def remove(container: Container) -> None:
    """Remove it; auto_remove may have been faster, or be at it.

    Raises:
        LabError: the engine refuses.
    """
    try:
        container.remove(force=True, v=True)
    except NotFound:
        pass
    except APIError as error:
        if "already in progress" not in str(error.explanation):
            raise LabError(f"cannot remove container {container.short_id}: {engine.explain(error)}") from None
    with contextlib.suppress(NotFound, APIError):
        container.wait(condition="removed")
