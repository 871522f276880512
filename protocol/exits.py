"""Exit codes: one table for the lab, the server and the client.

The first five are the lab's verdict on a question. A program that is ended by a signal leaves with 128 + the
signal's number, as shells report it (POSIX, XCU 2.8.2).
"""

OK = 0
"""All went well."""

FAILED = 1
"""Something that was examined FAILed; for the client: the conversation broke before it was complete."""

USAGE = 2
"""The words on the command line were wrong; nothing was done."""

INCONCLUSIVE = 3
"""What had to be provoked did not happen, or the kernel cannot measure it here."""

LAB_FAILED = 4
"""The lab itself failed: no engine, no address to bind, nobody to connect to."""

SIGNAL_BASE = 128
"""Added to a signal's number when a program ends because of that signal."""
