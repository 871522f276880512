"""Tries to make itself unheard: closes every descriptor that it was given."""

import os
import sys

from honest import serve

os.closerange(0, 1024)
serve(int(sys.argv[1]))
