"""Tries to pull the ground away: removes its own folder, and puts a file in its place."""

import os
import shutil
import sys

from honest import serve

home = os.getcwd()
shutil.rmtree(home)
with open(home, "w") as file:
    file.write("x")
serve(int(sys.argv[1]))
