"""The host side of the lab: finds the engine, stands the containers up, reads their evidence, cleans up.

Runs on Windows, macOS and Linux: nothing here needs fork, fcntl, pwd, grp, termios or resource to be imported.
"""

__version__ = "0.1.0"
