"""The C halves of the modules ``socket`` and ``signal``: the same functions, classes and numbers, without the rest.

fork(2) copies an entry of the page table for each page the parent has touched, and each page that one of the two then
writes to, if only a reference count, is a page fault and a copy. The Python halves make every number an enum member:
a megabyte more to hand on, and some twenty lines of Python around each accept(2). Together 45 page faults and a fifth
of the time of a connection. So what runs in the server takes these, and imports as little as it can besides: neither
``typing``, ``enum``, ``re``, ``argparse`` nor ``logging``, nor, but for the model ``thread``, ``threading``, whose
handlers run around each fork. ``tests/unit/test_slim.py`` holds it.
"""

import _socket as socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as signal
else:
    import _signal as signal

__all__ = ["signal", "socket"]
