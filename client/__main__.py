"""The command ``python3 -m client``: the only place where the client exits.

The slow imports come after end_at_once(): until then a Ctrl-C would end in Python's own traceback.
"""

import sys

from client._signals import end_at_once, ended

if __name__ == "__main__":
    end_at_once()
    from client._command import main

    sys.exit(ended(main()))
