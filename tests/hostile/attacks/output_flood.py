"""Tries to drown the examiner in words: writes to standard output and standard error without end."""

import sys

from honest import beside, serve


def flood(stream):
    while True:
        stream.write("x" * (1 << 16))


for stream in (sys.stdout, sys.stderr):
    beside(lambda stream=stream: flood(stream))
serve(int(sys.argv[1]))
