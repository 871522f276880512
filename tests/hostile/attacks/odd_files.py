"""Tries to trip whoever reads its folder: pipes, sockets, links to everywhere, names with line ends and escapes."""

import os
import socket
import sys

from honest import serve

os.mkfifo("pipe.c")
os.mkfifo("/tmp/pipe")
socket.socket(socket.AF_UNIX).bind("wire.py")
for name, target in (
    ("loop.c", "loop.c"),
    ("zero.c", "/dev/zero"),
    ("root", "/"),
    ("up", "../.."),
    ("mem.py", "/proc/self/mem"),
):
    os.symlink(target, name)
for name in (b"\x1b[31mred\x07\n.c", b"\xff\xfe.py", b"-rf", b"--", b"a" * 255):
    os.close(os.open(name, os.O_CREAT))
serve(int(sys.argv[1]))
