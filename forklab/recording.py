"""Fetches a recording from the probe: of a lab that is traced since it came up, or of a running server from now on."""

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from docker.errors import APIError
from docker.models.containers import Container
from docker.utils.socket import STDERR, STDOUT, frames_iter

from forklab.errors import LabError, UsageError
from forklab.lock import Say
from forklab.stream import Stream, answer

LONGEST = 3600.0
"""Seconds after which a recording that nobody ended ends itself."""
_TICK_SECONDS = 0.2


def seconds(text: str) -> float | None:
    """How long to record, as a user writes it; None for nothing said.

    Raises:
        UsageError: this is no such number.
    """
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = 0
    if not 0 < value <= LONGEST:
        raise UsageError(f'seconds "{text}" is not a number above 0, at most {LONGEST:.0f}')
    return value


def target(name: str) -> Path | None:
    """The file to write, as a user names it; None for nothing said.

    Raises:
        UsageError: it cannot be a file.
    """
    if not name:
        return None
    path = Path(name)
    if path.is_dir() or not path.parent.is_dir():
        raise UsageError(f"cannot write {path}: {'it is a folder' if path.is_dir() else f'no folder {path.parent}'}")
    return path


def check(probe: Container) -> None:
    """See that a lab which is to be traced is.

    Raises:
        LabError: strace could not attach; the server runs, but nobody records it.
    """
    _, out, _ = answer(probe, ["cat", "/trace/meta"])
    with contextlib.suppress(ValueError, AttributeError):
        failed = json.loads(out or b"{}").get("failed")
        if failed:
            raise LabError(f"the server runs, but cannot be traced: {failed}; ./lab up without --trace, ./lab doctor")


def since_up(probe: Container) -> dict[str, bytes]:
    """The files of the recording that began before the server did.

    Raises:
        LabError: the probe does not answer, or could not trace.
    """
    api: Any = probe.client.api if probe.client else None
    heard: dict[bool, list[bytes]] = {True: [], False: []}
    try:
        made = api.exec_create(probe.id, ["python3", "-m", "probe", "recorded"])
        # In pieces: docker-py joins the whole by adding one to the other, which for megabytes takes minutes.
        for pair in api.exec_start(made["Id"], stream=True, demux=True):
            for which, piece in zip((True, False), pair, strict=True):
                heard[which].append(piece or b"")
    except APIError:  # 409: it is not running
        raise LabError("the probe is not running; ./lab up mends it") from None
    if api.exec_inspect(made["Id"])["ExitCode"]:
        said = b"".join(heard[False]).decode(errors="replace").strip()
        raise LabError(f"the probe failed: {(said.splitlines() or ['it said nothing'])[-1]}; ./lab up mends it")
    return unpack(b"".join(heard[True]))


def live(probe: Container, duration: float | None, say: Say) -> dict[str, bytes]:
    """Trace the running server for ``duration`` seconds, or until Ctrl-C; the files of the recording.

    The probe ends its strace when this connection breaks, so nothing goes on if we are killed.

    Raises:
        LabError: strace could not attach.
    """
    api: Any = probe.client.api if probe.client else None
    words = ["python3", "-m", "probe", "trace", "--seconds", str(LONGEST if duration is None else duration)]
    try:
        made = api.exec_create(probe.id, words, stdin=True)
        stream = api.exec_start(made["Id"], socket=True)
    except APIError:
        raise LabError("the probe is not running; ./lab up mends it") from None
    heard = {STDOUT: bytearray(), STDERR: bytearray()}
    began = "recording; Ctrl-C ends it" if duration is None else f"recording for {duration:g} s"
    try:
        try:
            _hear(stream, heard, lambda: say(began))
        except KeyboardInterrupt:  # the probe is silent while it records, so no half of an answer is lost
            say("ending the recording")
            _send(stream, b"end\n")
            _hear(stream, heard, lambda: None)
    finally:
        with contextlib.suppress(OSError):
            stream.close()
    out, err = heard[STDOUT], heard[STDERR]
    if not out:
        raise _untraced(err)
    return unpack(bytes(out))


@contextlib.contextmanager
def during(probe: Container) -> Iterator[dict[str, bytes]]:
    """Trace the running server for as long as the block lasts; the files of the recording are there at its end.

    Raises:
        LabError: strace could not attach.
    """
    files: dict[str, bytes] = {}
    heard = {STDOUT: bytearray(), STDERR: bytearray()}
    stream = Stream(probe, ["python3", "-m", "probe", "trace", "--seconds", str(LONGEST)])
    pieces = ((kind, piece) for kind, piece in stream.pieces(_TICK_SECONDS) if kind)
    try:
        for kind, piece in pieces:
            heard[kind].extend(piece)
            if heard[STDOUT] == _ATTACHED:
                break
        else:
            raise _untraced(heard[STDERR])
        yield files
        stream.write(b"end\n")
        for kind, piece in pieces:
            heard[kind].extend(piece)
        files.update(unpack(bytes(heard[STDOUT][len(_ATTACHED) :])))
    finally:
        stream.close()


def _untraced(said: bytes | bytearray) -> LabError:
    lines = said.decode(errors="replace").strip().splitlines()
    return LabError(f"the server cannot be traced: {lines[-1] if lines else 'the probe said nothing'}")


_ATTACHED = b'{"attached": true}\n'


def _hear(stream: Any, heard: dict[int, bytearray], attached: Callable[[], None]) -> None:
    """Read to the end what the probe says on either stream."""
    for kind, piece in frames_iter(stream, tty=False):  # type: ignore[no-untyped-call]
        heard[kind].extend(piece)
        if heard[STDOUT].startswith(_ATTACHED):
            del heard[STDOUT][: len(_ATTACHED)]
            attached()


def _send(stream: Any, words: bytes) -> None:
    """docker-py hands out a reader on Unix, whose socket is inside, and a socket on Windows."""
    getattr(stream, "_sock", stream).send(words)


def unpack(content: bytes) -> dict[str, bytes]:
    """Files by name, as the probe bundles them: a JSON line with name and length, then the bytes.

    Raises:
        LabError: this is no bundle of the probe, or tracing had failed.
    """
    files = dict(_files(content))
    try:
        meta = json.loads(files["meta"])
        failed = meta.get("failed")
    except (KeyError, ValueError, AttributeError):
        raise LabError("the probe's recording cannot be read; build the images anew: ./lab build") from None
    if failed:
        raise LabError(f"the server could not be traced: {failed}")
    return files


def _files(content: bytes) -> Iterator[tuple[str, bytes]]:
    at = 0
    while at < len(content):
        end = content.find(b"\n", at)
        try:
            head = json.loads(content[at:end])
            name, length = str(head["file"]), int(head["bytes"])
        except (ValueError, KeyError, TypeError):
            return
        yield name, content[end + 1 : end + 1 + length]
        at = end + 1 + length
