"""Tries to make folders that nobody can remove: thousands inside each other, longer than any path may be."""

import os
import sys

from honest import serve

home = os.getcwd()
for _ in range(3000):
    os.mkdir("a_folder")
    os.chdir("a_folder")
os.chdir(home)
serve(int(sys.argv[1]))
