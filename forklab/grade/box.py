"""A container in which steps of a Dockerfile run: without network, bounded, and gone when this process is.

Its first process is ``examiner/hold.c``. We hold its standard input: when this process ends, however that comes, the
engine closes it (StdinOnce), ``hold`` ends and with it all that runs there, and the engine removes the container
(auto_remove).
"""

import contextlib
import queue
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any

from docker import DockerClient
from docker.errors import APIError
from docker.models.containers import Container
from docker.types import LogConfig, Ulimit

from forklab import engine, oneshot
from forklab.errors import LabError
from forklab.grade.container import MARK
from forklab.printable import printable

HOLD = ".forklab-hold"
"""The program, at the top of the file system: as ``images/Dockerfile`` calls it."""
LENT = "/.forklab"
"""Where the examiner puts the folders of its subjects; as ``examiner/_examination.py`` has it."""

CAPABILITIES = ["CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "SETGID", "SETUID"]
"""What root needs to build an image: all files of it, other users of it, and their processes (capabilities(7))."""

MOST_BYTES = 1 << 30
"""Of disk: what a build may fill. ``hold`` says when the disk has lost as much, whoever filled it."""
_MOST_ALARMS = 3
"""So often it may have been somebody else, or files that have no name any more."""
MOST_SAID = 64 << 20
"""Bytes that a RUN may say."""
LAST_LINES = 40
_LONGEST_LINE = 400
_MEMORY = "1g"
_PROCESSES = 512
_LARGEST_FILE = 64 << 20
"""Bytes. A file takes its place on the disk in no time (fallocate(2)), so between two looks there may be many."""
_ANSWER_SECONDS = 120.0
_LOOK_SECONDS = 0.2
_LAST_WORDS_SECONDS = 2.0
"""What a program said at its end may take so long from the engine to us."""
_SCHEDULE = 1_000_000_000
"""One processor, in the billionths that the engine counts in."""


class Stopped(Exception):
    """A step went beyond a limit; the message says which one. The box is gone."""


@dataclass(frozen=True)
class Ran:
    """What became of a RUN: its exit code, and the last lines that it said."""

    code: int
    said: list[str]


def hold(client: DockerClient, image: str) -> bytes:
    """The program of the first process, as a tar; ``image`` has it.

    Raises:
        LabError: the engine does not hand it out.
    """
    with engine.trouble("cannot take examiner/hold.c's program out of its image"):
        container = client.containers.create(image, labels={"forklab": "container"}, network_mode="none")
        try:
            pieces, _ = container.get_archive(f"/lab/{HOLD}")
            return b"".join(pieces)
        finally:
            oneshot.remove(container)


class Box:
    """One such container.

    Attributes:
        container: it.
    """

    def __init__(self, client: DockerClient, image: str, program: bytes, *, memory: dict[str, str], mark: str) -> None:
        """Start it.

        Args:
            client: of the engine.
            image: whose file system.
            program: what ``hold`` returned.
            memory: folders that are not on the disk, with their options (tmpfs(5)).
            mark: by which a class finds its containers.

        Raises:
            LabError: it does not start.
        """
        self._client = client
        self._answers: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._alarms, self._full = 0, False
        with engine.trouble(f"a container of the image {image} does not start"):
            self.container = _create(client, image, memory, mark)
            try:
                self.container.put_archive("/", program)
                said = self.container.attach(stdout=True, stream=True, demux=True)
                self._held: Any = client.api.attach_socket(str(self.container.id), params={"stdin": 1, "stream": 1})
                threading.Thread(target=self._listen, args=(said,), daemon=True).start()
                self.container.start()
            except BaseException:
                oneshot.remove(self.container)
                raise

    def close(self) -> None:
        """End and remove it.

        Raises:
            LabError: the engine refuses.
        """
        with contextlib.suppress(OSError):
            self._held.close()
        oneshot.remove(self.container)

    # What its first process does.

    def make_folder(self, path: str) -> None:
        """Make a folder, and those above it.

        Raises:
            ValueError: something else is there.
        """
        if not self._does(f"mkdir {path}"):
            raise ValueError(f"{path} cannot be a folder")

    def look(self, path: str) -> tuple[str, str]:
        """``dir`` or ``file``, and the path without links; ``none`` if nothing is there."""
        kind, _, real = self._ask(f"look {path}").partition(" ")
        return kind, real

    def seal(self) -> None:
        """End all processes but the first, and let nobody write from now on, wherever it is on the disk.

        Raises:
            ValueError: it does not succeed.
        """
        for order in ("sweep", "seal"):
            answer = self._ask(order)
            if answer != "ok":
                raise ValueError(f"it cannot be made safe to start: {order}: {answer.removeprefix('no ')}")

    def _does(self, order: str) -> bool:
        return self._ask(order) == "ok"

    def _ask(self, order: str) -> str:
        if "\n" in order:
            raise ValueError("a path with a line end in it is not supported")
        # On a local socket the SDK answers with a read-only file around it; elsewhere with what can be written to.
        wire = getattr(self._held, "_sock", self._held)
        try:
            wire.sendall(f"{order}\n".encode())
            while self._is_alarm(answer := self._answers.get(timeout=_ANSWER_SECONDS)):
                pass
        except (OSError, queue.Empty):
            raise LabError(f"container {self.container.short_id} of the build does not answer; try again") from None
        return answer

    def _is_alarm(self, answer: str) -> bool:
        if not answer:
            raise LabError(f"container {self.container.short_id} of the build has ended; try again")
        self._full |= answer == "full"
        return answer == "full"

    def _listen(self, said: Iterator[tuple[bytes | None, bytes | None]]) -> None:
        """In a thread of its own, for a read from the engine has no deadline."""
        rest = b""
        try:
            for out, _ in said:
                *lines, rest = (rest + (out or b"")).split(b"\n")
                for line in lines:
                    self._answers.put(line.decode(errors="replace"))
        except Exception:  # the engine went away or the container was removed: for us both are the end
            pass
        finally:
            self._answers.put("")

    # What runs in it.

    def run(self, words: list[str], *, user: str, folder: str, environment: Mapping[str, str], deadline: float) -> Ran:
        """Run a program to its end, and end what it leaves.

        Args:
            words: the program and its arguments.
            user: name or number, with a group behind a colon; empty: root.
            folder: where.
            environment: besides that of the image.
            deadline: until when (``time.monotonic``).

        Raises:
            Stopped: it goes beyond a limit, or there is no such user.
        """
        api = self._client.api
        number = str(self.container.id)
        try:
            made = api.exec_create(number, words, user=user or "0", workdir=folder, environment=dict(environment))["Id"]
            pieces: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
            stream = api.exec_start(made, stream=True)
        except APIError as error:
            raise Stopped(f"it cannot be started: {engine.explain(error)}") from None
        threading.Thread(target=_collect, args=(stream, pieces), daemon=True).start()
        tail: deque[bytes] = deque([b""], maxlen=LAST_LINES)
        count = 0
        while (piece := self._next(pieces, made)) is not None:
            count += len(piece)
            first, *others = piece.split(b"\n")
            tail[-1] = (tail[-1] + first)[:_LONGEST_LINE]
            tail.extend(other[:_LONGEST_LINE] for other in others)
            self._check_time(deadline)
            if count > MOST_SAID:
                self._stop(f"it says more than {MOST_SAID >> 20} MiB")
            self.look_at_disk()
        while (state := api.exec_inspect(made))["Running"]:  # it may have closed its output only
            self._check_time(deadline)
            self.look_at_disk()
            time.sleep(_LOOK_SECONDS / 10)
        if not self._does("sweep"):
            self._stop("it leaves processes that do not end")
        self.look_at_disk()
        return Ran(state["ExitCode"], [printable(line.decode(errors="replace")) for line in tail if line.strip()])

    def _check_time(self, deadline: float) -> None:
        if time.monotonic() > deadline:
            self._stop("it does not end in time")

    def _next(self, pieces: "queue.SimpleQueue[bytes | None]", made: str) -> bytes | None:
        """What it says next, nothing after a while; None when it has ended: what it left behind may keep its pipe."""
        try:
            return pieces.get(timeout=_LOOK_SECONDS)
        except queue.Empty:
            if self._client.api.exec_inspect(made)["Running"]:
                return b""
        with contextlib.suppress(queue.Empty):
            return pieces.get(timeout=_LAST_WORDS_SECONDS)
        return None

    def look_at_disk(self) -> None:
        """When the disk has lost much, ask the engine, which takes its time, whether that was this container.

        Raises:
            Stopped: it was.
        """
        with contextlib.suppress(queue.Empty):
            self._is_alarm(self._answers.get_nowait())
        if not self._full:
            return
        self._alarms += 1
        rows = self._client.api.containers(all=True, size=True, filters={"id": str(self.container.id)})
        if self._alarms == _MOST_ALARMS or (rows and rows[0].get("SizeRw", 0) > MOST_BYTES // 10 * 9):
            self._stop(f"it fills the disk: a build may take {MOST_BYTES >> 30} GiB")
        self._full = False
        self._does("go on")

    def _stop(self, words: str) -> None:
        """Remove the container, and say why.

        Raises:
            Stopped: always.
        """
        self.close()
        raise Stopped(words)

    # Files.

    def put(self, folder: str, tar: IO[bytes]) -> None:
        """Unpack a tar in a folder.

        Raises:
            ValueError: the engine does not take it.
        """
        try:
            self.container.put_archive(folder, tar)
        except APIError as error:
            raise ValueError(f"nothing can be copied to {folder}: {engine.explain(error)}") from None

    def get(self, path: str) -> Iterator[bytes]:
        """A tar of a file or a folder.

        Raises:
            ValueError: the engine does not hand it out.
        """
        try:
            pieces: Iterator[bytes] = self.container.get_archive(path)[0]
        except APIError as error:
            raise ValueError(f"{path} cannot be copied: {engine.explain(error)}") from None
        return pieces


def _collect(stream: Iterator[bytes], pieces: "queue.SimpleQueue[bytes | None]") -> None:
    try:
        for piece in stream:
            pieces.put(piece)
    except Exception:  # as in Box._listen
        pass
    finally:
        pieces.put(None)


def _create(client: DockerClient, image: str, memory: dict[str, str], mark: str) -> Container:
    return client.containers.create(
        image,
        entrypoint=[f"/{HOLD}"],
        command=[],
        labels={"forklab": "container", MARK: mark},
        user="0:0",
        working_dir="/",
        network_mode="none",
        cap_drop=["ALL"],
        cap_add=CAPABILITIES,
        security_opt=["no-new-privileges:true"],
        tmpfs=memory,
        shm_size="32m",
        # A health check would run what nobody bounds.
        healthcheck={"test": ["NONE"]},
        log_config=LogConfig(type=LogConfig.types.NONE),
        stdin_open=True,
        auto_remove=True,
        mem_limit=_MEMORY,
        memswap_limit=_MEMORY,
        pids_limit=_PROCESSES,
        nano_cpus=_SCHEDULE,
        ulimits=[
            Ulimit(name="fsize", soft=_LARGEST_FILE, hard=_LARGEST_FILE),
            Ulimit(name="core", soft=0, hard=0),
        ],
    )
