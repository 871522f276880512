"""Wireshark on this computer, as a program that reads a capture from a pipe (wireshark(1), ``-k -i -``)."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from forklab.errors import LabError

_USUAL = (
    Path(os.environ.get("PROGRAMFILES", r"C:\Program Files")) / "Wireshark" / "Wireshark.exe",
    Path("/Applications/Wireshark.app/Contents/MacOS/Wireshark"),
)


def find() -> str:
    """Where it is.

    Raises:
        LabError: it is nowhere.
    """
    program = shutil.which("wireshark") or next((str(path) for path in _USUAL if path.is_file()), None)
    if not program:
        raise LabError("there is no Wireshark on this computer; ./lab capture --out FILE.pcapng keeps the packets")
    return program


class Wireshark:
    """A Wireshark that shows what is written to it; Ctrl-C in our terminal does not reach it."""

    name = "Wireshark"

    def __init__(self, program: str) -> None:
        own_group: dict[str, Any] = {"start_new_session": True}
        if sys.platform == "win32":
            own_group = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
        null = subprocess.DEVNULL
        self._process = subprocess.Popen(
            [program, "-k", "-i", "-"], stdin=subprocess.PIPE, stdout=null, stderr=null, bufsize=0, **own_group
        )

    def write(self, blocks: bytes) -> None:
        """Show these.

        Raises:
            OSError: it was closed.
        """
        assert self._process.stdin
        rest = memoryview(blocks)
        while rest:
            rest = rest[self._process.stdin.write(rest) or 0 :]

    def close(self) -> None:
        """Nothing more comes; it stays open with what it has."""
        assert self._process.stdin
        try:
            self._process.stdin.close()
        except OSError:  # it was closed before
            pass
