"""The server from its first listen to its last word: what all models have in common around their own ``serve``."""

import gc
import os
import sys

from protocol import events, exits
from server._bare import signal
from server._conversation import Handle
from server._listener import Listener
from server._log import log, speak
from server._stop import Stop
from server.services import NotReady

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

PREFIX = "forklab."
"""Begins the names of the variables in which ``__main__.py`` hands on the command line, understood and checked."""
CAP = 1000
"""Clients served at once, unless the model has a ``CAP`` of its own."""
REHEARSALS = 50
"""Enough for CPython to have adapted each instruction to what it works on (PEP 659)."""


def main() -> int:
    """Serve until told to stop.

    Returns:
        The exit code.
    """
    words = {key[len(PREFIX) :]: value for key, value in os.environ.items() if key.startswith(PREFIX)}
    model, service = load(f"server.{words['module']}"), load(f"server.services.{words['service']}")
    speak(words["log"])
    try:
        finish = service.prepare(words) if hasattr(service, "prepare") else None
    except NotReady as error:
        print(f"server: {error}.", file=sys.stderr)
        return exits.LAB_FAILED
    stop = Stop(grace=float(words["drain"]))
    if not hasattr(model, "WAITS"):
        # Ignored, the kernel waits in our place (waitpid(2), NOTES): PID 1 inherits orphans, even if it forks nobody.
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    handle = Handle(service, float(words["idle-timeout"]), stop)
    handle.rehearse(REHEARSALS)
    host, port, backlog = words["host"], int(words["port"]), int(words["backlog"])
    cap = int(words.get("max-connections", 0)) or getattr(model, "CAP", CAP)
    try:
        listener = Listener(host, port, backlog, cap, int(words["spare"]))
    except OSError as error:
        return cannot_listen(host, port, error)

    host, port = listener.address
    log(events.LISTENING, host=host, port=port, model=words["model"], service=words["service"], backlog=backlog)
    # What is here stays here: should a child ever collect garbage, it need not touch, and so copy, all of it.
    gc.freeze()
    model.serve(listener, handle, stop)
    if finish:
        finish()
    log(events.STOPPED)
    return exits.OK


def cannot_listen(host: str, port: int, error: OSError) -> int:
    """Say why, and what to do; the exit code."""
    print(f"server: cannot listen on {host} port {port}: {error.strerror}.", file=sys.stderr)
    print("server: choose another --host or --port, or end what listens there (ss -ltnp).", file=sys.stderr)
    return exits.LAB_FAILED


def load(name: str) -> "ModuleType":
    """Import a module by its name (the module ``importlib`` has a lot more to it)."""
    __import__(name)
    return sys.modules[name]
