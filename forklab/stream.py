"""A command in a container: its answer, or, while it runs, its output as it comes and a way to write to it."""

import contextlib
import queue
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

from docker.errors import APIError, DockerException
from docker.models.containers import Container
from docker.utils.socket import STDERR, STDOUT, frames_iter
from requests import RequestException

from forklab.errors import LabError

__all__ = ["STDERR", "STDOUT", "Stream", "answer"]

_LOOK_SECONDS = 1.0
_PIECES_AHEAD = 64
"""Then the reading rests, and with it, through the engine, whoever writes."""


def answer(container: Container, words: Sequence[str]) -> tuple[int | None, bytes, bytes]:
    """Run ``words`` in ``container`` to their end; exit code, output, complaints.

    Engine 20.10 never ends an exec that was started while the last process of its PID namespace died. So it is waited
    for from a thread, and the container is looked at meanwhile.

    Raises:
        LabError: the container does not run.
    """
    found: queue.Queue[Any] = queue.Queue()

    def run() -> None:
        try:
            found.put(container.exec_run(list(words), demux=True))
        except Exception as error:
            found.put(error)

    threading.Thread(target=run, daemon=True).start()
    said = None
    while said is None:
        try:
            said = found.get(timeout=_LOOK_SECONDS)
        except queue.Empty:
            try:
                container.reload()
            except APIError as error:  # it is gone
                said = error
            else:
                said = None if container.status == "running" else APIError("it has ended")
    if isinstance(said, APIError):  # 409: it is not running
        raise LabError(f"{container.name} is not running; ./lab up mends it")
    if isinstance(said, Exception):
        raise said
    out, err = said.output
    return said.exit_code, out or b"", err or b""


class Stream:
    """``words`` run in ``container``, as root there, until they end or :meth:`close`.

    The engine closes the command's standard input when we are gone, also by SIGKILL. It should wait for a first byte
    before it writes: what the engine sends together with its HTTP answer would be lost in the SDK's buffer.

    Raises:
        LabError: the container does not run.
    """

    def __init__(self, container: Container, words: Sequence[str]) -> None:
        assert container.client
        self._api = container.client.api
        try:
            self._id = self._api.exec_create(container.id, list(words), stdin=True)["Id"]
            self._socket = self._api.exec_start(self._id, socket=True)
        except APIError:  # 409: it is not running
            raise LabError(f"{container.name} is not running; ./lab up mends it") from None
        # On a local socket the SDK answers with a read-only file around it; elsewhere with what can be written to.
        self._wire: Any = getattr(self._socket, "_sock", self._socket)
        self._wire.settimeout(None)
        self._queue: queue.Queue[tuple[int, bytes] | None] = queue.Queue(_PIECES_AHEAD)
        self._closed = False
        # On Windows nothing interrupts a read, so Ctrl-C could not end it in the main thread.
        threading.Thread(target=self._read, daemon=True).start()

    def write(self, data: bytes) -> None:
        """To its standard input; nothing happens when it has ended."""
        with contextlib.suppress(OSError):
            self._wire.sendall(data)

    def pieces(self, tick: float) -> Iterator[tuple[int, bytes]]:
        """STDOUT or STDERR and what came, to the end; (0, b"") when nothing came for ``tick`` seconds."""
        look = time.monotonic() + _LOOK_SECONDS
        ended = False
        while True:
            try:
                piece = self._queue.get(timeout=tick)
            except queue.Empty:
                piece = (0, b"")
                # An engine may leave our connection open when it has removed the container.
                if ended:
                    return
                if time.monotonic() > look:
                    ended = not self._runs()
                    look = time.monotonic() + _LOOK_SECONDS
            if piece is None:
                return
            yield piece

    def exit_code(self) -> int | None:
        """What it ended with; None if it was not seen to end."""
        try:
            code = self._api.exec_inspect(self._id)["ExitCode"]
        except (DockerException, RequestException):  # as in _runs
            return None
        return None if code is None else int(code)

    def _runs(self) -> bool:
        try:
            return bool(self._api.exec_inspect(self._id)["Running"])
        except (DockerException, RequestException):  # 404: gone with its container; or the engine went away
            return False

    def close(self) -> None:
        """Its standard input ends, and nobody reads on."""
        self._closed = True
        with contextlib.suppress(OSError):
            self._wire.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(OSError):
            self._socket.close()
        with contextlib.suppress(queue.Empty):
            while True:  # the reading may wait for room
                self._queue.get_nowait()

    def _read(self) -> None:
        with contextlib.suppress(Exception):  # whatever a broken connection raises on this system: it is the end
            frames: Iterator[tuple[int, bytes]] = frames_iter(self._socket, tty=False)  # type: ignore[no-untyped-call]
            for kind, data in frames:
                self._put((kind, data))
                if self._closed:
                    return
        self._put(None)

    def _put(self, piece: tuple[int, bytes] | None) -> None:
        while not self._closed:
            with contextlib.suppress(queue.Full):
                return self._queue.put(piece, timeout=1)
