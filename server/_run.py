"""What ``__main__.py`` becomes (execve(2)) when it has understood the command line: a process with nothing in it but
the server. In the list of processes it is ``python3 .../_run.py fork echo``.
"""

import sys

if __name__ == "__main__":
    # Not ``python3 -m``: what finds and runs modules by name would stay in memory.
    sys.path[0] = __file__.rpartition("/server/")[0]
    from server._serve import main

    sys.exit(main())
