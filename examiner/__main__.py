"""``python3 -m examiner``: examine the submission that comes as a tar on standard input; JSON lines on standard output.

Standard input begins with a line that holds the number of bytes of the tar, and stays open afterwards: when it ends,
nobody waits for the result any more, and the examiner ends, too.
"""

import argparse
import contextlib
import io
import json
import os
import signal
import sys
import tarfile
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from examiner import _check, _jail, _jobs
from examiner._examination import Examination, Order
from protocol import exits

MOST_BYTES = 16 << 20
"""A submission's tar may have."""


class Parser(argparse.ArgumentParser):
    """Says what was wrong in one line."""

    def error(self, message: str) -> NoReturn:
        """Leave with the exit code for wrong usage."""
        self.exit(exits.USAGE, f"examiner: {message}; see python3 -m examiner --help\n")


def emit(event: str, **facts: Any) -> None:
    """Print one event."""
    print(json.dumps({"event": event, **facts}), flush=True)


def ended(number: int, frame: FrameType | None) -> NoReturn:
    """The handler of the signals that end the examiner."""
    raise _jobs.Interrupted


def receive(target: Path) -> None:
    """Unpack the submission from standard input.

    Raises:
        ValueError: it is no tar, or too large.
    """
    size = int(_line(0))
    if not 0 <= size <= MOST_BYTES:
        raise ValueError(f"a submission may have {MOST_BYTES >> 20} MiB; this one has {size >> 20}")
    data = bytearray()
    while len(data) < size:
        piece = os.read(0, min(1 << 16, size - len(data)))
        if not piece:
            raise _jobs.Interrupted
        data += piece
    try:
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            tar.extractall(target, filter="data")
    except (tarfile.TarError, OSError) as error:
        raise ValueError(f"the submission cannot be unpacked: {error}") from None
    for path in target.rglob("*"):
        if path.is_symlink():
            continue
        # Windows knows no execute permission, so the content tells.
        path.chmod(0o755 if path.is_dir() or _jail.is_program(path) else 0o644)


def _line(descriptor: int) -> bytes:
    """One line, and not a byte beyond it."""
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(descriptor, 1)
        if not byte:
            raise _jobs.Interrupted
        line += byte
    return line


def parse() -> Order:
    """The command line."""
    command = Parser(prog="examiner", description=__doc__, allow_abbrev=False)
    command.add_argument("--main", default="", help="the file to compile or to start; else the folder says how")
    command.add_argument("--command", default="", help="how to start it, with {port}")
    command.add_argument("--service", default="echo", choices=("echo", "store", "line", "client"))
    command.add_argument("--model", default="any", help="what it should be")
    command.add_argument("--checks", default="", help="ids, with commas between them; none: all")
    command.add_argument("--lanes", type=int, default=1, help="how many checks at once")
    command.add_argument("--image", type=json.loads, help="what became of its Dockerfile, as JSON")
    command.add_argument("--folder", type=Path, default=Path("/run/subject"), help="where subjects run")
    words = command.parse_args()
    checks = words.checks.split(",") if words.checks else _check.ids()
    unknown = [check for check in checks if check not in _check.ids()]
    if unknown:
        command.error(f'no check "{unknown[0]}"; there are: {", ".join(_check.ids())}')
    return Order(
        folder=words.folder,
        main=words.main,
        command=words.command,
        service=words.service,
        model=words.model,
        checks=checks,
        lanes=words.lanes,
        image=words.image,
    )


def main() -> int:
    """Examine one submission.

    Returns:
        The exit code: 0 also when checks have failed, for that is in the result.
    """
    order = parse()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, ended)
    _jail.become_reaper()
    examination = Examination(order, emit, watch=sys.stdin.fileno())
    try:
        receive(order.folder / "source")
        emit("begin", checks=order.checks)
        for result in examination.run():
            emit("result", **asdict(result))
        emit("done", model=examination.model, command=examination.command)
    except _jobs.Interrupted:
        return exits.SIGNAL_BASE + signal.SIGTERM
    except BrokenPipeError:
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python would try to flush it again
        return exits.SIGNAL_BASE + signal.SIGPIPE
    except (ValueError, _jail.StillThere) as error:
        emit("broken", words=str(error))
        return exits.LAB_FAILED
    return exits.OK


if __name__ == "__main__":
    sys.exit(main())
