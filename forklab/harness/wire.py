"""What goes over the wire during a scenario: the server's TCP segments, which can be read while they come."""

import threading
from types import TracebackType

from docker.models.containers import Container

from forklab.capture.connections import Connection, collect
from forklab.capture.frames import File, Frame, Records
from forklab.harness.scenario import broken
from forklab.stream import STDERR, STDOUT, Stream
from protocol.ports import SERVER_PORT

_LONGEST = 600
_BEGIN_SECONDS, _END_SECONDS = 30.0, 10.0
_TICK = 0.2
_GO, _STOP = b"g", b"s"


class Wire:
    """A capture through ``probe``; complete when the block has been left, also when the server ended meanwhile.

    Raises:
        LabError: the probe cannot capture.
    """

    def __init__(self, probe: Container) -> None:
        words = ["python3", "-m", "probe", "capture", f"--filter=tcp port {SERVER_PORT}", f"--seconds={_LONGEST}"]
        self._stream = Stream(probe, words)
        self._frames: list[Frame] = []
        self._said = b""
        self._begun, self._over = threading.Event(), threading.Event()
        threading.Thread(target=self._hear, daemon=True).start()

    def __enter__(self) -> "Wire":
        self._stream.write(_GO)
        self._begun.wait(_BEGIN_SECONDS)
        if b'"capturing"' not in self._said:
            self._stream.close()
            said = self._said.decode(errors="replace").strip().splitlines()
            raise broken(f"the probe cannot capture: {said[-1] if said else 'it said nothing'}")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stream.write(_STOP)
        self._over.wait(_END_SECONDS)
        self._stream.close()

    def connections(self) -> dict[str, Connection]:
        """Those seen so far, by the client's address and port."""
        return {each.client: each for each in collect(list(self._frames), File()).connections}

    def _hear(self) -> None:
        records = Records()
        for kind, piece in self._stream.pieces(_TICK):
            if kind == STDOUT:
                self._frames += records.feed(piece)
            elif kind == STDERR:
                self._said += piece
                if b"\n" in self._said:  # that it captures, or why it does not
                    self._begun.set()
        self._begun.set()
        self._over.set()
