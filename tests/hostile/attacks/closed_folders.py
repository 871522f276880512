"""Tries to keep what it wrote: takes all permissions from its folder and from those in it."""

import os
import sys

from honest import serve

os.makedirs("kept/inside")
for name in ("kept/inside/file", "kept/file"):
    with open(name, "w") as file:
        file.write("x")
for place in ("kept/inside", "kept", "."):
    os.chmod(place, 0)
serve(int(sys.argv[1]))
