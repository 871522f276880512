"""Says what happens, a line an event, on standard output: in plain words, or as JSON with the names of ``protocol``.

Each line is one write(2). Parent and children share the descriptor; up to PIPE_BUF bytes a write to a pipe is
atomic (pipe(7)), so their lines never mix.

Not the logging module: it brings locks, and handlers around fork that take them, at a cost for each connection.
"""

import os
import time

from protocol import events
from server._bare import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

TEXT = {
    events.LISTENING: "listening on {host}:{port}: model {model}, service {service}, backlog {backlog}",
    events.CONNECTED: "client connected: {peer}, descriptor {fd}",
    events.DISCONNECTED: "client disconnected: {peer}, {bytes} bytes echoed, {reason}",
    events.REAPED: "process removed: {child}",
    events.FORK_FAILED: "nobody to serve {peer}: {error}; it waits, next try in {retry} s",
    events.ACCEPT_FAILED: "cannot accept: {error}; clients wait in the backlog, next try in {retry} s",
    events.FULL: "serving {connections} clients, the most allowed; others wait in the backlog",
    events.REFUSED: "turned away: {peer}, descriptor {fd}; select waits for numbers up to {highest} only (FD_SETSIZE)",
    events.DRAINING: "draining: no new clients; those being served have {seconds:g} s",
    events.CUT: "time is up: ending {connections} conversations",
    events.SERVED: "served {clients} clients, {bytes} bytes echoed",
    events.RECORDING: "recording in {file}",
    events.HALF_LINE: "{file} did not end in a whole line: {bytes} bytes moved to {file}.half",
    events.RECORDER_DIED: "the recorder is gone: {recorder}",
    events.RECORD_FAILED: "cannot record: {error}; clients are told",
    events.RECORDER_STAYS: "the recorder has not ended within {seconds:g} s",
    events.STOPPED: "stopped",
}
LATER = {
    "child": ", served by process {child}",
    "status": ", exit status {status}",
    "waiting": "; {waiting} wait",
    "signal": ", killed by {signal}",
    "retry": ", next try in {retry} s",
}
"""What is added to a sentence when an event has more to say."""


def _as_text(event: str, facts: "dict[str, Any]") -> str:
    sentence = TEXT[event]
    for key, more in LATER.items():
        if key in facts and "{" + key not in sentence:
            sentence += more
    return f"[{os.getpid()}] " + sentence.format(**facts)


def _as_json(event: str, facts: "dict[str, Any]") -> str:
    return _dumps({"time": time.monotonic(), "pid": os.getpid(), "event": event, **facts})


_dumps: "Callable[[Any], str]"
_format: "Callable[[str, dict[str, Any]], str] | None" = _as_text
_output = 1


def speak(how: str) -> None:
    """Log in this way from now on: ``text``, ``json`` or ``none``."""
    global _dumps, _format
    if how == "json":
        from json import dumps as _dumps  # not above: it is much to hand on to each child, and seldom wanted
    _format = {"text": _as_text, "json": _as_json, "none": None}[how]


def write_to(fd: int) -> None:
    """Write to this descriptor from now on, instead of to standard output."""
    global _output
    _output = fd


def log(event: str, **facts: "Any") -> None:
    """Write one line about ``event``, a name of ``protocol.events``, with the facts that belong to it."""
    if _format is None:
        return
    line = _format(event, facts) + "\n"
    try:
        os.write(_output, line.encode())
    except OSError:  # whoever read the log is gone, or its disk is full: no reason to stop serving
        pass


NAMES = {
    getattr(signal, name): name for name in sorted(dir(signal), reverse=True) if name[:3] == "SIG" and name[3] != "_"
}
"""Names of the signals; of two names for one (SIGIOT, SIGCLD, SIGPOLL) the older stands."""


def signal_name(number: int) -> str:
    """The name of a signal, or its number in words for one without (the real-time signals)."""
    return NAMES.get(number, f"signal {number}")
