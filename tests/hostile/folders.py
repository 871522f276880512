"""Folders that attack whoever packs and unpacks them; a repository cannot hold them, so they are made."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

from forklab.grade.flaws import TWINS
from forklab.grade.submission import MOST_BYTES

GOOD = (TWINS / "thread.c").read_text(encoding="utf-8")
MAKEFILE = "server: server.c; gcc -pthread -o server server.c\n"


def links_out(folder: Path) -> None:
    """Tries to have files of the host packed, and files outside its folder written: links to everywhere."""
    (folder / "passwd.c").symlink_to("/etc/passwd")
    (folder / "root").symlink_to("/")
    (folder / "up").symlink_to("../../../../../..")
    (folder / "inside").symlink_to("server.c")
    (folder / "around").symlink_to("up/etc")
    (folder / "loop").symlink_to("loop")


def odd_names(folder: Path) -> None:
    """Tries to trip whoever prints its names: line ends, escapes, bytes that are no text, words of a command."""
    for name in (
        b"a\nb.c.txt",
        b"\x1b[2J\x1b]0;owned\x07.txt",
        b"\xff\xfe.txt",
        b"-rf",
        b"--help",
        b" ",
        b"$(reboot)",
        b"a" * 255,
    ):
        with open(os.path.join(os.fsencode(folder), name), "wb") as file:
            file.write(b"x\n")


def deep(folder: Path) -> None:
    """Tries to trip whoever walks it: two hundred folders inside each other."""
    inner = folder.joinpath(*["folder"] * 200)
    inner.mkdir(parents=True)
    (inner / "file").write_text("x\n")


def special_files(folder: Path) -> None:
    """Tries to keep whoever reads it waiting: a pipe, a socket."""
    os.mkfifo(folder / "pipe.c")
    here = os.getcwd()
    try:
        os.chdir(folder)  # a socket's path may have 108 bytes only
        with socket.socket(socket.AF_UNIX) as wire:
            wire.bind("wire")
    finally:
        os.chdir(here)


def long_line(folder: Path) -> None:
    """Tries to trip whoever reads its lines: one of 15 MiB."""
    (folder / "server.c").write_text(f"/*{'waitpid( ' * ((MOST_BYTES - (1 << 20)) // 9)}*/\n{GOOD}", encoding="utf-8")


def no_text(folder: Path) -> None:
    """Tries to trip whoever reads its lines: bytes that are no UTF-8, NUL, escapes."""
    (folder / "server.c").write_bytes(b"/* \xff\xfe \x00 \x1b[2J \xe2\x80\xae */\n" + GOOD.encode())


def deep_source(folder: Path) -> None:
    """Tries to trip whoever understands it: Python and C that are nested without end, and a thousand handlers."""
    (folder / "minus.py").write_text(f"{'-' * 200_000}1\n")
    (folder / "call.py").write_text(f"x{'.x()' * 100_000}\n")
    (folder / "nul.py").write_bytes(b"x = 1\0\n")
    (folder / "more.c").write_text("(" * 200_000 + "".join(f"signal(SIGINT, h{n}); void h{n}(" for n in range(1000)))


FOLDERS: dict[str, Callable[[Path], None]] = {
    made.__name__: made for made in (links_out, odd_names, deep, special_files, long_line, no_text, deep_source)
}


def make(name: str, folder: Path) -> None:
    """A folder with a good server, and what attacks beside it."""
    folder.mkdir()
    (folder / "server.c").write_text(GOOD, encoding="utf-8")
    (folder / "Makefile").write_text(MAKEFILE, encoding="utf-8")
    FOLDERS[name](folder)
